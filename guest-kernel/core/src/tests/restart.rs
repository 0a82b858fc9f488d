//! Preemption points: operations that are interrupted again and again come to the same end.

use super::{
    Bench,
    algebra::{database::note_use, specification::Spot},
};
use crate::threads::undertaking::walker;
use crate::{
    arch::TABLE_ORDER,
    mapping::{
        database,
        progress::Progress,
        space::{DirectoryEntry, Pages},
        stretch::STEPS_ON,
    },
    memory::{
        index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex, WalkerIndex},
        machine::Memory,
        node::MaybeNode,
    },
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    fault::Access,
    flexpage::{Flexpage, Rights},
    introspection::{
        ThreadState,
        mapping::{MappingNode, Resource},
        record::{Event, Traced},
    },
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, task},
    syscall::{CAPABILITY_SHIFT, Operation, Timeouts},
};

/// As few steps as it takes to get anywhere at all: to a page, into it, and one mapping away.
const FEWEST_STEPS: u32 = 50;

const HERE: Word = 0x50_0000;
const FRAME: u64 = 0x300_0000;

/// A machine that interrupts every operation as often as can be.
fn restless() -> Bench {
    let mut bench = Bench::new();
    bench.kernel.mappings.machine.is_restless = true;
    bench.kernel.mappings.stretch.steps = FEWEST_STEPS;
    bench
}

/// One task with a page, and some that have it from the first one, each from the one before and
/// once more from the first.
struct Chain {
    bench: Bench,
    first: u16,
    tasks: Vec<TaskIndex>,
}

impl Chain {
    fn new(length: usize) -> Self {
        let mut bench = restless();
        let first = bench.spawn(1, 255);
        let mut tasks = vec![bench.task_of(first)];
        for _ in 1..length {
            let thread = bench.spawn(1, 1);
            tasks.push(bench.task_of(thread));
        }
        bench.enter(tasks[0], HERE, FRAME, Rights::all());
        let mut chain = Self { bench, first, tasks };
        for next in 1..length {
            chain.map(next - 1, next, HERE, Rights::all());
            chain.map(0, next, HERE + PAGE_SIZE, Rights::all());
        }
        chain
    }

    fn map(&mut self, from: usize, to: usize, address: Word, rights: Rights) {
        let item = MapItem::map(address, Flexpage::memory(HERE, 12, rights));
        let (from, to) = (self.tasks[from], self.tasks[to]);
        self.bench.map_item(from, to, item, Flexpage::WHOLE_SPACE);
    }

    /// Unmaps in the first task's terms, with `between` done each time that it is interrupted. Returns
    /// how often.
    fn unmap(&mut self, rights: Word, flexpage: Flexpage, between: impl FnMut(&mut Self)) -> usize {
        let restarts = self.call([task::Unmap::NUMBER, rights, 1, flexpage.0], between);
        assert_eq!(self.bench.result(self.first).0, MessageTag::new(0, 4, 0));
        restarts
    }

    /// An operation of the first task on itself, entered again as long as it is restarted.
    fn call<const N: usize>(
        &mut self,
        message: [Word; N],
        mut between: impl FnMut(&mut Self),
    ) -> usize {
        let thread = ThreadIndex::from_position(self.first);
        self.bench.kernel.current = thread.into();
        self.bench.message(self.first)[..N].copy_from_slice(&message);
        let target = CapabilityIndex::TASK.0 << CAPABILITY_SHIFT | Operation::CALL.0;
        let tag = MessageTag::new(label::TASK, N, 0);
        for restarts in 0.. {
            self.bench.kernel.current = thread.into();
            self.bench.kernel.system_call(target, tag.0, 0);
            if self.bench.thread(self.first).undertaking.is_none() {
                self.expect_no_bookmark();
                return restarts;
            }
            // Whoever runs in between has a bookmark of its own.
            self.bench.kernel.current = ThreadIndex::from_position(self.first + 1).into();
            between(self);
        }
        unreachable!("it never ends")
    }

    /// What is done leaves nothing behind.
    fn expect_no_bookmark(&mut self) {
        let thread = self.bench.thread(self.first);
        assert!(thread.undertaking.is_none());
        let bookmark = MaybeNode::from_raw(thread.record.bookmark).get().expect("each has one");
        let MappingNode { next, previous, .. } = *self.bench.kernel.mappings.machine.node(bookmark);
        assert_eq!((next, previous), (0, 0), "a bookmark was left in a list");
    }

    fn node(&mut self, task: usize, address: Word) -> MaybeNode {
        let space = &self.bench.kernel.mappings.tasks[self.tasks[task]].space;
        let spot = space.spot(&mut self.bench.kernel.mappings.machine, Pages::Memory, address);
        let node = spot.and_then(|spot| spot.node(&mut self.bench.kernel.mappings.machine));
        node.map_or(MaybeNode::NONE, MaybeNode::from)
    }

    fn rights(&mut self, task: usize, address: Word) -> Option<Rights> {
        let entry = self.bench.page(self.tasks[task], address);
        entry.is_present().then(|| entry.rights())
    }

    /// How many mappings each unmap took away, and how many it left with fewer rights.
    fn recorded_unmaps(&self) -> Vec<[u32; 2]> {
        let tally = |traced: &Traced| match traced.event {
            Event::Unmap(unmap) => Some([unmap.removed, unmap.reduced]),
            _ => None,
        };
        self.bench.events().iter().filter_map(tally).collect()
    }
}

#[test]
fn an_unmap_that_is_interrupted_takes_all_in_the_end() {
    let mut chain = Chain::new(12);
    let restarts = chain.unmap(7, Flexpage::memory(HERE, 12, Rights::empty()), |_| {});
    assert!(restarts > 2, "{restarts}");
    assert_eq!(chain.rights(0, HERE), Some(Rights::all()));
    for task in 1..12 {
        assert_eq!(chain.rights(task, HERE), None);
        assert_eq!(chain.rights(task, HERE + PAGE_SIZE), None);
    }
    assert_eq!(chain.recorded_unmaps(), [[22, 0]]);
}

/// The short way of one page against the long way, with so few mappings that the short one is tried, and
/// with each of them marked as one that a walk was to come back to, or none.
#[test]
fn a_short_unmap_takes_all_too() {
    for (length, is_watched) in (2..10).flat_map(|length| [(length, false), (length, true)]) {
        for own in [0, task::Unmap::OWN_TOO] {
            let mut chain = Chain::new(length);
            chain.bench.kernel.mappings.machine.is_restless = false;
            let mut node = chain.node(0, HERE);
            while let Some(index) = node.get() {
                let found = chain.bench.kernel.mappings.machine.node(index);
                found.place = if is_watched { found.place.watched() } else { found.place };
                node = MaybeNode::from_raw(found.next);
            }
            chain.unmap(7 | own, Flexpage::memory(HERE, 12, Rights::empty()), |_| {});
            let left = chain.rights(0, HERE);
            assert_eq!(left, (own == 0).then_some(Rights::all()), "{length}, {is_watched}");
            for task in 1..length {
                for address in [HERE, HERE + PAGE_SIZE] {
                    assert_eq!(chain.rights(task, address), None, "{length}, {is_watched}, {task}");
                }
            }
        }
    }
}

#[test]
fn an_unmap_that_nobody_waits_for_goes_on() {
    let mut chain = Chain::new(12);
    chain.bench.kernel.mappings.machine.is_restless = false;
    let before = chain.bench.kernel.mappings.machine.preemption_points;
    assert_eq!(chain.unmap(7, Flexpage::memory(HERE, 12, Rights::empty()), |_| {}), 0);
    assert!(chain.bench.kernel.mappings.machine.preemption_points > before);
    assert!((1..12).all(|task| chain.rights(task, HERE).is_none()));
}

#[test]
fn at_the_end_of_the_time_slice_others_run() {
    let mut chain = Chain::new(12);
    let (first, other) = (chain.first, chain.bench.spawn(1, 255));
    let flexpage = Flexpage::memory(HERE, 12, Rights::empty());
    chain.bench.message(first)[..4].copy_from_slice(&[task::Unmap::NUMBER, 7, 1, flexpage.0]);
    let mut ran = 0;
    loop {
        while chain.bench.current() != first {
            ran += usize::from(chain.bench.current() == other);
            chain.bench.kernel.timer_tick();
        }
        chain.bench.call(
            Operation::CALL,
            CapabilityIndex::TASK,
            MessageTag::new(label::TASK, 4, 0),
        );
        if chain.bench.thread(first).undertaking.is_none() {
            break;
        }
        assert_ne!(chain.bench.current(), first);
    }
    assert!(ran > 2, "{ran}");
    assert!((1..12).all(|task| chain.rights(task, HERE).is_none()));
}

#[test]
fn with_its_own_mapping_and_one_right_only() {
    let mut chain = Chain::new(12);
    let flexpage = Flexpage::memory(HERE, 12, Rights::empty());
    let write = Word::from(Rights::WRITE.bits());
    assert!(chain.unmap(write | task::Unmap::OWN_TOO, flexpage, |_| {}) > 2);
    for task in 0..12 {
        assert_eq!(chain.rights(task, HERE), Some(Rights::READ_EXECUTE), "task {task}");
    }
    assert!(chain.unmap(7 | task::Unmap::OWN_TOO, flexpage, |_| {}) > 2);
    assert!((0..12).all(|task| chain.rights(task, HERE).is_none()));
    assert_eq!(chain.recorded_unmaps(), [[0, 23], [23, 0]]);
}

/// Others map on what the walk has passed, and unmap what it stands in.
#[test]
fn what_others_do_in_between_breaks_nothing() {
    let mut chain = Chain::new(12);
    let flexpage = Flexpage::memory(HERE, 12, Rights::empty());
    let mut address = HERE + 0x10_0000;
    let write = Word::from(Rights::WRITE.bits());
    chain.unmap(write | task::Unmap::OWN_TOO, flexpage, |chain| {
        if address < HERE + 0x12_0000 {
            address += PAGE_SIZE;
            chain.map(0, 3, address, Rights::all());
            chain.map(2, 4, address, Rights::all());
        }
    });
    for task in 0..12 {
        for page in 0..0x200 {
            let rights = chain.rights(task, HERE + page * PAGE_SIZE);
            assert!(rights.is_none_or(|rights| !rights.contains(Rights::WRITE)), "task {task}");
        }
    }
    let mut victim = Some(chain.tasks[1]);
    chain.unmap(7 | task::Unmap::OWN_TOO, flexpage, |chain| {
        if let Some(victim) = victim.take() {
            let item =
                MapItem::map(HERE, Flexpage::memory(FRAME as Word + 0x1000, 12, Rights::READ));
            chain.bench.map_item(TaskIndex::SIGMA0, victim, item, Flexpage::WHOLE_SPACE);
        }
    });
    assert_eq!(chain.rights(1, HERE), Some(Rights::READ));
    assert!((2..12).all(|task| chain.rights(task, HERE).is_none()));
}

/// A mapping is being replaced, and somebody would give it away meanwhile: who comes first is served first,
/// so that there is nothing to give any more, nor to walk over.
#[test]
fn what_was_to_be_replaced_may_be_gone() {
    let mut chain = Chain::new(12);
    let (first, other, elsewhere) = (chain.tasks[0], HERE + 0x8000, HERE + 0x9000);
    chain.bench.enter(first, other, FRAME + 0x1000, Rights::READ);
    let [base, flexpage] = MapItem::map(HERE, Flexpage::memory(other, 12, Rights::READ)).to_words();
    let mut is_there = true;
    let restarts = chain.call([task::Map::NUMBER, base, flexpage], |chain| {
        if core::mem::take(&mut is_there) {
            let page = Flexpage::memory(HERE, 12, Rights::all());
            let (to, item) = (chain.tasks[5], MapItem::grant(elsewhere, page));
            chain.bench.map_item(first, to, item, Flexpage::WHOLE_SPACE);
        }
    });
    assert!(restarts > 0);
    assert_eq!(chain.bench.result(chain.first).0, MessageTag::new(0, 0, 0));
    assert_eq!(chain.rights(0, HERE), Some(Rights::READ));
    assert_eq!(chain.rights(5, elsewhere), None);
}

/// The same in a pager's answer, which the short way could give the second time.
#[test]
fn an_answer_that_was_interrupted_takes_the_long_way_to_its_end() {
    let mut chain = Chain::new(12);
    let (pager, client) = (chain.first, chain.bench.spawn(chain.first, 1));
    let (first, task) = (chain.tasks[0], chain.bench.task_of(client));
    let other = HERE + 0x8000;
    chain.bench.enter(first, other, FRAME + 0x1000, Rights::all());
    // What the client has is to be replaced, with all that comes from it.
    chain.bench.enter(task, HERE, FRAME + 0x2000, Rights::READ);
    for number in 1..12 {
        let item = MapItem::map(HERE + 0xa000, Flexpage::memory(HERE, 12, Rights::READ));
        let to = chain.tasks[number];
        chain.bench.map_item(task, to, item, Flexpage::WHOLE_SPACE);
    }
    let set_current = |chain: &mut Chain, thread: u16| {
        chain.bench.kernel.current = ThreadIndex::from_position(thread).into();
    };
    set_current(&mut chain, pager);
    chain.bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
    set_current(&mut chain, client);
    chain.bench.kernel.page_fault(HERE, Access::WRITE | Access::PRESENT);
    assert_eq!(chain.bench.current(), pager);

    let words = MapItem::map(HERE, Flexpage::memory(other, 12, Rights::all())).to_words();
    chain.bench.message(pager)[..2].copy_from_slice(&words);
    let answer = |chain: &mut Chain| {
        set_current(chain, pager);
        let tag = MessageTag::new(0, 0, 1);
        chain.bench.call(Operation::REPLY_AND_WAIT, CapabilityIndex::NIL, tag);
    };
    answer(&mut chain);
    assert!(chain.bench.thread(pager).undertaking.is_some(), "it was interrupted");
    // Meanwhile the client gives it away.
    set_current(&mut chain, client);
    let item = MapItem::grant(HERE + 0xb000, Flexpage::memory(HERE, 12, Rights::READ));
    let to = chain.tasks[1];
    chain.bench.map_item(task, to, item, Flexpage::WHOLE_SPACE);
    for _ in 0..4 {
        if chain.bench.thread(pager).undertaking.is_some() {
            answer(&mut chain);
        }
    }
    chain.expect_no_bookmark();
    assert_eq!(chain.bench.page(task, HERE).physical().0, FRAME + 0x1000);
}

/// The mapping whose descendants an interrupted unmap was taking goes, and a new one gets its place
/// and its node. What came from others is none of the unmap's business.
#[test]
fn a_new_mapping_in_the_place_of_the_old_is_another_one() {
    let mut chain = Chain::new(12);
    let (first, thread) = (chain.tasks[0], chain.bench.spawn(1, 1));
    let sibling = chain.bench.task_of(thread);
    // The sibling and its child come to stand before the first task's mapping in the list.
    chain.bench.enter(sibling, HERE, FRAME, Rights::all());
    let page = Flexpage::memory(HERE, 12, Rights::all());
    let alias = HERE + 0x5000;
    chain.bench.map_item(sibling, sibling, MapItem::map(alias, page), Flexpage::WHOLE_SPACE);
    let mut is_old = true;
    let restarts = chain.unmap(7, page, |chain| {
        let invoker = chain.first;
        let walk =
            chain.bench.kernel.mappings.walkers[walker(ThreadIndex::from_position(invoker))].walk;
        if is_old && format!("{walk:?}").contains("phase: Act") {
            is_old = false;
            chain.bench.enter(first, HERE, FRAME + 0x1000, Rights::READ);
            chain.bench.enter(first, HERE, FRAME, Rights::READ);
        }
    });
    assert!(restarts > 0 && !is_old);
    for address in [HERE, alias] {
        assert!(chain.bench.page(sibling, address).is_present(), "{address:#x} was not to go");
    }
}

/// All walkers are looked at when a mapping goes that one of them comes back to. However many there are,
/// interrupts come in between.
#[test]
fn many_walkers_do_not_keep_interrupts_off() {
    const MANY: u64 = 160;
    let windows = |others| {
        let mut chain = Chain::new(12);
        for _ in 0..others {
            chain.bench.spawn(1, 1);
        }
        let (first, mut windows) = (chain.tasks[0], None);
        chain.unmap(7, Flexpage::memory(HERE, 12, Rights::empty()), |chain| {
            let before = chain.bench.kernel.mappings.machine.interrupt_windows;
            chain.bench.enter(first, HERE, FRAME + 0x1000, Rights::READ);
            let after = chain.bench.kernel.mappings.machine.interrupt_windows;
            windows.get_or_insert(after - before);
        });
        windows.expect("it was interrupted")
    };
    let (few, many) = (windows(0), windows(MANY));
    assert!(many >= few + MANY / 32, "{few} windows without them, {many} with them");
}

/// Wherever an unmap is interrupted, and whatever of it others do then, it tells the same in the end: how many
/// mappings it took, and what the processor had noted of them.
#[test]
fn what_others_take_in_its_place_counts_for_the_unmap() {
    for (take, own) in [(7, 0), (7, task::Unmap::OWN_TOO), (2, 0), (2, task::Unmap::OWN_TOO)] {
        let mut told = Vec::new();
        for helped in 0..8 {
            let mut chain = Chain::new(12);
            // One is read, another one written.
            for (task, is_written) in [(3, false), (8, true)] {
                let (task, number) = (chain.tasks[task].position(), (HERE >> PAGE_ORDER) as u32);
                let spot = Spot { task, resource: Resource::Memory, number };
                note_use(&mut chain.bench, spot, is_written);
            }
            let mut interruption = 0;
            chain.unmap(take | own, Flexpage::memory(HERE, 12, Rights::empty()), |chain| {
                interruption += 1;
                if interruption == helped {
                    // It would map on, into its own place: that is left when the walk is over, or gone.
                    chain.map(11, 11, HERE, Rights::READ);
                }
            });
            assert!(helped != 0 || interruption > 2, "{interruption}");
            let [tally] = chain.recorded_unmaps()[..] else { panic!("one record") };
            told.push((tally, chain.bench.message(chain.first)[3] & 7));
        }
        assert!(told.iter().all(|each| *each == told[0] && each.1 != 0), "{told:?}");
    }
}

/// However many threads are interrupted right behind a mapping, who asks whether anything was derived from it
/// lets interrupts in after so many steps.
#[test]
fn many_bookmarks_do_not_keep_interrupts_off() {
    const MANY: u32 = 200;
    let mut chain = Chain::new(2);
    let node = chain.node(1, HERE).get().expect("it has one");
    assert!(!chain.bench.kernel.mappings.has_children(node));
    let mappings = &mut chain.bench.kernel.mappings;
    for number in 0..MANY as u16 {
        let bookmark = mappings.allocate_node(FactoryIndex::from_position(0)).expect("memory");
        database::insert_bookmark(&mut mappings.machine, node, bookmark, number);
    }
    let before = mappings.machine.interrupt_windows;
    mappings.stretch.begin(&mut mappings.machine);
    assert!(!mappings.has_children(node));
    let windows = mappings.machine.interrupt_windows - before;
    assert!(windows >= u64::from(MANY / STEPS_ON), "{windows} windows");
}

/// A grant with fewer rights is interrupted while it takes them from what was derived, and somebody
/// maps on what it grants.
#[test]
fn nobody_keeps_more_rights_than_a_grant_leaves() {
    let mut chain = Chain::new(12);
    let page = Flexpage::memory(HERE, 12, Rights::READ);
    let [base, flexpage] = MapItem::grant(HERE + 0x7000, page).to_words();
    let mut address = HERE + 0x10_0000;
    let restarts = chain.call([task::Map::NUMBER, base, flexpage], |chain| {
        address += PAGE_SIZE;
        chain.map(0, 3, address, Rights::all());
    });
    assert!(restarts > 1, "{restarts}");
    assert_eq!(chain.rights(0, HERE + 0x7000), Some(Rights::READ));
    for task in 1..12 {
        for page in 0..0x200 {
            let rights = chain.rights(task, HERE + page * PAGE_SIZE);
            assert!(rights.is_none_or(|rights| rights == Rights::READ), "task {task}: {rights:?}");
        }
    }
}

#[test]
fn a_large_item_arrives_in_pieces() {
    let mut bench = restless();
    let thread = bench.spawn(1, 1);
    let to = bench.task_of(thread);
    // Less than a superpage: 256 small pages.
    let item = MapItem::map(HERE, Flexpage::memory(FRAME as Word, 20, Rights::READ));
    let outcome = bench.map_item(TaskIndex::SIGMA0, to, item, Flexpage::WHOLE_SPACE);
    assert_eq!(outcome.entries, 256);
    for page in [0, 1, 100, 255] {
        let physical = bench.page(to, HERE + page * PAGE_SIZE).physical().0;
        assert_eq!(physical, FRAME + (page * PAGE_SIZE) as u64);
    }
}

/// A server that answers without items takes the next message from its queue, and is interrupted in
/// that: what begins again is its own system call, not the one that the sender had made.
#[test]
fn a_server_that_is_interrupted_begins_its_own_system_call_again() {
    const SERVER: u16 = 1;
    let mut bench = restless();
    for _ in 0..2 {
        bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
    }
    bench.spawn(SERVER, 10);
    bench.call(Operation::CALL, CapabilityIndex::PARENT, MessageTag::new(3, 0, 0));
    assert_eq!(bench.current(), SERVER);
    // Meanwhile somebody else sends it a large flexpage.
    let sender = bench.spawn(SERVER, 220);
    let (task, order) = (bench.task_of(sender), 20);
    let flexpage = Flexpage::memory(FRAME as Word, order, Rights::READ);
    let item = MapItem::map(HERE, flexpage);
    bench.map_item(TaskIndex::SIGMA0, task, item, Flexpage::WHOLE_SPACE);
    let words = MapItem::map(HERE, Flexpage::memory(HERE, order, Rights::READ)).to_words();
    bench.message(sender)[..2].copy_from_slice(&words);
    bench.kernel.utcb(ThreadIndex::from_position(SERVER)).buffer[0] = Flexpage::WHOLE_SPACE.0;
    assert_eq!(bench.current(), sender);
    bench.call(Operation::CALL, CapabilityIndex::PARENT, MessageTag::new(4, 0, 1));
    assert_eq!(bench.current(), SERVER);

    let answer = MessageTag::new(5, 0, 0);
    bench.call(Operation::REPLY_AND_WAIT, CapabilityIndex::NIL, answer);
    assert!(bench.thread(SERVER).undertaking.is_some(), "it was interrupted");
    let arguments = bench.thread(SERVER).context.arguments();
    assert_eq!(arguments, [Operation::WAIT.0, 0, 0], "the answer is given, it waits");
}

/// A part of a superpage is taken back, and whoever has it grants it to a friend meanwhile.
#[test]
fn a_grant_in_between_saves_nothing_from_an_unmap() {
    const SUPERPAGE: Word = 0x1000_0000;
    for phase in ["ToEnd", "Act"] {
        let mut chain = Chain::new(12);
        let tasks = chain.tasks.clone();
        let mut map = |from: TaskIndex, to: TaskIndex, item: MapItem| {
            chain.bench.map_item(from, to, item, Flexpage::WHOLE_SPACE);
        };
        let whole = Flexpage::memory(FRAME as Word, TABLE_ORDER, Rights::all());
        map(TaskIndex::SIGMA0, tasks[0], MapItem::map(SUPERPAGE, whole));
        let (page, other) = (Flexpage::memory(SUPERPAGE, 12, Rights::all()), SUPERPAGE + PAGE_SIZE);
        map(tasks[0], tasks[1], MapItem::map(SUPERPAGE, page));
        for (number, to) in (0..12).flat_map(|number| tasks[2..].iter().map(move |to| (number, to)))
        {
            let alias = SUPERPAGE + 2 * number * PAGE_SIZE;
            map(tasks[1], *to, MapItem::map(alias, page));
        }
        let mut is_there = true;
        let restarts = chain.unmap(7, page, |chain| {
            let walker = walker(ThreadIndex::from_position(chain.first));
            let walk = format!("{:?}", chain.bench.kernel.mappings.walkers[walker].walk);
            if is_there && walk.contains(&format!("phase: {phase}")) {
                is_there = false;
                let (from, to) = (tasks[1], tasks[11]);
                let item = MapItem::grant(other, page);
                chain.bench.map_item(from, to, item, Flexpage::WHOLE_SPACE);
            }
        });
        assert!(restarts > 0 && !is_there, "{phase}: {restarts}");
        for task in 1..12 {
            for address in (0..24).map(|number| SUPERPAGE + number * PAGE_SIZE) {
                assert_eq!(chain.rights(task, address), None, "{phase}: task {task}, {address:#x}");
            }
        }
    }
}

/// A thread that sends to one that waits for it and nobody else.
struct Pair {
    bench: Bench,
    sender: u16,
    receiver: u16,
    operation: Operation,
}

impl Pair {
    const GATE: CapabilityIndex = CapabilityIndex(40);
    /// Where the sender has pages.
    const PAGES: Word = 0x1000_0000;
    /// Where nobody has any.
    const NOWHERE: Word = 0x9_0000;

    fn new() -> Self {
        let mut bench = restless();
        for _ in 0..2 {
            bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        }
        let sender = bench.spawn(1, 100);
        let receiver = bench.spawn(sender, 100);
        let task = bench.task_of(sender);
        bench.gate(task, Self::GATE, receiver, 7);
        for page in 0..64 {
            let address = Self::PAGES + page * PAGE_SIZE;
            bench.enter(task, address, FRAME + (page * PAGE_SIZE) as u64, Rights::all());
        }
        let window = Flexpage::memory(HERE, 20, Rights::empty());
        bench.kernel.utcb(ThreadIndex::from_position(receiver)).buffer[0] = window.0;
        Self { bench, sender, receiver, operation: Operation::SEND }
    }

    fn enter(&mut self, thread: u16, operation: Operation, tag: MessageTag, timeouts: Timeouts) {
        let index = if thread == self.sender { Self::GATE } else { CapabilityIndex::PARENT };
        self.bench.kernel.current = ThreadIndex::from_position(thread).into();
        let target = index.0 << CAPABILITY_SHIFT | operation.0;
        self.bench.kernel.system_call(target, tag.0, timeouts.0);
    }

    fn receive(&mut self) {
        self.enter(self.receiver, Operation::RECEIVE, MessageTag(0), Timeouts::NEVER);
    }

    /// The sender's message, which may be interrupted.
    fn send(&mut self, tag: MessageTag) {
        self.enter(self.sender, self.operation, tag, Timeouts::NEVER);
    }

    /// The sender faults, and the receiver is its pager.
    fn fault(&mut self) {
        self.bench.thread(self.sender).record.set_pager(Self::GATE.0 as u16);
        self.bench.kernel.current = ThreadIndex::from_position(self.sender).into();
        self.bench.kernel.page_fault(0x5000, Access::empty());
    }

    fn answer_and_receive(&mut self, answers: bool) {
        if answers {
            let reply = Operation(Operation::SEND.0 | Operation::REPLY.0);
            self.enter(self.receiver, reply, MessageTag(0), Timeouts::NEVER);
        }
        self.receive();
    }

    /// The number of the item in which the sender is interrupted.
    fn item(&mut self) -> Option<usize> {
        let undertaking = self.bench.thread(self.sender).undertaking;
        undertaking.map(|undertaking| undertaking.progress.number.into())
    }

    fn compose(&mut self, register: usize, place: Word, page: Word, order: u32) {
        let item = MapItem::map(place, Flexpage::memory(page, order, Rights::READ_WRITE));
        let words = item.to_words();
        self.bench.message(self.sender)[register..register + 2].copy_from_slice(&words);
    }

    /// What the receiver was told of its items has arrived.
    fn expect_arrived(&mut self) {
        let (tag, task) = (self.bench.result(self.receiver).0, self.bench.task_of(self.receiver));
        assert!(!tag.is_ipc_error());
        for item in 0..tag.items() {
            let register = tag.words() + 2 * item;
            let words = [0, 1].map(|word| self.bench.message(self.receiver)[register + word]);
            let arrived = MapItem::from_words(words).expect("an item").flexpage;
            let is_there = self.bench.page(task, arrived.address()).is_present();
            assert!(is_there || arrived.rights().is_empty(), "{arrived:x?} did not arrive");
        }
    }
}

/// A sender that is interrupted goes on with other words than it has begun with.
#[test]
fn a_receiver_is_told_only_of_what_has_arrived() {
    let large = (0, Pair::PAGES, 18);
    // Another tag; another item; something else in between: a message, an answer, a fault.
    for (way, is_silent) in (0..5).flat_map(|way| [(way, false), (way, true)]) {
        let mut pair = Pair::new();
        pair.bench.kernel.mappings.machine.is_silent = is_silent;
        let is_answer = way == 3;
        if is_answer {
            let sender = pair.sender;
            pair.enter(sender, Operation::WAIT, MessageTag(0), Timeouts::NEVER);
            pair.enter(pair.receiver, Operation::CALL, MessageTag(0), Timeouts::NEVER);
            pair.operation = Operation::REPLY_AND_WAIT;
        } else {
            pair.receive();
        }
        let tag = MessageTag::new(0, 0, 2);
        let (first, second) = if way == 1 { (large, large) } else { ((0, Pair::PAGES, 12), large) };
        pair.compose(0, first.0, first.1, first.2);
        pair.compose(2, second.0, second.1, second.2);
        while pair.item() != Some(usize::from(way != 1)) {
            pair.send(tag);
        }
        let tag = match way {
            0 => {
                let forged = Pair::NOWHERE;
                pair.compose(2, HERE + forged, HERE + forged, 12);
                MessageTag::new(0, 2, 1)
            }
            1 => {
                pair.compose(0, Pair::NOWHERE, Pair::PAGES, 12);
                pair.compose(2, 0, Pair::PAGES, 12);
                tag
            }
            _ => {
                pair.compose(0, HERE + Pair::NOWHERE, HERE + Pair::NOWHERE, 12);
                match way {
                    4 => pair.fault(),
                    _ => pair.send(MessageTag::new(0, 2, 0)),
                }
                assert!(pair.bench.thread(pair.receiver).is(ThreadState::Ready), "{way}");
                let words = pair.bench.message(pair.sender)[..2].to_vec();
                pair.bench.message(pair.receiver)[..2].copy_from_slice(&words);
                if is_answer {
                    pair.enter(pair.receiver, Operation::CALL, MessageTag(0), Timeouts::NEVER);
                } else {
                    pair.answer_and_receive(way == 4);
                }
                tag
            }
        };
        for _ in 0..100 {
            if pair.bench.thread(pair.receiver).is(ThreadState::Receiving) {
                pair.send(tag);
            }
        }
        assert!(pair.bench.thread(pair.receiver).is(ThreadState::Ready), "{way}");
        pair.expect_arrived();
    }
}

/// Small pages go to where the receiver has a page table. While that is interrupted, the table goes, and the
/// rest goes to where there is none.
#[test]
fn a_superpage_begins_where_superpages_do() {
    const LARGE: Word = 0x2000_0000;
    const PLACE: Word = 0x3000_0000;
    let mut pair = Pair::new();
    let [from, to] = [pair.sender, pair.receiver].map(|thread| pair.bench.task_of(thread));
    let whole = Flexpage::memory(FRAME as Word, TABLE_ORDER, Rights::all());
    let item = MapItem::map(LARGE, whole);
    pair.bench.map_item(TaskIndex::SIGMA0, from, item, Flexpage::WHOLE_SPACE);
    pair.bench.enter(to, PLACE, FRAME, Rights::READ);
    let receiver = ThreadIndex::from_position(pair.receiver);
    let place = Flexpage::memory(PLACE, TABLE_ORDER, Rights::empty());
    pair.bench.kernel.utcb(receiver).buffer[0] = place.0;
    pair.receive();
    pair.compose(0, 0, LARGE, TABLE_ORDER);
    let mut is_gone = false;
    while pair.bench.thread(pair.receiver).is(ThreadState::Receiving) {
        pair.send(MessageTag::new(0, 0, 1));
        if !is_gone && pair.bench.page(to, PLACE + PAGE_SIZE).is_present() {
            let mappings = &mut pair.bench.kernel.mappings;
            let mut progress = Progress::new(WalkerIndex::KERNEL);
            loop {
                mappings.stretch.begin(&mut mappings.machine);
                let done = mappings.unmap_flexpage(&mut progress, to, place, Rights::all(), true);
                mappings.stretch.take_tick();
                if done.is_ok() {
                    break;
                }
            }
            assert_eq!(pair.bench.directory(to, PLACE), DirectoryEntry::Empty);
            is_gone = true;
        }
    }
    assert!(is_gone && !pair.bench.page(to, PLACE).is_present());
    assert!(pair.bench.page(to, PLACE + (1 << TABLE_ORDER) - PAGE_SIZE).is_present());
    let whole = matches!(pair.bench.directory(to, PLACE), DirectoryEntry::Superpage(_));
    assert!(!whole, "the rest of a superpage is none");
}

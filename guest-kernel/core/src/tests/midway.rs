//! What tasks try from user mode against what is promised of the mapping database, of ends, and of records.

use super::{Bench, soundness};
use crate::{
    mapping::capability::Object,
    memory::index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex},
    threads::undertaking::walker,
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    fault::Access,
    flexpage::{Flexpage, Rights},
    introspection::{
        ThreadState,
        record::{EndedObject, Event},
    },
    layout::UTCB_AREA,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, factory, task, thread},
    syscall::Operation,
};

const START: Word = 0x40_0100;
const OWN_TASK: Word = CapabilityIndex::TASK.0;
const FACTORY: Word = 8;
const OTHER_TASK: Word = 50;
const NOTHING: MessageTag = MessageTag(0);

const HERE: Word = 0x1000_0000;
const THERE: Word = 0x2000_0000;
const FRAME: u64 = 0x300_0000;
const WINDOW: Flexpage = Flexpage::WHOLE_SPACE;

struct Scene {
    bench: Bench,
}

fn index(number: u16) -> ThreadIndex {
    ThreadIndex::from_position(number)
}

fn page(address: Word) -> Flexpage {
    Flexpage::memory(address, PAGE_ORDER, Rights::all())
}

impl Scene {
    fn new() -> Self {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench.call(Operation::WAIT, CapabilityIndex::NIL, NOTHING);
        }
        Self { bench }
    }

    fn restless(&mut self, is_so: bool) {
        self.bench.kernel.mappings.machine.is_restless = is_so;
    }

    fn write(&mut self, number: u16, words: &[Word]) {
        self.bench.message(number)[..words.len()].copy_from_slice(words);
    }

    /// A system call of a thread with what stands in its message registers. Whether it begins again.
    fn enter(&mut self, number: u16, operation: Operation, target: Word, tag: MessageTag) -> bool {
        self.bench.run(number);
        self.bench.thread(number).context.set_pointers(START, 0);
        self.bench.call(operation, CapabilityIndex(target), tag);
        let known = &self.bench.kernel.threads[index(number)];
        known.is(ThreadState::Ready) && known.context.instruction() != START
    }

    /// One turn of an operation on a task.
    fn operate(&mut self, number: u16, task: Word, words: &[Word]) -> bool {
        self.write(number, words);
        self.enter(number, Operation::CALL, task, MessageTag::new(label::TASK, words.len(), 0))
    }

    fn unmap(
        &mut self,
        number: u16,
        task: Word,
        take: Rights,
        own: bool,
        all: &[Flexpage],
    ) -> bool {
        let own = if own { task::Unmap::OWN_TOO } else { 0 };
        let mut words = vec![task::Unmap::NUMBER, Word::from(take.bits()) | own, all.len()];
        words.extend(all.iter().map(|flexpage| flexpage.0));
        self.operate(number, task, &words)
    }

    fn map(&mut self, number: u16, task: Word, item: MapItem) -> bool {
        let [base, words] = item.to_words();
        self.operate(number, task, &[task::Map::NUMBER, base, words])
    }

    /// A page that a task has is mapped on in its own task so many times.
    fn fan_out(&mut self, thread: u16, from: Word, to: Word, count: usize) {
        let task = self.bench.task_of(thread);
        for number in 0..count {
            let item = MapItem::map(to + number * PAGE_SIZE, page(from));
            self.bench.map_item(task, task, item, WINDOW);
        }
    }

    fn has(&mut self, thread: u16, address: Word) -> bool {
        let task = self.bench.task_of(thread);
        self.bench.page(task, address).is_present()
    }

    fn has_walk(&self, number: u16) -> bool {
        self.bench.kernel.mappings.walkers[walker(index(number))].walk.is_some()
    }

    /// A thread begins to unmap a page of its own, is left midway, and says when it begins again that there
    /// are no flexpages at all.
    fn leave_a_walk_behind(&mut self, number: u16, address: Word) {
        self.restless(true);
        assert!(self.unmap(number, OWN_TASK, Rights::all(), false, &[page(address)]));
        // What was begun goes on.
        while self.unmap(number, OWN_TASK, Rights::all(), false, &[]) {}
        self.restless(false);
        assert_eq!(self.bench.result(number).0, MessageTag::new(0, 3, 0));
    }
}

/// Who says after an interruption that there are fewer flexpages has no walk any more.
#[test]
fn an_unmap_of_nothing_leaves_no_walk_behind() {
    let mut scene = Scene::new();
    let attacker = scene.bench.spawn(1, 100);
    let task = scene.bench.task_of(attacker);
    scene.bench.enter(task, HERE, FRAME, Rights::all());
    scene.fan_out(attacker, HERE, THERE, 200);
    scene.leave_a_walk_behind(attacker, HERE);
    assert!(scene.bench.thread(attacker).undertaking.is_none());
    assert_eq!(
        (scene.has_walk(attacker), scene.bench.kernel.mappings.interrupted_walks),
        (false, 0),
        "a walk that nobody goes on with, and no quick path of a page for anybody any more"
    );
}

impl Scene {
    /// An attacker has a page of an owner's and 200 mappings of it, and begins to take those back; then its
    /// thread is ended. Owner, attacker, and the attacker's task.
    fn with_one_that_ended_midway() -> (Self, u16, u16, TaskIndex) {
        let mut scene = Scene::new();
        let [owner, attacker, accomplice] = [(); 3].map(|()| scene.bench.spawn(1, 100));
        let [own, task, other] =
            [owner, attacker, accomplice].map(|number| scene.bench.task_of(number));
        scene.bench.enter(own, HERE, FRAME, Rights::all());
        scene.bench.map_item(own, task, MapItem::map(HERE, page(HERE)), WINDOW);
        scene.fan_out(attacker, HERE, THERE, 200);
        scene.bench.give(other, CapabilityIndex(OTHER_TASK), Object::Task(task));
        scene.leave_a_walk_behind(attacker, HERE);
        // The attacker's thread ends: its first capability is in its own task.
        let thread = Flexpage::capabilities(CapabilityIndex::THREAD.0, 0, Rights::all());
        while scene.unmap(accomplice, OTHER_TASK, Rights::all(), true, &[thread]) {}
        scene.bench.drain();
        (scene, owner, attacker, task)
    }

    /// The owner takes its page back, and nothing of it is left in the task.
    fn expect_all_taken_back(mut self, owner: u16, task: TaskIndex) {
        while self.unmap(owner, OWN_TASK, Rights::all(), false, &[page(HERE)]) {}
        assert_eq!(self.bench.result(owner).0, MessageTag::new(0, 4, 0));
        let kept = (0..200).filter(|n| self.bench.page(task, THERE + n * PAGE_SIZE).is_present());
        assert_eq!(kept.count(), 0, "of 200 mappings so many were kept");
        soundness::check(&mut self.bench).expect("sound");
    }
}

/// What was taken back is gone, whoever was in the middle of what when it ended.
#[test]
fn what_an_ended_thread_had_begun_hides_nothing_from_an_unmap() {
    let (scene, owner, _, task) = Scene::with_one_that_ended_midway();
    scene.expect_all_taken_back(owner, task);
}

/// A new thread begins with nothing of what one has begun that had its place before.
#[test]
fn a_new_thread_unmaps_what_it_says() {
    let mut scene = Scene::new();
    let [owner, attacker, accomplice] = [(); 3].map(|()| scene.bench.spawn(1, 100));
    let [own, task, other] =
        [owner, attacker, accomplice].map(|number| scene.bench.task_of(number));
    scene.bench.enter(task, HERE, FRAME, Rights::all());
    scene.fan_out(attacker, HERE, THERE, 200);
    scene.bench.map_item(task, other, MapItem::map(HERE, page(HERE)), WINDOW);
    scene.bench.give(other, CapabilityIndex(OTHER_TASK), Object::Task(task));
    scene.leave_a_walk_behind(attacker, HERE);
    // The accomplice maps from that tree, and so does what is left of the walk.
    while scene.map(accomplice, OWN_TASK, MapItem::map(THERE, page(HERE))) {}
    let thread = Flexpage::capabilities(CapabilityIndex::THREAD.0, 0, Rights::all());
    while scene.unmap(accomplice, OTHER_TASK, Rights::all(), true, &[thread]) {}
    scene.bench.drain();
    // A victim's thread gets the place, and takes back what the owner has got from it.
    let victim = scene.bench.spawn(1, 100);
    assert_eq!(victim, attacker, "the same place");
    let two = Flexpage::memory(HERE, PAGE_ORDER + 1, Rights::all());
    let its = scene.bench.task_of(victim);
    scene.bench.enter(its, HERE, FRAME + 0x10_0000, Rights::all());
    scene.bench.kernel.mappings.stretch.begin(&mut scene.bench.kernel.mappings.machine);
    scene.bench.map_item(its, own, MapItem::map(HERE, page(HERE)), WINDOW);
    assert!(scene.has(owner, HERE));
    while scene.unmap(victim, OWN_TASK, Rights::all(), false, &[two]) {}
    assert_eq!(scene.bench.result(victim).0, MessageTag::new(0, 4, 0));
    assert!(!scene.has(owner, HERE), "it was told that this is unmapped");
}

/// An operation that has failed is over: the next one begins at its beginning.
#[test]
fn an_unmap_that_was_refused_midway_is_forgotten() {
    let mut scene = Scene::new();
    let [giver, victim, client] = [(); 3].map(|()| scene.bench.spawn(1, 100));
    let [giving, own, task] = [giver, victim, client].map(|number| scene.bench.task_of(number));
    for number in 0..3 {
        scene.bench.enter(
            own,
            HERE + number * PAGE_SIZE,
            FRAME + 0x1000 * number as u64,
            Rights::all(),
        );
        let address = HERE + number * PAGE_SIZE;
        scene.bench.map_item(own, task, MapItem::map(address, page(address)), WINDOW);
    }
    scene.fan_out(client, HERE + PAGE_SIZE, THERE, 200);
    // The victim names its own task by a capability that it has from somebody.
    scene.bench.give(giving, CapabilityIndex(OTHER_TASK), Object::Task(own));
    let capability = |rights| Flexpage::capabilities(OTHER_TASK, 0, rights);
    let item = MapItem::map(OTHER_TASK << PAGE_ORDER, capability(Rights::all()));
    scene.bench.map_item(giving, own, item, WINDOW);
    scene.restless(true);
    let pages = [page(HERE), page(HERE + PAGE_SIZE)];
    while scene.bench.thread(victim).undertaking.is_none_or(|begun| begun.progress.number == 0) {
        assert!(scene.unmap(victim, OTHER_TASK, Rights::all(), false, &pages));
    }
    scene.restless(false);
    // The giver takes the right away for a moment: the victim learns that it has not got it.
    while scene.unmap(giver, OWN_TASK, Rights::WRITE, false, &[capability(Rights::all())]) {}
    scene.unmap(victim, OTHER_TASK, Rights::all(), false, &pages);
    let denied = scene.bench.result(victim).0;
    assert!(denied.label() < 0, "{denied:?}");
    scene.bench.map_item(giving, own, item, WINDOW);
    // Another unmap, of the third page.
    while scene.unmap(victim, OTHER_TASK, Rights::all(), false, &[page(HERE + 2 * PAGE_SIZE)]) {}
    assert_eq!(scene.bench.result(victim).0, MessageTag::new(0, 4, 0), "done");
    assert!(!scene.has(client, HERE + 2 * PAGE_SIZE), "it was told that this is unmapped");
}

/// A gate that nobody holds any more is told with the next open wait.
#[test]
fn a_server_that_was_refused_midway_learns_of_an_unheld_gate() {
    const GATE: Word = 60;
    let mut scene = Scene::new();
    let [giver, server, client] = [(); 3].map(|()| scene.bench.spawn(1, 100));
    let [giving, own, task] = [giver, server, client].map(|number| scene.bench.task_of(number));
    scene.bench.enter(own, HERE, FRAME, Rights::all());
    scene.fan_out(server, HERE, THERE, 200);
    scene.bench.gate(own, CapabilityIndex(GATE), server, 0x77);
    let gate = scene.bench.slot(own, GATE as u32).expect("a gate");
    scene.bench.give(task, CapabilityIndex(GATE), gate);
    scene.bench.give(giving, CapabilityIndex(OTHER_TASK), Object::Task(own));
    let capability = Flexpage::capabilities(OTHER_TASK, 0, Rights::all());
    let item = MapItem::map(OTHER_TASK << PAGE_ORDER, capability);
    scene.bench.map_item(giving, own, item, WINDOW);
    scene.restless(true);
    assert!(scene.unmap(server, OTHER_TASK, Rights::all(), false, &[page(HERE)]));
    scene.restless(false);
    while scene.unmap(giver, OWN_TASK, Rights::WRITE, false, &[capability]) {}
    scene.unmap(server, OTHER_TASK, Rights::all(), false, &[page(HERE)]);
    assert!(scene.bench.result(server).0.label() < 0);
    // The last one who holds the gate drops it.
    let held = Flexpage::capabilities(GATE, 0, Rights::all());
    while scene.unmap(client, OWN_TASK, Rights::all(), true, &[held]) {}
    scene.bench.drain();
    scene.enter(server, Operation::WAIT, 0, NOTHING);
    let told = MessageTag::new(label::GATE_UNHELD, 0, 0);
    assert!(scene.bench.thread(server).is(ThreadState::Ready), "it waits, and was told nothing");
    assert_eq!(scene.bench.result(server), (told, 0x77));
}

/// What is recorded of a map by which its caller ends names who that was.
#[test]
fn the_record_of_a_last_map_names_its_caller() {
    let mut scene = Scene::new();
    let creator = scene.bench.spawn(1, 100);
    let home = scene.bench.task_of(creator);
    let factory = Object::Factory(FactoryIndex::from_position(0));
    scene.bench.give(home, CapabilityIndex(FACTORY), factory);
    // Some thread that has ended before, so that there is a vacant place.
    let before = scene.bench.spawn(1, 100);
    let own_thread = Flexpage::capabilities(CapabilityIndex::THREAD.0, 0, Rights::all());
    let bystander = scene.bench.spawn(1, 100);
    let other = scene.bench.task_of(bystander);
    let gone = scene.bench.task_of(before);
    scene.bench.give(other, CapabilityIndex(OTHER_TASK), Object::Task(gone));
    while scene.unmap(bystander, OTHER_TASK, Rights::all(), true, &[own_thread]) {}
    scene.bench.drain();
    // It maps something over the first capability to itself.
    let slot = CapabilityIndex::THREAD.0;
    let item = MapItem::map(slot << PAGE_ORDER, Flexpage::capabilities(FACTORY, 0, Rights::all()));
    let events = scene.bench.events().len();
    scene.map(creator, OWN_TASK, item);
    scene.bench.drain();
    let who = home.position();
    for traced in &scene.bench.events()[events..] {
        match &traced.event {
            Event::Map(map) => {
                assert_eq!((map.sender.task(), map.sender.thread()), (who, creator), "{traced:?}");
            }
            Event::Unmap(unmap) => {
                assert_eq!((unmap.by.task(), unmap.by.thread()), (who, creator), "{traced:?}");
            }
            _ => {}
        }
    }
}

/// Who asks for another item after an error gets that, and nobody gets what was given up.
#[test]
fn a_map_that_was_refused_midway_is_forgotten() {
    let mut scene = Scene::new();
    let [giver, victim, client] = [(); 3].map(|()| scene.bench.spawn(1, 100));
    let [giving, own, other] = [giver, victim, client].map(|number| scene.bench.task_of(number));
    let (secret, harmless) = (HERE, HERE + 0x10_0000);
    for number in 0..64 {
        let (offset, frame) = (number * PAGE_SIZE, FRAME + 0x1000 * number as u64);
        scene.bench.enter(own, secret + offset, frame, Rights::all());
    }
    scene.bench.enter(own, harmless, FRAME + 0x10_0000, Rights::READ);
    // The victim maps into the client's task, by a capability that it has from somebody.
    scene.bench.give(giving, CapabilityIndex(OTHER_TASK), Object::Task(other));
    let capability = Flexpage::capabilities(OTHER_TASK, 0, Rights::all());
    let item = MapItem::map(OTHER_TASK << PAGE_ORDER, capability);
    scene.bench.map_item(giving, own, item, WINDOW);
    let secrets = Flexpage::memory(secret, PAGE_ORDER + 6, Rights::all());
    scene.restless(true);
    assert!(scene.map(victim, OTHER_TASK, MapItem::map(THERE, secrets)));
    scene.restless(false);
    while scene.unmap(giver, OWN_TASK, Rights::WRITE, false, &[capability]) {}
    scene.map(victim, OTHER_TASK, MapItem::map(THERE, secrets));
    assert!(scene.bench.result(victim).0.label() < 0, "refused");
    // It takes back what may have arrived.
    while scene.unmap(victim, OWN_TASK, Rights::all(), false, &[secrets]) {}
    assert!(!scene.has(client, THERE) && !scene.has(client, THERE + 63 * PAGE_SIZE));
    scene.bench.map_item(giving, own, item, WINDOW);
    let to = THERE + 0x10_0000;
    let one = Flexpage::memory(harmless, PAGE_ORDER, Rights::READ);
    // As the unmap came between, it asks for the same again, is left and refused once more.
    scene.restless(true);
    assert!(scene.map(victim, OTHER_TASK, MapItem::map(THERE, secrets)));
    scene.restless(false);
    while scene.unmap(giver, OWN_TASK, Rights::WRITE, false, &[capability]) {}
    scene.map(victim, OTHER_TASK, MapItem::map(THERE, secrets));
    assert!(scene.bench.result(victim).0.label() < 0, "refused");
    scene.bench.map_item(giving, own, item, WINDOW);
    while scene.map(victim, OTHER_TASK, MapItem::map(to, one)) {}
    assert_eq!(scene.bench.result(victim).0.label(), 0, "it was told that its item is there");
    assert!(!scene.has(client, THERE + 63 * PAGE_SIZE), "the end of what it had given up is there");
    assert!(scene.has(client, to), "what it asked for is there");
}

/// An object that has ended while its factory did names who took its first capability away.
#[test]
fn who_ends_an_object_of_a_dying_factory_is_named() {
    const MADE: Word = 40;
    let mut scene = Scene::new();
    let [owner, other] = [(); 2].map(|()| scene.bench.spawn(1, 100));
    let [own, task] = [owner, other].map(|number| scene.bench.task_of(number));
    let first = Object::Factory(FactoryIndex::from_position(0));
    scene.bench.give(own, CapabilityIndex(FACTORY), first);
    scene.bench.give(own, CapabilityIndex(OTHER_TASK), Object::Task(task));
    let mut create = |factory: Word, words: &[Word]| {
        scene.write(owner, words);
        let tag = MessageTag::new(label::FACTORY, words.len(), 0);
        assert!(!scene.enter(owner, Operation::CALL, factory, tag));
        assert_eq!(scene.bench.result(owner).0.label(), 0);
    };
    create(FACTORY, &[factory::CreateFactory::NUMBER, MADE, 4 << 20]);
    create(MADE, &[factory::CreateGate::NUMBER, MADE + 1, 0x99, CapabilityIndex::THREAD.0]);
    let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
    create(MADE, &[factory::CreateTask::NUMBER, MADE + 2, area]);
    let gate = Flexpage::capabilities(MADE + 1, 0, Rights::all());
    let grant = MapItem::grant((MADE + 1) << PAGE_ORDER, gate);
    while scene.map(owner, OTHER_TASK, grant) {}
    assert!(scene.bench.slot(task, (MADE + 1) as u32).is_some());
    scene.restless(true);
    let factory = Flexpage::capabilities(MADE, 0, Rights::all());
    assert!(scene.unmap(owner, OWN_TASK, Rights::all(), true, &[factory]));
    assert!(scene.bench.slot(task, (MADE + 1) as u32).is_some(), "the gate is not touched yet");
    scene.unmap(other, OWN_TASK, Rights::all(), true, &[gate]);
    scene.restless(false);
    scene.bench.drain();
    let by = scene.bench.events().iter().find_map(|traced| match traced.event {
        Event::ObjectEnded(ended) if matches!(ended.object, EndedObject::Gate { label: 0x99 }) => {
            Some((ended.by.task(), ended.by.thread()))
        }
        _ => None,
    });
    assert_eq!(by, Some((task.position(), other)), "who took its first capability away");
}

/// What is recorded of an unmap is what was unmapped, whatever the words say by the end.
#[test]
fn the_record_of_an_unmap_tells_what_was_unmapped() {
    let mut scene = Scene::new();
    let attacker = scene.bench.spawn(1, 100);
    let task = scene.bench.task_of(attacker);
    let (taken, named) = (HERE, HERE + 0x10_0000);
    scene.bench.enter(task, taken, FRAME, Rights::all());
    scene.bench.enter(task, named, FRAME + 0x1000, Rights::all());
    scene.fan_out(attacker, taken, THERE, 200);
    scene.restless(true);
    while scene.has(attacker, THERE) && scene.has(attacker, THERE + 199 * PAGE_SIZE) {
        assert!(scene.unmap(attacker, OWN_TASK, Rights::all(), false, &[page(taken)]));
    }
    scene.restless(false);
    while scene.unmap(attacker, OWN_TASK, Rights::all(), false, &[page(named)]) {}
    for traced in scene.bench.events() {
        if let Event::Unmap(unmap) = traced.event
            && unmap.flexpage.address() == named
        {
            assert_eq!(unmap.removed, 0, "nothing was derived from what it names");
        }
    }
}

/// The new owner of the place of an ended thread's node is not reached through the old one.
#[test]
fn what_an_ended_thread_had_begun_hides_nothing_once_its_place_is_taken() {
    let (mut scene, owner, attacker, task) = Scene::with_one_that_ended_midway();
    assert_eq!(scene.bench.spawn(1, 100), attacker);
    scene.expect_all_taken_back(owner, task);
}

/// A receiver that changes its window meanwhile is told of nothing that has not arrived there.
#[test]
fn what_a_receiver_is_told_of_has_arrived() {
    let mut scene = Scene::new();
    let receiver = scene.bench.spawn(1, 100);
    let sender = scene.bench.spawn(receiver, 100);
    let [to, from] = [receiver, sender].map(|number| scene.bench.task_of(number));
    for number in 0..64 {
        let (offset, frame) = (number * PAGE_SIZE, FRAME + 0x1000 * number as u64);
        scene.bench.enter(from, HERE + offset, frame, Rights::all());
    }
    let window = |address| Flexpage::memory(address, PAGE_ORDER + 6, Rights::all()).0;
    let set = |scene: &mut Scene, address| {
        scene.bench.kernel.utcb(index(receiver)).buffer[0] = window(address);
    };
    set(&mut scene, THERE);
    scene.enter(receiver, Operation::WAIT, 0, NOTHING);
    let item = MapItem::map(0, Flexpage::memory(HERE, PAGE_ORDER + 6, Rights::all()));
    scene.write(sender, &item.to_words());
    scene.restless(true);
    scene.enter(sender, Operation::SEND, CapabilityIndex::PARENT.0, MessageTag::new(0, 0, 1));
    assert!(scene.bench.thread(receiver).undertaking.is_some(), "the receiver goes on with it");
    assert!(scene.bench.page(to, THERE).is_present());
    // Another thread of the receiver's task writes there.
    let other = THERE + 0x10_0000;
    set(&mut scene, other);
    while scene.enter(receiver, Operation::WAIT, 0, NOTHING) {}
    let told = scene.bench.message(receiver)[1];
    let told = Flexpage(told);
    assert_eq!((told.address(), told.order()), (THERE, PAGE_ORDER + 6));
    let arrived = (0..64).filter(|n| scene.bench.page(to, THERE + n * PAGE_SIZE).is_present());
    let arrived = arrived.count();
    let entries = scene.bench.events().iter().rev().find_map(|traced| match traced.event {
        Event::Map(map) if map.destination == THERE as u32 => Some(map.entries),
        _ => None,
    });
    assert_eq!((arrived, entries), (64, Some(64)), "pages where it is told, and what is recorded");
}

/// An unresolved fault names the pager that was asked.
#[test]
fn who_has_not_resolved_a_fault_is_named() {
    let mut scene = Scene::new();
    let [pager, stranger] = [(); 2].map(|()| scene.bench.spawn(1, 100));
    let client = scene.bench.spawn(pager, 100);
    let boss = scene.bench.spawn(1, 100);
    let [task, home] = [client, boss].map(|number| scene.bench.task_of(number));
    scene.bench.gate(task, CapabilityIndex(61), stranger, 0x99);
    scene.bench.give(home, CapabilityIndex(OTHER_TASK), Object::Task(task));
    scene.bench.give(home, CapabilityIndex(51), Object::Thread(index(client)));
    scene.enter(pager, Operation::WAIT, 0, NOTHING);
    scene.bench.run(client);
    scene.bench.kernel.page_fault(HERE, Access::empty());
    let message = [thread::Control::NUMBER, 61, 61, OTHER_TASK, UTCB_AREA];
    scene.write(boss, &message);
    scene.enter(boss, Operation::CALL, 51, MessageTag::new(label::THREAD, 5, 0));
    assert_eq!(scene.bench.result(boss).0.label(), 0);
    scene.enter(pager, Operation::REPLY_AND_WAIT, 0, MessageTag::new(5, 0, 0));
    let named = scene.bench.events().iter().find_map(|traced| match traced.event {
        Event::Unresolved(fault) => Some(fault.pager.thread()),
        _ => None,
    });
    assert_eq!(named, Some(pager), "it was asked, and has refused");
}

/// What was unmapped before an unmap was cancelled is recorded.
#[test]
fn what_a_cancelled_unmap_has_taken_is_recorded() {
    let mut scene = Scene::new();
    let [attacker, boss] = [(); 2].map(|()| scene.bench.spawn(1, 100));
    let [task, home] = [attacker, boss].map(|number| scene.bench.task_of(number));
    scene.bench.enter(task, HERE, FRAME, Rights::all());
    scene.fan_out(attacker, HERE, THERE, 200);
    scene.bench.give(home, CapabilityIndex(51), Object::Thread(index(attacker)));
    scene.restless(true);
    while scene.has(attacker, THERE) && scene.has(attacker, THERE + 199 * PAGE_SIZE) {
        assert!(scene.unmap(attacker, OWN_TASK, Rights::all(), false, &[page(HERE)]));
    }
    scene.restless(false);
    scene.write(boss, &[thread::ExRegs::NUMBER, START, 0]);
    scene.enter(boss, Operation::CALL, 51, MessageTag::new(label::THREAD, 3, 0));
    assert!(scene.bench.thread(attacker).undertaking.is_none());
    let left = (0..200).filter(|n| scene.bench.page(task, THERE + n * PAGE_SIZE).is_present());
    let gone = 200 - left.count() as u32;
    let recorded: u32 = scene
        .bench
        .events()
        .iter()
        .map(|traced| match traced.event {
            Event::Unmap(unmap) => unmap.removed,
            _ => 0,
        })
        .sum();
    assert_eq!(recorded, gone);
}

/// What was mapped before a map was cancelled is recorded.
#[test]
fn what_a_cancelled_map_has_entered_is_recorded() {
    let mut scene = Scene::new();
    let [attacker, boss] = [(); 2].map(|()| scene.bench.spawn(1, 100));
    let [task, home] = [attacker, boss].map(|number| scene.bench.task_of(number));
    for number in 0..64 {
        let (offset, frame) = (number * PAGE_SIZE, FRAME + 0x1000 * number as u64);
        scene.bench.enter(task, HERE + offset, frame, Rights::all());
    }
    scene.bench.give(home, CapabilityIndex(51), Object::Thread(index(attacker)));
    scene.bench.kernel.mappings.machine.records.clear();
    scene.restless(true);
    let pages = Flexpage::memory(HERE, PAGE_ORDER + 6, Rights::all());
    assert!(scene.map(attacker, OWN_TASK, MapItem::map(THERE, pages)));
    scene.restless(false);
    scene.write(boss, &[thread::ExRegs::NUMBER, START, 0]);
    scene.enter(boss, Operation::CALL, 51, MessageTag::new(label::THREAD, 3, 0));
    let there = (0..64).filter(|n| scene.bench.page(task, THERE + n * PAGE_SIZE).is_present());
    let there = there.count() as u32;
    assert!(there > 0);
    let events = scene.bench.events();
    let entries = events.iter().map(|traced| match traced.event {
        Event::Map(map) => map.entries,
        _ => 0,
    });
    assert_eq!(entries.sum::<u32>(), there);
}

/// The quick way records an unmap as the general way does, whatever stands where a flexpage has rights.
#[test]
fn the_record_of_an_unmap_is_the_same_whichever_way_it_went() {
    let recorded = [false, true].map(|is_slow| {
        let mut scene = Scene::new();
        let owner = scene.bench.spawn(1, 100);
        let task = scene.bench.task_of(owner);
        scene.bench.enter(task, HERE, FRAME, Rights::all());
        scene.fan_out(owner, HERE, THERE, 1);
        scene.bench.kernel.mappings.machine.is_slow = is_slow;
        let before = scene.bench.kernel.mappings.machine.quick_ways;
        while scene.unmap(owner, OWN_TASK, Rights::all(), false, &[page(HERE)]) {}
        assert_eq!(scene.bench.kernel.mappings.machine.quick_ways != before, !is_slow);
        scene.bench.events().iter().find_map(|traced| match traced.event {
            Event::Unmap(unmap) => Some(unmap),
            _ => None,
        })
    });
    assert!(recorded[0].is_some());
    assert_eq!(recorded[0], recorded[1]);
}

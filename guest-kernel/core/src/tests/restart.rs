//! Preemption points: operations that are interrupted again and again come to the same end.

use super::Bench;
use crate::index::{TableIndex, TaskIndex, ThreadIndex};
use protocol::{
    PAGE_SIZE, Word,
    flexpage::{Flexpage, Rights},
    introspection::record::{Kind, Record},
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label, task},
    syscall::{CAPABILITY_SHIFT, Operation},
};

/// As few steps as it takes to get anywhere at all: to a page, into it, and one mapping away.
const FEWEST_STEPS: u32 = 10;

const HERE: Word = 0x10_0000;
const FRAME: u64 = 0x300_0000;

/// One task with a page, and some that have it from the first one, each from the one before and
/// once more from the first.
struct Chain {
    bench: Bench,
    first: u16,
    tasks: Vec<TaskIndex>,
}

impl Chain {
    fn new(length: usize) -> Self {
        let mut bench = Bench::new();
        bench.kernel.steps = FEWEST_STEPS;
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

    /// A system call of the first task's thread, entered again as long as it is restarted, with
    /// `between` done each time. Returns how often.
    fn unmap(
        &mut self,
        rights: Word,
        flexpage: Flexpage,
        mut between: impl FnMut(&mut Self),
    ) -> usize {
        let thread = ThreadIndex::from_position(self.first);
        self.bench.kernel.current = thread.into();
        let message = [task::UNMAP, rights, 1, flexpage.0];
        self.bench.message(self.first)[..4].copy_from_slice(&message);
        let target = CapabilityIndex::TASK.0 << CAPABILITY_SHIFT | Operation::CALL.0;
        let tag = MessageTag::new(label::TASK, 4, 0);
        for restarts in 0.. {
            let before = self.bench.kernel.machine.preemptions;
            self.bench.kernel.current = thread.into();
            self.bench.kernel.system_call(target, tag.0, 0);
            if self.bench.kernel.machine.preemptions == before {
                assert_eq!(self.bench.result(self.first).0, MessageTag::new(0, 4, 0));
                return restarts;
            }
            // Whoever runs in between has a bookmark of its own.
            self.bench.kernel.current = ThreadIndex::from_position(self.first + 1).into();
            between(self);
        }
        unreachable!("it never ends")
    }

    fn rights(&mut self, task: usize, address: Word) -> Option<Rights> {
        let entry = self.bench.page(self.tasks[task], address);
        entry.is_present().then(|| entry.rights())
    }

    fn unmap_records(&self) -> Vec<&Record> {
        let records = &self.bench.kernel.machine.records;
        records.iter().filter(|record| record.kind == Kind::Unmap as u8).collect()
    }
}

#[test]
fn an_unmap_that_is_interrupted_takes_all_in_the_end() {
    let mut chain = Chain::new(12);
    let restarts = chain.unmap(7, Flexpage::memory(HERE, 12, Rights::empty()), |_| {});
    assert!(restarts > 5, "{restarts}");
    assert_eq!(chain.rights(0, HERE), Some(Rights::all()));
    for task in 1..12 {
        assert_eq!(chain.rights(task, HERE), None);
        assert_eq!(chain.rights(task, HERE + PAGE_SIZE), None);
    }
    let [record] = chain.unmap_records()[..] else { panic!("one record") };
    assert_eq!(record.c, 22 << 32);
}

#[test]
fn with_its_own_mapping_and_one_right_only() {
    let mut chain = Chain::new(12);
    let flexpage = Flexpage::memory(HERE, 12, Rights::empty());
    let write = Word::from(Rights::WRITE.bits());
    assert!(chain.unmap(write | task::UNMAP_OWN, flexpage, |_| {}) > 5);
    for task in 0..12 {
        assert_eq!(chain.rights(task, HERE), Some(Rights::READ_EXECUTE), "task {task}");
    }
    assert!(chain.unmap(7 | task::UNMAP_OWN, flexpage, |_| {}) > 5);
    assert!((0..12).all(|task| chain.rights(task, HERE).is_none()));
    let [reduced, removed] = chain.unmap_records()[..] else { panic!("two records") };
    assert_eq!((reduced.c, removed.c), (23, 23 << 32));
}

/// Others map on what the walk has passed, and unmap what it stands in.
#[test]
fn what_others_do_in_between_breaks_nothing() {
    let mut chain = Chain::new(12);
    let flexpage = Flexpage::memory(HERE, 12, Rights::empty());
    let mut address = HERE + 0x10_0000;
    let write = Word::from(Rights::WRITE.bits());
    chain.unmap(write | task::UNMAP_OWN, flexpage, |chain| {
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
    chain.unmap(7 | task::UNMAP_OWN, flexpage, |chain| {
        if let Some(victim) = victim.take() {
            let item =
                MapItem::map(HERE, Flexpage::memory(FRAME as Word + 0x1000, 12, Rights::READ));
            chain.bench.map_item(TaskIndex::SIGMA0, victim, item, Flexpage::WHOLE_SPACE);
        }
    });
    assert_eq!(chain.rights(1, HERE), Some(Rights::READ));
    assert!((2..12).all(|task| chain.rights(task, HERE).is_none()));
}

#[test]
fn a_large_item_arrives_in_pieces() {
    let mut bench = Bench::new();
    bench.kernel.steps = FEWEST_STEPS;
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

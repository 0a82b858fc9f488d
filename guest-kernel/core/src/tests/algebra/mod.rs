//! Random operations on the kernel and on the specification: both always have the same mappings.

pub mod database;
mod ending;
mod interleaved;
mod operation;
mod slides;
pub mod specification;

use super::{
    Bench,
    model::{POOL, RAM_END},
};
use crate::{
    arch::TABLE_ENTRIES,
    mapping::{capability::Object, database::NEAR},
    memory::index::{FactoryIndex, TableIndex, TaskIndex},
};
use database::{Reader, note_use};
use operation::{Operation, TASKS};
use protocol::{
    PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::{mapping::Resource, record::MapStatus},
    layout::MAPPABLE_START,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, task},
    syscall::Operation as SystemCall,
};
use specification::{Spot, World};
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

pub const BLOCK: u32 = TABLE_ENTRIES as u32;

/// Ports that the kernel keeps.
const KEPT_PORTS: [u32; 5] = [0x20, 0x21, 0xa0, 0xa1, 0xf4];

/// What sigma0 has in the model of the machine.
fn is_owned(resource: Resource, number: u32) -> bool {
    match resource {
        Resource::Memory => {
            let address = u64::from(number) * PAGE_SIZE as u64;
            (MAPPABLE_START as u64..RAM_END).contains(&address)
                && !(POOL.start..POOL.end).contains(&address)
        }
        Resource::Ports => number < 1 << 16 && !KEPT_PORTS.contains(&number),
        _ => false,
    }
}

/// Where the supervisor's task has capabilities to the tasks.
const FIRST_TASK: Word = 32;

/// Frames of kernel memory that two of the tasks may use: so few that they run out.
const QUOTAS: [u64; 2] = [4, 7];

/// The kernel and the specification side by side.
struct Laboratory {
    bench: Bench,
    world: World,
    /// The thread that unmaps, in a task that takes no part: whatever is unmapped, it can go on.
    supervisor: u16,
    /// Where something was after the operation before.
    before: Vec<Spot>,
    seen: Seen,
}

/// How often what can happen did.
#[derive(Debug, Default)]
struct Seen {
    operations: usize,
    mapped: usize,
    granted: usize,
    refused: usize,
    out_of_memory: usize,
    superpages: usize,
    unmapped: usize,
    restarts: usize,
    noted: usize,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.mapped += other.mapped;
        self.granted += other.granted;
        self.refused += other.refused;
        self.out_of_memory += other.out_of_memory;
        self.superpages += other.superpages;
        self.unmapped += other.unmapped;
        self.restarts += other.restarts;
        self.noted += other.noted;
    }
}

pub type Check = Result<(), String>;

impl Laboratory {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.kernel.mappings.machine.is_restless = true;
        // sigma0 and the root task wait; the others never run.
        for _ in 0..2 {
            bench.call(SystemCall::WAIT, CapabilityIndex::NIL, MessageTag(0));
        }
        for number in 2..TASKS {
            let quota = QUOTAS.get(usize::from(number) - 2);
            let factory = match quota {
                Some(_) => bench.factory(u64::MAX),
                None => FactoryIndex::from_position(0),
            };
            let thread = bench.spawn_from(factory, 1, 1);
            if let Some(frames) = quota {
                let record = &mut bench.kernel.mappings.factories[factory].record;
                record.limit = record.used + frames * PAGE_SIZE as u64;
            }
            assert_eq!(bench.task_of(thread).position(), number);
        }
        let supervisor = bench.spawn(1, 100);
        let own = bench.task_of(supervisor);
        for number in 0..TASKS {
            let task = TaskIndex::from_position(number);
            bench.give_root(
                own,
                CapabilityIndex(FIRST_TASK + Word::from(number)),
                Object::Task(task),
            );
        }
        // What this is about is the database.
        bench.kernel.mappings.lives.forget_roots();
        let mut world = World::new(BLOCK, NEAR as usize, is_owned);
        let reader = Reader::new(&bench);
        for task in 0..bench.kernel.mappings.tasks.used() {
            for spot in reader.spots(task) {
                let found = reader.found(spot).expect("something");
                world.add_root(spot, found.size, found.what, found.rights);
            }
        }
        let before = world.mappings.keys().copied().collect();
        let mut laboratory = Self { bench, world, supervisor, before, seen: Seen::default() };
        laboratory.check_everything().expect("a sound beginning");
        laboratory
    }

    /// Performs an operation on both sides, and compares them.
    fn perform(&mut self, operation: &Operation) -> Check {
        self.seen.operations += 1;
        match operation {
            Operation::Map { from, to, item, window } => self.map([*from, *to], *item, *window)?,
            Operation::Unmap { task, taken, flexpages } => self.unmap(*task, *taken, flexpages)?,
            Operation::Use { spot, write } => {
                note_use(&mut self.bench, *spot, *write);
                self.world.use_page(*spot, *write);
            }
        }
        self.bench.kernel.mappings.machine.records.clear();
        self.bench.kernel.mappings.machine.flushed.clear();
        self.check()
    }

    fn map(&mut self, [from, to]: [u16; 2], item: MapItem, window: Flexpage) -> Check {
        let tasks = [from, to].map(TaskIndex::from_position);
        let outcome = self.bench.map_item(tasks[0], tasks[1], item, window);
        let ran_out = outcome.status == MapStatus::NoMemory;
        let limit = ran_out.then_some(outcome.entries);
        let expected = self.world.map([from, to], item, window, limit);
        self.seen.mapped += expected.entries as usize;
        self.seen.granted += usize::from(item.grant && expected.entries != 0);
        self.seen.refused += usize::from(expected.entries == 0);
        self.seen.out_of_memory += usize::from(ran_out);
        let is_whole = expected.entries == 1 && 1 << expected.order >= BLOCK;
        self.seen.superpages += usize::from(is_whole);
        let is_memory = item.flexpage.memory_area().is_some();
        let unit = if is_memory { PAGE_SIZE as Word } else { 1 };
        let first = outcome.entries != 0;
        let what = first.then_some(outcome.rights);
        let found = (outcome.status, outcome.entries, what);
        let wanted = (expected.status, expected.entries, expected.first.map(|(_, rights)| rights));
        same("what became of the item", found, wanted)?;
        if outcome.status == MapStatus::Done {
            let place = (outcome.destination / unit, outcome.order);
            let order = if is_memory { expected.order + 12 } else { expected.order };
            same("where it arrived", place, (expected.destination as Word, order))?;
        }
        if is_memory && first {
            let frame = expected.first.map_or(0, |(what, _)| what);
            same("the first frame", outcome.physical.0 / PAGE_SIZE as u64, frame)?;
        }
        Ok(())
    }

    /// A system call of the supervisor, again and again while the kernel has it restarted.
    fn unmap(&mut self, task: u16, taken: Word, flexpages: &[Flexpage]) -> Check {
        const START: Word = 0x40_0100;
        let supervisor = self.supervisor;
        let message = self.bench.message(supervisor);
        message[..3].copy_from_slice(&[task::Unmap::NUMBER, taken, flexpages.len()]);
        for (register, flexpage) in message[3..].iter_mut().zip(flexpages) {
            *register = flexpage.with_rights(Rights::empty()).0;
        }
        let tag = MessageTag::new(label::TASK, 3 + flexpages.len(), 0);
        let mut restarts = 0;
        loop {
            self.bench.thread(supervisor).context.set_pointers(START, 0);
            same("who runs", self.bench.current(), supervisor)?;
            let index = CapabilityIndex(FIRST_TASK + Word::from(task));
            self.bench.call(SystemCall::CALL, index, tag);
            if self.bench.thread(supervisor).context.instruction() == START {
                break;
            }
            restarts += 1;
            if restarts > 10_000 {
                return Err("it never ends".to_owned());
            }
            if restarts < 4 || restarts % 16 == 0 {
                forest(&Reader::new(&self.bench), self.roots(), true)?;
            }
        }
        self.seen.restarts += restarts;
        let taken_rights = Rights::from_bits_truncate(taken as u8);
        let own = taken & task::Unmap::OWN_TOO != 0;
        let count = self.world.mappings.len();
        let mut wanted = Vec::new();
        let valid = flexpages.iter().take_while(|page| specification::units(**page).is_some());
        let answer = match valid.clone().count() == flexpages.len() {
            true => MessageTag::new(0, 3 + flexpages.len(), 0),
            false => ObjectError::InvalidArgument.tag(),
        };
        for flexpage in valid {
            let [accessed, dirty] = self.world.unmap(task, *flexpage, taken_rights, own);
            let mut rights = Rights::empty();
            rights.set(Rights::READ, accessed);
            rights.set(Rights::WRITE, dirty);
            self.seen.noted += usize::from(accessed);
            wanted.push(flexpage.with_rights(rights));
        }
        self.seen.unmapped += count - self.world.mappings.len();
        same("the answer", self.bench.result(supervisor).0, answer)?;
        let message = self.bench.message(supervisor);
        let found: Vec<_> =
            message[3..3 + wanted.len()].iter().map(|word| Flexpage(*word)).collect();
        same("what was noted", found, wanted)
    }

    /// All that the operation can have touched: all mappings that there are, and where there are
    /// none any more.
    fn check(&mut self) -> Check {
        let reader = Reader::new(&self.bench);
        let found = forest(&reader, self.roots(), false)?;
        for (row, wanted) in found.iter().zip(&self.world.mappings) {
            let (spot, mapping) = wanted;
            let parent =
                row.parent.map(|spot| self.world.mappings.get(&spot).map(|above| above.id));
            let is_same = row.spot == *spot
                && parent == mapping.parent.map(Some)
                && row.granted == mapping.granted
                && (row.what, row.size, row.rights) == (mapping.what, mapping.size, mapping.rights)
                && row.noted == [mapping.accessed, mapping.dirty];
            if !is_same {
                return Err(format!("{row:?}, but should be {wanted:?}"));
            }
        }
        same("mappings", found.len(), self.world.mappings.len())?;
        // The kernel and each thread have a node for a bookmark.
        let nodes = found.len() + 1 + self.bench.living_threads();
        same("nodes", reader.count_nodes()? as usize, nodes)?;
        let mut left = found.iter().map(|row| row.spot).peekable();
        for spot in &self.before {
            while left.next_if(|left| left < spot).is_some() {}
            let is_left = left.peek() == Some(spot) || self.world.at(*spot).is_some();
            if !is_left && !reader.is_clean(*spot) {
                return Err(format!("{spot:?} is still there"));
            }
        }
        self.before.clear();
        self.before.extend(found.iter().map(|row| row.spot));
        Ok(())
    }

    fn roots(&self) -> impl Iterator<Item = Spot> {
        let all = self.world.mappings.iter();
        all.filter(|(_, mapping)| mapping.parent.is_none()).map(|(spot, _)| *spot)
    }

    /// [`Self::check`], and that every entry of every table has a node.
    fn check_everything(&mut self) -> Check {
        self.check()?;
        self.world.check()?;
        let reader = Reader::new(&self.bench);
        let mut found = BTreeSet::new();
        for task in 0..self.bench.kernel.mappings.tasks.used() {
            found.extend(reader.spots(task));
        }
        let wanted = self.world.mappings.keys().copied().collect();
        same("entries", found, wanted)
    }
}

/// One mapping, as the kernel and as the specification have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub spot: Spot,
    pub parent: Option<Spot>,
    pub granted: bool,
    pub what: u64,
    pub size: u32,
    pub rights: Rights,
    pub noted: [bool; 2],
}

/// All trees below `roots`, checked: the lists are well-formed, every node leads to its entry and
/// back, no right exceeds the parent's, and what is mapped is a part of what the parent maps.
fn forest(
    reader: &Reader,
    roots: impl Iterator<Item = Spot>,
    is_interrupted: bool,
) -> Result<Vec<Row>, String> {
    let mut rows = trees(reader, roots, is_interrupted)?;
    rows.sort_unstable_by_key(|row| row.spot);
    Ok(rows)
}

/// The same in the order of the database.
pub fn trees(
    reader: &Reader,
    roots: impl Iterator<Item = Spot>,
    is_interrupted: bool,
) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for root in roots {
        let Some(found) = reader.found(root) else { continue };
        let (mut previous, mut next) = (0, found.node);
        // From the root to the row before.
        let mut path: Vec<usize> = Vec::new();
        while next != 0 {
            let (index, node) = (next, reader.node(next));
            same("the way back", node.previous, previous)?;
            (previous, next) = (index, node.next);
            if node.place.resource() == Resource::Bookmark {
                same("a bookmark in an interrupted unmap", is_interrupted, true)?;
                continue;
            }
            let place = node.place;
            let (task, resource, number) = (node.task, place.resource(), place.number());
            let spot = Spot { task, resource, number };
            let depth = usize::from(node.depth);
            if depth > path.len() || (depth == 0) != path.is_empty() {
                return Err(format!("{spot:?} has depth {depth} behind {}", path.len()));
            }
            path.truncate(depth);
            let found = reader.found(spot).ok_or_else(|| format!("nothing is at {spot:?}"))?;
            same("the entry's node", found.node, index)?;
            same("whether it is a superpage", place.is_superpage(), found.size > 1)?;
            let parent = path.last().map(|parent| rows[*parent]);
            let row = Row {
                spot,
                parent: parent.map(|parent| parent.spot),
                granted: place.is_granted(),
                what: found.what,
                size: found.size,
                rights: found.rights,
                noted: [found.accessed, found.dirty],
            };
            if let Some(parent) = parent {
                let end = |row: &Row| row.what + u64::from(row.size);
                let is_part = parent.what <= row.what && end(&row) <= end(&parent);
                if !is_part || !parent.rights.contains(row.rights) {
                    return Err(format!("{row:?} is not within {parent:?}"));
                }
            }
            path.push(rows.len());
            rows.push(row);
        }
    }
    Ok(rows)
}

pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Check {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, but should be {wanted:?}")),
    }
}

/// Operations of one run, and runs: more than a million in all. Every run begins anew.
const OPERATIONS: u64 = 1000;
const RUNS: u64 = 1120;

/// Runs whose number is a multiple of this are not tame: shorter, as they get far more mappings.
const WILD: u64 = 10;

/// Performs operations from the beginning on. If one fails, says which one, and why.
fn run(operations: &[Operation]) -> Result<Seen, (usize, String)> {
    let mut performed = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut laboratory = Laboratory::new();
        for operation in operations {
            laboratory.perform(operation)?;
            performed += 1;
        }
        laboratory.check_everything()?;
        Ok(laboratory.seen)
    }));
    let why = match result {
        Ok(Ok(seen)) => return Ok(seen),
        Ok(Err(why)) => why,
        Err(_) => "the kernel panicked".to_owned(),
    };
    Err((performed, why))
}

/// The fewest operations that still fail that can be found by leaving some out, and why they do.
fn shrink(mut operations: Vec<Operation>) -> (Vec<Operation>, String) {
    let mut why = String::new();
    let mut size = operations.len();
    while size > 0 {
        let mut first = 0;
        while first < operations.len() {
            let mut fewer = operations.clone();
            fewer.drain(first..operations.len().min(first + size));
            match run(&fewer) {
                Err((last, found)) => {
                    fewer.truncate(last + 1);
                    (operations, why) = (fewer, found);
                }
                Ok(_) => first += size,
            }
        }
        size /= 2;
    }
    (operations, why)
}

#[test]
fn the_kernel_maps_grants_and_unmaps_as_specified() {
    let mut total = Seen::default();
    for number in 0..RUNS {
        let is_tame = number % WILD != 0;
        let count = if is_tame { OPERATIONS } else { OPERATIONS / 10 };
        let seeds = (0..count).map(|step| number * OPERATIONS + step);
        let operations: Vec<_> = seeds.map(|seed| Operation::from_seed(seed, is_tame)).collect();
        match run(&operations) {
            Ok(seen) => total.add(&seen),
            Err((last, why)) => {
                let (fewest, why_fewest) =
                    shrink(operations[..=last.min(operations.len() - 1)].to_vec());
                panic!("run {number}, operation {last}: {why}\nfewest: {fewest:#?}: {why_fewest}");
            }
        }
    }
    // It is worth something only if much of all that can happen did.
    assert!(total.operations > 1_000_000, "{total:?}");
    for often in [total.mapped, total.unmapped] {
        assert!(often > 100_000, "{total:?}");
    }
    for often in [total.granted, total.superpages, total.restarts, total.noted] {
        assert!(often > 10_000, "{total:?}");
    }
    assert!(total.out_of_memory > 1000, "{total:?}");
}

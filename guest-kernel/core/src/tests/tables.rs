//! Page tables that became empty, and the nodes of a factory that ends.

use super::Bench;
use crate::{
    arch::{TABLE_ENTRIES, TABLE_ORDER},
    mapping::{
        database::{NODES_PER_PAIR, NewMapping, free_node, make_root},
        progress::Progress,
        space::DirectoryEntry,
        stretch::Preempted,
    },
    memory::{
        factory::Factory,
        frames::PAIR_SIZE,
        index::{TableIndex, TaskIndex},
    },
    threads::undertaking::walker,
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{Flexpage, Rights},
    introspection::{
        mapping::{Place, Resource},
        record::MapStatus,
    },
    message::MapItem,
};

/// Where a superpage and small pages can be mapped, and what.
const PLACE: Word = 8 << TABLE_ORDER;
const FRAMES: Word = 0x200_0000;

fn task(bench: &mut Bench) -> TaskIndex {
    bench.kernel.mappings.machine.is_restless = true;
    let thread = bench.spawn(1, 100);
    bench.task_of(thread)
}

/// Unmaps a flexpage however often that is interrupted. Returns how often.
fn unmap(bench: &mut Bench, task: TaskIndex, flexpage: Flexpage, take: Rights, own: bool) -> u32 {
    let current = bench.kernel.current.get().expect("somebody runs");
    let mut progress = Progress::new(walker(current));
    let mut interrupted = 0;
    loop {
        let mappings = &mut bench.kernel.mappings;
        mappings.stretch.begin(&mut mappings.machine);
        if mappings.unmap_flexpage(&mut progress, task, flexpage, take, own).is_ok() {
            return interrupted;
        }
        interrupted += 1;
        mappings.stretch.take_tick();
    }
}

fn superpage(at: Word) -> Flexpage {
    Flexpage::memory(at, TABLE_ORDER, Rights::all())
}

fn map_superpage(bench: &mut Bench, task: TaskIndex) -> MapStatus {
    let item = MapItem::map(PLACE, superpage(FRAMES));
    bench.map_item(TaskIndex::SIGMA0, task, item, Flexpage::WHOLE_SPACE).status
}

#[test]
fn what_covers_a_table_and_takes_all_takes_the_table() {
    let mut bench = Bench::new();
    let task = task(&mut bench);
    let mut left = None;
    for pages in [TABLE_ENTRIES, 1, 2, TABLE_ENTRIES] {
        for page in 0..pages {
            let offset = page * PAGE_SIZE;
            bench.enter(task, PLACE + offset, (FRAMES + offset) as u64, Rights::all());
        }
        // There are nodes enough from now on.
        let left = *left.get_or_insert(bench.kernel.mappings.pool.left() + PAIR_SIZE);
        assert_eq!(bench.kernel.mappings.pool.left(), left - PAIR_SIZE);
        let whole = superpage(PLACE);
        // Not without its own mappings, or with some rights only, or of a part.
        let half = Flexpage::memory(PLACE, TABLE_ORDER - 1, Rights::all());
        unmap(&mut bench, task, whole, Rights::all(), false);
        unmap(&mut bench, task, whole, Rights::WRITE, true);
        unmap(&mut bench, task, half, Rights::all(), true);
        assert!(matches!(bench.directory(task, PLACE), DirectoryEntry::Table(_)));
        bench.kernel.mappings.machine.flushed.clear();
        let interrupted = unmap(&mut bench, task, whole, Rights::all(), true);
        assert!(interrupted > 1, "{interrupted}");
        assert_eq!(bench.directory(task, PLACE), DirectoryEntry::Empty);
        assert_eq!(bench.kernel.mappings.pool.left(), left);
        // The processor has not kept where the table was.
        let root = bench.kernel.mappings.tasks[task].space.root();
        let flushed = &bench.kernel.mappings.machine.flushed;
        let in_place = |address: Word| address >> TABLE_ORDER == PLACE >> TABLE_ORDER;
        assert!(flushed.iter().any(|(space, address)| *space == root && in_place(*address)));
    }
}

#[test]
fn a_superpage_takes_the_place_of_an_empty_table_only() {
    let mut bench = Bench::new();
    let task = task(&mut bench);
    for page in [0, TABLE_ENTRIES / 2, TABLE_ENTRIES - 1] {
        let address = PLACE + page * PAGE_SIZE;
        bench.enter(task, address, 0x300_0000, Rights::all());
        assert_eq!(map_superpage(&mut bench, task), MapStatus::Done);
        let left = bench.kernel.mappings.pool.left();
        assert!(matches!(bench.directory(task, PLACE), DirectoryEntry::Table(_)), "{page}");
        for page in 0..TABLE_ENTRIES {
            let address = PLACE + page * PAGE_SIZE;
            let page = Flexpage::memory(address, PAGE_ORDER, Rights::all());
            unmap(&mut bench, task, page, Rights::all(), true);
        }
        assert!(matches!(bench.directory(task, PLACE), DirectoryEntry::Table(_)), "{page}");
        assert_eq!(bench.kernel.mappings.pool.left(), left);
        assert_eq!(map_superpage(&mut bench, task), MapStatus::Done);
        assert!(matches!(bench.directory(task, PLACE), DirectoryEntry::Superpage(_)), "{page}");
        assert_eq!(bench.kernel.mappings.pool.left(), left + PAIR_SIZE);
        unmap(&mut bench, task, superpage(PLACE), Rights::all(), true);
    }
}

#[test]
fn the_nodes_of_a_factory_come_back() {
    let mut bench = Bench::new();
    let own = task(&mut bench);
    let factory = Factory::new(u64::MAX, 0);
    let factory = bench.kernel.mappings.factories.insert(factory).expect("room");
    let left = bench.kernel.mappings.pool.left();
    for pairs in [0, 1, 2, 5] {
        let mut nodes = Vec::new();
        for number in 0..pairs * NODES_PER_PAIR {
            let mappings = &mut bench.kernel.mappings;
            let node = mappings.allocate_node(factory).expect("memory");
            let place = Place::new(Resource::Memory, number, false);
            let mapping = NewMapping { task: own.position(), place };
            make_root(&mut mappings.machine, node, mapping);
            nodes.push(node);
        }
        let mappings = &mut bench.kernel.mappings;
        let used = u64::from(pairs) * PAIR_SIZE;
        assert_eq!(mappings.factories[factory].record.used, used);
        assert_eq!(mappings.pool.left(), left - used);
        // In some other order.
        for node in nodes.iter().skip(1).step_by(2).chain(nodes.iter().step_by(2)) {
            let record = &mut mappings.factories[factory];
            free_node(&mut mappings.machine, record, *node);
        }
        let mut interrupted = 0;
        loop {
            mappings.stretch.begin(&mut mappings.machine);
            match mappings.give_back_nodes(factory) {
                Ok(()) => break,
                Err(Preempted) => interrupted += 1,
            }
            mappings.stretch.take_tick();
        }
        assert!(interrupted >= pairs, "{interrupted}");
        let record = mappings.factories[factory].record;
        assert_eq!((record.used, record.nodes, record.free_nodes), (0, 0, 0));
        assert_eq!(mappings.pool.left(), left);
    }
}

//! A task is emptied wherever it has something, however often that is left midway.

use super::{Bench, random::Random};
use crate::{
    arch::TABLE_ORDER,
    mapping::{capability::Object, stretch::Preempted},
    memory::{
        factory::Factory,
        index::{TaskIndex, WalkerIndex},
    },
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{Flexpage, IO_PORTS, Rights},
    layout::{MAPPABLE_END, MAPPABLE_START, UTCB_AREA},
    message::MapItem,
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
};

const SEEDS: u64 = 200;
const SUPERPAGE: Word = 1 << TABLE_ORDER;
const FRAMES: Word = 0x200_0000;

/// A number below `count`, which is often the first or the last one.
fn below(random: &mut Random, count: usize) -> usize {
    match random.next() % 8 {
        0 => 0,
        1 => count - 1,
        _ => random.next() as usize % count,
    }
}

/// Gives a task something: a page, a superpage, a port or a capability.
fn give(bench: &mut Bench, task: TaskIndex, random: &mut Random) {
    let item = match random.next() % 4 {
        0 => {
            let first = MAPPABLE_START.next_multiple_of(SUPERPAGE);
            let place = first + below(random, (MAPPABLE_END - first) / SUPERPAGE) * SUPERPAGE;
            MapItem::map(place, Flexpage::memory(FRAMES, TABLE_ORDER, Rights::all()))
        }
        1 => MapItem::map(0, Flexpage::io_ports(below(random, IO_PORTS), 0)),
        2 => {
            let pages = (MAPPABLE_END - MAPPABLE_START) / PAGE_SIZE;
            let place = MAPPABLE_START + below(random, pages) * PAGE_SIZE;
            let frame = FRAMES + below(random, 64) * PAGE_SIZE;
            MapItem::map(place, Flexpage::memory(frame, PAGE_ORDER, Rights::all()))
        }
        _ => {
            let index = CapabilityIndex(below(random, CAPABILITY_TABLE_SIZE));
            let mappings = &mut bench.kernel.mappings;
            if mappings.tasks[task].capabilities.is_free(&mut mappings.machine, index) {
                bench.give_root(task, index, Object::Console);
            }
            return;
        }
    };
    bench.map_item(TaskIndex::SIGMA0, task, item, Flexpage::WHOLE_SPACE);
}

#[test]
fn a_task_is_emptied_wherever_it_has_something() {
    let mut interrupted = 0;
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut bench = Bench::new();
        bench.kernel.mappings.machine.is_restless = true;
        let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);
        for round in 0..2 {
            let factory = Factory::new(u64::MAX, 0);
            let factory = bench.kernel.mappings.factories.insert(factory).expect("room");
            let task = bench.kernel.create_task(factory, area).expect("memory");
            for _ in 0..random.next() % 40 {
                give(&mut bench, task, &mut random);
            }
            let mappings = &mut bench.kernel.mappings;
            loop {
                mappings.stretch.begin(&mut mappings.machine);
                mappings.stretch.take_tick();
                match mappings.empty_task(WalkerIndex::KERNEL, task) {
                    Ok(()) => break,
                    Err(Preempted) => interrupted += 1,
                }
            }
            while mappings.give_back_nodes(factory).is_err() {
                mappings.stretch.begin(&mut mappings.machine);
                mappings.stretch.take_tick();
            }
            // Every frame came back; the pool takes none that is not zero.
            let used = mappings.factories[factory].record.used;
            assert_eq!(used, mappings.tasks.price(), "seed {seed}, round {round}");
        }
    }
    assert!(interrupted > 10 * SEEDS, "{interrupted}");
}

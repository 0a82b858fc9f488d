//! What a look into a guest costs at most, whatever stands in its memory. Alone in its process, since
//! it counts what is allocated.

mod allocation;
mod hostile;
mod memory;
mod sound;

use hostile::{HEADER, Kind, LARGE, SMALL, hostile};
use memory::Ram;
use observe::{
    inspect::{Guest, Unit, Unmap, check::Rule},
    paging::{AMD64, IA32},
};
use protocol::introspection::mapping::Resource;
use sound::Sound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by the test that runs: what is counted is what the whole process allocates.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a viewer may take beside what it shows.
const MOST: usize = 64 << 20;

/// Records that are believed: of tasks, threads, factories and gates.
const RECORDS: u64 = 3 * (1 << 14) + (1 << 16);

/// All that viewers do, and what each may cost.
fn look_everywhere(what: &str, ram: &Ram) {
    let frames = ram.bytes.len() as u64 / 4096;
    let look = |view: &str, work: &dyn Fn(&Guest<'_>)| {
        let guest = Guest::open(ram, HEADER).unwrap();
        ram.reads();
        let ((), peak) = allocation::peak(|| work(&guest));
        let reads = ram.reads();
        println!("{what} {view}: {} KiB, {reads} reads of {frames} frames", peak >> 10);
        assert!(peak <= MOST, "{what} {view}: {} KiB", peak >> 10);
        assert!(reads <= 3 * RECORDS + 8 * frames, "{what} {view}: {reads} reads");
    };
    look("check", &|guest| {
        guest.check();
    });
    look("tasks", &|guest| {
        let (tasks, snapshot) = (guest.tasks(), guest.snapshot());
        for task in tasks {
            snapshot.mappings_of(task.number, Resource::Memory).count();
        }
    });
    look("map", &|guest| {
        let snapshot = guest.snapshot();
        for resource in [Resource::Memory, Resource::Ports, Resource::Capability] {
            snapshot.ranges(1, resource).iter().count();
        }
    });
    look("who", &|guest| {
        let snapshot = guest.snapshot();
        for unit in [Unit::Frame(0x8000), Unit::Port(0x3f8)] {
            snapshot.totals(unit, Some(Unmap { task: 1, own: true }));
        }
    });
}

#[test]
fn hostile_memories_cost_little() {
    let _alone = alone();
    for machine in [62, 3] {
        for kind in Kind::ALL {
            let size = if kind == Kind::Circles { LARGE } else { SMALL };
            let ram = hostile(kind, machine, size);
            let guest = Guest::open(&ram, HEADER).unwrap();
            let excess = guest.snapshot().excess().cloned().unwrap();
            assert_eq!(excess.path, "table of tasks");
            println!("{}: {}: {}", excess.rule.sentence(), excess.path, excess.evidence);
            look_everywhere(&format!("{machine} {kind:?}"), &ram);
            let report = guest.check();
            assert!(!report.is_clean() && report.violations.len() <= 1000);
        }
    }
}

#[test]
fn the_largest_sound_machine_is_seen_whole() {
    let _alone = alone();
    for geometry in [&AMD64, &IA32] {
        let sound = Sound::new(geometry);
        let ram = &sound.ram;
        assert!(sound.mappings > 3_900_000, "{}", sound.mappings);
        let guest = Guest::open(ram, HEADER).unwrap();
        let report = guest.check();
        assert!(report.is_clean() && report.is_of_one_moment, "{:#?}", report.violations);
        assert_eq!(report.count(Rule::Lists), sound.mappings);
        let snapshot = guest.snapshot();
        assert_eq!(snapshot.excess(), None);
        let last = snapshot.ranges(5, Resource::Memory);
        let pages: Vec<_> = last.iter().map(|range| range.count).collect();
        assert_eq!(pages, [sound.mappings / 6, 1]);
        let totals = snapshot.totals(Unit::Frame(0x9000), Some(Unmap { task: 0, own: false }));
        assert_eq!((totals.branches, totals.depth, totals.unmapping.taken), (6, 5, 5));
        look_everywhere(geometry.name, ram);
    }
}

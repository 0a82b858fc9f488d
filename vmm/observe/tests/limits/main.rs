//! What a look into a guest costs at most, whatever stands in its memory. Alone in its process, since
//! it counts what is allocated.

mod allocation;
mod hostile;
mod memory;

use hostile::{HEADER, Kind, LARGE, SMALL, hostile};
use memory::Ram;
use observe::inspect::{Guest, Unit, Unmap};
use protocol::introspection::mapping::Resource;

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
    for machine in [62, 3] {
        for kind in Kind::ALL {
            let size = if kind == Kind::Circles { LARGE } else { SMALL };
            let ram = hostile(kind, machine, size);
            let guest = Guest::open(&ram, HEADER).unwrap();
            assert!(guest.snapshot().excess().is_some());
            look_everywhere(&format!("{machine} {kind:?}"), &ram);
            let report = guest.check();
            assert!(!report.is_clean() && report.violations.len() <= 1000);
        }
    }
}

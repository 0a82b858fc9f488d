//! Which objects live, and from when on they are due to be taken apart.

use super::Bench;
use crate::{
    mapping::{capability::Object, life::Mortal, progress::Progress, walk::Effect},
    memory::{
        index::{GateIndex, TableIndex, TaskIndex},
        node::NodeIndex,
    },
    threads::undertaking::walker,
};
use protocol::{
    Word,
    flexpage::{Flexpage, Rights},
    message::MapItem,
    object::CapabilityIndex,
};

const SLOT: CapabilityIndex = CapabilityIndex(40);

/// Two tasks of different factories, the first of which has just made a gate.
struct Made {
    bench: Bench,
    tasks: [TaskIndex; 2],
    gate: GateIndex,
}

impl Made {
    fn new() -> Self {
        let mut bench = Bench::new();
        let tasks = [bench.spawn(1, 255), bench.spawn(1, 255)].map(|thread| bench.task_of(thread));
        let other = bench.factory(1 << 20);
        bench.kernel.mappings.tasks[tasks[1]].factory = other;
        let gate = GateIndex::from_position(bench.kernel.gates.used());
        bench.gate(tasks[0], SLOT, 1, 7);
        Self { bench, tasks, gate }
    }

    fn node(&mut self, task: TaskIndex, slot: CapabilityIndex) -> Option<NodeIndex> {
        let mappings = &mut self.bench.kernel.mappings;
        mappings.tasks[task].capabilities.spot(slot)?.node(&mut mappings.machine)
    }

    fn send(&mut self, from: usize, to: usize, slots: [Word; 2], grant: bool) {
        let flexpage = Flexpage::capabilities(slots[0], 0, Rights::all());
        let send_base = slots[1] << protocol::PAGE_ORDER;
        let item = MapItem { send_base, grant, flexpage };
        let [from, to] = [from, to].map(|number| self.tasks[number]);
        self.bench.map_item(from, to, item, Flexpage::WHOLE_SPACE);
    }

    fn take(&mut self, task: usize, slot: CapabilityIndex, own: bool) {
        let node = self.node(self.tasks[task], slot).expect("something is there");
        let current = self.bench.kernel.current.get().expect("somebody runs");
        let mappings = &mut self.bench.kernel.mappings;
        mappings.stretch.begin(&mut mappings.machine);
        let mut progress = Progress::new(walker(current));
        mappings.unmap_tree(&mut progress, node, Effect::REMOVE, own).expect("short");
    }

    fn due(&self) -> [Option<Mortal>; 2] {
        let lives = &self.bench.kernel.mappings.lives;
        [lives.first_dying(), lives.first_unheld()]
    }
}

#[test]
fn the_first_capability_is_known_wherever_it_is_granted_to() {
    let mut made = Made::new();
    let gate = Mortal::Gate(made.gate);
    for (from, to, slots) in [(0, 0, [40, 41]), (0, 1, [41, 50]), (1, 0, [50, 42])] {
        let slot = CapabilityIndex(slots[1]);
        made.send(from, to, slots, true);
        let root = made.bench.kernel.mappings.lives.of(gate).root();
        let task = made.tasks[to];
        assert!(root.is_some() && root == made.node(task, slot), "in {slot:?} of {task:?}");
        assert_eq!(made.due(), [None, None]);
    }
    made.take(0, CapabilityIndex(42), true);
    assert_eq!(made.due(), [Some(gate), None]);
}

#[test]
fn each_comes_behind_those_that_are_dying_already() {
    let mut made = Made::new();
    let first = Mortal::Gate(made.gate);
    made.send(0, 1, [40, 50], false);
    made.take(1, CapabilityIndex(50), true);
    assert_eq!(made.due(), [None, Some(first)], "nobody holds it any more");
    made.bench.gate(made.tasks[0], CapabilityIndex(41), 1, 8);
    let second = made
        .bench
        .kernel
        .mappings
        .first_made(made.bench.kernel.mappings.tasks[made.tasks[0]].factory);
    made.take(0, SLOT, true);
    made.take(0, CapabilityIndex(41), true);
    assert_eq!(made.due(), [Some(first), None]);
    // What ends because that does comes before it.
    let lives = &mut made.bench.kernel.mappings.lives;
    lives.inherit_cause(first);
    lives.put_among_dying(second.expect("made last"));
    assert_eq!(made.due(), [second, None]);
    made.bench.kernel.mappings.end_life(second.expect("made last"));
    assert_eq!(made.due(), [Some(first), None]);
    made.bench.kernel.mappings.end_life(first);
    assert_eq!(made.due(), [None, None]);
}

#[test]
fn a_gate_is_unheld_when_the_last_derived_capability_is_gone() {
    let mut made = Made::new();
    made.send(0, 1, [40, 50], false);
    made.send(1, 0, [50, 51], false);
    made.send(0, 1, [40, 52], false);
    made.take(1, CapabilityIndex(50), true);
    assert_eq!(made.due(), [None, None], "one is left");
    assert!(made.bench.kernel.mappings.is_held(made.gate));
    made.take(1, CapabilityIndex(52), true);
    assert_eq!(made.due(), [None, Some(Mortal::Gate(made.gate))]);
    assert!(!made.bench.kernel.mappings.is_held(made.gate));
}

/// The kernel's own objects have no end.
#[test]
fn whatever_is_not_mortal_is_never_due() {
    let mut made = Made::new();
    made.bench.give(made.tasks[0], CapabilityIndex(41), Object::Console);
    made.take(0, CapabilityIndex(41), true);
    assert_eq!(made.due(), [None, None]);
}

//! Rules about lives: an object lives as long as its first capability.

use super::{Report, Rule};
use crate::inspect::{Snapshot, Target};
use protocol::introspection::{
    ALIVE, ThreadState,
    mapping::{LifeRecord, LifeState, ObjectKind},
};

pub(super) fn check(snapshot: &Snapshot, report: &mut Report) {
    // Records and lives are of one moment only if the kernel made and ended nothing meanwhile.
    if !snapshot.is_of_one_moment() {
        return;
    }
    let lives = &snapshot.header.lives;
    let threads = snapshot.threads.iter().map(|thread| thread.state != ThreadState::Unused as u16);
    let factories = snapshot.factories.iter().map(|factory| u32::from(factory.state) == ALIVE);
    let gates = snapshot.gates.iter().map(|gate| u32::from(gate.state) == ALIVE);
    let interrupts = snapshot.interrupts.iter().map(|record| u32::from(record.state) == ALIVE);
    let tasks = (0..snapshot.header.tasks.count.min(u16::MAX.into()) as u16)
        .map(|task| snapshot.task(task).is_some());
    let mut found = Vec::new();
    let mut judge = |kind, number, is_there, life: LifeRecord| {
        found.push((kind, number, problem(snapshot, (kind, number), is_there, &life)));
    };
    for (kind, table, there) in [
        (ObjectKind::Task, lives.tasks, tasks.collect::<Vec<_>>()),
        (ObjectKind::Thread, lives.threads, threads.collect()),
        (ObjectKind::Factory, lives.factories, factories.collect()),
        (ObjectKind::Gate, lives.gates, gates.collect()),
        (ObjectKind::Interrupt, lives.interrupts, interrupts.collect()),
    ] {
        for ((number, life), is_there) in snapshot.lives(table).zip(there) {
            judge(kind, number, is_there, life);
        }
    }
    // What does not fit was read again.
    if !snapshot.is_of_one_moment() {
        return;
    }
    for (kind, number, problem) in found {
        report.judge(Rule::Lives, || format!("{} {number}", name(kind)), problem);
    }
}

fn name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Task => "task",
        ObjectKind::Thread => "thread",
        ObjectKind::Factory => "factory",
        ObjectKind::Interrupt => "interrupt",
        _ => "gate",
    }
}

fn problem(
    snapshot: &Snapshot,
    object: (ObjectKind, u16),
    is_there: bool,
    life: &LifeRecord,
) -> Option<String> {
    let state = life.state;
    let is = |known: LifeState| state == known as u16;
    match is_there {
        false if is(LifeState::None) => None,
        false => Some(format!("it is gone, but its life is in state {state}")),
        // It is about to be taken apart.
        true if is(LifeState::Dying) => None,
        true if is(LifeState::Unheld) && object.0 != ObjectKind::Gate => {
            Some("nobody is said to hold it, but it is no gate".to_owned())
        }
        true if is(LifeState::Living) || is(LifeState::Unheld) => {
            root_problem(snapshot, object, life.root)
        }
        true => Some(format!("it is there, but its life is in state {state}")),
    }
}

/// Whether a node is that of a capability for an object.
fn root_problem(snapshot: &Snapshot, object: (ObjectKind, u16), root: u32) -> Option<String> {
    let record = snapshot.node(root).filter(|_| root != 0);
    let mapping = record.and_then(|record| snapshot.mapping_of(root, &record));
    match mapping.map(|mapping| mapping.target) {
        Some(Target::Object(slot)) if (slot.kind(), slot.index()) == (Some(object.0), object.1) => {
            None
        }
        _ => {
            Some(format!("its first capability is said to be node {root:#x}, which is not for it"))
        }
    }
}

//! Answers that are set aside and given later, handed on, dropped and overtaken by what their callers do.

use super::{
    alphabet::{Act, BOTH, Item, Thing, unmap},
    expect_states, invariants,
    machine::{Machine, PLAYERS},
};
use crate::{
    memory::index::TableIndex,
    tests::algebra::{Check, Row, same},
};
use protocol::{flexpage::Rights, introspection::mapping::ObjectKind};
use std::collections::BTreeSet;

const ANSWER: Item = Item::map(Thing::Slot(0), 0);

const REPLIES: &[Act] = &[
    Act::Wait,
    Act::Call { to: 1, item: None },
    Act::Call { to: 2, item: Some(ANSWER.grant()) },
    Act::ReplyAndWait { item: None },
    Act::SetAside { slot: 0 },
    Act::Later { slot: 0, item: None },
    Act::Later { slot: 0, item: Some(BOTH) },
    Act::Map { to: 1, item: ANSWER },
    Act::Map { to: 1, item: ANSWER.grant() },
    unmap(Thing::Slot(0), Rights::all(), true),
    Act::Fault { page: 0 },
    Act::Cancel { thread: 1 },
];

/// Who waits for the answer that a slot holds.
fn caller(row: &Row) -> Option<u16> {
    (row.what as u8 == ObjectKind::Reply as u8).then_some((row.what >> 16) as u16)
}

/// Whether one of these is an answer.
pub fn are_among(rows: &[Row]) -> bool {
    rows.iter().any(|row| caller(row).is_some())
}

/// To each answer that somebody waits for there is one capability, and to no other.
pub fn check(machine: &Machine) -> Check {
    let rows = invariants::found(machine)?;
    let held: Vec<u16> = rows.iter().filter_map(caller).collect();
    let waiting = (0..PLAYERS).map(|number| machine.thread(number));
    let waiting = waiting.filter(|index| machine.bench.kernel.threads[*index].waits_for_reply());
    same(
        "answers",
        held.iter().copied().collect::<BTreeSet<u16>>(),
        waiting.map(TableIndex::position).collect(),
    )?;
    same("capabilities to one answer", held.len(), held.iter().collect::<BTreeSet<_>>().len())
}

#[test]
fn every_sequence_of_answers_that_come_later() {
    expect_states(REPLIES, [8, 6], [70_000, 15_000]);
}

//! Proves from outside what the kernel promises about its page tables, its mapping database and its
//! records.
//!
//! | module | rules about |
//! |---|---|
//! | `records` | tasks, threads, factories, gates and interrupts |
//! | `space` | page tables and what they map |
//! | `ports` | I/O ports: what the processor was told of them |
//! | `database` | nodes: that they, the entries and each other agree |
//! | `lives` | that objects live as long as their first capabilities |
//! | `quotas` | kernel memory: who has paid for what |
//! | `memory` | kernel memory: where all of it is |
//! | `report` | what comes out |
//!
//! A pass finds everything ([`super::Snapshot`]) and then judges it, entry by entry and node by node. A
//! guest that runs meanwhile changes what was read, so that one pass alone convicts nobody: see
//! [`Report::confirmed_by`]. While the guest is paused one pass is enough.

mod database;
mod lives;
mod memory;
mod ports;
mod quotas;
mod records;
mod report;
mod space;

pub use report::{Report, Rule, Violation};

use super::{Guest, Snapshot};
use protocol::introspection::TaskRecord;

impl Guest<'_> {
    /// One pass over all that can be checked from outside. It visits each frame and each node a few
    /// times at most, so it ends, whatever stands in memory.
    pub fn check(&self) -> Report {
        let mut snapshot = self.snapshot();
        let mut report = std::mem::take(&mut snapshot.findings);
        records::check(&snapshot, &mut report);
        let kept = space::kept_memory(self, &snapshot, &mut report);
        space::check(&snapshot, &kept, &mut report);
        ports::check(&snapshot, &kept, &mut report);
        database::check(&snapshot, &mut report);
        lives::check(&snapshot, &mut report);
        quotas::check(&snapshot, &mut report);
        memory::check(&snapshot, &mut report);
        report.is_of_one_moment = snapshot.is_of_one_moment();
        report
    }
}

/// The path of a node in reports.
pub(super) fn node_path(node: u32) -> String {
    format!("node {node:#x}")
}

/// Names of tasks in the path of a factory.
const MOST_NAMES: usize = 8;

/// The path of a factory in reports, with the tasks that it pays for.
pub(super) fn factory_path(snapshot: &Snapshot<'_>, factory: u16) -> String {
    let is_payer = |(_, record): &&(u16, TaskRecord)| record.factory == factory;
    let tasks = || snapshot.tasks.iter().filter(is_payer);
    let names: Vec<_> =
        tasks().take(MOST_NAMES).map(|(number, _)| snapshot.task_name(*number)).collect();
    let further = tasks().count() - names.len();
    match (&names[..], further) {
        ([], _) => format!("factory {factory}"),
        (_, 0) => format!("factory {factory} ({})", names.join(", ")),
        _ => format!("factory {factory} ({} and {further} more)", names.join(", ")),
    }
}

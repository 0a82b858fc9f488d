//! Proves from outside what the kernel promises about its page tables, its mapping database and its
//! records.
//!
//! | module | rules about |
//! |---|---|
//! | `records` | tasks, threads, factories and gates |
//! | `space` | page tables and what they map |
//! | `ports` | I/O ports: what the processor was told of them |
//! | `database` | nodes: that they, the entries and each other agree |
//! | `quotas` | kernel memory |
//! | `report` | what comes out |
//!
//! A pass reads everything once ([`super::Snapshot`]) and then judges what it read. A guest that runs
//! meanwhile changes what was read, so that one pass alone convicts nobody: see
//! [`Report::confirmed_by`]. While the guest is paused one pass is enough.

mod database;
mod ports;
mod quotas;
mod records;
mod report;
mod space;

pub use report::{Report, Rule, Violation};

use super::{Guest, Snapshot};
use crate::memory::GuestMemory;

impl<M: GuestMemory + ?Sized> Guest<'_, M> {
    /// One pass over all that can be checked from outside. It reads no frame twice, so it ends,
    /// whatever stands in memory.
    pub fn check(&self) -> Report {
        let snapshot = self.snapshot();
        let mut report =
            Report { is_of_one_moment: snapshot.is_of_one_moment(), ..Report::default() };
        records::check(&snapshot, &mut report);
        let kept = space::kept_memory(self, &snapshot, &mut report);
        space::check(&snapshot, &kept, &mut report);
        ports::check(&snapshot, &kept, &mut report);
        database::check(&snapshot, &mut report);
        quotas::check(&snapshot, &mut report);
        report
    }
}

/// The path of a node in reports.
fn node_path(node: u32) -> String {
    format!("node {node:#x}")
}

/// The path of a factory in reports, with the tasks that it pays for.
fn factory_path(snapshot: &Snapshot, factory: u16) -> String {
    let tasks: Vec<_> = snapshot
        .tasks
        .iter()
        .filter(|(_, record)| record.factory == factory)
        .map(|(number, _)| snapshot.task_name(*number))
        .collect();
    match tasks[..] {
        [] => format!("factory {factory}"),
        _ => format!("factory {factory} ({})", tasks.join(", ")),
    }
}

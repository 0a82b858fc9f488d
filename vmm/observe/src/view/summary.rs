//! The table of `-c`.

use super::{
    histogram::Histogram,
    words::{is_memory, put},
};
use crate::event::{Cause, End, Event, Mapping, Span, Unmapping};
use protocol::{PAGE_ORDER, fault::Access, introspection::record::MapStatus};
use std::{collections::BTreeMap, sync::Arc};

/// Counts by task.
#[derive(Debug, Default)]
pub(super) struct Summary {
    tasks: BTreeMap<u16, Row>,
    messages: u64,
    /// Interrupts that somebody was told of.
    interrupts: u64,
    grants: u64,
    unmaps: u64,
    /// Mappings that unmaps took away.
    removed: u64,
    /// Mappings that unmaps left with fewer rights.
    reduced: u64,
}

#[derive(Clone, Debug, Default)]
struct Row {
    name: Arc<str>,
    faults: u64,
    reads: u64,
    writes: u64,
    executes: u64,
    /// Faults at I/O ports.
    ports: u64,
    exceptions: u64,
    /// Faults that the kernel resolved itself.
    by_kernel: u64,
    unresolved: u64,
    latencies: Histogram,
    maps: u64,
    pages: u64,
}

impl Summary {
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Span(span) => {
                self.row(span.who.task, &span.who.task_name).span(span);
                span.maps.iter().for_each(|mapping| self.mapping(mapping));
                span.unmaps.iter().for_each(|unmap| self.unmapping(unmap));
            }
            Event::Map(mapping) => self.mapping(mapping),
            Event::Unmap(unmap) => self.unmapping(unmap),
            Event::Message(_) => self.messages += 1,
            Event::Interrupt(_) => self.interrupts += 1,
            Event::TaskCreated(_) | Event::ThreadStarted(_) | Event::Ended(_) => {}
            Event::Named(_) | Event::PagersSet(_) | Event::RegistersSet(_) | Event::TimedOut(_) => {
            }
            Event::ShutDown(_) | Event::Lost(_) => {}
        }
    }

    fn mapping(&mut self, mapping: &Mapping) {
        if mapping.status != MapStatus::Done {
            return;
        }
        self.grants += u64::from(mapping.grant);
        if is_memory(mapping.sent.kind()) {
            let pages = 1u64.checked_shl(u32::from(mapping.order).saturating_sub(PAGE_ORDER));
            let row = self.row(mapping.to.task, &mapping.to.task_name);
            row.maps += 1;
            row.pages = row.pages.saturating_add(pages.unwrap_or(0));
        }
    }

    fn unmapping(&mut self, unmap: &Unmapping) {
        self.unmaps += 1;
        self.removed += u64::from(unmap.removed);
        self.reduced += u64::from(unmap.reduced);
    }

    fn row(&mut self, task: u16, name: &Arc<str>) -> &mut Row {
        let row = self.tasks.entry(task).or_default();
        if row.name != *name {
            row.name = Arc::clone(name);
        }
        row
    }

    pub(super) fn table(&self, text: &mut String, lost: u64) {
        put!(text, "{:<16}{:>9}{:>8}{:>8}{:>8}{:>8}", "task", "faults", "R", "W", "X", "kernel");
        put!(
            text,
            "{:>12}{:>11}{:>11}{:>8}{:>10}\n",
            "unresolved",
            "p50 us",
            "p99 us",
            "maps",
            "pages"
        );
        let mut total = Row { name: "total".into(), ..Row::default() };
        for row in self.tasks.values() {
            row.line(text);
            total.add(row);
        }
        total.line(text);
        for (what, count) in [
            ("port faults", total.ports),
            ("exceptions", total.exceptions),
            ("messages", self.messages),
            ("interrupts", self.interrupts),
            ("grants", self.grants),
        ] {
            if count > 0 {
                put!(text, "{what} {count}\n");
            }
        }
        if self.unmaps > 0 {
            let Self { unmaps, removed, reduced, .. } = self;
            put!(text, "unmaps {unmaps} (mappings gone {removed}, reduced {reduced})\n");
        }
        put!(text, "lost {lost}\n");
    }
}

impl Row {
    fn span(&mut self, span: &Span) {
        match span.cause {
            Cause::Fault { access, .. } if access.contains(Access::PORT) => {
                self.faults += 1;
                self.ports += 1;
            }
            Cause::Fault { access, .. } => {
                self.faults += 1;
                match access.letter() {
                    'X' => self.executes += 1,
                    'W' => self.writes += 1,
                    _ => self.reads += 1,
                }
            }
            Cause::Exception { .. } => self.exceptions += 1,
            Cause::Unresolved | Cause::Lost => {}
        }
        match &span.end {
            End::Resumed(resumed) if matches!(span.cause, Cause::Fault { .. }) => {
                self.by_kernel += u64::from(resumed.by.is_kernel());
                resumed.total.into_iter().for_each(|total| self.latencies.add(total));
            }
            End::Unresolved { .. } | End::Open => self.unresolved += 1,
            End::Resumed(_) | End::ThreadEnded { .. } | End::NotRecorded => {}
        }
    }

    fn add(&mut self, other: &Self) {
        self.faults += other.faults;
        self.reads += other.reads;
        self.writes += other.writes;
        self.executes += other.executes;
        self.ports += other.ports;
        self.exceptions += other.exceptions;
        self.by_kernel += other.by_kernel;
        self.unresolved += other.unresolved;
        self.latencies.merge(&other.latencies);
        self.maps += other.maps;
        self.pages = self.pages.saturating_add(other.pages);
    }

    fn line(&self, text: &mut String) {
        let percentile = |percent| {
            let value = self.latencies.percentile(percent);
            value.map_or("-".to_owned(), |value| value.to_string())
        };
        let (p50, p99) = (percentile(50), percentile(99));
        put!(text, "{:<16}{:>9}{:>8}{:>8}", self.name, self.faults, self.reads, self.writes);
        put!(text, "{:>8}{:>8}{:>12}", self.executes, self.by_kernel, self.unresolved);
        put!(text, "{p50:>11}{p99:>11}{:>8}{:>10}\n", self.maps, self.pages);
    }
}

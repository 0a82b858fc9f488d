//! The table of `-c`.

use super::{histogram::Histogram, words::put};
use crate::event::{Cause, End, Event, Mapping, Span};
use protocol::{PAGE_ORDER, flexpage::Kind, introspection::record::MapStatus};
use std::{collections::BTreeMap, sync::Arc};

/// Counts by task.
#[derive(Debug, Default)]
pub(super) struct Summary {
    tasks: BTreeMap<u16, Row>,
    messages: u64,
}

#[derive(Clone, Debug, Default)]
struct Row {
    name: Arc<str>,
    faults: u64,
    reads: u64,
    writes: u64,
    executes: u64,
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
            }
            Event::Map(mapping) => self.mapping(mapping),
            Event::Message(_) => self.messages += 1,
            Event::TaskCreated(_) | Event::ThreadStarted(_) => {}
            Event::ShutDown(_) | Event::Lost(_) => {}
        }
    }

    fn mapping(&mut self, mapping: &Mapping) {
        let is_memory = matches!(mapping.sent.kind(), Kind::Memory | Kind::Special);
        if mapping.status == Some(MapStatus::Done) && is_memory {
            let pages = 1u64.checked_shl(u32::from(mapping.order).saturating_sub(PAGE_ORDER));
            let row = self.row(mapping.to.task, &mapping.to.task_name);
            row.maps += 1;
            row.pages = row.pages.saturating_add(pages.unwrap_or(0));
        }
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
        if total.exceptions > 0 {
            put!(text, "exceptions {}\n", total.exceptions);
        }
        if self.messages > 0 {
            put!(text, "messages {}\n", self.messages);
        }
        put!(text, "lost {lost}\n");
    }
}

impl Row {
    fn span(&mut self, span: &Span) {
        match span.cause {
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
            End::Resumed(_) | End::NotRecorded => {}
        }
    }

    fn add(&mut self, other: &Self) {
        self.faults += other.faults;
        self.reads += other.reads;
        self.writes += other.writes;
        self.executes += other.executes;
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

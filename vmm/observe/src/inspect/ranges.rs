//! A task's mappings as ranges: neighbours that differ in nothing that matters are one.

use super::{Mapping, Snapshot};
use protocol::{flexpage::Rights, introspection::mapping::Resource};

/// Mappings side by side of one size, with one set of rights, from one task, in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<'s> {
    /// The mappings.
    pub mappings: &'s [Mapping],
    /// Binary logarithm of the size of each of them.
    pub order: u32,
    /// What the task may do.
    pub rights: Rights,
    /// How they came.
    pub source: Source,
}

/// How a mapping came to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is where its resource entered the system.
    Root,
    /// The kernel's own, which no task gave: the kernel info page and UTCBs.
    Kernel,
    /// Another task mapped it.
    Map(u16),
    /// Another task granted it, and this one gave it to that.
    Grant(u16),
    /// Nobody can tell: the database does not lead anywhere, or was changing.
    Unknown,
}

impl Snapshot {
    /// How a mapping came to its task.
    pub fn source(&self, mapping: &Mapping) -> Source {
        if mapping.node == 0 {
            return Source::Kernel;
        }
        match self.origin(mapping) {
            Some(origin) if origin.is_root => Source::Root,
            Some(origin) => match (origin.parent, origin.is_granted) {
                (None, _) => Source::Unknown,
                (Some(parent), true) => Source::Grant(parent.task),
                (Some(parent), false) => Source::Map(parent.task),
            },
            None => Source::Unknown,
        }
    }

    /// A task's mappings of one kind, in ranges.
    pub fn ranges(&self, task: u16, resource: Resource) -> Vec<Range<'_>> {
        let mappings = self.mappings_of(task, resource);
        let mut ranges = Vec::new();
        let mut start = 0;
        for end in 1..=mappings.len() {
            let last = &mappings[end - 1];
            if mappings.get(end).is_some_and(|next| self.go_together(last, next)) {
                continue;
            }
            let Mapping { order, rights, .. } = *last;
            let source = self.source(last);
            ranges.push(Range { mappings: &mappings[start..end], order, rights, source });
            start = end;
        }
        ranges
    }

    fn go_together(&self, left: &Mapping, right: &Mapping) -> bool {
        left.number() + left.count() == right.number()
            && left.order == right.order
            && left.rights == right.rights
            && self.source(left) == self.source(right)
    }
}

impl Range<'_> {
    /// Number of the first page, port or capability.
    pub fn first(&self) -> u64 {
        self.mappings.first().map_or(0, Mapping::number)
    }

    /// How many pages of 4 KiB, ports or capabilities it is.
    pub fn count(&self) -> u64 {
        self.mappings.iter().map(Mapping::count).sum()
    }

    /// How many of its mappings the processor noted an access to.
    pub fn accessed(&self) -> usize {
        self.mappings.iter().filter(|mapping| mapping.is_accessed).count()
    }

    /// How many of its mappings the processor noted a write to.
    pub fn dirty(&self) -> usize {
        self.mappings.iter().filter(|mapping| mapping.is_dirty).count()
    }
}

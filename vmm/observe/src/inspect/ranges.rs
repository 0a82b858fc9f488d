//! A task's mappings as ranges: neighbours that differ in nothing that matters are one.

use super::{
    Mapping, Noted, Snapshot,
    forest::{Member, Step},
    nodes::NodeSet,
};
use protocol::{flexpage::Rights, introspection::mapping::Resource};
use std::convert::Infallible;

/// Mappings side by side of one size, with one set of rights, from one task, in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Number of the first page, port or capability.
    pub first: u64,
    /// How many pages of 4 KiB, ports or capabilities it is.
    pub count: u64,
    /// What the processor noted of each mapping.
    pub noted: Vec<Noted>,
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

/// A task's mappings of one kind, and how they came. Going through them takes no memory.
#[derive(Debug)]
pub struct Ranges<'s> {
    snapshot: &'s Snapshot<'s>,
    task: u16,
    resource: Resource,
    /// By node.
    sources: Vec<(u32, Source)>,
}

impl Snapshot<'_> {
    /// How a mapping came to its task. To ask for many of them is what [`Snapshot::ranges`] is for.
    pub fn source(&self, mapping: &Mapping) -> Source {
        if mapping.node == 0 {
            return Source::Kernel;
        }
        match self.origin(mapping) {
            Some(origin) if origin.is_root => Source::Root,
            Some(origin) => source(origin.parent, origin.is_granted),
            None => Source::Unknown,
        }
    }

    /// A task's mappings of one kind, in ranges.
    pub fn ranges(&self, task: u16, resource: Resource) -> Ranges<'_> {
        let mut own = NodeSet::default();
        for mapping in self.mappings_of(task, resource) {
            own.insert(&self.nodes, mapping.node);
        }
        let mut sources = Vec::new();
        let followed: Result<(), Infallible> = self.follow_trees(|step| {
            if let Step::Member(member) = step
                && own.has(&self.nodes, member.node)
            {
                sources.push((member.node, self.source_of(&member)));
            }
            Ok(())
        });
        let Ok(()) = followed;
        sources.sort_unstable_by_key(|(node, _)| *node);
        Ranges { snapshot: self, task, resource, sources }
    }

    fn source_of(&self, member: &Member) -> Source {
        if member.record.depth == 0 {
            return Source::Root;
        }
        let parent = member.parent.and_then(|(node, record)| self.mapping_of(node, &record));
        source(parent, member.record.place.is_granted())
    }
}

fn source(parent: Option<Mapping>, is_granted: bool) -> Source {
    match (parent, is_granted) {
        (None, _) => Source::Unknown,
        (Some(parent), true) => Source::Grant(parent.task),
        (Some(parent), false) => Source::Map(parent.task),
    }
}

impl Ranges<'_> {
    /// All mappings, each with its source.
    pub fn mappings(&self) -> impl Iterator<Item = (Mapping, Source)> {
        let mappings = self.snapshot.mappings_of(self.task, self.resource);
        mappings.map(|mapping| (mapping, self.source(mapping.node)))
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = Range> {
        let mut mappings = self.mappings().peekable();
        std::iter::from_fn(move || {
            let (first, source) = mappings.next()?;
            let mut range = Range::of(&first, source);
            while let Some((next, _)) =
                mappings.next_if(|(next, source)| range.goes_on_with(next, *source))
            {
                range.push(&next);
            }
            Some(range)
        })
    }

    fn source(&self, node: u32) -> Source {
        if node == 0 {
            return Source::Kernel;
        }
        let found = self.sources.binary_search_by_key(&node, |(node, _)| *node);
        found.map_or(Source::Unknown, |index| self.sources[index].1)
    }
}

impl Range {
    fn of(mapping: &Mapping, source: Source) -> Self {
        let Mapping { order, rights, .. } = *mapping;
        let first = mapping.number();
        let mut range = Self { first, count: 0, noted: Vec::new(), order, rights, source };
        range.push(mapping);
        range
    }

    fn goes_on_with(&self, mapping: &Mapping, source: Source) -> bool {
        self.first + self.count == mapping.number()
            && self.order == mapping.order
            && self.rights == mapping.rights
            && self.source == source
    }

    fn push(&mut self, mapping: &Mapping) {
        self.noted.push(mapping.noted());
        self.count += mapping.count();
    }

    /// How many mappings it is.
    pub fn mappings(&self) -> usize {
        self.noted.len()
    }

    /// How many of its mappings the processor noted an access to.
    pub fn accessed(&self) -> usize {
        self.noted.iter().filter(|noted| noted.is_accessed).count()
    }

    /// How many of its mappings the processor noted a write to.
    pub fn dirty(&self) -> usize {
        self.noted.iter().filter(|noted| noted.is_dirty).count()
    }
}

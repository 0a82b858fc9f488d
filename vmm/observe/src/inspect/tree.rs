//! The derivation trees of a page frame, port or object, and what an unmap would take of them.
//!
//! A tree is told branch by branch, as it stands in its list: nothing is kept but a branch's forebears.

use super::{
    Mapping, Snapshot, Unit,
    forest::{Lineage, Member, Step},
};
use protocol::{PAGE_ORDER, introspection::mapping::Resource};
use std::{collections::HashSet, convert::Infallible};

/// A mapping that maps a page frame, a port or an object, in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// What it is.
    pub mapping: Mapping,
    /// Its number among those of its tree that are told.
    pub position: usize,
    /// That of the mapping that it was derived from.
    pub parent: Option<usize>,
    /// How many of its forebears in an unbroken line are told.
    pub level: usize,
    /// Distance from the root.
    pub depth: u16,
    /// Whether it came by grant.
    pub is_granted: bool,
    /// Whether the unmap would take it.
    pub is_taken: bool,
}

/// What is told of trees: branches in depth-first order, and the end of each tree that has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeStep {
    /// The next branch.
    Branch(Branch),
    /// The tree is complete.
    End {
        /// Further mappings of the tree: of other pages of a superpage, or other ports of a block.
        left_out: usize,
    },
}

/// An unmap: of all that was derived from what a task has of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// The task that would unmap.
    pub task: u16,
    /// Whether its own mappings would go, too. sigma0 never loses its own.
    pub own: bool,
}

/// What there is of trees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Trees with branches.
    pub trees: usize,
    /// Branches of all of them.
    pub branches: usize,
    /// Tasks that have some.
    pub tasks: HashSet<u16>,
    /// The greatest distance from a root.
    pub depth: u16,
    /// What the unmap would take.
    pub unmapping: Unmapping,
}

/// What an unmap would take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmapping {
    /// The invoker's mappings that the flexpage would be about.
    pub of: usize,
    /// Mappings that would be gone.
    pub taken: usize,
    /// Those of them that are no branches: of other pages of a superpage.
    pub elsewhere: usize,
    /// The tasks that would lose something.
    pub tasks: HashSet<u16>,
}

/// What is remembered of a member for what was derived from it.
#[derive(Clone, Copy, Default)]
struct Above {
    /// Position and level of its branch, if it is one.
    branch: Option<(usize, usize)>,
    falls: Falls,
}

/// What an unmap takes below a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Falls {
    #[default]
    Nothing,
    /// What maps the unit, and superpages; and what was derived from those.
    Unit,
    All,
}

/// One way through the trees.
struct Telling<'s> {
    snapshot: &'s Snapshot<'s>,
    unit: Unit,
    unmap: Option<Unmap>,
    totals: Totals,
    /// Of the tree that is being told.
    lineage: Lineage<Above>,
    branches: usize,
    left_out: usize,
}

impl Snapshot<'_> {
    /// Tells all trees with mappings of that until `visit` returns an error, and counts.
    pub fn tell_trees<E>(
        &self,
        unit: Unit,
        unmap: Option<Unmap>,
        mut visit: impl FnMut(TreeStep) -> Result<(), E>,
    ) -> Result<Totals, E> {
        let mut telling = Telling {
            snapshot: self,
            unit,
            unmap,
            totals: Totals::default(),
            lineage: Lineage::default(),
            branches: 0,
            left_out: 0,
        };
        self.follow_trees(|step| match step {
            Step::Tree => telling.end().map_or(Ok(()), &mut visit),
            Step::Member(member) => telling.member(&member).map_or(Ok(()), &mut visit),
            _ => Ok(()),
        })?;
        telling.end().map_or(Ok(()), visit)?;
        Ok(telling.totals)
    }

    /// Counts the mappings of that, and what an unmap would take of them.
    pub fn totals(&self, unit: Unit, unmap: Option<Unmap>) -> Totals {
        let Ok(totals) = self.tell_trees(unit, unmap, |_| Ok::<_, Infallible>(()));
        totals
    }

    /// What a task's page, port or capability of that number stands for, and the mapping that says so.
    pub fn unit_at(&self, task: u16, resource: Resource, number: u64) -> Option<(Unit, Mapping)> {
        let mapping = self.mapping_at(task, resource, number)?;
        Some((mapping.unit(number - mapping.number()), mapping))
    }
}

impl Telling<'_> {
    /// The tree ends; another one may begin.
    fn end(&mut self) -> Option<TreeStep> {
        let (branches, left_out) = (self.branches, self.left_out);
        (self.branches, self.left_out) = (0, 0);
        self.lineage = Lineage::default();
        self.totals.trees += usize::from(branches > 0);
        (branches > 0).then_some(TreeStep::End { left_out })
    }

    fn member(&mut self, member: &Member) -> Option<TreeStep> {
        let above = self.lineage.parent_of(member).copied().unwrap_or_default();
        let mapping = self.snapshot.mapping_of_member(member);
        let covering = mapping.filter(|mapping| mapping.covers(self.unit));
        let is_of = covering
            .is_some_and(|mapping| self.unmap.is_some_and(|unmap| unmap.task == mapping.task));
        let goes = self.goes(member, above.falls, covering.is_some(), is_of);
        let falls = match (goes, covering) {
            (true, _) => Falls::All,
            // A superpage's other pages stay.
            (false, Some(mapping)) if is_of && mapping.order == PAGE_ORDER => Falls::All,
            (false, _) if is_of => Falls::Unit.max(above.falls),
            (false, _) => above.falls,
        };
        if let Some(mapping) = mapping {
            self.count(&mapping, is_of, goes, covering.is_some());
        }
        let Some(mapping) = covering else {
            self.left_out += 1;
            self.lineage.push(Above { branch: None, falls });
            return None;
        };
        let (position, level) = (self.branches, above.branch.map_or(0, |(_, level)| level + 1));
        self.branches += 1;
        self.lineage.push(Above { branch: Some((position, level)), falls });
        self.totals.depth = self.totals.depth.max(member.record.depth);
        Some(TreeStep::Branch(Branch {
            mapping,
            position,
            parent: above.branch.map(|(position, _)| position),
            level,
            depth: member.record.depth,
            is_granted: member.record.place.is_granted(),
            is_taken: goes,
        }))
    }

    /// Whether the unmap takes a member.
    fn goes(&self, member: &Member, above: Falls, covers: bool, is_of: bool) -> bool {
        let is_own = is_of && self.unmap.is_some_and(|unmap| unmap.own && unmap.task != SIGMA0);
        match above {
            Falls::All => true,
            Falls::Unit => is_own || covers || member.record.place.is_superpage(),
            Falls::Nothing => is_own,
        }
    }

    fn count(&mut self, mapping: &Mapping, is_of: bool, goes: bool, is_branch: bool) {
        let Totals { branches, tasks, unmapping, .. } = &mut self.totals;
        if is_branch {
            *branches += 1;
            tasks.insert(mapping.task);
        }
        unmapping.of += usize::from(is_of);
        if goes {
            unmapping.taken += 1;
            unmapping.elsewhere += usize::from(!is_branch);
            unmapping.tasks.insert(mapping.task);
        }
    }
}

/// The number of sigma0's task.
const SIGMA0: u16 = 0;

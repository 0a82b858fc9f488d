//! The derivation trees of a page frame, port or object, and what an unmap would take of them.

use super::{
    Mapping, Snapshot, Unit,
    forest::{Member, Tree},
};
use protocol::{PAGE_ORDER, introspection::mapping::Resource};
use std::collections::HashSet;

/// The mappings of one tree that map a page frame, a port or an object, in depth-first order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitTree<'s> {
    /// The mappings.
    pub branches: Vec<Branch<'s>>,
    /// Further mappings of the tree: of other pages of a superpage, or other ports of a block.
    pub left_out: usize,
}

/// A mapping in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch<'s> {
    /// What it is.
    pub mapping: &'s Mapping,
    /// Position of the mapping that it was derived from.
    pub parent: Option<usize>,
    /// Distance from the root.
    pub depth: u16,
    /// Whether it came by grant.
    pub is_granted: bool,
}

/// What an unmap would take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmapping<'s> {
    /// The invoker's mappings that the flexpage would be about.
    pub of: Vec<&'s Mapping>,
    /// The mappings that would be gone.
    pub taken: Vec<&'s Mapping>,
}

impl Unmapping<'_> {
    /// Whether a mapping would be gone.
    pub fn takes(&self, mapping: &Mapping) -> bool {
        self.taken.contains(&mapping)
    }

    /// How many tasks would lose something.
    pub fn tasks(&self) -> usize {
        self.taken.iter().map(|mapping| mapping.task).collect::<HashSet<_>>().len()
    }
}

impl Snapshot {
    /// The trees with mappings of that.
    pub fn trees_of(&self, unit: Unit) -> Vec<UnitTree<'_>> {
        let trees = self.forest.trees.iter().map(|tree| self.tree_of(tree, unit));
        trees.filter(|tree| !tree.branches.is_empty()).collect()
    }

    fn tree_of(&self, tree: &Tree, unit: Unit) -> UnitTree<'_> {
        let mut shown = UnitTree { branches: Vec::new(), left_out: 0 };
        // Where each member of the list is among those shown.
        let mut positions: Vec<Option<usize>> = Vec::with_capacity(tree.len());
        for member in tree {
            let mapping = self.mapping_of(member).filter(|mapping| mapping.covers(unit));
            positions.push(mapping.map(|_| shown.branches.len()));
            match mapping {
                None => shown.left_out += 1,
                Some(mapping) => shown.branches.push(Branch {
                    mapping,
                    parent: member.parent.and_then(|parent| positions[parent as usize]),
                    depth: member.record.depth,
                    is_granted: member.record.place.is_granted(),
                }),
            }
        }
        shown
    }

    /// What an unmap of that by a task would take: of everything that was derived from that
    /// task's mappings of it and, if `own`, of those mappings too.
    pub fn unmapping(&self, task: u16, unit: Unit, own: bool) -> Unmapping<'_> {
        let mut unmapping = Unmapping::default();
        let mut seen = HashSet::new();
        for tree in &self.forest.trees {
            for (position, member) in tree.iter().enumerate() {
                let mapping = self.mapping_of(member);
                let mapping = mapping.filter(|mapping| mapping.task == task);
                if let Some(mapping) = mapping.filter(|mapping| mapping.covers(unit)) {
                    // sigma0 never loses its own.
                    let own = own && task != 0;
                    unmapping.of.push(mapping);
                    for taken in self.taken(tree, position, mapping, unit, own) {
                        if seen.insert(taken.entry_address) {
                            unmapping.taken.push(taken);
                        }
                    }
                }
            }
        }
        unmapping
    }

    /// What goes of one subtree.
    fn taken<'s>(
        &'s self,
        tree: &'s Tree,
        top: usize,
        mapping: &'s Mapping,
        unit: Unit,
        own: bool,
    ) -> Vec<&'s Mapping> {
        // A superpage of the task's own goes as a whole, and so must all below it.
        let only_unit = mapping.order != PAGE_ORDER && !own;
        let depth = tree[top].record.depth;
        let below = tree[top + 1..].iter().take_while(|member| member.record.depth > depth);
        let mut taken: Vec<_> = own.then_some(mapping).into_iter().collect();
        // Below a derived superpage everything goes with it.
        let mut within: Option<u16> = None;
        for member in below {
            let depth = member.record.depth;
            within = within.filter(|top| depth > *top);
            let goes = self.is_meant(member, unit, only_unit);
            if goes && within.is_none() {
                within = Some(depth);
            }
            if within.is_some() {
                taken.extend(self.mapping_of(member));
            }
        }
        taken
    }

    fn is_meant(&self, member: &Member, unit: Unit, only_unit: bool) -> bool {
        let is_superpage = member.record.place.is_superpage();
        let covers = |mapping: &Mapping| mapping.covers(unit);
        !only_unit || is_superpage || self.mapping_of(member).is_some_and(covers)
    }

    /// What a task's page, port or capability of that number stands for, and the mapping that says so.
    pub fn unit_at(&self, task: u16, resource: Resource, number: u64) -> Option<(Unit, &Mapping)> {
        let mapping = self.mapping_at(task, resource, number)?;
        Some((mapping.unit(number - mapping.number()), mapping))
    }
}

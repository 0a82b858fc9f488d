//! The mapping database: who has what from whom.
//!
//! [`protocol::introspection::mapping`] says how nodes and companions lie in memory. Here are the
//! steps that everything else is made of, each O(1): a node to and from its factory's free list, into
//! its tree behind its parent, and out of it.

use crate::memory::{
    factory::Factory,
    frames::PAIR_SIZE,
    machine::Memory,
    node::{MaybeNode, NodeIndex},
};
use protocol::introspection::{
    NOBODY,
    mapping::{MAX_DEPTH, MappingNode, Place, Resource},
};

/// Nodes in a pair of frames, behind the one that leads to the next pair of the same factory.
pub const NODES_PER_PAIR: u32 = PAIR_SIZE as u32 / size_of::<MappingNode>() as u32 - 1;

/// The depth of bookmarks: deeper than every mapping, so that they end no subtree.
const BOOKMARK_DEPTH: u16 = u16::MAX;

/// The neighbours of a node in its list.
pub trait Links {
    /// The next node in depth-first order.
    fn following(&self) -> MaybeNode;
    /// The node before.
    fn preceding(&self) -> MaybeNode;
    /// Whether it only marks a place.
    fn is_bookmark(&self) -> bool;
}

impl Links for MappingNode {
    #[inline(always)]
    fn following(&self) -> MaybeNode {
        MaybeNode::from_raw(self.next)
    }

    #[inline(always)]
    fn preceding(&self) -> MaybeNode {
        MaybeNode::from_raw(self.previous)
    }

    #[inline(always)]
    fn is_bookmark(&self) -> bool {
        self.depth == BOOKMARK_DEPTH
    }
}

/// Where a new node comes in.
#[derive(Clone, Copy, Debug)]
pub struct NewMapping {
    /// Who has it.
    pub task: u16,
    /// What and where.
    pub place: Place,
}

/// Makes a node the first child of `parent`. False, with nothing done, if it would be too deep.
#[inline(always)]
pub fn insert_child(
    machine: &mut impl Memory,
    parent: NodeIndex,
    child: NodeIndex,
    mapping: NewMapping,
) -> bool {
    let Some(depth) = depth_below(machine, parent) else { return false };
    insert_behind(machine, parent, child, depth, mapping);
    true
}

/// The depth of children of `parent`. `None` if they would be too deep.
#[inline(always)]
pub fn depth_below(machine: &mut impl Memory, parent: NodeIndex) -> Option<u16> {
    let depth = machine.node(parent).depth;
    (depth < MAX_DEPTH).then(|| depth + 1)
}

/// Puts a node right behind another one: with [`depth_below`] it is the other's first child.
#[inline(always)]
pub fn insert_behind(
    machine: &mut impl Memory,
    before: NodeIndex,
    node: NodeIndex,
    depth: u16,
    mapping: NewMapping,
) {
    let NewMapping { task, place } = mapping;
    let above = machine.node(before);
    let next = above.following();
    above.next = node.get();
    *machine.node(node) =
        MappingNode { next: next.raw(), previous: before.get(), place, task, depth };
    if let Some(next) = next.get() {
        machine.node(next).previous = node.get();
    }
}

/// Makes a node the root of a tree of its own.
pub fn make_root(machine: &mut impl Memory, node: NodeIndex, mapping: NewMapping) {
    let NewMapping { task, place } = mapping;
    *machine.node(node) = MappingNode { next: 0, previous: 0, place, task, depth: 0 };
}

/// Puts a thread's bookmark right behind `node`.
pub fn insert_bookmark(
    machine: &mut impl Memory,
    node: NodeIndex,
    bookmark: NodeIndex,
    thread: u16,
) {
    let place = Place::new(Resource::Bookmark, thread.into(), false);
    insert_behind(machine, node, bookmark, BOOKMARK_DEPTH, NewMapping { task: NOBODY, place });
}

/// Takes a bookmark out of its list. Returns its neighbours: the node before and the next one.
pub fn remove_bookmark(machine: &mut impl Memory, bookmark: NodeIndex) -> (MaybeNode, MaybeNode) {
    let neighbours = unlink(machine, bookmark);
    let node = machine.node(bookmark);
    (node.previous, node.next) = (0, 0);
    neighbours
}

/// Makes two nodes neighbours.
#[inline(always)]
pub fn link(machine: &mut impl Memory, node: NodeIndex, next: MaybeNode) {
    machine.node(node).next = next.raw();
    if let Some(next) = next.get() {
        machine.node(next).previous = node.get();
    }
}

/// Takes a node out of its list, and returns its neighbours: the one before and the next one.
#[inline(always)]
pub fn unlink(machine: &mut impl Memory, node: NodeIndex) -> (MaybeNode, MaybeNode) {
    let taken = *machine.node(node);
    let (previous, next) = (taken.preceding(), taken.following());
    relink(machine, taken, next, previous);
    (previous, next)
}

/// Puts `new` in the place of `old`, which is in no list then.
pub fn replace(machine: &mut impl Memory, old: NodeIndex, new: NodeIndex) {
    let node = *machine.node(old);
    *machine.node(new) = node;
    relink(machine, node, new.into(), new.into());
}

/// Gives the neighbours of a node others in its place: the one before it `next`, and the one behind
/// it `previous`.
#[inline(always)]
fn relink(machine: &mut impl Memory, node: MappingNode, next: MaybeNode, previous: MaybeNode) {
    if let Some(before) = node.preceding().get() {
        machine.node(before).next = next.raw();
    }
    if let Some(behind) = node.following().get() {
        machine.node(behind).previous = previous.raw();
    }
}

/// Whether anything was derived from a mapping, or something is under way behind it.
#[inline(always)]
pub fn may_have_children(machine: &mut impl Memory, node: NodeIndex) -> bool {
    let above = machine.node(node);
    let (depth, next) = (above.depth, above.following());
    next.get().is_some_and(|next| machine.node(next).depth > depth)
}

/// Goes on from `node` to the last one in its list before one that is not deeper than `depth`, but
/// not more than `most` nodes. Returns it, and how many it was.
#[inline(always)]
pub fn last_deeper(
    machine: &mut impl Memory,
    mut node: NodeIndex,
    depth: u16,
    most: u32,
) -> (NodeIndex, u32) {
    let mut passed = 0;
    while passed != most
        && let Some(next) = machine.node(node).following().get()
        && machine.node(next).depth > depth
    {
        node = next;
        passed += 1;
    }
    (node, passed)
}

/// For a node from which at most one was derived, and nothing from that: the child, or none. `None`
/// if more was, or something is under way there.
#[inline(always)]
pub fn last_or_leaf(machine: &mut impl Memory, node: NodeIndex) -> Option<MaybeNode> {
    let above = machine.node(node);
    let (depth, next) = (above.depth, above.following());
    let Some(child) = next.get() else { return Some(MaybeNode::NONE) };
    let below = machine.node(child);
    if below.depth <= depth {
        return Some(MaybeNode::NONE);
    }
    let (is_bookmark, behind) = (below.is_bookmark(), below.following());
    let is_last = behind.get().is_none_or(|behind| machine.node(behind).depth <= depth);
    (is_last && !is_bookmark).then_some(next)
}

/// How far back a parent is looked for. Further away it counts as not found.
pub const NEAR: u32 = 16;

/// Whether `node` was mapped from `parent`, as far as that can be seen nearby; and how many nodes were
/// looked at. Not if a walk is interrupted between them: it has passed `node`, but may not yet have
/// come to `parent`.
pub fn is_child_of(machine: &mut impl Memory, node: NodeIndex, parent: NodeIndex) -> (bool, u32) {
    let MappingNode { depth, mut previous, .. } = *machine.node(node);
    for looked in 0..NEAR {
        let Some(before) = MaybeNode::from_raw(previous).get() else { return (false, looked) };
        let found = *machine.node(before);
        if found.is_bookmark() {
            return (false, looked);
        }
        if found.depth < depth {
            return (before == parent, looked);
        }
        previous = found.previous;
    }
    (false, NEAR)
}

/// The nodes that a factory has in stock: the head of its free list.
#[derive(Clone, Copy, Debug)]
pub struct Stock(MaybeNode);

impl Stock {
    /// Those of `factory`. It must get back what is left before anything else takes one.
    #[inline(always)]
    pub fn of(factory: &Factory) -> Self {
        Self(MaybeNode::from_raw(factory.record.free_nodes))
    }

    /// Gives back what is left.
    #[inline(always)]
    pub fn put_back(self, factory: &mut Factory) {
        factory.record.free_nodes = self.0.raw();
    }

    /// Takes a node.
    #[inline(always)]
    pub fn take(&mut self, machine: &mut impl Memory) -> Option<NodeIndex> {
        let node = self.first()?;
        self.drop_first(machine, node);
        Some(node)
    }

    /// The next one.
    #[inline(always)]
    pub fn first(&self) -> Option<NodeIndex> {
        self.0.get()
    }

    /// Takes the first one.
    #[inline(always)]
    pub fn drop_first(&mut self, machine: &mut impl Memory, node: NodeIndex) {
        let further = machine.node(node).next;
        self.0 = MaybeNode::from_raw(further.wrapping_add(node.get() + 1));
    }
}

/// A node that `factory` has in stock.
#[inline(always)]
pub fn take_node(machine: &mut impl Memory, factory: &mut Factory) -> Option<NodeIndex> {
    let mut stock = Stock::of(factory);
    let node = stock.take(machine);
    stock.put_back(factory);
    node
}

/// Returns a node that is in no list to the stock of `factory`.
#[inline(always)]
pub fn free_node(machine: &mut impl Memory, factory: &mut Factory, node: NodeIndex) {
    let record = &mut factory.record;
    let next = record.free_nodes.wrapping_sub(node.get() + 1);
    *machine.node(node) = MappingNode { next, ..MappingNode::default() };
    record.free_nodes = node.get();
}

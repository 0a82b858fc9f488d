//! The mapping database: who has what from whom.
//!
//! [`protocol::introspection::mapping`] says how nodes and companions lie in memory. Here are the
//! steps that everything else is made of, each O(1): a node to and from its factory's free list, into
//! its tree behind its parent, and out of it.

use crate::{
    factory::Factory,
    frames::{NoMemory, PhysicalAddress},
    index::FactoryIndex,
    kernel::Kernel,
    machine::Machine,
};
use core::num::NonZeroU32;
use protocol::{
    PAGE_SIZE,
    introspection::{
        NOBODY,
        mapping::{MAX_DEPTH, MappingNode, NODE_SIZE, Place, Resource},
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nodes in a frame.
pub const NODES_PER_FRAME: u32 = (PAGE_SIZE / size_of::<MappingNode>()) as u32;

/// The depth of bookmarks: deeper than every mapping, so that they end no subtree.
const BOOKMARK_DEPTH: u16 = u16::MAX;

/// A node of the database. Indices come from free lists, companions and other nodes, all of which
/// only the kernel can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct NodeIndex(NonZeroU32);

impl NodeIndex {
    /// Where the node is.
    #[inline(always)]
    pub fn address(self) -> PhysicalAddress {
        PhysicalAddress(u64::from(self.0.get()) * NODE_SIZE)
    }

    #[inline(always)]
    fn get(self) -> u32 {
        self.0.get()
    }
}

/// A node or none, as it stands in companions and links.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct MaybeNode(u32);

impl MaybeNode {
    /// No node.
    pub const NONE: Self = Self(0);

    /// The node, if there is one.
    #[inline(always)]
    pub fn get(self) -> Option<NodeIndex> {
        NonZeroU32::new(self.0).map(NodeIndex)
    }

    /// The encoding in introspection records.
    pub fn raw(self) -> u32 {
        self.0
    }

    /// The node of a record that only the kernel writes.
    pub fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

impl From<NodeIndex> for MaybeNode {
    #[inline(always)]
    fn from(node: NodeIndex) -> Self {
        Self(node.get())
    }
}

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
        MaybeNode(self.next)
    }

    #[inline(always)]
    fn preceding(&self) -> MaybeNode {
        MaybeNode(self.previous)
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
    machine: &mut impl Machine,
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
pub fn depth_below(machine: &mut impl Machine, parent: NodeIndex) -> Option<u16> {
    let depth = machine.node(parent).depth;
    (depth < MAX_DEPTH).then(|| depth + 1)
}

/// Puts a node right behind another one: with [`depth_below`] it is the other's first child.
#[inline(always)]
pub fn insert_behind(
    machine: &mut impl Machine,
    before: NodeIndex,
    node: NodeIndex,
    depth: u16,
    mapping: NewMapping,
) {
    let NewMapping { task, place } = mapping;
    let above = machine.node(before);
    let next = above.following();
    above.next = node.get();
    *machine.node(node) = MappingNode { next: next.0, previous: before.get(), place, task, depth };
    if let Some(next) = next.get() {
        machine.node(next).previous = node.get();
    }
}

/// Makes a node the root of a tree of its own.
pub fn make_root(machine: &mut impl Machine, node: NodeIndex, mapping: NewMapping) {
    let NewMapping { task, place } = mapping;
    *machine.node(node) = MappingNode { next: 0, previous: 0, place, task, depth: 0 };
}

/// Puts a thread's bookmark right behind `node`.
pub fn insert_bookmark(
    machine: &mut impl Machine,
    node: NodeIndex,
    bookmark: NodeIndex,
    thread: u16,
) {
    let place = Place::new(Resource::Bookmark, thread.into(), false);
    insert_behind(machine, node, bookmark, BOOKMARK_DEPTH, NewMapping { task: NOBODY, place });
}

/// Takes a bookmark out of its list. Returns its neighbours: the node before and the next one.
pub fn remove_bookmark(machine: &mut impl Machine, bookmark: NodeIndex) -> (MaybeNode, MaybeNode) {
    let neighbours = unlink(machine, bookmark);
    let node = machine.node(bookmark);
    (node.previous, node.next) = (0, 0);
    neighbours
}

/// Makes two nodes neighbours.
#[inline(always)]
pub fn link(machine: &mut impl Machine, node: NodeIndex, next: MaybeNode) {
    machine.node(node).next = next.0;
    if let Some(next) = next.get() {
        machine.node(next).previous = node.get();
    }
}

/// Takes a node out of its list, and returns its neighbours: the one before and the next one.
#[inline(always)]
pub fn unlink(machine: &mut impl Machine, node: NodeIndex) -> (MaybeNode, MaybeNode) {
    let taken = *machine.node(node);
    let (previous, next) = (taken.preceding(), taken.following());
    relink(machine, taken, next, previous);
    (previous, next)
}

/// Puts `new` in the place of `old`, which is in no list then.
pub fn replace(machine: &mut impl Machine, old: NodeIndex, new: NodeIndex) {
    let node = *machine.node(old);
    *machine.node(new) = node;
    relink(machine, node, new.into(), new.into());
}

/// Gives the neighbours of a node others in its place: the one before it `next`, and the one behind
/// it `previous`.
#[inline(always)]
fn relink(machine: &mut impl Machine, node: MappingNode, next: MaybeNode, previous: MaybeNode) {
    if let Some(before) = node.preceding().get() {
        machine.node(before).next = next.0;
    }
    if let Some(behind) = node.following().get() {
        machine.node(behind).previous = previous.0;
    }
}

/// Whether anything was derived from a mapping.
pub fn has_children(machine: &mut impl Machine, node: NodeIndex) -> bool {
    let MappingNode { depth, mut next, .. } = *machine.node(node);
    loop {
        let Some(follower) = MaybeNode(next).get() else { return false };
        let follower = *machine.node(follower);
        if !follower.is_bookmark() {
            return follower.depth > depth;
        }
        next = follower.next;
    }
}

/// Goes on from `node` to the last one in its list before one that is not deeper than `depth`, but
/// not more than `most` nodes. Returns it, and how many it was.
#[inline(always)]
pub fn last_deeper(
    machine: &mut impl Machine,
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
pub fn last_or_leaf(machine: &mut impl Machine, node: NodeIndex) -> Option<MaybeNode> {
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

/// Steps that another frame of nodes costs.
const STOCK_STEPS: u32 = 10;

/// How far back a parent is looked for. Further away it counts as not found.
pub const NEAR: u32 = 32;

/// Whether `node` was mapped from `parent`, as far as that can be seen nearby; and how many nodes were
/// looked at. Not if a walk is interrupted between them: it has passed `node`, but may not yet have
/// come to `parent`.
pub fn is_child_of(machine: &mut impl Machine, node: NodeIndex, parent: NodeIndex) -> (bool, u32) {
    let MappingNode { depth, mut previous, .. } = *machine.node(node);
    for looked in 0..NEAR {
        let Some(before) = MaybeNode(previous).get() else { return (false, looked) };
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
        Self(MaybeNode(factory.record.free_nodes))
    }

    /// Gives back what is left.
    #[inline(always)]
    pub fn put_back(self, factory: &mut Factory) {
        factory.record.free_nodes = self.0.0;
    }

    /// Takes a node.
    #[inline(always)]
    pub fn take(&mut self, machine: &mut impl Machine) -> Option<NodeIndex> {
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
    pub fn drop_first(&mut self, machine: &mut impl Machine, node: NodeIndex) {
        let further = machine.node(node).next;
        self.0 = MaybeNode(further.wrapping_add(node.get() + 1));
    }
}

/// A node that `factory` has in stock.
#[inline(always)]
pub fn take_node(machine: &mut impl Machine, factory: &mut Factory) -> Option<NodeIndex> {
    let mut stock = Stock::of(factory);
    let node = stock.take(machine);
    stock.put_back(factory);
    node
}

/// Returns a node that is in no list to the stock of `factory`.
#[inline(always)]
pub fn free_node(machine: &mut impl Machine, factory: &mut Factory, node: NodeIndex) {
    let record = &mut factory.record;
    let next = record.free_nodes.wrapping_sub(node.get() + 1);
    *machine.node(node) = MappingNode { next, ..MappingNode::default() };
    record.free_nodes = node.get();
}

impl<M: Machine> Kernel<M> {
    /// A node of `factory`, which pays for another frame of them if it has none in stock.
    #[inline]
    pub(crate) fn allocate_node(&mut self, factory: FactoryIndex) -> Result<NodeIndex, NoMemory> {
        self.need_node(factory)?;
        take_node(&mut self.machine, &mut self.factories[factory]).ok_or(NoMemory)
    }

    /// Makes sure that `factory` has a node in stock.
    #[inline]
    pub(crate) fn need_node(&mut self, factory: FactoryIndex) -> Result<(), NoMemory> {
        match self.factories[factory].record.free_nodes {
            0 => self.stock_nodes(factory),
            _ => Ok(()),
        }
    }

    /// Buys a frame of nodes. As it is zero, each of its nodes is followed by the next one already.
    #[cold]
    #[inline(never)]
    fn stock_nodes(&mut self, factory: FactoryIndex) -> Result<(), NoMemory> {
        self.stretch.account(STOCK_STEPS);
        let frame = self.allocate(factory)?.address().0;
        let first = NonZeroU32::new((frame / NODE_SIZE) as u32).ok_or(NoMemory)?;
        let last = NodeIndex(first.checked_add(NODES_PER_FRAME - 1).ok_or(NoMemory)?);
        self.machine.node(last).next = last.get().wrapping_add(1).wrapping_neg();
        let record = &mut self.factories[factory].record;
        record.free_nodes = first.get();
        record.nodes += NODES_PER_FRAME;
        Ok(())
    }
}

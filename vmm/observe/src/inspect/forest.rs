//! The derivation trees, followed along the lists that the kernel keeps them in.
//!
//! A tree is one list in depth-first order; who was derived from whom follows from the depths alone.
//! Whatever the links say, each node is visited once, and only a node's forebears are remembered.

use super::{
    Snapshot,
    nodes::{NodeSet, Nodes},
    pool::Pool,
};
use protocol::introspection::{
    NOBODY,
    mapping::{MappingNode, Resource},
};

/// Where the lists begin, and what is known of their nodes.
#[derive(Default)]
pub(super) struct Forest {
    /// Nodes that entries have, and bookmarks that stand in a list.
    pub(super) named: NodeSet,
    /// Nodes that are in a list with a beginning.
    pub(super) reached: NodeSet,
}

/// What is met on the way through all trees.
pub(super) enum Step {
    /// A tree's list begins, and ends before the next one.
    Tree,
    /// A mapping's node.
    Member(Member),
    /// Where an unmap that was interrupted goes on.
    Bookmark(u32, MappingNode),
    /// A link that does not fit: a node, and what is wrong.
    BrokenLink(u32, BrokenLink),
    /// A depth that makes no tree.
    BrokenDepth(u32, BrokenDepth),
}

/// A node in its tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) node: u32,
    pub(super) record: MappingNode,
    /// The node that it was derived from.
    pub(super) parent: Option<(u32, MappingNode)>,
    /// How many forebears it has.
    pub(super) level: usize,
}

/// Something for each forebear of the member that comes next.
#[derive(Default)]
pub(super) struct Lineage<T>(Vec<T>);

impl<T> Lineage<T> {
    /// Forgets who is no forebear of a member, and returns what there is for its parent.
    pub(super) fn parent_of(&mut self, member: &Member) -> Option<&T> {
        self.0.truncate(member.level);
        self.0.last()
    }

    /// What there is for the member itself. Its forebears' is there already.
    pub(super) fn push(&mut self, value: T) {
        self.0.push(value);
    }
}

/// A link that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BrokenLink {
    #[error("its next node {0:#x} is not in the kernel's pool")]
    Outside(u32),
    #[error("two lists come to it; one from node {0:#x}")]
    Shared(u32),
    #[error("node {from:#x} leads to it, but it names {named:#x}")]
    OneWay { from: u32, named: u32 },
    #[error("it is in no list that has a beginning")]
    NoBeginning,
}

/// A depth that makes no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BrokenDepth {
    #[error("its list begins with it, but its depth is {0}")]
    Root(u16),
    #[error("its depth is {0}, but it does not begin its list")]
    NoRoot(u16),
    #[error(
        "its depth is {depth}, but that of node {parent:#x}, under which it stands, is {above}"
    )]
    Leap { depth: u16, parent: u32, above: u16 },
}

/// Whether a node is a bookmark.
pub(super) fn is_bookmark(record: &MappingNode) -> bool {
    record.place.resource() == Resource::Bookmark && record.task == NOBODY
}

impl Forest {
    /// The nodes that lists begin with, by their indices.
    pub(super) fn heads<'p>(
        &'p self,
        nodes: &'p Nodes,
        pool: &'p Pool<'_>,
    ) -> impl Iterator<Item = u32> {
        let is_head =
            move |node: &u32| nodes.get(pool, *node).is_some_and(|record| record.previous == 0);
        nodes.members(&self.named).filter(is_head)
    }
}

impl Snapshot<'_> {
    /// Goes through all trees, node by node, until `visit` returns an error.
    pub(super) fn follow_trees<E>(
        &self,
        mut visit: impl FnMut(Step) -> Result<(), E>,
    ) -> Result<(), E> {
        let forest = &self.forest;
        let mut visited = NodeSet::default();
        for head in forest.heads(&self.nodes, &self.pool) {
            visit(Step::Tree)?;
            self.follow(head, &mut visited, &mut visit)?;
        }
        let no_list = |node: &u32| !forest.reached.has(&self.nodes, *node);
        for node in self.nodes.members(&forest.named).filter(no_list) {
            visit(Step::BrokenLink(node, BrokenLink::NoBeginning))?;
        }
        Ok(())
    }

    fn follow<E>(
        &self,
        head: u32,
        visited: &mut NodeSet,
        visit: &mut impl FnMut(Step) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut forebears: Vec<(u32, MappingNode)> = Vec::new();
        let (mut previous, mut node) = (0, head);
        while node != 0 {
            let Some(record) = self.node(node) else {
                return visit(Step::BrokenLink(previous, BrokenLink::Outside(node)));
            };
            if !visited.insert(&self.nodes, node) {
                return visit(Step::BrokenLink(node, BrokenLink::Shared(previous)));
            }
            if record.previous != previous {
                let link = BrokenLink::OneWay { from: previous, named: record.previous };
                visit(Step::BrokenLink(node, link))?;
            }
            if is_bookmark(&record) {
                visit(Step::Bookmark(node, record))?;
            } else {
                let is_first = forebears.is_empty();
                while forebears.last().is_some_and(|(_, last)| last.depth >= record.depth) {
                    forebears.pop();
                }
                let (parent, level) = (forebears.last().copied(), forebears.len());
                if let Some(broken) = broken_depth(record.depth, parent, is_first) {
                    visit(Step::BrokenDepth(node, broken))?;
                }
                visit(Step::Member(Member { node, record, parent, level }))?;
                forebears.push((node, record));
            }
            (previous, node) = (node, record.next);
        }
        Ok(())
    }

    /// The last node before one in its list that is less deep: what it was derived from.
    pub(super) fn parent_of(&self, record: &MappingNode) -> Option<(u32, MappingNode)> {
        let mut visited = NodeSet::default();
        let mut node = record.previous;
        while visited.insert(&self.nodes, node) {
            let found = self.node(node)?;
            if !is_bookmark(&found) && found.depth < record.depth {
                return Some((node, found));
            }
            node = found.previous;
        }
        None
    }
}

/// What is wrong with the depth of a node that stands under `parent`.
fn broken_depth(
    depth: u16,
    parent: Option<(u32, MappingNode)>,
    is_first: bool,
) -> Option<BrokenDepth> {
    match parent {
        None if is_first => (depth != 0).then_some(BrokenDepth::Root(depth)),
        None => Some(BrokenDepth::NoRoot(depth)),
        Some((_, above)) if above.depth.checked_add(1) == Some(depth) => None,
        Some((parent, above)) => Some(BrokenDepth::Leap { depth, parent, above: above.depth }),
    }
}

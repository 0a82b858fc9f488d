//! The derivation trees, rebuilt from the lists that the kernel keeps them in.
//!
//! A tree is one list in depth-first order; who was derived from whom follows from the depths alone.
//! Whatever the links say, each node is visited once.

use super::nodes::Nodes;
use protocol::introspection::{
    NOBODY,
    mapping::{MappingNode, Resource},
};
use std::collections::HashMap;

/// All trees.
#[derive(Default)]
pub(super) struct Forest {
    pub(super) trees: Vec<Tree>,
    /// Tree and position of each node.
    at: HashMap<u32, (u32, u32)>,
    /// Where unmaps that were interrupted go on.
    pub(super) bookmarks: Vec<(u32, MappingNode)>,
    /// Links that do not fit: a node, and what is wrong.
    pub(super) broken_links: Vec<(u32, String)>,
    /// Depths that make no tree.
    pub(super) broken_depths: Vec<(u32, String)>,
}

/// A tree: its nodes in depth-first order, the root first.
pub(super) type Tree = Vec<Member>;

/// A node in its tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) node: u32,
    pub(super) record: MappingNode,
    /// The position of the node that it was derived from.
    pub(super) parent: Option<u32>,
}

impl Forest {
    /// Follows all lists that any of these nodes is in: nodes of mappings, and bookmarks of threads.
    pub(super) fn new(nodes: &Nodes, mapped: &[u32], bookmarks: &[u32]) -> Self {
        let mut forest = Self::default();
        // A bookmark that marks nothing is in no list.
        let marks = |node: &&u32| {
            let record = nodes.get(**node).filter(is_bookmark);
            record.is_some_and(|record| (record.previous, record.next) != (0, 0))
        };
        let known: Vec<_> = mapped.iter().chain(bookmarks.iter().filter(marks)).collect();
        for node in &known {
            if nodes.get(**node).is_some_and(|record| record.previous == 0) {
                forest.follow(nodes, **node);
            }
        }
        for node in known {
            if nodes.get(*node).is_some() && !forest.has(*node) {
                let evidence = "it is in no list that has a beginning".to_owned();
                forest.broken_links.push((*node, evidence));
                forest.at.insert(*node, (u32::MAX, 0));
            }
        }
        forest
    }

    /// Whether a list came to the node.
    pub(super) fn has(&self, node: u32) -> bool {
        self.at.contains_key(&node)
    }

    fn follow(&mut self, nodes: &Nodes, head: u32) {
        let number = self.trees.len() as u32;
        let mut tree = Tree::new();
        let mut ancestors: Vec<u32> = Vec::new();
        let (mut previous, mut node) = (0, head);
        while node != 0 {
            let Some(record) = nodes.get(node) else {
                let evidence = format!("its next node {node:#x} is not in the kernel's pool");
                self.broken_links.push((previous, evidence));
                break;
            };
            if self.has(node) {
                let evidence = format!("two lists come to it; one from node {previous:#x}");
                self.broken_links.push((node, evidence));
                break;
            }
            if record.previous != previous {
                let named = record.previous;
                let evidence = format!("node {previous:#x} leads to it, but it names {named:#x}");
                self.broken_links.push((node, evidence));
            }
            if is_bookmark(&record) {
                self.at.insert(node, (u32::MAX, 0));
                self.bookmarks.push((node, record));
            } else {
                self.at.insert(node, (number, tree.len() as u32));
                let parent = self.parent(&tree, &mut ancestors, node, &record);
                ancestors.push(tree.len() as u32);
                tree.push(Member { node, record, parent });
            }
            (previous, node) = (node, record.next);
        }
        self.trees.push(tree);
    }

    /// The last node before that is less deep.
    fn parent(
        &mut self,
        tree: &Tree,
        ancestors: &mut Vec<u32>,
        node: u32,
        record: &MappingNode,
    ) -> Option<u32> {
        let depth_at = |position: u32| tree[position as usize].record.depth;
        while ancestors.last().is_some_and(|last| depth_at(*last) >= record.depth) {
            ancestors.pop();
        }
        let parent = ancestors.last().copied();
        let depth = record.depth;
        let problem = match parent {
            None if tree.is_empty() => {
                (depth != 0).then(|| format!("its list begins with it, but its depth is {depth}"))
            }
            None => Some(format!("its depth is {depth}, but it does not begin its list")),
            Some(parent) if depth_at(parent) + 1 == depth => None,
            Some(parent) => Some(format!(
                "its depth is {depth}, but that of node {:#x}, under which it stands, is {}",
                tree[parent as usize].node,
                depth_at(parent)
            )),
        };
        self.broken_depths.extend(problem.map(|problem| (node, problem)));
        parent
    }

    /// The tree of a node, and its position there.
    pub(super) fn find(&self, node: u32) -> Option<(&Tree, usize)> {
        let (tree, position) = self.at.get(&node)?;
        Some((self.trees.get(*tree as usize)?, *position as usize))
    }
}

/// Whether a node is a bookmark.
pub(super) fn is_bookmark(record: &MappingNode) -> bool {
    record.place.resource() == Resource::Bookmark && record.task == NOBODY
}

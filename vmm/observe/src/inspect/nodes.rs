//! The nodes of the mapping database, in the frames that they lie in, and sets of them.

use super::pool::Pool;
use crate::paging::TABLE_SIZE;
use protocol::introspection::mapping::{MappingNode, NODE_SIZE};
use std::collections::HashMap;
use zerocopy::transmute;

/// Nodes of a frame.
pub(super) const NODES_PER_FRAME: u64 = TABLE_SIZE / NODE_SIZE;

/// The frames of nodes that were claimed.
#[derive(Default)]
pub(super) struct Nodes {
    /// Each with its number, in the order in which they were found.
    frames: HashMap<u64, u32>,
}

impl Nodes {
    /// The physical address of the frame that a node lies in.
    pub(super) fn frame_of(index: u32) -> u64 {
        (u64::from(index) * NODE_SIZE) & !(TABLE_SIZE - 1)
    }

    /// The node in the same place of the next frame.
    pub(super) fn further(index: u32) -> u32 {
        index.wrapping_add(NODES_PER_FRAME as u32)
    }

    pub(super) fn insert(&mut self, frame: u64) {
        let number = self.frames.len() as u32;
        self.frames.insert(frame, number);
    }

    pub(super) fn has(&self, frame: u64) -> bool {
        self.frames.contains_key(&frame)
    }

    /// A node; `None` if its frame was not claimed.
    pub(super) fn get(&self, pool: &Pool<'_>, index: u32) -> Option<MappingNode> {
        let frame = Self::frame_of(index);
        let offset = u64::from(index) * NODE_SIZE % TABLE_SIZE;
        self.has(frame).then(|| transmute!(pool.bytes::<{ NODE_SIZE as usize }>(frame, offset)))
    }

    /// All nodes of the frames that are claimed by now, by their indices.
    pub(super) fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        let mut frames: Vec<u64> = self.frames.keys().copied().collect();
        frames.sort_unstable();
        let of_frame = |frame: u64| (0..NODES_PER_FRAME).map(move |node| frame / NODE_SIZE + node);
        frames.into_iter().flat_map(of_frame).map(|index| index as u32)
    }

    /// The nodes of a set, by their indices.
    pub(super) fn members<'s>(&'s self, set: &'s NodeSet) -> impl Iterator<Item = u32> + use<'s> {
        self.indices().filter(|index| set.has(self, *index))
    }

    /// Where a node stands in sets.
    fn place(&self, index: u32) -> Option<u64> {
        let number = self.frames.get(&Self::frame_of(index))?;
        Some(u64::from(*number) * NODES_PER_FRAME + u64::from(index) % NODES_PER_FRAME)
    }
}

/// Nodes of claimed frames, a bit for each.
#[derive(Default)]
pub(super) struct NodeSet {
    words: Vec<u64>,
}

impl NodeSet {
    /// Adds a node. False if it was there, or its frame was not claimed.
    pub(super) fn insert(&mut self, nodes: &Nodes, index: u32) -> bool {
        let Some(place) = nodes.place(index) else { return false };
        let (word, bit) = ((place / 64) as usize, 1 << (place % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    pub(super) fn has(&self, nodes: &Nodes, index: u32) -> bool {
        let Some(place) = nodes.place(index) else { return false };
        let word = self.words.get((place / 64) as usize).copied().unwrap_or_default();
        word >> (place % 64) & 1 == 1
    }
}

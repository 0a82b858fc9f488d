//! The nodes of the mapping database, in the frames that they lie in.

use super::frame::Page;
use crate::paging::TABLE_SIZE;
use protocol::introspection::mapping::{MappingNode, NODE_SIZE};
use std::collections::HashMap;
use zerocopy::FromBytes;

/// Nodes of a frame.
pub(super) const NODES_PER_FRAME: u64 = TABLE_SIZE / NODE_SIZE;

/// The frames of nodes that were read.
#[derive(Default)]
pub(super) struct Nodes {
    frames: HashMap<u64, Page>,
}

impl Nodes {
    /// The physical address of the frame that a node lies in.
    pub(super) fn frame_of(index: u32) -> u64 {
        (u64::from(index) * NODE_SIZE) & !(TABLE_SIZE - 1)
    }

    pub(super) fn insert(&mut self, frame: u64, page: Page) {
        self.frames.insert(frame, page);
    }

    pub(super) fn has(&self, frame: u64) -> bool {
        self.frames.contains_key(&frame)
    }

    /// A node; `None` if its frame could not be read.
    pub(super) fn get(&self, index: u32) -> Option<MappingNode> {
        let page = self.frames.get(&Self::frame_of(index))?;
        let offset = (u64::from(index) * NODE_SIZE % TABLE_SIZE) as usize;
        MappingNode::read_from_prefix(&page[offset..]).ok().map(|(node, _)| node)
    }
}

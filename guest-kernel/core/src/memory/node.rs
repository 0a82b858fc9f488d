//! How the nodes of the mapping database are named.

use crate::memory::frames::{FramePair, PhysicalAddress};
use core::num::NonZeroU32;
use protocol::introspection::mapping::NODE_SIZE;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A node of the database. Indices come from free lists, companions and other nodes, all of which
/// only the kernel can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct NodeIndex(NonZeroU32);

impl NodeIndex {
    /// The first node of a pair of frames, which are of nodes from now on.
    pub(crate) fn first_of(frames: FramePair) -> Option<Self> {
        NonZeroU32::new((frames.first().address().0 / NODE_SIZE) as u32).map(Self)
    }

    /// The frames of nodes that this is the first one of, none of which is used any more.
    pub(crate) fn into_frames(self) -> Option<FramePair> {
        FramePair::from_link(self.address().0)
    }

    /// Where the node is.
    #[inline(always)]
    pub fn address(self) -> PhysicalAddress {
        PhysicalAddress(u64::from(self.0.get()) * NODE_SIZE)
    }

    #[inline(always)]
    pub(crate) fn get(self) -> u32 {
        self.0.get()
    }

    /// So many nodes further on, if there can be one.
    pub(crate) fn further(self, nodes: u32) -> Option<Self> {
        self.0.checked_add(nodes).map(Self)
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
    pub(crate) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

impl From<NodeIndex> for MaybeNode {
    #[inline(always)]
    fn from(node: NodeIndex) -> Self {
        Self(node.get())
    }
}

//! Where the kernel's own objects lie.

use crate::memory::{
    frames::{KernelFrame, PhysicalAddress, TableFrame},
    index::Storage,
    node::NodeIndex,
    utcb::UtcbReference,
};
use core::fmt::Debug;
use protocol::{introspection::mapping::MappingNode, utcb::Utcb};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// Access to memory.
///
/// Names of the kernel's own memory are proofs, which nobody checks again: a [`KernelFrame`] is a frame of
/// the pool, a [`TableFrame`] has its companion behind it, a [`NodeIndex`] is a place in frames of nodes, a
/// [`UtcbReference`] has room for a whole UTCB. They are made in the room `memory` only: by the pool, out of
/// each other, and out of links that only the kernel writes and that were made of such a name before. So
/// the trusted code is that room, whoever makes the pool, and whoever writes such links. An implementation
/// may follow every name without looking, as long as nobody else has the memory of the pool; and what it
/// returns is the same memory each time, and another one for each name.
///
/// All else that callers pass is looked at.
pub trait Memory {
    /// Where the objects of one kind lie.
    type Storage<T: Debug>: Storage<Object = T> + Debug;

    /// The contents of a kernel frame. `T` is at most a page long.
    fn view<T: FromBytes + IntoBytes + KnownLayout>(&mut self, frame: KernelFrame) -> &mut T;

    /// The nodes of a frame of entries. `T` is at most a page long.
    fn companion<T: FromBytes + IntoBytes + KnownLayout>(&mut self, table: TableFrame) -> &mut T;

    /// A node of the mapping database.
    fn node(&mut self, node: NodeIndex) -> &mut MappingNode;

    /// A thread's message registers.
    fn utcb(&mut self, utcb: UtcbReference) -> &mut Utcb;

    /// Copies the first `words` message registers, or all there are, from one UTCB to another.
    fn copy_message(&mut self, from: UtcbReference, to: UtcbReference, words: usize);

    /// Copies the part of the top-level page table that maps the kernel into a new one.
    fn copy_kernel_half(&mut self, root: KernelFrame);

    /// Clears that part.
    fn clear_kernel_half(&mut self, root: KernelFrame);

    /// A byte of RAM; 0 where there is none.
    fn user_byte(&mut self, physical: PhysicalAddress) -> u8;
}

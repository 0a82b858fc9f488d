//! Memory that was set aside at boot for objects that come one by one.

use core::{
    ops::{Deref, DerefMut},
    ptr::NonNull,
};
use kernel_core::memory::index::Storage;
use zerocopy::FromZeros;

/// Room for objects of one type. Those that exist are a slice of it; the rest is never looked at.
#[derive(Debug)]
pub struct Reserved<T> {
    first: NonNull<T>,
    used: usize,
    capacity: usize,
}

impl<T> Reserved<T> {
    /// # Safety
    /// From `first` on there is room for `capacity` objects that nobody else uses.
    pub unsafe fn new(first: NonNull<T>, capacity: usize) -> Self {
        Self { first, used: 0, capacity }
    }

    /// With all objects that there is room for.
    ///
    /// # Safety
    /// As [`Self::new`]; and all bytes there are zero.
    pub unsafe fn zeroed(first: NonNull<T>, capacity: usize) -> Self
    where
        T: FromZeros,
    {
        Self { first, used: capacity, capacity }
    }
}

impl<T> Deref for Reserved<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: so many objects were written there, and `self` owns them.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.used) }
    }
}

impl<T> DerefMut for Reserved<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the borrow of `self` keeps two from existing.
        unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.used) }
    }
}

impl<T> Storage for Reserved<T> {
    type Object = T;

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn push(&mut self, object: T) -> bool {
        if self.used == self.capacity {
            return false;
        }
        // SAFETY: there is room for one more behind the last one, and nobody refers to it.
        unsafe { self.first.add(self.used).write(object) }
        self.used += 1;
        true
    }
}

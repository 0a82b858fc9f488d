//! Memory from one's parent.

use crate::{Error, Result, boot, capability::PARENT, parent::Arrived};
use core::{
    ops::Range,
    ptr, slice,
    sync::atomic::{AtomicUsize, Ordering},
};
use policy::ranges::RangeList;
use protocol::{
    PAGE_ORDER, Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    layout::{RECEIVE_AREA, ROOT_TASK_BASE},
};
use zerocopy::{FromBytes, IntoBytes};

/// Memory that belongs to this program: `2^order` bytes.
///
/// When it has been mapped to others with the right to write, they change it: don't keep
/// references to its contents then.
#[derive(Debug)]
pub struct Memory {
    address: Word,
    order: u32,
}

impl Memory {
    /// Its first address.
    pub const fn address(&self) -> Word {
        self.address
    }

    /// The flexpage that maps all of it to somebody, with these rights.
    pub const fn flexpage(&self, rights: Rights) -> Flexpage {
        Flexpage::memory(self.address, self.order, rights)
    }

    /// Its bytes. What is in them at first is undefined.
    pub fn bytes(&mut self) -> &mut [u8] {
        let first = ptr::with_exposed_provenance_mut(self.address);
        // SAFETY: a `Memory` stands for mapped memory that arrived from the parent for nobody
        // else, where nothing else lies, and is the only one for it. Any bytes are valid.
        unsafe { slice::from_raw_parts_mut(first, 1 << self.order) }
    }

    /// Its contents as an array of plain values.
    pub fn values<T: FromBytes + IntoBytes>(&mut self) -> &mut [T] {
        // The memory is aligned to its size.
        <[T]>::mut_from_bytes(self.bytes()).unwrap_or_default()
    }

    /// Its contents as an array of plain values, for ever.
    pub fn into_values<T: FromBytes + IntoBytes>(mut self) -> &'static mut [T] {
        let values: *mut [T] = self.values();
        // SAFETY: `self` is used up, so that this is the only reference; memory is never given back.
        unsafe { &mut *values }
    }
}

/// Reads a byte, so that its page is there: only what a task has itself can it map to others.
#[inline]
pub fn touch(byte: &u8) {
    // SAFETY: reads through a reference.
    unsafe { ptr::from_ref(byte).read_volatile() };
}

/// The next address at which memory can arrive.
static NEXT_ARRIVAL: AtomicUsize = AtomicUsize::new(RECEIVE_AREA);

/// Lets `2^order` bytes arrive where nothing is yet: `request` gets the window for them.
pub fn receive(order: u32, request: impl FnOnce(Flexpage) -> Result<Arrived>) -> Result<Arrived> {
    let place = |next: Word| {
        let start = next.checked_next_multiple_of(1usize.checked_shl(order)?)?;
        (ROOT_TASK_BASE.checked_sub(start)? >> order > 0).then_some(start)
    };
    let reserve = |next: Word| Some(place(next)? + (1 << order));
    let reserved = NEXT_ARRIVAL.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve);
    let start = reserved.ok().and_then(place).ok_or(Error::Object(ObjectError::NoMemory))?;
    let arrived = request(Flexpage::memory(start, order, Rights::READ_WRITE));
    if arrived.is_err() {
        // The addresses can be used again, unless somebody else has got the next ones.
        let end = start + (1 << order);
        let _ = NEXT_ARRIVAL.compare_exchange(end, start, Ordering::Relaxed, Ordering::Relaxed);
    }
    arrived
}

/// Memory to hand out, got from the parent in larger pieces when it is needed.
#[derive(Debug)]
pub struct Pool {
    free: RangeList<32>,
    arrival: Arrival,
    /// How much it asks for at once.
    usual_order: u32,
}

/// Where memory arrives in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    OneToOne,
    ReceiveArea,
}

/// What ordinary programs get at once: 64 KiB.
const SMALL_ORDER: u32 = 16;

impl Pool {
    /// A pool of an ordinary program.
    pub const fn new() -> Self {
        let arrival = Arrival::ReceiveArea;
        Self { free: RangeList::new(), arrival, usual_order: SMALL_ORDER }
    }

    /// A pool of the root task: memory has the same addresses as in sigma0, and comes in superpages.
    ///
    /// # Panics
    /// In a program that is linked where such memory may lie.
    pub fn one_to_one() -> Self {
        assert!(boot::sees_memory_one_to_one(), "only the root task can have memory 1:1");
        let usual_order = boot::kernel_info().superpage_order;
        Self { free: RangeList::new(), arrival: Arrival::OneToOne, usual_order }
    }

    /// Takes a page.
    #[inline]
    pub fn page(&mut self) -> Result<Memory> {
        self.take(PAGE_ORDER)
    }

    /// Takes `2^order` bytes, at least a page.
    pub fn take(&mut self, order: u32) -> Result<Memory> {
        let order = order.max(PAGE_ORDER);
        if let Some(address) = self.take_free(order)? {
            return Ok(Memory { address, order });
        }
        self.refill(order)?;
        let address = self.take_free(order)?.ok_or(Error::BadAnswer)?;
        Ok(Memory { address, order })
    }

    fn take_free(&mut self, order: u32) -> Result<Option<Word>> {
        self.free.take(order).map_err(|_| Error::Object(ObjectError::NoMemory))
    }

    /// Asks for as much as is usual; when the parent runs out of that, for what is needed.
    fn refill(&mut self, needed: u32) -> Result<()> {
        let usual = self.usual_order;
        let range = match self.request(usual.max(needed)) {
            Err(Error::Object(ObjectError::NoMemory)) if needed < usual => self.request(needed)?,
            other => other?,
        };
        self.free.insert(range).map_err(|_| Error::Object(ObjectError::NoMemory))
    }

    fn request(&self, order: u32) -> Result<Range<Word>> {
        let request = |window| PARENT.request_any(order, window);
        let Arrived { address, order: arrived, rights } = match self.arrival {
            Arrival::OneToOne => request(Flexpage::WHOLE_SPACE)?,
            Arrival::ReceiveArea => receive(order, request)?,
        };
        if arrived != order || !rights.contains(Rights::READ_WRITE) {
            return Err(Error::BadAnswer);
        }
        Ok(address..address + (1 << order))
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

//! Memory from one's parent.

use crate::{
    Error, Result, boot,
    capability::{PARENT, TASK},
    objects::Take,
    parent::Arrived,
    share::{Shareable, Volatile},
};
use core::{
    ops::Range,
    ptr, slice,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};
use policy::ranges::RangeList;
use protocol::{
    PAGE_ORDER, Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    layout::{RECEIVE_AREA, ROOT_TASK_BASE},
};
use zerocopy::{FromBytes, IntoBytes};

/// Memory that belongs to this program: `2^order` bytes. It is open (see [`crate::share`]): it can be
/// mapped to others with any right while this program reads and writes it.
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
    pub const fn flexpage(&self, rights: Rights) -> Shareable {
        Shareable::open(self.address, self.order, rights)
    }

    /// The flexpage that maps the `2^order` bytes around byte `offset` of it.
    ///
    /// # Panics
    /// If that is not all inside.
    pub fn piece(&self, offset: usize, order: u32, rights: Rights) -> Shareable {
        assert!(order <= self.order && offset >> self.order == 0, "the piece is not inside");
        Shareable::open(self.address + offset, order, rights)
    }

    /// Its contents as plain values. What they are at first is undefined.
    pub fn values<T: FromBytes + IntoBytes>(&self) -> &[Volatile<T>] {
        let length = (1 << self.order) / const { non_zero_size::<T>() };
        // SAFETY: the memory is there, aligned to its size, for as long as `self`, and only cells lead to
        // it. If it is taken away, an access faults.
        unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(self.address), length) }
    }

    /// Its contents for ever.
    pub fn into_atomics(self) -> &'static [AtomicU32] {
        let length = (1 << self.order) / size_of::<AtomicU32>();
        // SAFETY: `self` is used up, so that only these cells lead to the memory, which is aligned, is
        // never given back, and holds numbers whatever is in it.
        unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(self.address), length) }
    }

    /// Sets all of its bytes.
    pub fn fill(&mut self, byte: u8) {
        // SAFETY: the memory is there; the exclusive borrow keeps all cells away.
        unsafe { ptr::write_bytes(self.first_byte(), byte, 1 << self.order) }
    }

    /// Copies `bytes` to its byte `offset` and after.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let room = (1usize << self.order).checked_sub(offset);
        assert!(room.is_some_and(|room| bytes.len() <= room), "there is no room for the bytes");
        // SAFETY: as in `fill`; the bytes fit, and no reference leads to open memory.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.first_byte().add(offset), bytes.len());
        }
    }

    fn first_byte(&mut self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.address)
    }
}

/// The size of a type that is not empty.
pub(crate) const fn non_zero_size<T>() -> usize {
    assert!(size_of::<T>() > 0, "a type without size has no cells");
    size_of::<T>()
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

    /// Puts memory back: it is taken from all others that have it.
    pub fn give_back(&mut self, memory: Memory) -> Result<()> {
        TASK.unmap([memory.flexpage(Rights::empty())], Take::EVERYTHING)?;
        let range = memory.address..memory.address + (1 << memory.order);
        self.free.insert(range).map_err(|_| Error::Object(ObjectError::NoMemory))
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
        let Arrived { address, order: arrived, rights } = match self.arrival {
            Arrival::OneToOne => PARENT.request_one_to_one(order)?,
            Arrival::ReceiveArea => receive(order, |window| PARENT.request_any(order, window))?,
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

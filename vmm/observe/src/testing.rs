//! Shared by this crate's tests.

/// A small generator of pseudo-random numbers (xorshift64*): the same numbers for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 up to but not including `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

use crate::memory::{GuestMemory, OutsideMemory, read_value};
use protocol::{
    boot::pad_name,
    flexpage::Rights,
    introspection::{
        HEADER_MAGIC, HEADER_VERSION, Header, Table, TaskRecord, ThreadRecord, TraceRing,
        record::{Kind, Record, Traced},
    },
};
use std::{
    cell::{Cell, RefCell},
    mem::offset_of,
};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) const HEADER: u64 = 0x1000;
pub(crate) const TASKS: u64 = 0x2000;
const THREADS: u64 = 0x3000;
const RING: u64 = 0x1_0000;
/// Entries are larger than their records, as the kernel's objects are.
pub(crate) const STRIDE: u64 = 96;
const ENTRIES: u64 = 16;

type Hook = Box<dyn FnMut(&FakeGuest)>;

/// A guest whose kernel does what the tests say, in the order of stores that the protocol demands.
pub(crate) struct FakeGuest {
    memory: RefCell<Vec<u8>>,
    capacity: u64,
    written: Cell<u64>,
    hook: RefCell<Option<Hook>>,
}

impl FakeGuest {
    pub(crate) fn new(capacity: u64) -> Self {
        let size = RING + capacity * 64;
        let guest = Self {
            memory: RefCell::new(vec![0; size as usize]),
            capacity,
            written: Cell::new(0),
            hook: RefCell::default(),
        };
        guest.put(HEADER, &guest.header());
        guest
    }

    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new_zeroed();
        header.magic = HEADER_MAGIC;
        header.version = HEADER_VERSION;
        header.machine = 62;
        header.trace = TraceRing {
            address: RING,
            capacity: self.capacity,
            written: self.written.get(),
            enabled: Kind::DEFAULT_ENABLED,
        };
        header.tasks = Table { address: TASKS, stride: STRIDE, count: ENTRIES };
        header.threads = Table { address: THREADS, stride: STRIDE, count: ENTRIES };
        header
    }

    pub(crate) fn put<T: IntoBytes + zerocopy::Immutable + ?Sized>(&self, address: u64, value: &T) {
        let bytes = value.as_bytes();
        let start = address as usize;
        self.memory.borrow_mut()[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// A frame of zeros behind everything else.
    fn frame(&self) -> u64 {
        let mut memory = self.memory.borrow_mut();
        let start = memory.len().next_multiple_of(4096);
        memory.resize(start + 4096, 0);
        start as u64
    }

    /// An empty top-level page table of `amd64`.
    pub(crate) fn address_space(&self) -> u64 {
        self.frame()
    }

    /// The top-level page table of a task.
    pub(crate) fn space_of(&self, task: u16) -> u64 {
        let address = TASKS + u64::from(task) * STRIDE;
        let record: TaskRecord = read_value(self, address).unwrap();
        record.page_table
    }

    /// Enters a small page in an address space, or takes it away if there are no rights.
    pub(crate) fn map(&self, root: u64, address: u64, physical: u64, rights: Rights) {
        let mut table = root;
        for shift in [39, 30, 21] {
            let at = table + (address >> shift & 511) * 8;
            let mut entry: u64 = read_value(self, at).unwrap();
            if entry == 0 {
                entry = self.frame() | 7;
                self.put(at, &entry);
            }
            table = entry & !0xfff;
        }
        let writable = u64::from(rights.contains(Rights::WRITE)) << 1;
        let no_execute = u64::from(!rights.contains(Rights::EXECUTE)) << 63;
        let entry = if rights.is_empty() { 0 } else { physical | 5 | writable | no_execute };
        self.put(table + (address >> 12 & 511) * 8, &entry);
    }

    pub(crate) fn task(&self, task: u16, name: &str, image: u32, page_table: u64) {
        let mut record = TaskRecord::new_zeroed();
        record.state = 1;
        record.image = image;
        record.page_table = page_table;
        record.name = pad_name(name.as_bytes());
        self.put(TASKS + u64::from(task) * STRIDE, &record);
    }

    pub(crate) fn thread(&self, thread: u16, task: u16, name: &str) {
        let mut record = ThreadRecord::new_zeroed();
        record.state = 2;
        record.task = task;
        record.name = pad_name(name.as_bytes());
        self.put(THREADS + u64::from(thread) * STRIDE, &record);
    }

    /// How many tasks have had a number, and how many threads.
    pub(crate) fn generations(&self, [task, thread]: [u16; 2], generations: [u32; 2]) {
        let tables = [(TASKS, task), (THREADS, thread)];
        for ((table, number), generation) in tables.into_iter().zip(generations) {
            let offset = offset_of!(TaskRecord, generation) as u64;
            self.put(table + u64::from(number) * STRIDE + offset, &generation);
        }
    }

    /// Physical address of the slot of the record to be written next.
    pub(crate) fn next_slot(&self) -> u64 {
        RING + self.written.get() % self.capacity * 64
    }

    /// The first half of writing a record: its slot is invalid and has new words.
    pub(crate) fn begin(&self, mut record: Record) {
        record.sequence = 0;
        self.put(self.next_slot(), &record);
    }

    /// The second half.
    pub(crate) fn complete(&self) {
        let slot = self.next_slot();
        self.written.set(self.written.get() + 1);
        self.put(slot, &self.written.get());
        let written = offset_of!(Header, trace) + offset_of!(TraceRing, written);
        self.put(HEADER + written as u64, &self.written.get());
    }

    pub(crate) fn write(&self, traced: Traced) {
        self.begin(traced.encode());
        self.complete();
    }

    /// Runs before each 16 bytes that are read, as if the guest ran meanwhile.
    pub(crate) fn while_reading(&self, hook: impl FnMut(&Self) + 'static) {
        *self.hook.borrow_mut() = Some(Box::new(hook));
    }

    fn run_hook(&self) {
        let hook = self.hook.borrow_mut().take();
        if let Some(mut hook) = hook {
            hook(self);
            *self.hook.borrow_mut() = Some(hook);
        }
    }
}

impl GuestMemory for FakeGuest {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        for (index, chunk) in bytes.chunks_mut(16).enumerate() {
            self.run_hook();
            self.memory.borrow().read(address.saturating_add(index as u64 * 16), chunk)?;
        }
        Ok(())
    }
}

/// An ELF file for `amd64` with one code segment and one function, and a data segment behind it.
pub(crate) fn small_elf(base: u64, function: &str) -> Vec<u8> {
    elf(base, function, &[(base + 0x100, 0x80)])
}

/// The same with so many functions of that name, one behind the other.
pub(crate) fn many_symbols(base: u64, count: usize, name: &str) -> Vec<u8> {
    let functions: Vec<_> = (0..count as u64).map(|index| (base + index * 0x10, 0x10)).collect();
    elf(base, name, &functions)
}

/// One with functions of a name at these addresses, of these sizes.
fn elf(base: u64, function: &str, functions: &[(u64, u64)]) -> Vec<u8> {
    const CODE_SIZE: u64 = 0x1000;
    let names = format!("\0{function}\0.text\0.symtab\0.strtab\0");
    let name = |wanted: &str| names.find(wanted).unwrap() as u32;
    let mut symbols = symbol(0, 0, 0, 0, 0);
    functions.iter().for_each(|(start, size)| symbols.extend(symbol(1, 0x12, 1, *start, *size)));
    let symbols_size = symbols.len() as u64;
    let names_offset = 64 + 2 * 56 + symbols.len() as u64;
    let sections_offset = names_offset + names.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    put16(&mut elf, &[2, 62]);
    put32(&mut elf, &[1]);
    put64(&mut elf, &[base, 64, sections_offset]);
    put32(&mut elf, &[0]);
    put16(&mut elf, &[64, 56, 2, 64, 4, 3]);
    for (flags, start) in [(5, base), (6, base + 2 * CODE_SIZE)] {
        put32(&mut elf, &[1, flags]);
        put64(&mut elf, &[0, start, start, 0, CODE_SIZE, 0x1000]);
    }
    elf.extend(symbols);
    elf.extend(names.as_bytes());
    for (section, kind, flags, address, offset, size, link, entry) in [
        (0, 0, 0, 0, 0, 0, 0, 0),
        (name(".text"), 1, 6, base, 0, CODE_SIZE, 0, 0),
        (name(".symtab"), 2, 0, 0, 64 + 2 * 56, symbols_size, 3, 24),
        (name(".strtab"), 3, 0, 0, names_offset, names.len() as u64, 0, 0),
    ] {
        put32(&mut elf, &[section, kind]);
        put64(&mut elf, &[flags, address, offset, size]);
        put32(&mut elf, &[link, 1]);
        put64(&mut elf, &[1, entry]);
    }
    elf
}

fn symbol(name: u32, info: u8, section: u16, value: u64, size: u64) -> Vec<u8> {
    let mut symbol = name.to_le_bytes().to_vec();
    symbol.extend([info, 0]);
    put16(&mut symbol, &[section]);
    put64(&mut symbol, &[value, size]);
    symbol
}

fn put16(bytes: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
}

fn put32(bytes: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
}

fn put64(bytes: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
}

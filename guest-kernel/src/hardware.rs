//! The real [`Machine`]: kernel frames through the direct map, ports, the trace ring.
//!
//! Names of the kernel's own memory are followed without looking: see [`Memory`] for who answers for them.

use crate::{
    arch::{
        self,
        direct_map::{self, RAM_LIMIT},
        interrupts, io_apic, local_apic, ports, processor,
    },
    console::Console,
    reserved::Reserved,
    trace_ring,
};
use core::fmt::Debug;
use kernel_core::{
    arch::Table,
    memory::{
        frames::{FramePool, KernelFrame, PhysicalAddress, TableFrame},
        index::{InterruptIndex, TaskIndex},
        machine::{Board, Came, Counts, Interrupts, Machine, Memory, Processor, Trace},
        node::NodeIndex,
        utcb::UtcbReference,
    },
};
use protocol::{
    PAGE_SIZE, Word,
    introspection::{
        mapping::{COMPANION_OFFSET, MappingNode},
        record::Record,
    },
    utcb::{MESSAGE_REGISTERS, Utcb},
};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// The port that ends the machine with the status written to it.
const EXIT_PORT: u16 = 0xf4;

/// Ends the machine, where there is something behind the port.
pub fn exit(status: u8) {
    // SAFETY: nothing runs after the machine has ended; without such a device nothing happens.
    unsafe { processor::write_port(EXIT_PORT, status) }
}

/// The hardware that the kernel runs on.
#[derive(Debug)]
pub struct Hardware;

impl Memory for Hardware {
    type Storage<T: Debug> = Reserved<T>;

    #[inline]
    fn view<T: FromBytes + IntoBytes + KnownLayout>(&mut self, frame: KernelFrame) -> &mut T {
        const { assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) }
        // SAFETY: a kernel frame lies in the pool, which the direct map covers and no task maps
        // except UTCBs and the info page, which are plain words. Any bytes are a valid `T` and the
        // other way round. The borrow of `self` keeps two views from existing at once.
        unsafe { &mut *direct_map::own::<T>(frame.address()) }
    }

    #[inline(always)]
    fn companion<T: FromBytes + IntoBytes + KnownLayout>(&mut self, table: TableFrame) -> &mut T {
        const { assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) }
        let nodes = PhysicalAddress(table.entries().address().0 + COMPANION_OFFSET);
        // SAFETY: the frame behind a table's is its companion and only that; the rest is as in `view`.
        unsafe { &mut *direct_map::own::<T>(nodes) }
    }

    #[inline(always)]
    fn node(&mut self, node: NodeIndex) -> &mut MappingNode {
        // SAFETY: an index of a node comes from a list or companion that only the kernel writes,
        // so that it names 16 bytes of a kernel frame that was made for nodes; any bytes are valid.
        // The borrow of `self` keeps two of them from existing.
        unsafe { &mut *direct_map::own::<MappingNode>(node.address()) }
    }

    #[inline]
    fn utcb(&mut self, utcb: UtcbReference) -> &mut Utcb {
        // SAFETY: a UTCB lies in a kernel frame that was made for UTCBs, at a place where one
        // begins; any words are valid. The borrow of `self` keeps two of them from existing.
        unsafe { &mut *utcb_pointer(utcb) }
    }

    #[inline]
    fn copy_message(&mut self, from: UtcbReference, to: UtcbReference, words: usize) {
        let words = words.min(MESSAGE_REGISTERS);
        if words != 0 {
            let (from, to) = (utcb_pointer(from).cast(), utcb_pointer(to).cast());
            // SAFETY: both are UTCBs, which begin with their message registers; they may be the same.
            unsafe { processor::copy_words(from, to, words) }
        }
    }

    fn copy_kernel_half(&mut self, root: KernelFrame) {
        direct_map::copy_kernel_half(self.view::<Table>(root));
    }

    fn clear_kernel_half(&mut self, root: KernelFrame) {
        direct_map::clear_kernel_half(self.view::<Table>(root));
    }

    fn user_byte(&mut self, physical: PhysicalAddress) -> u8 {
        if physical.0 >= RAM_LIMIT {
            return 0;
        }
        // SAFETY: the direct map covers the address, and any byte is valid. What a task may write
        // is read only as long as no task runs.
        unsafe { direct_map::pointer::<u8>(physical).read_volatile() }
    }
}

impl Processor for Hardware {
    fn leave_space(&mut self, space: PhysicalAddress, other: PhysicalAddress) {
        arch::leave_space(space, other);
    }

    fn forget_registers<R>(&mut self, registers: &R) {
        arch::forget_registers(registers);
    }

    #[inline(always)]
    fn system_calls_go_to(&self, is_foreign: bool) -> u32 {
        arch::system_calls_go_to(is_foreign)
    }

    #[inline(always)]
    fn flush_page(&mut self, root: PhysicalAddress, address: Word) {
        // Page tables lie where a machine word reaches.
        if root.0 as Word == arch::space().0 as Word {
            processor::flush_page(address);
        }
    }

    fn install_ports(&mut self, owner: TaskIndex, word: u16, usable: u64) -> bool {
        ports::install(owner, word, usable)
    }

    fn resume_ports(&mut self, owner: TaskIndex) -> bool {
        ports::resume(owner)
    }

    fn forget_ports(&mut self, owner: TaskIndex) {
        ports::forget(owner);
    }

    fn open_interrupt_window(&mut self) -> Came {
        interrupts::open_window()
    }

    fn set_timer(&mut self, microseconds: u64) {
        local_apic::set_timer(microseconds);
    }

    #[inline]
    fn time(&self) -> u64 {
        processor::time()
    }
}

impl Trace for Hardware {
    #[inline(always)]
    fn begin_record(&mut self) -> &mut Record {
        trace_ring::begin()
    }

    #[inline(always)]
    fn end_record(&mut self) {
        trace_ring::end();
    }

    #[inline]
    fn enabled_records(&self) -> u64 {
        trace_ring::enabled()
    }

    fn publish_counts(&mut self, counts: Counts) {
        trace_ring::publish_counts(counts);
    }

    fn publish_pool(&mut self, pool: &FramePool) {
        trace_ring::publish_pool(pool);
    }

    fn publish_stretch(&mut self, ticks: u64, at_point: bool) {
        trace_ring::publish_stretch(ticks, at_point);
    }
}

impl Board for Hardware {
    fn write_console(&mut self, byte: u8) {
        Console.write_byte(byte);
    }

    fn shut_down(&mut self, status: u8) {
        exit(status);
    }
}

impl Interrupts for Hardware {
    fn unmask(&mut self, interrupt: InterruptIndex) {
        io_apic::unmask(interrupt);
    }

    fn mask(&mut self, interrupt: InterruptIndex) {
        io_apic::mask(interrupt);
    }

    fn message(&self, interrupt: InterruptIndex) -> [usize; 2] {
        io_apic::message(interrupt)
    }
}

impl Machine for Hardware {
    #[inline(always)]
    fn goes_quick(&self) -> bool {
        !cfg!(feature = "general-paths-only")
    }
}

#[inline]
fn utcb_pointer(utcb: UtcbReference) -> *mut Utcb {
    direct_map::own(utcb.address())
}

const _: () = assert!(size_of::<Table>() == PAGE_SIZE);

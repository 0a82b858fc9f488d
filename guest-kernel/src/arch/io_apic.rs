//! The I/O APIC, which turns devices' lines into interrupts of the processor; and the messages by which
//! devices raise them without a line.

use super::direct_map;
use kernel_core::memory::{
    frames::PhysicalAddress,
    index::{InterruptIndex, TableIndex},
};
use protocol::operation::interrupts::{INTERRUPTS, LINES};

/// The vector of interrupt 0; that of each other one is so many further on.
pub const FIRST_VECTOR: u8 = 0x40;

const BASE: u64 = 0xfec0_0000;
/// Which register [`WINDOW`] is.
const SELECT: u64 = 0;
const WINDOW: u64 = 0x10;
/// The lower half of line 0's entry. Each has two registers.
const FIRST_ENTRY: u32 = 0x10;

const MASKED: u32 = 1 << 16;
const LEVEL_TRIGGERED: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// ISA's lines, which are edge-triggered and active when high. Those of PCI are neither.
const ISA_LINES: u16 = 16;

/// Where messages go that raise interrupts: to local APIC 0 (AMD64 manual volume 2, 16.11).
const MESSAGE_ADDRESS: usize = 0xfee0_0000;

fn write(register: u32, value: u32) {
    let [select, window] =
        [SELECT, WINDOW].map(|offset| direct_map::device_register(PhysicalAddress(BASE + offset)));
    // SAFETY: the page is the I/O APIC's, which is mapped uncached and never given to a task; the
    // entries written here raise only vectors that have an entry.
    unsafe {
        select.write_volatile(register);
        window.write_volatile(value);
    }
}

/// Sets every line up, masked.
pub fn prepare() {
    for interrupt in InterruptIndex::all().take(LINES.into()) {
        // The upper half: to local APIC 0.
        write(entry_of(interrupt.position()) + 1, 0);
        mask(interrupt);
    }
}

/// Lets the line of an interrupt raise none.
#[inline]
pub fn mask(interrupt: InterruptIndex) {
    set(interrupt, MASKED);
}

/// Lets it raise its interrupt.
#[inline]
pub fn unmask(interrupt: InterruptIndex) {
    set(interrupt, 0);
}

fn set(interrupt: InterruptIndex, flags: u32) {
    let line = interrupt.position();
    if line >= LINES {
        return;
    }
    let kind = if line < ISA_LINES { 0 } else { LEVEL_TRIGGERED | ACTIVE_LOW };
    write(entry_of(line), vector(interrupt) | kind | flags);
}

fn entry_of(line: u16) -> u32 {
    FIRST_ENTRY + 2 * u32::from(line)
}

fn vector(interrupt: InterruptIndex) -> u32 {
    u32::from(FIRST_VECTOR) + u32::from(interrupt.position())
}

/// The interrupt with this vector, if one has it.
#[inline]
pub fn interrupt(vector: usize) -> Option<InterruptIndex> {
    let number = vector.checked_sub(FIRST_VECTOR.into())?;
    (number < INTERRUPTS.into()).then(|| InterruptIndex::from_position(number as u16))
}

/// See [`kernel_core::memory::machine::Interrupts::message`].
pub fn message(interrupt: InterruptIndex) -> [usize; 2] {
    match interrupt.position() {
        LINES.. => [MESSAGE_ADDRESS, vector(interrupt) as usize],
        _ => [0; 2],
    }
}

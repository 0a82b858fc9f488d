//! The local APIC: its timer ends time slices.

use super::{direct_map, processor};
use kernel_core::memory::frames::PhysicalAddress;

/// Vector of the timer interrupt.
pub const TIMER_VECTOR: u8 = 32;
/// Vector of the interrupt by which the kernel reminds itself of others.
pub const REMINDER_VECTOR: u8 = 33;
/// Vector of an interrupt that was none after all.
pub const SPURIOUS_VECTOR: u8 = 255;

const BASE: u64 = 0xfee0_0000;
const END_OF_INTERRUPT: u64 = 0xb0;
const SPURIOUS: u64 = 0xf0;
const COMMAND: u64 = 0x300;
const TIMER: u64 = 0x320;
const INITIAL_COUNT: u64 = 0x380;
const DIVIDE: u64 = 0x3e0;

/// In the lower half of the command register: the interrupt is for this processor itself.
const TO_ITSELF: u32 = 0b01 << 18 | 1 << 14;

const ENABLED: u32 = 1 << 8;
const PERIODIC: u32 = 1 << 17;
const DIVIDE_BY_ONE: u32 = 0b1011;

/// A time slice of 10 ms: KVM and QEMU both run the timer at 1 GHz.
const TICKS_PER_SLICE: u32 = 10_000_000;

/// The two 8259 interrupt controllers' mask registers.
const PIC_MASKS: [u16; 2] = [0x21, 0xa1];

fn write(register: u64, value: u32) {
    let pointer = direct_map::device_register(PhysicalAddress(BASE + register));
    // SAFETY: the page is the local APIC's, which is mapped uncached and never given to a task;
    // the registers written here only affect interrupts, which the kernel is ready for.
    unsafe { pointer.write_volatile(value) }
}

/// Silences the old interrupt controllers and starts the periodic timer.
pub fn start_timer() {
    for port in PIC_MASKS {
        // SAFETY: masking interrupts cannot break anything.
        unsafe { processor::write_port(port, 0xff) }
    }
    write(SPURIOUS, ENABLED | u32::from(SPURIOUS_VECTOR));
    write(DIVIDE, DIVIDE_BY_ONE);
    write(TIMER, PERIODIC | u32::from(TIMER_VECTOR));
    write(INITIAL_COUNT, TICKS_PER_SLICE);
}

/// Interrupts the processor as soon as interrupts are on.
#[cold]
pub fn remind() {
    write(COMMAND, TO_ITSELF | u32::from(REMINDER_VECTOR));
}

/// Tells the APIC that its interrupt was handled.
pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

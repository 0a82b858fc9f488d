//! The local APIC: its timer, which interrupts once when it is told to, and what it tells about the time.
//!
//! Both KVM (`APIC_BUS_CYCLE_NS` in Linux) and QEMU (`apic_get_current_count`) run the timer at 1 GHz. The time
//! stamp counter's frequency is what `CPUID` says it is; if it says nothing the two are compared while the kernel
//! boots. Where the processor offers it the timer waits for the time stamp counter itself.

use super::{direct_map, processor};
use core::sync::atomic::{AtomicU32, Ordering};
use kernel_core::memory::frames::PhysicalAddress;
use protocol::kip::Clock;

#[cfg(target_arch = "x86")]
use core::arch::x86 as cpu;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64 as cpu;

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
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;

/// In the lower half of the command register: the interrupt is for this processor itself.
const TO_ITSELF: u32 = 0b01 << 18 | 1 << 14;

const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
/// The timer waits for the time stamp counter (Intel manual volume 3, 11.5.4.1).
const BY_TIME_STAMP: u32 = 1 << 18;
const DIVIDE_BY_ONE: u32 = 0b1011;
const DIVIDE_BY_SIXTEEN: u32 = 0b0011;

/// The time stamp that the timer waits for; 0: none.
const TIME_STAMP_DEADLINE: u32 = 0x6e0;

/// Leaf 1, ECX: there is that mode.
const HAS_DEADLINE: u32 = 1 << 24;
/// Leaf 1, ECX: there is a hypervisor, which has leaves of its own from [`LEAF_HYPERVISOR`] on.
const HYPERVISOR: u32 = 1 << 31;
const LEAF_FEATURES: u32 = 1;
/// The time stamp counter in terms of a crystal, and its frequency in hertz.
const LEAF_TIME_STAMP: u32 = 0x15;
const LEAF_HYPERVISOR: u32 = 0x4000_0000;
/// EAX: the frequency of the time stamp counter in kilohertz.
const LEAF_HYPERVISOR_TIMING: u32 = 0x4000_0010;

/// The longest time that the timer is set for; it is set anew then. It counts 62.5 to a microsecond.
const LONGEST: u64 = 60_000_000;

/// The two 8259 interrupt controllers' mask registers.
const PIC_MASKS: [u16; 2] = [0x21, 0xa1];

/// How the timer is set: not yet, by its own count, or, if it is more, to so many ticks of the time stamp
/// counter to a microsecond, in units of 2^-16.
static PACE: AtomicU32 = AtomicU32::new(NOT_YET);
const NOT_YET: u32 = 0;
const BY_COUNT: u32 = 1;

fn write(register: u64, value: u32) {
    let pointer = direct_map::device_register(PhysicalAddress(BASE + register));
    // SAFETY: the page is the local APIC's, which is mapped uncached and never given to a task;
    // the registers written here only affect interrupts, which the kernel is ready for.
    unsafe { pointer.write_volatile(value) }
}

fn read(register: u64) -> u32 {
    let pointer = direct_map::device_register(PhysicalAddress(BASE + register));
    // SAFETY: as in `write`; reading has no effect.
    unsafe { pointer.read_volatile() }
}

/// Silences the old interrupt controllers, and lets the timer count nanoseconds for [`calibrate`].
pub fn prepare() {
    for port in PIC_MASKS {
        // SAFETY: masking interrupts cannot break anything.
        unsafe { processor::write_port(port, 0xff) }
    }
    write(SPURIOUS, ENABLED | u32::from(SPURIOUS_VECTOR));
    write(DIVIDE, DIVIDE_BY_ONE);
    write(TIMER, MASKED | u32::from(TIMER_VECTOR));
    write(INITIAL_COUNT, u32::MAX);
    // What the first access takes is not counted.
    sample();
    write(INITIAL_COUNT, u32::MAX);
    STARTED.store(processor::time() as u32, Ordering::Relaxed);
}

/// The lower half of the time stamp when the timer began to count.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// What is left of the timer's count, and the time stamp then. The best of some tries.
fn sample() -> (u32, u64) {
    let mut best = (0, 0);
    let mut shortest = u64::MAX;
    for _ in 0..3 {
        let before = processor::time();
        let count = read(CURRENT_COUNT);
        let took = processor::time() - before;
        if took < shortest {
            (best, shortest) = ((count, before + took / 2), took);
        }
    }
    best
}

/// How long a microsecond is, and so the clock, whose time is 0 when the time stamp counter stands at `start`.
/// From now on the timer can be set. Called once, as late as possible.
pub fn calibrate(start: u64) -> Clock {
    let scale = match kilohertz() {
        Some(kilohertz) => (1000 << 31) / u64::from(kilohertz),
        None => {
            let (left, stamp) = sample();
            let nanoseconds = u64::from(u32::MAX - left);
            let ticks = (stamp as u32).wrapping_sub(STARTED.load(Ordering::Relaxed));
            (nanoseconds << 31) / 1000 / u64::from(ticks.max(1))
        }
    };
    let scale = scale.clamp(1, Clock::MICROSECOND.into()) as u32;
    write(INITIAL_COUNT, 0);
    if cpu::__cpuid(LEAF_FEATURES).ecx & HAS_DEADLINE != 0 {
        write(TIMER, BY_TIME_STAMP | u32::from(TIMER_VECTOR));
        // What follows is no access to the APIC's page, and must not come before it.
        core::sync::atomic::fence(Ordering::SeqCst);
        let ticks = (1 << 47) / u64::from(scale);
        PACE.store(ticks.clamp(BY_COUNT as u64 + 1, u32::MAX.into()) as u32, Ordering::Relaxed);
    } else {
        write(DIVIDE, DIVIDE_BY_SIXTEEN);
        write(TIMER, TIMER_VECTOR.into());
        PACE.store(BY_COUNT, Ordering::Relaxed);
    }
    Clock::new(start, scale)
}

/// The frequency of the time stamp counter, if the processor or the hypervisor tells.
fn kilohertz() -> Option<u32> {
    if cpu::__get_cpuid_max(0).0 >= LEAF_TIME_STAMP {
        let leaf = cpu::__cpuid(LEAF_TIME_STAMP);
        if leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0 {
            let hertz = u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax);
            return u32::try_from(hertz / 1000).ok().filter(|kilohertz| *kilohertz != 0);
        }
    }
    let has_hypervisor = cpu::__cpuid(LEAF_FEATURES).ecx & HYPERVISOR != 0;
    if has_hypervisor && cpu::__cpuid(LEAF_HYPERVISOR).eax >= LEAF_HYPERVISOR_TIMING {
        let kilohertz = cpu::__cpuid(LEAF_HYPERVISOR_TIMING).eax;
        return (kilohertz != 0).then_some(kilohertz);
    }
    None
}

/// Lets the timer interrupt once, in so many microseconds, or before if that is long.
pub fn set_timer(microseconds: u64) {
    let microseconds = microseconds.clamp(1, LONGEST);
    match PACE.load(Ordering::Relaxed) {
        NOT_YET => {}
        BY_COUNT => write(INITIAL_COUNT, (microseconds * 125).div_ceil(2) as u32),
        pace => {
            let deadline = processor::time() + ((microseconds * u64::from(pace)) >> 16);
            // SAFETY: the register only says when the timer interrupts, which the kernel is ready for.
            unsafe { processor::write_msr(TIME_STAMP_DEADLINE, deadline) }
        }
    }
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

//! Segments, the task state segment, and the interrupt descriptor table.

use super::entry::{TRAP_ENTRIES, trap_vector};
use crate::arch::{
    ports::{self, PortBitmap},
    processor,
    switch::NOBODYS,
    trap::DOUBLE_FAULT,
};
use core::arch::asm;

/// Selector of kernel code. The order of the descriptors is the one that `syscall` and `sysret`
/// want, and the selectors are those of Linux, so that user code on a software KVM sees the same. There
/// is no 32-bit code: tasks have no other mode than that of 64 bits.
pub const KERNEL_CODE: u16 = 0x10;
/// From here `sysret` derives the user selectors.
pub const SYSRET_BASE: u16 = 0x23;
const TASK_STATE: u16 = 0x40;

/// The task state segment (AMD64 manual volume 2, 12.2.5): where traps from user mode push.
#[derive(Debug)]
#[repr(C, packed(4))]
pub struct TaskState {
    reserved0: u32,
    /// Stack pointer for traps from ring 3: the end of the current thread's register frame.
    pub frame_end: *mut u8,
    rings: [u64; 2],
    reserved1: u64,
    /// Stacks of their own for what may happen at any time; the first one for double faults, NMIs
    /// and machine checks.
    interrupt_stacks: [u64; 7],
    reserved2: [u32; 2],
    reserved3: u16,
    /// Where the bitmap of I/O ports is: [`PortBitmap`], or beyond the segment, which forbids all
    /// ports in ring 3.
    pub io_bitmap: u16,
}

/// A task state with its ports.
#[derive(Debug)]
#[repr(C)]
pub struct TaskStateSegment {
    /// What the processor and the entries look at.
    pub state: TaskState,
    /// What ring 3 may do with ports.
    pub ports: PortBitmap,
}

/// Offset of [`TaskState::frame_end`].
pub const FRAME_END_OFFSET: usize = core::mem::offset_of!(TaskStateSegment, state.frame_end);

/// The one processor's task state segment. The entry and exit code reads and writes its frame
/// pointer.
#[unsafe(no_mangle)]
pub static mut TASK_STATE_SEGMENT: TaskStateSegment = TaskStateSegment {
    state: TaskState {
        reserved0: 0,
        frame_end: NOBODYS,
        rings: [0; 2],
        reserved1: 0,
        interrupt_stacks: [0; 7],
        reserved2: [0; 2],
        reserved3: 0,
        io_bitmap: ports::INVALID,
    },
    ports: PortBitmap::EMPTY,
};

const EMERGENCY_STACK_SIZE: usize = 4096;

#[repr(C, align(16))]
struct Stack([u8; EMERGENCY_STACK_SIZE]);

static mut EMERGENCY_STACK: Stack = Stack([0; EMERGENCY_STACK_SIZE]);

const CODE_64_KERNEL: u64 = 0x0020_9a00_0000_0000;
const DATA_KERNEL: u64 = 0x0000_9200_0000_0000;
const DATA_USER: u64 = 0x00cf_f200_0000_ffff;
const CODE_64_USER: u64 = 0x0020_fa00_0000_0000;
const AVAILABLE_TASK_STATE: u64 = 0x89 << 40;

static mut DESCRIPTORS: [u64; 10] =
    [0, 0, CODE_64_KERNEL, DATA_KERNEL, 0, DATA_USER, CODE_64_USER, 0, 0, 0];

/// An interrupt gate (AMD64 manual volume 2, 4.8.4).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    stack: u8,
    kind: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

const EMPTY_GATE: Gate = Gate {
    offset_low: 0,
    selector: 0,
    stack: 0,
    kind: 0,
    offset_middle: 0,
    offset_high: 0,
    reserved: 0,
};
/// Present, ring 0 only, interrupts off on entry.
const INTERRUPT_GATE: u8 = 0x8e;
/// Present, and ring 3 may use it: `int3` and `into`.
const USER_INTERRUPT_GATE: u8 = 0xee;

static mut GATES: [Gate; 256] = [EMPTY_GATE; 256];

const BREAKPOINT: usize = 3;
const OVERFLOW: usize = 4;
const NON_MASKABLE: usize = 2;
const MACHINE_CHECK: usize = 18;

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Fills the tables and loads them.
pub fn load() {
    let task_state = &raw const TASK_STATE_SEGMENT as u64;
    let limit = size_of::<TaskStateSegment>() as u64 - 1;
    let low = AVAILABLE_TASK_STATE
        | limit
        | (task_state & 0xff_ffff) << 16
        | (task_state >> 24 & 0xff) << 56;
    // SAFETY: this runs once at boot, before anything else can look at these statics.
    unsafe {
        DESCRIPTORS[8] = low;
        DESCRIPTORS[9] = task_state >> 32;
        TASK_STATE_SEGMENT.state.interrupt_stacks[0] =
            &raw const EMERGENCY_STACK as u64 + EMERGENCY_STACK_SIZE as u64;
    }
    fill_gates();
    let descriptors = TablePointer { limit: 10 * 8 - 1, base: &raw const DESCRIPTORS as u64 };
    let gates = TablePointer { limit: 256 * 16 - 1, base: &raw const GATES as u64 };
    // SAFETY: both tables are complete and stay where they are; the code segment loaded here is
    // 64-bit ring 0 code as before; data segments do not matter in this mode; nobody has loaded a
    // local descriptor.
    unsafe {
        asm!(
            "lgdt [{descriptors}]",
            "lidt [{gates}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "ltr {task_state:x}",
            descriptors = in(reg) &raw const descriptors,
            gates = in(reg) &raw const gates,
            code = const KERNEL_CODE,
            task_state = in(reg) TASK_STATE,
            scratch = out(reg) _,
        );
        processor::clear_local_descriptors();
    }
}

fn fill_gates() {
    // SAFETY: a constant table in the image.
    let entries = unsafe { TRAP_ENTRIES };
    for (number, offset) in entries.into_iter().enumerate() {
        let vector = trap_vector(number);
        let emergency = matches!(vector, NON_MASKABLE | DOUBLE_FAULT | MACHINE_CHECK);
        let from_user = matches!(vector, BREAKPOINT | OVERFLOW);
        let gate = Gate {
            offset_low: offset as u16,
            selector: KERNEL_CODE,
            stack: u8::from(emergency),
            kind: if from_user { USER_INTERRUPT_GATE } else { INTERRUPT_GATE },
            offset_middle: (offset >> 16) as u16,
            offset_high: (offset >> 32) as u32,
            reserved: 0,
        };
        // SAFETY: only at boot, see `load`.
        unsafe { GATES[vector] = gate }
    }
}

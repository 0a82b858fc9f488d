//! Segments, the task state segments, and the interrupt descriptor table.

use super::entry::{SYSTEM_CALL_VECTOR, TRAP_ENTRIES, system_call_entry, trap_vector};
use crate::arch::{
    ports::{self, PortBitmap},
    processor,
    switch::NOBODYS,
    trap::{DOUBLE_FAULT, double_fault},
};
use crate::last_words;
use core::arch::asm;
use kernel_core::arch::Context;
use protocol::introspection::last_words::REGISTERS;

/// Selector of kernel code.
const KERNEL_CODE: u16 = 0x08;
/// Selector of kernel data and of the kernel's stacks.
const KERNEL_DATA: u16 = 0x10;
/// Selector of the current thread's UTCB.
const UTCB: u16 = 0x2b;
const TASK_STATE: u16 = 0x30;
const EMERGENCY_TASK_STATE: u16 = 0x38;

/// A task state segment (Intel manual volume 3, 7.2.1): where traps from user mode push, and the
/// registers of who was interrupted by a double fault.
#[derive(Debug)]
#[repr(C)]
pub struct TaskState {
    link: u32,
    /// Stack pointer for traps from ring 3: the end of the current thread's register frame.
    pub frame_end: *mut u8,
    frame_segment: u32,
    rings: [u32; 4],
    directory: u32,
    /// Where it was interrupted.
    pub instruction: u32,
    flags: u32,
    /// eax, ecx, edx, ebx.
    general: [u32; 4],
    stack: u32,
    /// ebp, esi, edi.
    more_general: [u32; 3],
    extra_segment: u32,
    code_segment: u32,
    stack_segment: u32,
    data_segment: u32,
    fs: u32,
    gs: u32,
    local_descriptors: u32,
    trap: u16,
    /// Where the bitmap of I/O ports is: [`PortBitmap`], or beyond the segment, which forbids all
    /// ports in ring 3.
    pub io_bitmap: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// A task state with its ports.
#[derive(Debug)]
#[repr(C)]
pub struct TaskStateSegment {
    /// What the processor and the entries look at.
    pub state: TaskState,
    /// What ring 3 may do with ports.
    pub ports: PortBitmap,
}

const EMPTY_TASK_STATE: TaskState = TaskState {
    link: 0,
    frame_end: NOBODYS,
    frame_segment: KERNEL_DATA as u32,
    rings: [0; 4],
    directory: 0,
    instruction: 0,
    flags: 0,
    general: [0; 4],
    stack: 0,
    more_general: [0; 3],
    extra_segment: 0,
    code_segment: 0,
    stack_segment: 0,
    data_segment: 0,
    fs: 0,
    gs: 0,
    local_descriptors: 0,
    trap: 0,
    io_bitmap: ports::INVALID,
};

/// The one processor's task state segment. The exit code writes its frame pointer.
#[unsafe(no_mangle)]
pub static mut TASK_STATE_SEGMENT: TaskStateSegment =
    TaskStateSegment { state: EMPTY_TASK_STATE, ports: PortBitmap::EMPTY };

/// Registers to go on with after a double fault, when nothing else can be relied on.
static mut EMERGENCY_TASK_STATE_SEGMENT: TaskState = EMPTY_TASK_STATE;

const EMERGENCY_STACK_SIZE: usize = 4096;

#[repr(C, align(16))]
struct Stack([u8; EMERGENCY_STACK_SIZE]);

static mut EMERGENCY_STACK: Stack = Stack([0; EMERGENCY_STACK_SIZE]);

const CODE_KERNEL: u64 = 0x00cf_9a00_0000_ffff;
const DATA_KERNEL: u64 = 0x00cf_9200_0000_ffff;
const CODE_USER: u64 = 0x00cf_fa00_0000_ffff;
const DATA_USER: u64 = 0x00cf_f200_0000_ffff;
const AVAILABLE_TASK_STATE: u64 = 0x89 << 40;

static mut DESCRIPTORS: [u64; 8] = [0, CODE_KERNEL, DATA_KERNEL, CODE_USER, DATA_USER, 0, 0, 0];

/// A gate (Intel manual volume 3, 6.11).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    reserved: u8,
    kind: u8,
    offset_high: u16,
}

const EMPTY_GATE: Gate = Gate { offset_low: 0, selector: 0, reserved: 0, kind: 0, offset_high: 0 };
/// Present, ring 0 only, interrupts off on entry.
const INTERRUPT_GATE: u8 = 0x8e;
/// Present, and ring 3 may use it: `int3`, `into`, and the system call.
const USER_INTERRUPT_GATE: u8 = 0xee;
/// Present, ring 0 only, changes to another task state segment.
const TASK_GATE: u8 = 0x85;

static mut GATES: [Gate; 256] = [EMPTY_GATE; 256];

const BREAKPOINT: usize = 3;
const OVERFLOW: usize = 4;

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u32,
}

/// Fills the tables and loads them.
pub fn load() {
    fill_emergency_task_state();
    // SAFETY: this runs once at boot, before anything else can look at these statics.
    unsafe {
        DESCRIPTORS[6] = task_state_descriptor(&raw const TASK_STATE_SEGMENT);
        DESCRIPTORS[7] = task_state_descriptor(&raw const EMERGENCY_TASK_STATE_SEGMENT);
    }
    fill_gates();
    let descriptors = TablePointer { limit: 8 * 8 - 1, base: &raw const DESCRIPTORS as u32 };
    let gates = TablePointer { limit: 256 * 8 - 1, base: &raw const GATES as u32 };
    // SAFETY: both tables are complete and stay where they are; the segments loaded here are flat
    // 32-bit ones of ring 0 as before, and user data, which the kernel may use just as well; nobody
    // has loaded a local descriptor.
    unsafe {
        asm!(
            "lgdt [{descriptors}]",
            "lidt [{gates}]",
            "push {code}",
            "lea {scratch}, [2f]",
            "push {scratch}",
            "retf",
            "2:",
            "mov ss, {stack:x}",
            "mov ds, {data:x}",
            "mov es, {data:x}",
            "ltr {task_state:x}",
            descriptors = in(reg) &raw const descriptors,
            gates = in(reg) &raw const gates,
            code = const KERNEL_CODE,
            stack = in(reg) u32::from(KERNEL_DATA),
            data = in(reg) Context::USER_DATA,
            task_state = in(reg) u32::from(TASK_STATE),
            scratch = out(reg) _,
        );
        processor::clear_local_descriptors();
    }
}

fn task_state_descriptor<T>(segment: *const T) -> u64 {
    let base = segment as u64;
    let limit = size_of::<T>() as u64 - 1;
    AVAILABLE_TASK_STATE | limit | (base & 0xff_ffff) << 16 | (base >> 24) << 56
}

/// A double fault goes on in the directory of now, which every space shares as far as it matters.
fn fill_emergency_task_state() {
    let directory: u32;
    // SAFETY: reads a register; and only at boot, see `load`.
    unsafe {
        asm!("mov {}, cr3", out(reg) directory, options(nomem, nostack, preserves_flags));
        EMERGENCY_TASK_STATE_SEGMENT.directory = directory;
        EMERGENCY_TASK_STATE_SEGMENT.instruction =
            take_double_fault as extern "C" fn() -> ! as usize as u32;
        EMERGENCY_TASK_STATE_SEGMENT.stack =
            &raw const EMERGENCY_STACK as u32 + EMERGENCY_STACK_SIZE as u32;
        EMERGENCY_TASK_STATE_SEGMENT.code_segment = KERNEL_CODE.into();
        EMERGENCY_TASK_STATE_SEGMENT.stack_segment = KERNEL_DATA.into();
        EMERGENCY_TASK_STATE_SEGMENT.data_segment = KERNEL_DATA.into();
        EMERGENCY_TASK_STATE_SEGMENT.extra_segment = KERNEL_DATA.into();
    }
}

/// The processor has put the registers of then into the other task state segment.
extern "C" fn take_double_fault() -> ! {
    // SAFETY: a plain read; nobody else runs any more.
    let TaskState { general, stack, more_general, instruction, .. } =
        unsafe { (&raw const TASK_STATE_SEGMENT.state).read() };
    let values = general.into_iter().chain([stack]).chain(more_general).chain([instruction]);
    let mut registers = [0; REGISTERS];
    registers.iter_mut().zip(values).for_each(|(register, value)| *register = u64::from(value));
    last_words::note_registers(registers);
    double_fault(instruction as usize);
}

fn fill_gates() {
    // SAFETY: a constant table in the image.
    let entries = unsafe { TRAP_ENTRIES };
    for (number, offset) in entries.into_iter().enumerate() {
        let vector = trap_vector(number);
        let kind = match vector {
            BREAKPOINT | OVERFLOW => USER_INTERRUPT_GATE,
            _ => INTERRUPT_GATE,
        };
        set_gate(vector, Gate::new(KERNEL_CODE, offset, kind));
    }
    let system_call = system_call_entry as unsafe extern "C" fn() as usize as u32;
    set_gate(SYSTEM_CALL_VECTOR, Gate::new(KERNEL_CODE, system_call, USER_INTERRUPT_GATE));
    set_gate(DOUBLE_FAULT, Gate::new(EMERGENCY_TASK_STATE, 0, TASK_GATE));
}

impl Gate {
    fn new(selector: u16, offset: u32, kind: u8) -> Self {
        let (offset_low, offset_high) = (offset as u16, (offset >> 16) as u16);
        Self { offset_low, selector, reserved: 0, kind, offset_high }
    }
}

fn set_gate(vector: usize, gate: Gate) {
    // SAFETY: only at boot, see `load`.
    unsafe { GATES[vector] = gate }
}

/// Makes FS the segment of the thread that will run, and GS nothing.
#[inline(always)]
pub fn load_utcb_segment(descriptor: [u32; 2]) {
    let slot = (&raw mut DESCRIPTORS).cast::<[u32; 2]>();
    // SAFETY: one processor, interrupts off. The descriptor is one of user data, and the kernel
    // uses neither FS nor GS.
    unsafe {
        slot.add(usize::from(UTCB / 8)).write(descriptor);
        asm!(
            "mov fs, {utcb:x}",
            "mov gs, {nothing:x}",
            utcb = in(reg) u32::from(UTCB),
            nothing = in(reg) 0,
            options(nostack, preserves_flags),
        );
    }
}

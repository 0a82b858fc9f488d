//! The processor's loop: into the guest, out of it, do what it asks for, and again.

use super::{
    Vm,
    exit::{Exit, Next},
};
use crate::{
    cpu::CpuState,
    outcome::{Cause, Crash, InternalError, Outcome},
};
use kvm_bindings::{KVMIO, kvm_irq_level, kvm_regs, kvm_run, kvm_sregs, kvm_translation};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::sync::atomic::{AtomicBool, Ordering};
use vmm_sys_util::ioctl::{_IOC_NONE, _IOC_READ, _IOC_WRITE, ioctl_expr};

/// The numbers of the requests that this loop and the serial port make to KVM: KVM_RUN, KVM_GET_REGS,
/// KVM_GET_SREGS, KVM_TRANSLATE, KVM_IRQ_LINE.
pub const REQUESTS: [u32; 5] = [
    request(_IOC_NONE, 0x80, 0),
    request(_IOC_READ, 0x81, size_of::<kvm_regs>()),
    request(_IOC_READ, 0x83, size_of::<kvm_sregs>()),
    request(_IOC_READ | _IOC_WRITE, 0x85, size_of::<kvm_translation>()),
    request(_IOC_WRITE, 0x61, size_of::<kvm_irq_level>()),
];

const fn request(direction: u32, number: u32, size: usize) -> u32 {
    ioctl_expr(direction, KVMIO, number, size as u32) as u32
}

/// Runs the guest until it ends or `stop` is set and a signal interrupts KVM_RUN. `handle` says
/// what comes of each exit.
pub fn run(vm: &mut Vm, mut handle: impl FnMut(Exit<'_>) -> Next, stop: &AtomicBool) -> Outcome {
    loop {
        if stop.load(Ordering::Acquire) {
            return Outcome::Stopped(state(&vm.vcpu));
        }
        match handle(leave(&mut vm.vcpu)) {
            Next::Run => {}
            Next::Exit(status) => return Outcome::Exit(status),
            Next::Crash(cause) => return Outcome::Crash(crash(cause, vm)),
        }
    }
}

/// Runs the guest until it leaves KVM.
fn leave(vcpu: &mut VcpuFd) -> Exit<'_> {
    let shared: *const kvm_run = vcpu.get_kvm_run();
    // SAFETY: the structure lies in memory that KVM shares as long as there is the processor, which
    // the exit borrows. Its union's member for port accesses is plain numbers, and the bytes of the
    // access lie behind the structure.
    let size = || unsafe { (&raw const (*shared).__bindgen_anon_1.io.size).read() }.into();
    match vcpu.run() {
        Ok(VcpuExit::IoOut(port, data)) => Exit::PortWrite { port, size: size(), data },
        Ok(VcpuExit::IoIn(port, data)) => Exit::PortRead { port, size: size(), data },
        Ok(VcpuExit::MmioWrite(..)) => Exit::MemoryWrite,
        Ok(VcpuExit::MmioRead(_, data)) => Exit::MemoryRead { data },
        Ok(VcpuExit::Hlt) => Exit::Halt,
        Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen) => Exit::Nothing,
        Ok(VcpuExit::Shutdown) => Exit::Fatal(Cause::TripleFault),
        Ok(VcpuExit::FailEntry(reason, _)) => Exit::Fatal(Cause::FailedEntry { reason }),
        Ok(VcpuExit::SystemEvent(kind, _)) => Exit::Fatal(Cause::SystemEvent { kind }),
        Ok(VcpuExit::InternalError) => Exit::Fatal(Cause::InternalError(Box::default())),
        Ok(other) => Exit::Fatal(Cause::UnexpectedExit(format!("{other:?}"))),
        // EINTR: a signal came; EAGAIN: KVM asks to be called again.
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Exit::Nothing,
        Err(error) => Exit::Fatal(Cause::RunFailed(error.to_string())),
    }
}

fn state(vcpu: &VcpuFd) -> Option<Box<CpuState>> {
    Some(Box::new(CpuState::new(vcpu.get_regs().ok()?, vcpu.get_sregs().ok()?)))
}

/// What is known of a guest that cannot go on.
fn crash(cause: Cause, vm: &mut Vm) -> Crash {
    let cpu = state(&vm.vcpu);
    if cause == Cause::TripleFault && cpu.as_ref().is_some_and(|cpu| cpu.is_reset()) {
        return Crash { cause: Cause::TripleFaultAndReset, cpu: None };
    }
    Crash { cause: with_details(cause, vm, cpu.as_deref()), cpu }
}

/// Adds what KVM says about an internal error, and the bytes at the instruction pointer.
fn with_details(cause: Cause, vm: &mut Vm, cpu: Option<&CpuState>) -> Cause {
    if !matches!(cause, Cause::InternalError(_)) {
        return cause;
    }
    // SAFETY: the last exit was KVM_EXIT_INTERNAL_ERROR, so this is the member of the union that
    // KVM filled in; it is plain numbers, valid in any case.
    let internal = unsafe { vm.vcpu.get_kvm_run().__bindgen_anon_1.internal };
    let count = internal.data.len().min(internal.ndata as usize);
    let instruction = cpu.map(|cpu| bytes_at(vm, cpu.instruction_pointer()));
    Cause::InternalError(Box::new(InternalError {
        suberror: internal.suberror,
        details: internal.data[..count].to_vec(),
        instruction: instruction.unwrap_or_default(),
    }))
}

/// Up to eight bytes of the instruction at a virtual address, not beyond its page.
fn bytes_at(vm: &Vm, address: u64) -> Vec<u8> {
    const WANTED: u64 = 8;
    let page = protocol::PAGE_SIZE as u64;
    let length = WANTED.min(page - address % page);
    let mut bytes = vec![0; length as usize];
    match vm.vcpu.translate_gva(address) {
        Ok(place)
            if place.valid != 0 && vm.memory.read(place.physical_address, &mut bytes).is_ok() =>
        {
            bytes
        }
        _ => Vec::new(),
    }
}

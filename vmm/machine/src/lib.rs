//! The virtual machine: the one room that knows KVM.
//!
//! [`Machine::new`] makes a guest of a kernel image, a bundle of boot modules ([`bundle`]) and a
//! [`Config`]; [`Machine::start`] runs it in a thread of its own until it ends ([`Outcome`]).
//! Meanwhile others read its [`Memory`]: running and watching don't know each other.
//!
//! What the guest finds is a small PC: RAM from address 0 ([`layout`]), a 16550 for its console, a
//! port that ends the machine, and KVM's own interrupt controllers. It enters at the kernel's PVH
//! entry. Nothing that a guest does makes this crate panic: what it writes is data.

mod access;
pub mod bundle;
mod cpu;
mod elf;
mod exit;
pub mod host;
mod kernel;
mod kvm;
pub mod layout;
mod loader;
mod memory;
pub mod probe;
mod registers;
mod vcpu;
mod vm;

pub use cpu::CpuState;
pub use exit::{Cause, InternalError};
pub use kernel::{Kernel, KernelError};
pub use kvm::KvmError;
pub use loader::LoadError;
pub use memory::{Memory, MemoryError, OutsideRam, RamSize, RamSizeError, human};
pub use vcpu::{Crash, Outcome};
pub use vm::{Config, Machine, MachineError, Running};

/// Where KVM's device usually is.
pub const KVM_DEVICE: &str = "/dev/kvm";

//! How a guest ends, whatever engine runs it.

use crate::cpu::CpuState;
use std::{fmt, process::ExitStatus};

/// How a guest ended.
#[derive(Debug)]
pub enum Outcome {
    /// It asked for the end, with this status.
    Exit(u8),
    /// Somebody stopped it; where it was then, if the engine knows.
    Stopped(Option<Box<CpuState>>),
    /// It could not go on.
    Crash(Crash),
}

/// What is known of a guest that could not go on.
#[derive(Debug)]
pub struct Crash {
    /// Why.
    pub cause: Cause,
    /// Its registers, if the engine knows them.
    pub cpu: Option<Box<CpuState>>,
}

/// Why a guest could not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The processor shut down: a fault while it delivered a double fault.
    TripleFault,
    /// The guest halted with no interrupt controller to wake it.
    Halted,
    /// KVM gave up.
    InternalError(Box<InternalError>),
    /// The processor refused the guest's state.
    FailedEntry {
        /// The hardware's reason.
        reason: u64,
    },
    /// KVM reports a shutdown, reset or crash of the platform.
    SystemEvent {
        /// A `KVM_SYSTEM_EVENT` number.
        kind: u32,
    },
    /// KVM_RUN itself failed.
    RunFailed(String),
    /// An exit that this machine never asks for.
    UnexpectedExit(String),
    /// QEMU says that the guest reset the machine.
    Reset,
    /// QEMU ended without the guest's asking.
    QemuEnded {
        /// How.
        status: ExitStatus,
        /// What it said.
        message: String,
    },
    /// The guest accessed what QEMU's serial port cannot: it aborted.
    QemuSerialPort {
        /// What it said.
        message: String,
    },
    /// QEMU cannot be waited for.
    QemuLost(String),
}

/// What KVM says when it gives up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InternalError {
    /// Its reason, a `KVM_INTERNAL_ERROR` number.
    pub suberror: u32,
    /// What it adds.
    pub details: Vec<u64>,
    /// The bytes at the instruction pointer, where they can be read.
    pub instruction: Vec<u8>,
}

impl fmt::Display for InternalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suberror, details, instruction } = self;
        let meaning = match suberror {
            1 => "it could not emulate the instruction",
            2 => "two exceptions at once",
            3 => "a fault while it delivered an event",
            4 => "an exit that it did not expect",
            _ => "no reason known",
        };
        write!(f, "KVM gave up: {meaning} (KVM_EXIT_INTERNAL_ERROR, suberror {suberror}")?;
        details.iter().try_for_each(|detail| write!(f, " {detail:#x}"))?;
        write!(f, ")")?;
        if !instruction.is_empty() {
            write!(f, ", bytes at rip:")?;
        }
        instruction.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TripleFault => write!(
                f,
                "triple fault: the processor met an exception that it could not deliver \
                 (KVM_EXIT_SHUTDOWN)"
            ),
            Self::Halted => write!(f, "the guest halted and nothing can wake it (KVM_EXIT_HLT)"),
            Self::InternalError(error) => error.fmt(f),
            Self::FailedEntry { reason } => write!(
                f,
                "the processor refused the guest's state (KVM_EXIT_FAIL_ENTRY, reason {reason:#x})"
            ),
            Self::SystemEvent { kind } => {
                write!(f, "the platform went down (KVM_EXIT_SYSTEM_EVENT, type {kind})")
            }
            Self::RunFailed(reason) => write!(f, "KVM_RUN failed: {reason}"),
            Self::UnexpectedExit(exit) => write!(f, "KVM left the guest with {exit}"),
            Self::Reset => write!(
                f,
                "the machine was reset, most likely by a triple fault; QEMU does not say where"
            ),
            Self::QemuEnded { status, message } => write!(f, "QEMU ended ({status}): {message}"),
            Self::QemuSerialPort { message } => write!(
                f,
                "the guest accessed 2 or 4 bytes at once that begin in the serial port's range \
                 (0x3f8-0x3ff) and end behind it; QEMU's serial port cannot do that and has ended \
                 QEMU: access single bytes there, or use --engine kvm ({message})"
            ),
            Self::QemuLost(reason) => write!(f, "cannot wait for QEMU: {reason}"),
        }
    }
}

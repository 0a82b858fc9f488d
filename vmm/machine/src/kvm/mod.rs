//! KVM: the guest's processor is the host's.
//!
//! This module opens it, and says what to do where that fails; [`vm`] has the machine.

mod access;
mod cpuid;
mod exit;
pub mod probe;
mod registers;
mod serial;
mod statistics;
mod vcpu;
pub mod vm;

pub use vcpu::REQUESTS as PROCESSOR_REQUESTS;

use crate::{
    Architecture,
    layout::{KVM_IDENTITY_MAP, KVM_TSS},
    machine::MachineError,
    memory::Memory,
};
use kvm_bindings::{KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use probe::{Attempt, PagingMode, Probe, Ring0};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use thiserror::Error;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::errno;

/// Why there is no virtual machine on this host.
#[derive(Debug, Error)]
pub enum KvmError {
    /// No device.
    #[error(
        "{0} does not exist: load KVM with `sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`; \
         in a virtual machine switch on nested virtualisation, in a container pass --device {0}"
    )]
    Missing(PathBuf),
    /// The device is there, but not for this user.
    #[error("no permission to open {path}: {fix}")]
    Forbidden {
        /// The device.
        path: PathBuf,
        /// What to do.
        fix: String,
    },
    /// Another hypervisor has the processor.
    #[error(
        "{0} is busy: another hypervisor uses the processor's virtualisation; \
         stop it (VirtualBox, say) and try again"
    )]
    Busy(PathBuf),
    /// Opening failed in another way.
    #[error("cannot open {path}: {error}")]
    Open {
        /// The device.
        path: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// Some other file.
    #[error("{0} is not a KVM device: it does not answer KVM_GET_API_VERSION")]
    NotKvm(PathBuf),
    /// A KVM of another age.
    #[error("KVM's API has version {0}, not {KVM_API_VERSION}: use Linux 2.6.22 or later")]
    ApiVersion(i32),
    /// A capability that the machine is built on.
    #[error("this KVM lacks {0}, which the machine needs: use a newer Linux")]
    Lacks(&'static str),
    /// Guests of this architecture cannot switch their paging on.
    #[error(
        "this KVM cannot run {architecture} guests: it refuses {}-bit paging ({reason})",
        .architecture.word_bits()
    )]
    CannotPage {
        /// The architecture.
        architecture: Architecture,
        /// What a guest saw when it tried.
        reason: String,
    },
    /// A processor that is too old for the kernel, or a virtual one with too few features.
    #[error(
        "this KVM cannot run amd64 guests: it offers them no FSGSBASE, which processors have since \
         2012 (Intel) and 2014 (AMD); if this host is a virtual machine, give it the features of its \
         own host (QEMU: -cpu host)"
    )]
    LacksFsgsbase,
    /// One of its system calls.
    #[error("KVM cannot {what}: {error}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

/// Names the system call that failed.
pub fn call<T>(what: &'static str, result: errno::Result<T>) -> Result<T, KvmError> {
    result.map_err(|error| KvmError::Call { what, error: error.into() })
}

/// Opens the device and checks that it is one.
pub fn open(path: &Path) -> Result<Kvm, KvmError> {
    let c_path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes());
    let c_path = c_path.map_err(|_| KvmError::Missing(path.to_owned()))?;
    let kvm = Kvm::new_with_path(c_path).map_err(|error| open_error(path, error.into()))?;
    match kvm.get_api_version() {
        version if version < 0 => Err(KvmError::NotKvm(path.to_owned())),
        version if version as u32 == KVM_API_VERSION => Ok(kvm),
        version => Err(KvmError::ApiVersion(version)),
    }
}

/// Finds out, with a guest of a few instructions if need be, whether guests of this architecture
/// run here.
pub fn can_run(device: &Path, architecture: Architecture) -> Result<(), KvmError> {
    let probe = Probe::open(device)?;
    let attempt = match architecture {
        // Whatever has a KVM has long mode.
        Architecture::Amd64 => {
            return match probe.has_fsgsbase() {
                Ok(false) => Err(KvmError::LacksFsgsbase),
                // What fails in another way will be said when the machine is made.
                _ => Ok(()),
            };
        }
        Architecture::Ia32 => probe.paging(PagingMode::TwoLevels),
    };
    let reason = match attempt {
        Ok(Attempt::Works) => return Ok(()),
        Ok(Attempt::Fails(reason)) => reason,
        Err(error) => error.to_string(),
    };
    Err(KvmError::CannotPage { architecture, reason })
}

/// Finds out, with a guest of a few instructions, who executes the guests' kernels here.
pub fn ring0(device: &Path) -> Result<Ring0, MachineError> {
    Probe::open(device)?.ring0()
}

fn open_error(path: &Path, error: io::Error) -> KvmError {
    let path = path.to_owned();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => KvmError::Missing(path),
        Some(libc::EACCES | libc::EPERM) => {
            let fix = access::how_to_permit(&path);
            KvmError::Forbidden { path, fix }
        }
        Some(libc::EBUSY) => KvmError::Busy(path),
        _ => KvmError::Open { path, error },
    }
}

/// A virtual machine with interrupt controllers and one processor. It keeps its RAM mapped.
pub struct Vm {
    pub vcpu: VcpuFd,
    pub memory: Memory,
    // Closed last: the processor belongs to it.
    vm: Arc<VmFd>,
}

impl Vm {
    /// A new machine whose processor has those features of KVM's that [`cpuid`] lets through.
    pub fn new(kvm: &Kvm, path: &Path, memory: Memory) -> Result<Self, KvmError> {
        for (capability, name) in [
            (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
            (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
            (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
        ] {
            if !kvm.check_extension(capability) {
                return Err(KvmError::Lacks(name));
            }
        }
        let vm = kvm.create_vm().map_err(|error| match error.errno() {
            libc::EBUSY => KvmError::Busy(path.to_owned()),
            _ => KvmError::Call { what: "create a virtual machine", error: error.into() },
        })?;
        call("place its task state segment", vm.set_tss_address(KVM_TSS))?;
        call("place its identity map", vm.set_identity_map_address(KVM_IDENTITY_MAP))?;
        call("create interrupt controllers", vm.create_irq_chip())?;
        give_memory(&vm, &memory)?;
        let vcpu = call("create a processor", vm.create_vcpu(0))?;
        let cpuid = call("list its features", kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES))?;
        call("set the processor's features", vcpu.set_cpuid2(&cpuid::for_guest(cpuid)))?;
        Ok(Self { vcpu, memory, vm: Arc::new(vm) })
    }
}

fn give_memory(vm: &VmFd, memory: &Memory) -> Result<(), KvmError> {
    for (slot, region) in memory.map().iter().enumerate() {
        let slot = kvm_userspace_memory_region {
            slot: slot as u32,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the region is one whole mapping of ours, and nothing of Rust lies in it. It
        // stays mapped as long as the machine is: `Vm` holds a clone of the memory.
        let result = unsafe { vm.set_user_memory_region(slot) };
        call("give memory to the guest", result)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: i32) -> String {
        open_error(Path::new("/dev/kvm"), io::Error::from_raw_os_error(errno)).to_string()
    }

    #[test]
    fn each_way_to_have_no_kvm_says_what_to_do() {
        assert!(error(libc::ENOENT).contains("modprobe kvm_intel"));
        assert!(error(libc::EACCES).starts_with("no permission to open /dev/kvm: "));
        assert!(error(libc::EBUSY).contains("another hypervisor"));
        assert!(error(libc::EIO).starts_with("cannot open /dev/kvm: "));
    }

    #[test]
    fn a_missing_device_and_a_plain_file_are_told_apart() {
        let missing = open(Path::new("/nonexistent/kvm")).unwrap_err();
        assert!(matches!(missing, KvmError::Missing(_)), "{missing}");
        let plain = open(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(plain, KvmError::NotKvm(_)), "{plain}");
    }
}

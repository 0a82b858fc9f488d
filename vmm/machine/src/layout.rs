//! Where everything lies in the guest's physical memory.
//!
//! | from | what |
//! |---|---|
//! | [`START_INFO`] | the PVH start info |
//! | [`MEMORY_MAP`] | its memory map: one entry |
//! | [`MODULE_LIST`] | its module list: one entry |
//! | [`COMMAND_LINE`] | the kernel's command line, ended by a zero |
//! | [`KERNEL_FLOOR`] | the kernel, where its program headers say |
//! | after the kernel, on a [`BUNDLE_ALIGNMENT`] boundary | the bundle |

use images::Architecture;
use vm_memory::GuestAddress;

/// The smallest RAM that kernel, bundle and a program or two fit into: 16 MiB.
pub const RAM_MIN: u64 = 16 << 20;

/// The largest RAM, 3 GiB: sigma0 has all of it mapped 1:1 in its user area, and what the
/// processor keeps for itself (its local APIC, KVM's own pages) lies above.
pub const RAM_MAX: u64 = protocol::layout::USER_END as u64;

/// The largest RAM for an `ia32` kernel, 960 MiB: it maps all of RAM into its own part of the
/// address space, the last GiB, and needs some of that for devices.
pub const IA32_RAM_MAX: u64 = 960 << 20;

/// The most RAM that a kernel of this architecture can use.
pub const fn ram_limit(architecture: Architecture) -> u64 {
    match architecture {
        Architecture::Amd64 => RAM_MAX,
        Architecture::Ia32 => IA32_RAM_MAX,
    }
}

/// The PVH start info.
pub const START_INFO: GuestAddress = GuestAddress(0x6000);

/// The memory map that the start info points to.
pub const MEMORY_MAP: GuestAddress = GuestAddress(0x7000);

/// The module list that the start info points to.
pub const MODULE_LIST: GuestAddress = GuestAddress(0x8000);

/// The kernel's command line.
pub const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);

/// Most bytes of the command line, its final zero included.
pub const COMMAND_LINE_LENGTH: usize = 0x1_0000;

/// The kernel's segments begin here or above: what is below belongs to the boot data.
pub const KERNEL_FLOOR: u64 = 0x10_0000;

/// The bundle begins on a superpage boundary, so that its pages can be mapped by superpages.
pub const BUNDLE_ALIGNMENT: u64 = 2 << 20;

/// The bundle ends below: everything in it is mapped 1:1 in sigma0 and the root task.
pub const BUNDLE_CEILING: u64 = protocol::layout::ONE_TO_ONE_END as u64;

/// Three pages that KVM needs for real mode on old VMX processors.
pub const KVM_TSS: usize = 0xFFFB_D000;

/// One page that KVM needs for the same.
pub const KVM_IDENTITY_MAP: u64 = 0xFFFB_C000;

/// First port of the console's 16550.
pub const CONSOLE_PORT: u16 = 0x3F8;

/// Ports of the console.
pub const CONSOLE_PORTS: u16 = 8;

/// The line of its interrupt.
pub const SERIAL_INTERRUPT: u16 = 4;

/// A byte written here ends the machine with that status, as with QEMU's isa-debug-exit.
pub const EXIT_PORT: u16 = 0xF4;

/// The highest status that a guest can end with; higher ones count as this one.
pub const EXIT_STATUS_MAX: u8 = 127;

//! The processors that the guest is built for, how, and what operations may cost there.

use crate::bench::{budget::Budget, others::Others};

/// One of them.
#[derive(Debug)]
pub struct Architecture {
    /// What people call it. Its images lie in a folder of that name.
    pub name: &'static str,
    /// What the compiler calls it.
    pub target: &'static str,
    /// Compiler flags for the kernel.
    pub kernel_flags: &'static [&'static str],
    /// Compiler flags for programs.
    pub program_flags: &'static [&'static str],
    /// What Debian's toolchain needs besides: it brings no core library for the target, but sources
    /// of one, and no linker.
    pub debian: Debian,
    /// Mebibytes of a large machine: the boot must not take longer there.
    pub large_memory: u32,
    /// The most that operations may cost.
    pub budget: Budget,
    /// What they cost in other kernels.
    pub others: Others,
}

/// What Debian's toolchain needs.
#[derive(Clone, Copy, Debug)]
pub struct Debian {
    /// Compiler flags.
    pub flags: &'static [&'static str],
    /// Arguments for cargo.
    pub arguments: &'static [&'static str],
}

const BUILD_STD: &str = "-Zbuild-std=core,alloc,compiler_builtins";

/// 64-bit x86.
pub static AMD64: Architecture = Architecture {
    name: "amd64",
    target: "x86_64-unknown-none",
    // At a fixed place in the upper half of the address space.
    kernel_flags: &["-Crelocation-model=static", "-Ccode-model=kernel"],
    // At a fixed place anywhere in the lower 4 GiB, so that all addresses in the code must be
    // relative to the instruction pointer.
    program_flags: &["-Crelocation-model=pic"],
    debian: Debian {
        flags: &["-Clinker=ld", "-Clinker-flavor=ld"],
        arguments: &[BUILD_STD, "-Zbuild-std-features=compiler-builtins-mem"],
    },
    large_memory: 2048,
    budget: Budget {
        page_fault: 540,
        page_fault_untraced: 467,
        ipc_call: 280,
        timeout: 40,
        reply_later: 250,
        null_syscall: 105,
        unmap: 320,
        map: 240,
        page_of_item: 52.0,
        revoke: 96.5,
        thread_cycle: 1350,
        task_cycle: 17_500,
        ex_regs: 450,
        exception: 1125,
        longest_stretch: 2000,
        boot: 60_000,
        trace: 75,
    },
    others: Others {
        page_fault: "2027",
        ipc_call: "439",
        null_syscall: "89 to 271",
        thread_cycle: "6771",
        task_cycle: "49400",
    },
};

/// At a fixed place, where any word is an address. This target is meant for Linux, so that the
/// compiler would ask gcc to link with a C library. Its core library can unwind; nothing here does,
/// and so nobody calls the function that goes on unwinding.
const IA32_FLAGS: &[&str] = &[
    "-Crelocation-model=static",
    "-Clinker=ld",
    "-Clinker-flavor=ld",
    "-Clink-arg=-melf_i386",
    "-Clink-arg=--defsym=_Unwind_Resume=0",
];

/// 32-bit x86.
pub static IA32: Architecture = Architecture {
    name: "ia32",
    // Without SSE, as the kernel does not save its registers.
    target: "i586-unknown-linux-gnu",
    kernel_flags: IA32_FLAGS,
    program_flags: IA32_FLAGS,
    debian: Debian { flags: &[], arguments: &[BUILD_STD] },
    // All that the kernel can map.
    large_memory: 960,
    budget: Budget {
        page_fault: 560,
        page_fault_untraced: 462,
        ipc_call: 270,
        timeout: 40,
        reply_later: 290,
        null_syscall: 90,
        unmap: 300,
        map: 245,
        page_of_item: 59.0,
        revoke: 103.5,
        thread_cycle: 1420,
        task_cycle: 22_900,
        ex_regs: 450,
        exception: 1130,
        longest_stretch: 2000,
        boot: 60_000,
        trace: 98,
    },
    others: Others {
        page_fault: "2340",
        ipc_call: "499",
        null_syscall: "103 to 308",
        thread_cycle: "",
        task_cycle: "",
    },
};

/// All of them.
pub static ALL: [&Architecture; 2] = [&AMD64, &IA32];

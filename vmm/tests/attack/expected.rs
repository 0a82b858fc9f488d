//! What has to come of each attack, by processor: the vector of the exception, or that nothing happens.
//! What may differ between processors of one kind is separated by a bar.

/// A kind of processor, as far as what a task sees of it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// 64 bits: QEMU's, or a real one under KVM.
    Amd64,
    /// 64 bits, under a KVM without hardware for it: it runs ring 3 in the ring 3 of the host, whose own
    /// tables decide about some instructions.
    SoftwareKvm,
    /// 32 bits: QEMU's, or a real one under KVM.
    Ia32,
}

/// Instructions on amd64, on amd64 under a software KVM, and on ia32.
pub const INSTRUCTIONS: &[(&str, [&str; 3])] = &[
    ("hlt", ["13"; 3]),
    ("cli", ["13"; 3]),
    ("sti", ["13"; 3]),
    ("clts", ["13"; 3]),
    ("invd", ["13"; 3]),
    ("wbinvd", ["13"; 3]),
    ("mov cr0", ["13"; 3]),
    ("read cr0", ["13"; 3]),
    ("mov cr3", ["13"; 3]),
    ("mov cr4", ["13"; 3]),
    ("mov cr2", ["13"; 3]),
    ("read cr2", ["13"; 3]),
    ("read cr3", ["13"; 3]),
    ("mov dr0", ["13"; 3]),
    ("mov dr3", ["13"; 3]),
    ("mov dr6", ["13"; 3]),
    ("mov dr7", ["13"; 3]),
    ("read dr0", ["13"; 3]),
    ("read dr6", ["13"; 3]),
    ("read dr7", ["13"; 3]),
    ("rdmsr", ["13"; 3]),
    ("wrmsr", ["13"; 3]),
    ("rdpmc", ["13"; 3]),
    ("sgdt", ["13"; 3]),
    ("sidt", ["13"; 3]),
    ("sldt", ["13"; 3]),
    ("str", ["13"; 3]),
    ("smsw", ["13"; 3]),
    ("lmsw", ["13"; 3]),
    ("lgdt", ["13"; 3]),
    ("lidt", ["13"; 3]),
    ("lldt", ["13"; 3]),
    ("ltr", ["13"; 3]),
    ("invlpg", ["13"; 3]),
    ("sysexit", ["6|13"; 3]),
    ("sysenter", ["6|13"; 3]),
    ("vmload", ["6|13"; 3]),
    ("vmrun", ["6|13"; 3]),
    ("stgi", ["6|13"; 3]),
    ("clgi", ["6|13"; 3]),
    ("xsetbv", ["6|13"; 3]),
    ("clac", ["6"; 3]),
    ("stac", ["6"; 3]),
    ("rsm", ["6"; 3]),
    // QEMU knows it only by another name.
    ("int1", ["1|6"; 3]),
    ("int3", ["3"; 3]),
    ("ud2", ["6"; 3]),
    ("divide by 0", ["0"; 3]),
    ("in 0xf4", ["13"; 3]),
    ("out 0xf4", ["13"; 3]),
    ("out 0x20", ["13"; 3]),
    ("in of 32 bits at 0xffff", ["13"; 3]),
    ("out of 32 bits at 0xffff", ["13"; 3]),
    ("in of 16 bits at 0xffff", ["13"; 3]),
    ("in of 32 bits at 0xfffd", ["13"; 3]),
    ("outs", ["13"; 3]),
    ("x87 exception", ["16"; 3]),
    // A software KVM cannot switch it off.
    ("avx", ["6", "returned", "6"]),
    ("locked nop", ["6"; 3]),
];

/// Those that only amd64 has.
pub const INSTRUCTIONS_OF_AMD64: &[(&str, [&str; 3])] = &[
    ("read cr8", ["13"; 3]),
    ("swapgs", ["13"; 3]),
    ("sysretq", ["13"; 3]),
    ("mov cr8", ["13"; 3]),
    // QEMU takes any base.
    ("wrgsbase", ["13|returned"; 3]),
    ("wrfsbase", ["13|returned"; 3]),
];

/// Those that only ia32 has.
pub const INSTRUCTIONS_OF_IA32: &[(&str, [&str; 3])] = &[
    ("syscall", ["6"; 3]),
    ("sysret", ["6"; 3]),
    ("into", ["4"; 3]),
    ("bound", ["5"; 3]),
    ("sse", ["6"; 3]),
];

impl Processor {
    /// The column of the tables.
    pub fn column(self) -> usize {
        self as usize
    }

    /// What comes of `int` with this number.
    pub fn interrupt(self, number: usize) -> &'static str {
        match (self, number) {
            (_, 3) => "3",
            (_, 4) => "4",
            (Self::Ia32, 0x30) => "returned",
            // Whatever the host makes of it.
            (Self::SoftwareKvm, _) => "6|13|returned",
            _ => "13 about it",
        }
    }

    /// What comes of a selector in a segment register.
    pub fn segment(self, register: &str, selector: usize) -> &'static str {
        let privilege = selector & 3;
        match (self, register, selector & !3) {
            (Self::Ia32, "ss", 0x20) if privilege == 3 => "returned",
            // The segment of the UTCB: from there on the stack is where nothing may be.
            (Self::Ia32, "ss", 0x28) if privilege == 3 => "14|returned",
            (_, "ss", 0x28) if self != Self::Ia32 && privilege == 3 => "returned",
            (_, "ss", _) => "13 about it",
            (_, _, 0) => "returned",
            (Self::Ia32, _, 0x18 | 0x20 | 0x28) => "returned",
            (Self::Amd64 | Self::SoftwareKvm, _, 0x28 | 0x30) => "returned",
            // The host's, for the number of its processor.
            (Self::SoftwareKvm, _, 0x78) => "returned",
            _ => "13 about it",
        }
    }

    /// What comes of a far jump or call: to code of this privilege there is nothing at address 0.
    pub fn far(self, selector: usize) -> &'static str {
        match (self, selector & !3) {
            (Self::Amd64 | Self::SoftwareKvm, 0x30) => "14",
            (Self::Ia32, 0x18) => "14",
            // What stands in the host's table is no code for it, or not there, whatever the guest says.
            (Self::SoftwareKvm, _) => "6|13 about it",
            _ => "13 about it",
        }
    }

    /// What comes of an address that no task has, used in some way.
    pub fn pointer(self, usage: &str) -> &'static str {
        match usage {
            "jump" | "return" => "13|14",
            "push" => "12|13|14",
            _ => "6",
        }
    }
}

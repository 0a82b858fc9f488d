//! The two processors that guests are built for.

use core::{fmt, str::FromStr};
use thiserror::Error;

/// What a guest's kernel and programs are built for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86: four levels of page tables, of which the kernel edits two.
    #[default]
    Amd64,
    /// 32-bit x86: the processor's own two levels of page tables.
    Ia32,
}

/// Not the name of an architecture.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("use amd64 or ia32")]
pub struct UnknownArchitecture;

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Ia32];

    /// That of the code that asks.
    pub const OWN: Self = if cfg!(target_arch = "x86") { Self::Ia32 } else { Self::Amd64 };

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Ia32 => "ia32",
        }
    }

    /// What the compiler calls it.
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-none",
            Self::Ia32 => "i586-unknown-linux-gnu",
        }
    }

    /// Bits of a machine word, and of an ELF file.
    pub fn word_bits(self) -> u32 {
        match self {
            Self::Amd64 => 64,
            Self::Ia32 => 32,
        }
    }

    /// The number that ELF files name it by.
    pub const fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Ia32 => 3,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(text: &str) -> Result<Self, UnknownArchitecture> {
        Self::ALL.into_iter().find(|known| known.name() == text).ok_or(UnknownArchitecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for architecture in Architecture::ALL {
            assert_eq!(architecture.to_string().parse(), Ok(architecture));
        }
        for text in ["", "AMD64", "x86_64", "i386"] {
            assert_eq!(text.parse::<Architecture>(), Err(UnknownArchitecture));
        }
        assert_eq!(Architecture::default(), Architecture::Amd64);
    }
}

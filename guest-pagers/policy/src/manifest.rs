//! What the modules of a bundle may say of themselves: read by the host before it packs them for a
//! machine, and by the root task before it starts them.

use crate::regions::{Files, FilesError};
use images::bundle::{Bundle, BundleError, Module, ModuleName};
use protocol::{
    boot::{ModuleKind, PortRange},
    flexpage::KERNEL_PORTS,
    operation::interrupts::INTERRUPTS,
    program::ARGUMENTS_LENGTH,
};
use thiserror::Error;

/// Programs that one manifest can have.
pub const MAX_PROGRAMS: usize = 32;

/// What a quota is a multiple of, in KiB: the kernel hands out whole pages.
const QUOTA_STEP: u32 = 4;

/// The largest quota in KiB: no kernel has more memory than this to give.
const LARGEST_QUOTA: u32 = 128 * 1024;

/// What is wrong with the manifest.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ManifestError {
    /// A module that must be there is not, or its image cannot be run.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There is no program.
    #[error(
        "there is no program to start: name a scenario such as words, or a program with --module"
    )]
    NoProgram,
    /// More programs than the root task has room for.
    #[error("{0} programs are too many: the root task starts at most {MAX_PROGRAMS}")]
    TooManyPrograms(usize),
    /// Programs could not see the files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// No name.
    #[error("a module has no name: give it one with name=")]
    NoName,
    /// Names are how modules refer to each other.
    #[error("two modules of one kind are called '{0}': rename one with name=")]
    SameName(ModuleName),
    /// The pager or server of this program is no program.
    #[error("the pager or server of '{0}' is not one of the programs")]
    NoSuchProgram(ModuleName),
    /// A pager that would wait for itself.
    #[error(
        "module '{0}' is paged, in the end, by itself: its faults would never be resolved; leave out \
         one pager="
    )]
    PagerCycle(ModuleName),
    /// Out of range.
    #[error("priority {priority} of module '{name}' is not between 1 and 255")]
    Priority {
        /// The module.
        name: ModuleName,
        /// Its priority.
        priority: u32,
    },
    /// A quota of no use.
    #[error(
        "the quota of module '{name}' is {quota}K: it must be a multiple of {QUOTA_STEP}K, from \
         {QUOTA_STEP}K to {}M", LARGEST_QUOTA >> 10
    )]
    Quota {
        /// The module.
        name: ModuleName,
        /// Its quota in KiB.
        quota: u32,
    },
    /// A range of nothing.
    #[error(
        "the ports {:#x}-{:#x} of module '{name}' end before they begin: write the lower one first",
        .range.first, .range.last
    )]
    NoPorts {
        /// The module.
        name: ModuleName,
        /// The range.
        range: PortRange,
    },
    /// Ports that nobody gets.
    #[error(
        "the ports {:#x}-{:#x} of module '{name}' include {port:#x}, which the kernel keeps for \
         itself", .range.first, .range.last
    )]
    KernelPort {
        /// The module.
        name: ModuleName,
        /// The range.
        range: PortRange,
        /// The port in it.
        port: u16,
    },
    /// An interrupt that there is not.
    #[error(
        "module '{name}' asks for interrupt {interrupt}: the last one is {}", INTERRUPTS - 1
    )]
    NoInterrupt {
        /// The module.
        name: ModuleName,
        /// The interrupt.
        interrupt: u16,
    },
    /// Only one program can have an interrupt.
    #[error("module '{name}' asks for interrupt {interrupt}, which has been asked for already")]
    InterruptTwice {
        /// The module.
        name: ModuleName,
        /// The interrupt.
        interrupt: u16,
    },
    /// Ports, interrupts or a quota for something that does not run on its own.
    #[error("module '{0}' is no program: only programs have ports, interrupts or a quota")]
    NotAProgram(ModuleName),
    /// Arguments that do not fit.
    #[error(
        "the arguments of module '{name}' are {length} bytes long: the most is {ARGUMENTS_LENGTH}"
    )]
    LongArguments {
        /// The module.
        name: ModuleName,
        /// Their length.
        length: usize,
    },
}

/// Checks all that the modules say, but for their images and who pages whom.
pub fn check(bundle: Bundle<'_>) -> Result<(), ManifestError> {
    bundle.sigma0()?;
    bundle.root_task()?;
    let programs = bundle.modules_of(ModuleKind::Program).count();
    if programs > MAX_PROGRAMS {
        return Err(ManifestError::TooManyPrograms(programs));
    }
    Files::lay_out(bundle)?;
    for module in bundle.modules() {
        check_module(&module)?;
        check_interrupts(bundle, &module)?;
        let mut others = bundle.modules_of(module.kind).take_while(|m| m.index < module.index);
        if others.any(|other| other.name == module.name) {
            return Err(ManifestError::SameName(module.name()));
        }
    }
    Ok(())
}

/// Each interrupt exists, and is asked for once.
fn check_interrupts(bundle: Bundle<'_>, module: &Module<'_>) -> Result<(), ManifestError> {
    let own = module.entry.interrupts();
    for (place, &interrupt) in own.iter().enumerate() {
        let name = || module.name();
        if interrupt >= INTERRUPTS {
            return Err(ManifestError::NoInterrupt { name: name(), interrupt });
        }
        let mut before = bundle.modules().take_while(|other| other.index < module.index);
        let is_taken = own[..place].contains(&interrupt)
            || before.any(|other| other.entry.interrupts().contains(&interrupt));
        if is_taken {
            return Err(ManifestError::InterruptTwice { name: name(), interrupt });
        }
    }
    Ok(())
}

fn check_module(module: &Module<'_>) -> Result<(), ManifestError> {
    let name = || module.name();
    let Module { arguments, entry, .. } = module;
    if module.name.is_empty() {
        return Err(ManifestError::NoName);
    }
    if arguments.len() > ARGUMENTS_LENGTH {
        return Err(ManifestError::LongArguments { name: name(), length: arguments.len() });
    }
    if !(1..=255).contains(&entry.priority) {
        return Err(ManifestError::Priority { name: name(), priority: entry.priority });
    }
    let ports = entry.port_ranges();
    let has_any = entry.quota != 0 || !ports.is_empty() || !entry.interrupts().is_empty();
    if module.kind != ModuleKind::Program && has_any {
        return Err(ManifestError::NotAProgram(name()));
    }
    if !entry.quota.is_multiple_of(QUOTA_STEP) || entry.quota > LARGEST_QUOTA {
        return Err(ManifestError::Quota { name: name(), quota: entry.quota });
    }
    for range in ports {
        if range.first > range.last {
            return Err(ManifestError::NoPorts { name: name(), range: *range });
        }
        let includes = |port: &u16| (range.first..=range.last).contains(port);
        if let Some(port) = KERNEL_PORTS.into_iter().find(includes) {
            return Err(ManifestError::KernelPort { name: name(), range: *range, port });
        }
    }
    Ok(())
}

//! Puts kernel, bundle and boot data into RAM, as the PVH boot protocol says.

use crate::{
    kernel::Kernel,
    layout::{
        BUNDLE_ALIGNMENT, BUNDLE_CEILING, COMMAND_LINE, COMMAND_LINE_LENGTH, MEMORY_MAP,
        MODULE_LIST, START_INFO,
    },
    memory::{Memory, OutsideRam, human},
};
use linux_loader::{
    cmdline::Cmdline,
    configurator::{BootConfigurator, BootParams, pvh::PvhBootConfigurator},
    loader::{
        elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info},
        load_cmdline,
    },
};
use thiserror::Error;

/// Why a guest does not fit its machine.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel ends beyond RAM.
    #[error(
        "the kernel does not fit: it ends at {}, memory at {}; give more with --memory",
        human(*.end), human(*.ram)
    )]
    KernelTooBig {
        /// Where the kernel ends.
        end: u64,
        /// Where RAM ends.
        ram: u64,
    },
    /// The bundle ends beyond RAM.
    #[error(
        "the modules do not fit: they take {} from {} on, memory ends at {}; {}",
        human(*.length), human(*.start), human(*.ram), way_out(*.start + *.length)
    )]
    BundleTooBig {
        /// Where it would begin.
        start: u64,
        /// Its length in bytes.
        length: u64,
        /// Where RAM ends.
        ram: u64,
    },
    /// The command line is too long or has characters that are not printable ASCII.
    #[error("the kernel's command line is not usable: {0}; use plain ASCII, under 64 KiB")]
    CommandLine(linux_loader::cmdline::Error),
    /// linux-loader could not write the boot data.
    #[error("cannot write the boot data: {0}")]
    BootData(String),
    /// RAM ended early.
    #[error(transparent)]
    Ram(#[from] OutsideRam),
}

fn way_out(end: u64) -> String {
    let needed = end.next_multiple_of(1 << 20) + (8 << 20);
    if needed > BUNDLE_CEILING {
        "name smaller files".to_owned()
    } else {
        format!("use --memory {}M or more", needed >> 20)
    }
}

/// Whether a guest fits a machine with `ram` bytes of RAM, whoever loads it.
pub fn check(
    ram: u64,
    kernel: &Kernel<'_>,
    bundle: &[u8],
    command_line: &str,
) -> Result<(), LoadError> {
    place_bundle(ram, kernel, bundle)?;
    parse_command_line(command_line)?;
    Ok(())
}

/// Loads everything that the guest finds when it starts.
pub fn load(
    memory: &Memory,
    kernel: &Kernel<'_>,
    bundle: &[u8],
    command_line: &str,
) -> Result<(), LoadError> {
    let start = place_bundle(memory.size(), kernel, bundle)?;
    for segment in kernel.executable.segments() {
        // Fresh RAM is zero, as the rest must be.
        memory.write(segment.physical_address, segment.contents)?;
    }
    memory.write(start, bundle)?;
    load_cmdline(memory.map(), COMMAND_LINE, &parse_command_line(command_line)?)
        .map_err(|error| LoadError::BootData(error.to_string()))?;
    write_start_info(memory, start, bundle.len() as u64)
}

/// Where the bundle goes: behind the kernel.
fn place_bundle(ram: u64, kernel: &Kernel<'_>, bundle: &[u8]) -> Result<u64, LoadError> {
    if kernel.end > ram {
        return Err(LoadError::KernelTooBig { end: kernel.end, ram });
    }
    let start = kernel.end.next_multiple_of(BUNDLE_ALIGNMENT);
    let length = bundle.len() as u64;
    if start + length > ram.min(BUNDLE_CEILING) {
        return Err(LoadError::BundleTooBig { start, length, ram });
    }
    Ok(start)
}

fn parse_command_line(text: &str) -> Result<Cmdline, LoadError> {
    let mut line = Cmdline::new(COMMAND_LINE_LENGTH).map_err(LoadError::CommandLine)?;
    if !text.is_empty() {
        line.insert_str(text).map_err(LoadError::CommandLine)?;
    }
    Ok(line)
}

fn write_start_info(memory: &Memory, bundle: u64, length: u64) -> Result<(), LoadError> {
    /// Says that this is a start info.
    const MAGIC: u32 = 0x336E_C578;
    /// The version that has a memory map.
    const VERSION: u32 = 1;
    /// A memory map entry's type: RAM.
    const RAM: u32 = 1;

    let info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: 1,
        modlist_paddr: MODULE_LIST.0,
        cmdline_paddr: COMMAND_LINE.0,
        memmap_paddr: MEMORY_MAP.0,
        memmap_entries: 1,
        ..Default::default()
    };
    let map = [hvm_memmap_table_entry { size: memory.size(), type_: RAM, ..Default::default() }];
    let modules = [hvm_modlist_entry { paddr: bundle, size: length, ..Default::default() }];
    let mut params = BootParams::new(&info, START_INFO);
    params.set_sections(&map, MEMORY_MAP);
    params.set_modules(&modules, MODULE_LIST);
    PvhBootConfigurator::write_bootparams(&params, memory.map())
        .map_err(|error| LoadError::BootData(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, kernel::tests::sample, memory::RamSize};

    fn memory(mebibytes: u64) -> Memory {
        Memory::new(RamSize::new(mebibytes << 20).unwrap()).unwrap()
    }

    #[test]
    fn the_guest_finds_kernel_bundle_and_command_line() {
        let memory = memory(16);
        let bytes = sample().bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Amd64).unwrap();
        load(&memory, &kernel, b"bundle", "trace=off").unwrap();
        assert_eq!(memory.read_plain::<[u8; 4]>(0x10_0000).unwrap(), [0x90; 4]);
        assert_eq!(memory.read_plain::<u32>(START_INFO.0).unwrap(), 0x336E_C578);
        assert_eq!(memory.read_plain::<u32>(START_INFO.0 + 12).unwrap(), 1);
        let module: [u64; 2] = memory.read_plain(MODULE_LIST.0).unwrap();
        assert_eq!(module, [0x20_0000, 6]);
        assert_eq!(memory.read_plain::<[u8; 6]>(0x20_0000).unwrap(), *b"bundle");
        assert_eq!(memory.read_plain::<[u64; 2]>(MEMORY_MAP.0).unwrap(), [0, 16 << 20]);
        assert_eq!(memory.read_plain::<[u8; 10]>(COMMAND_LINE.0).unwrap(), *b"trace=off\0");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_size_that_would() {
        let memory = memory(16);
        let bytes = sample().bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Amd64).unwrap();
        let error = load(&memory, &kernel, &vec![0; 15 << 20], "").unwrap_err().to_string();
        assert_eq!(
            error,
            "the modules do not fit: they take 15 MiB from 2 MiB on, memory ends at 16 MiB; \
             use --memory 25M or more"
        );
        let mut big = sample();
        big.segments[0].memory_size = 32 << 20;
        let bytes = big.bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Amd64).unwrap();
        let error = load(&memory, &kernel, b"", "").unwrap_err().to_string();
        assert_eq!(
            error,
            "the kernel does not fit: it ends at 33 MiB, memory at 16 MiB; \
             give more with --memory"
        );
    }

    #[test]
    fn command_lines_that_the_guest_could_not_read_are_refused() {
        let memory = memory(16);
        let bytes = sample().bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Amd64).unwrap();
        for text in ["a\nb".to_owned(), "x".repeat(0x1_0000)] {
            let error = load(&memory, &kernel, b"", &text).expect_err("accepted");
            assert!(matches!(error, LoadError::CommandLine(_)), "{error}");
        }
    }
}

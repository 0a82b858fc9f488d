//! Puts kernel, bundle and boot data into RAM, as the PVH boot protocol says.

use crate::{
    kernel::Kernel,
    layout::{
        BUNDLE_ALIGNMENT, BUNDLE_CEILING, COMMAND_LINE, COMMAND_LINE_LENGTH, MEMORY_MAP,
        MODULE_LIST, RAM_MIN, START_INFO, ram_limit,
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
use protocol::{PAGE_SIZE, kip::PhysicalRange, pool};
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
    /// There is no room for the bundle, or none for the kernel's pool beside it.
    #[error(
        "the modules do not fit: they take {}, the kernel's own memory lies beside them, and memory ends \
         at {}; {}",
        human(*.length), human(*.ram), way_out(*.enough)
    )]
    BundleTooBig {
        /// The bundle's length in bytes.
        length: u64,
        /// Where RAM ends.
        ram: u64,
        /// RAM from which on they do fit, if there is such.
        enough: Option<u64>,
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

fn way_out(enough: Option<u64>) -> String {
    match enough {
        Some(enough) => format!("use --memory {}M or more", enough >> 20),
        None => "name smaller files".to_owned(),
    }
}

/// Where a loader puts the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundlePlace {
    /// Behind the kernel: [`load`].
    BehindKernel,
    /// At the end of RAM, below what firmware would need: QEMU.
    EndOfRam,
}

/// What is to be in a machine's RAM.
#[derive(Clone, Copy, Debug)]
struct Contents {
    kernel_end: u64,
    bundle_length: u64,
    place: BundlePlace,
}

impl Contents {
    fn new(kernel: &Kernel<'_>, bundle: &[u8], place: BundlePlace) -> Self {
        Self { kernel_end: kernel.end, bundle_length: bundle.len() as u64, place }
    }

    /// Where the bundle lies in a machine with so much RAM, if it and the kernel's pool have room.
    fn place(&self, ram: u64) -> Option<PhysicalRange> {
        /// QEMU's machines set aside less.
        const FIRMWARE: u64 = 256 << 10;
        let start = match self.place {
            BundlePlace::BehindKernel => self.kernel_end.next_multiple_of(BUNDLE_ALIGNMENT),
            BundlePlace::EndOfRam => ram.checked_sub(self.bundle_length + FIRMWARE)?,
        };
        let start = start - start % PAGE_SIZE as u64;
        let end = (start + self.bundle_length).next_multiple_of(PAGE_SIZE as u64);
        let bundle = PhysicalRange { start, end };
        let has_room = end <= ram.min(BUNDLE_CEILING);
        (has_room && pool::place(ram, self.kernel_end, bundle).is_ok()).then_some(bundle)
    }

    /// What to say if there is no place.
    fn check(&self, ram: u64, most: u64) -> Result<PhysicalRange, LoadError> {
        if self.kernel_end > ram {
            return Err(LoadError::KernelTooBig { end: self.kernel_end, ram });
        }
        self.place(ram).ok_or_else(|| LoadError::BundleTooBig {
            length: self.bundle_length,
            ram,
            enough: self.enough(most),
        })
    }

    /// The RAM, in whole MiB, from which on all sizes up to `most` have room: a little more can be too
    /// little again, since the pool grows with it.
    fn enough(&self, most: u64) -> Option<u64> {
        let sizes = (RAM_MIN >> 20..=most >> 20).rev().map(|mebibytes| mebibytes << 20);
        sizes.take_while(|ram| self.place(*ram).is_some()).last()
    }
}

/// Whether a guest fits a machine with `ram` bytes of RAM, of which it could have `most`.
pub fn check(
    ram: u64,
    most: u64,
    place: BundlePlace,
    kernel: &Kernel<'_>,
    bundle: &[u8],
    command_line: &str,
) -> Result<(), LoadError> {
    Contents::new(kernel, bundle, place).check(ram, most)?;
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
    let contents = Contents::new(kernel, bundle, BundlePlace::BehindKernel);
    let most = ram_limit(kernel.architecture);
    let start = contents.check(memory.size(), most)?.start;
    for segment in kernel.executable.segments() {
        // Fresh RAM is zero, as the rest must be.
        memory.write(segment.physical_address, segment.contents)?;
    }
    memory.write(start, bundle)?;
    load_cmdline(memory.map(), COMMAND_LINE, &parse_command_line(command_line)?)
        .map_err(|error| LoadError::BootData(error.to_string()))?;
    write_start_info(memory, start, bundle.len() as u64)
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
            "the modules do not fit: they take 15 MiB, the kernel's own memory lies beside them, and \
             memory ends at 16 MiB; use --memory 22M or more"
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

    /// What the kernel would make of the machine, for bundles and sizes of all kinds.
    #[test]
    fn what_is_said_to_be_enough_is_and_less_is_not() {
        for place in [BundlePlace::BehindKernel, BundlePlace::EndOfRam] {
            for bundle_length in [1, 10 << 20, 231_130_000, 300_000_000, 900 << 20, 1800 << 20] {
                let contents = Contents { kernel_end: 0x13_e180, bundle_length, place };
                let most = 2815 << 20;
                let enough = contents.enough(most).expect("it fits");
                for ram in [enough, enough + (1 << 20), enough + (5 << 20), most] {
                    let bundle = contents.place(ram).expect("it is enough");
                    assert!(bundle.end - bundle.start >= bundle_length && bundle.end <= ram);
                    pool::place(ram, contents.kernel_end, bundle).expect("the kernel takes it");
                }
                let less = enough - (1 << 20);
                assert!(less < RAM_MIN || contents.place(less).is_none(), "{less:#x}");
            }
            let endless = Contents { kernel_end: 0x13_e180, bundle_length: 3 << 30, place };
            assert_eq!(endless.enough(3 << 30), None);
        }
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

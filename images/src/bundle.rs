//! The boot bundle, read and checked once, so that whoever uses it need not.

use crate::{
    Architecture,
    elf::{ElfError, Image, Rules},
};
use arrayvec::ArrayString;
use core::{mem::offset_of, str};
use protocol::{
    PAGE_SIZE,
    boot::{
        BUNDLE_MAGIC, BUNDLE_VERSION, BundleHeader, ModuleEntry, ModuleKind, NAME_LENGTH, trim_name,
    },
};
use thiserror::Error;
use zerocopy::FromBytes;

/// A module's name, for errors that outlive the bundle.
pub type ModuleName = ArrayString<NAME_LENGTH>;

/// Why a bundle cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BundleError {
    /// Too short, or other bytes than a bundle begins with.
    #[error("the boot module is no bundle of Glasspager's")]
    NotABundle,
    /// Made for another version of the guest.
    #[error(
        "the boot bundle has version {0}, this guest reads {BUNDLE_VERSION}: build guest and `glass` \
         from one source"
    )]
    WrongVersion(u32),
    /// It claims more bytes than there are.
    #[error("the boot bundle is cut off")]
    Truncated,
    /// The entry of this module makes no sense.
    #[error("entry {0} of the boot bundle is damaged")]
    BadEntry(usize),
    /// There must be one.
    #[error("there must be exactly one {what}, but {count} modules are of that kind")]
    NotOne {
        /// `sigma0` or `root task`.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The image of this module cannot be run.
    #[error("cannot run module '{name}': {error}")]
    NotRunnable {
        /// The module.
        name: ModuleName,
        /// Why.
        error: ElfError,
    },
}

/// A bundle whose header and entries have been checked. It may lie anywhere in memory.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    entries: &'a [u8],
}

/// One module of a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// Its number in the bundle.
    pub index: usize,
    /// What it is for.
    pub kind: ModuleKind,
    /// Its name.
    pub name: &'a str,
    /// Its arguments.
    pub arguments: &'a str,
    /// Its contents: they begin on a page boundary of the bundle.
    pub bytes: &'a [u8],
    /// The rest of what the manifest says.
    pub entry: ModuleEntry,
}

impl Module<'_> {
    /// Its name, to keep.
    pub fn name(&self) -> ModuleName {
        // Entries have no longer names.
        ModuleName::from(self.name).unwrap_or_default()
    }

    /// Its image, which must be for `wanted` and keep to the rules for its kind.
    pub fn image(&self, wanted: Architecture) -> Result<Image, BundleError> {
        let image = Image::parse(self.bytes, wanted, Rules::of(self.kind));
        image.map_err(|error| BundleError::NotRunnable { name: self.name(), error })
    }
}

impl<'a> Bundle<'a> {
    /// Checks the bundle that begins at the start of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let (header, rest) =
            BundleHeader::read_from_prefix(bytes).map_err(|_| BundleError::NotABundle)?;
        if header.magic != BUNDLE_MAGIC {
            return Err(BundleError::NotABundle);
        }
        if header.version != BUNDLE_VERSION {
            return Err(BundleError::WrongVersion(header.version));
        }
        let piece = |bytes: &'a [u8], length: Option<usize>| bytes.get(..length?);
        let entries_size = (header.module_count as usize).checked_mul(size_of::<ModuleEntry>());
        let bundle = Self {
            bytes: piece(bytes, header.length.try_into().ok()).ok_or(BundleError::Truncated)?,
            entries: piece(rest, entries_size).ok_or(BundleError::Truncated)?,
        };
        match (0..header.module_count as usize).find(|index| bundle.module(*index).is_none()) {
            Some(index) => Err(BundleError::BadEntry(index)),
            None => Ok(bundle),
        }
    }

    /// All modules, in the manifest's order.
    pub fn modules(self) -> impl Iterator<Item = Module<'a>> {
        (0..self.entries.len() / size_of::<ModuleEntry>())
            .filter_map(move |index| self.module(index))
    }

    /// The modules of one kind.
    pub fn modules_of(self, kind: ModuleKind) -> impl Iterator<Item = Module<'a>> {
        self.modules().filter(move |module| module.kind == kind)
    }

    /// sigma0: there is one.
    pub fn sigma0(self) -> Result<Module<'a>, BundleError> {
        self.only(ModuleKind::Sigma0, "sigma0")
    }

    /// The root task: there is one.
    pub fn root_task(self) -> Result<Module<'a>, BundleError> {
        self.only(ModuleKind::RootTask, "root task")
    }

    fn only(self, kind: ModuleKind, what: &'static str) -> Result<Module<'a>, BundleError> {
        let count = self.modules_of(kind).count();
        let first = self.modules_of(kind).next().filter(|_| count == 1);
        first.ok_or(BundleError::NotOne { what, count })
    }

    /// The module with this number.
    pub fn module(self, index: usize) -> Option<Module<'a>> {
        let bytes = self.entries.chunks_exact(size_of::<ModuleEntry>()).nth(index)?;
        let entry = ModuleEntry::read_from_bytes(bytes).ok()?;
        if !entry.offset.is_multiple_of(PAGE_SIZE as u64) {
            return None;
        }
        // It comes last.
        let name = bytes.get(offset_of!(ModuleEntry, name)..)?;
        Some(Module {
            index,
            kind: ModuleKind::from_u32(entry.kind)?,
            name: str::from_utf8(trim_name(name)).ok()?,
            arguments: str::from_utf8(
                self.piece(entry.arguments_offset.into(), entry.arguments_length.into())?,
            )
            .ok()?,
            bytes: self.piece(entry.offset, entry.length)?,
            entry,
        })
    }

    fn piece(self, offset: u64, length: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        self.bytes.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::boot::{ROOT, pad_name};
    use zerocopy::IntoBytes;

    fn entry(kind: u32, offset: u64, length: u64) -> ModuleEntry {
        ModuleEntry {
            offset,
            length,
            kind,
            pager: ROOT,
            server: ROOT,
            priority: 10,
            name: pad_name(b"module"),
            ..ModuleEntry::default()
        }
    }

    fn with_bundle<R>(entries: &[ModuleEntry], check: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut bytes = vec![0; 4 * PAGE_SIZE];
        let header = BundleHeader {
            magic: BUNDLE_MAGIC,
            version: BUNDLE_VERSION,
            module_count: entries.len() as u32,
            length: bytes.len() as u64,
            reserved: 0,
        };
        header.write_to_prefix(&mut bytes[..]).unwrap();
        entries.write_to_prefix(&mut bytes[size_of::<BundleHeader>()..]).unwrap();
        check(&mut bytes)
    }

    #[test]
    fn modules_come_back() {
        let mut program = entry(ModuleKind::Program as u32, PAGE_SIZE as u64, 5000);
        program.arguments_offset = 2000;
        program.arguments_length = 5;
        let file = entry(ModuleKind::File as u32, 3 * PAGE_SIZE as u64, 0);
        with_bundle(&[program, file], |bytes| {
            bytes[2000..2005].copy_from_slice(b"-v 10");
            let bundle = Bundle::parse(bytes).unwrap();
            let [first, second] = bundle.modules().collect::<Vec<_>>()[..] else { panic!() };
            assert_eq!((first.name, first.arguments, first.bytes.len()), ("module", "-v 10", 5000));
            assert_eq!((second.index, second.kind, second.bytes.len()), (1, ModuleKind::File, 0));
            assert_eq!(bundle.modules_of(ModuleKind::Program).count(), 1);
            assert!(bundle.module(2).is_none());
        });
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        let good = entry(ModuleKind::Program as u32, PAGE_SIZE as u64, 10);
        let mut bad_text = good;
        bad_text.name = [0xff; 32];
        let mut bad_arguments = good;
        bad_arguments.arguments_length = u32::MAX;
        let bad = [
            entry(0, PAGE_SIZE as u64, 10),
            entry(4, 100, 10),
            entry(4, PAGE_SIZE as u64, u64::MAX),
            entry(4, u64::MAX - 4095, 4096),
            bad_text,
            bad_arguments,
        ];
        for entry in bad {
            with_bundle(&[good, entry], |bytes| {
                assert_eq!(Bundle::parse(bytes).err(), Some(BundleError::BadEntry(1)));
            });
        }
        with_bundle(&[good], |bytes| {
            assert_eq!(Bundle::parse(&bytes[..PAGE_SIZE]).err(), Some(BundleError::Truncated));
            bytes[8] = 77;
            assert_eq!(Bundle::parse(bytes).err(), Some(BundleError::WrongVersion(77)));
            bytes[0] = 0;
            assert_eq!(Bundle::parse(bytes).err(), Some(BundleError::NotABundle));
            assert_eq!(Bundle::parse(&[]).err(), Some(BundleError::NotABundle));
        });
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            changes in prop::collection::vec((0..200usize, any::<u8>()), 0..40)
        ) {
            let module = entry(ModuleKind::Program as u32, PAGE_SIZE as u64, 100);
            with_bundle(&[module, module], |bytes| {
                for (place, value) in changes {
                    bytes[place] = value;
                }
                if let Ok(bundle) = Bundle::parse(bytes) {
                    // What was accepted can be read to its end.
                    bundle.modules().for_each(|module| {
                        std::hint::black_box(module.bytes.iter().map(|b| u64::from(*b)).sum::<u64>());
                    });
                }
            });
        }
    }
}

//! The boot bundle, read and checked once, so that whoever uses it need not.

use core::{fmt, str};
use protocol::{
    PAGE_SIZE,
    boot::{BUNDLE_MAGIC, BUNDLE_VERSION, BundleHeader, ModuleEntry, ModuleKind, trim_name},
};
use zerocopy::FromBytes;

/// Why a bundle cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// Too short, or other bytes than a bundle begins with.
    NotABundle,
    /// Made for another version of the guest.
    WrongVersion(u32),
    /// It claims more bytes than there are.
    Truncated,
    /// The entry of this module makes no sense.
    BadEntry(usize),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABundle => write!(f, "the boot module is no bundle of Glasspager's"),
            Self::WrongVersion(found) => write!(
                f,
                "the boot bundle has version {found}, this guest reads {BUNDLE_VERSION}: build \
                 guest and `glass` from one source"
            ),
            Self::Truncated => write!(f, "the boot bundle is cut off"),
            Self::BadEntry(index) => write!(f, "entry {index} of the boot bundle is damaged"),
        }
    }
}

/// A bundle whose header and entries have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    entries: &'a [ModuleEntry],
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
    /// Its contents: they begin on a page boundary.
    pub bytes: &'a [u8],
    /// The rest of what the manifest says.
    pub entry: &'a ModuleEntry,
}

impl<'a> Bundle<'a> {
    /// Checks the bundle that begins at the start of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let (header, rest) =
            BundleHeader::ref_from_prefix(bytes).map_err(|_| BundleError::NotABundle)?;
        if header.magic != BUNDLE_MAGIC {
            return Err(BundleError::NotABundle);
        }
        if header.version != BUNDLE_VERSION {
            return Err(BundleError::WrongVersion(header.version));
        }
        let length = usize::try_from(header.length).map_err(|_| BundleError::Truncated)?;
        let bytes = bytes.get(..length).ok_or(BundleError::Truncated)?;
        let (entries, _) = <[ModuleEntry]>::ref_from_prefix_with_elems(
            rest,
            usize::try_from(header.module_count).map_err(|_| BundleError::Truncated)?,
        )
        .map_err(|_| BundleError::Truncated)?;

        let bundle = Self { bytes, entries };
        match (0..entries.len()).find(|index| bundle.read(*index).is_none()) {
            Some(index) => Err(BundleError::BadEntry(index)),
            None => Ok(bundle),
        }
    }

    /// All modules, in the manifest's order.
    pub fn modules(self) -> impl Iterator<Item = Module<'a>> {
        (0..self.entries.len()).filter_map(move |index| self.read(index))
    }

    /// The modules of one kind.
    pub fn modules_of(self, kind: ModuleKind) -> impl Iterator<Item = Module<'a>> {
        self.modules().filter(move |module| module.kind == kind)
    }

    /// The module with this number.
    pub fn module(self, index: usize) -> Option<Module<'a>> {
        self.read(index)
    }

    fn read(self, index: usize) -> Option<Module<'a>> {
        let entry = self.entries.get(index)?;
        if !entry.offset.is_multiple_of(PAGE_SIZE as u64) {
            return None;
        }
        Some(Module {
            index,
            kind: ModuleKind::from_u32(entry.kind)?,
            name: str::from_utf8(trim_name(&entry.name)).ok()?,
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
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::boot::{ROOT, pad_name};
    use zerocopy::IntoBytes;

    /// Bytes aligned like the bundle's page.
    #[repr(C, align(4096))]
    struct Aligned([u8; 4 * PAGE_SIZE]);

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
        let mut bytes = Box::new(Aligned([0; 4 * PAGE_SIZE]));
        let header = BundleHeader {
            magic: BUNDLE_MAGIC,
            version: BUNDLE_VERSION,
            module_count: entries.len() as u32,
            length: bytes.0.len() as u64,
            reserved: 0,
        };
        header.write_to_prefix(&mut bytes.0[..]).unwrap();
        entries.write_to_prefix(&mut bytes.0[size_of::<BundleHeader>()..]).unwrap();
        check(&mut bytes.0)
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

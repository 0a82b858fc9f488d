//! The images of the two tasks that the kernel itself starts, as they lie in the boot bundle.

use images::{
    Architecture,
    bundle::{BundleError, Module},
    elf,
};
use protocol::{
    PAGE_ORDER, Word,
    boot::ModuleEntry,
    flexpage::{Rights, align_down},
};

/// An executable in the bundle. Its pages are mapped as they lie in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Number of its module in the bundle.
    pub module: u32,
    /// Where its file lies in memory.
    pub file: u64,
    /// Its entry point and segments.
    pub elf: elf::Image,
}

impl Image {
    /// The image in a module of the bundle that lies at `bundle`.
    pub fn read(module: &Module<'_>, bundle: u64) -> Result<Self, BundleError> {
        let elf = module.image(Architecture::OWN)?;
        let ModuleEntry { offset, .. } = module.entry;
        // A bundle's header has 32 bits for their number.
        Ok(Self { module: module.index as u32, file: bundle + offset, elf })
    }

    /// The frame and rights of the page at `address`, if the image covers it.
    pub fn page_at(&self, address: Word) -> Option<(u64, Rights)> {
        let page = align_down(address, PAGE_ORDER);
        let segment = self.elf.segment(page)?;
        Some((self.file + segment.file_page(page) as u64, segment.rights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use images::{
        elf::Rules,
        sample::{Sample, Segment, TEXT, segment},
    };
    use protocol::boot::ModuleKind;

    #[test]
    fn pages_lie_where_the_bundle_does() {
        let base = Rules::SIGMA0.area.start;
        let entry = base as u64;
        let text = Segment { address: entry, ..TEXT };
        let constants = segment(0x3000, entry + 0x10_0000, 0x1234, false);
        let sample = Sample { entry, ..Sample::with(Architecture::OWN, &[text, constants]) };
        let bytes = sample.bytes();
        let module = Module {
            index: 7,
            kind: ModuleKind::Sigma0,
            name: "sigma0",
            arguments: "",
            bytes: &bytes,
            entry: ModuleEntry { offset: 0x4000, ..ModuleEntry::default() },
        };
        let image = Image::read(&module, 0x80_0000).unwrap();
        assert_eq!((image.module, image.elf.entry), (7, base));
        assert_eq!(image.page_at(base), Some((0x80_5000, Rights::READ_EXECUTE)));
        assert_eq!(image.page_at(base + 0x1fff), Some((0x80_6000, Rights::READ_EXECUTE)));
        assert_eq!(image.page_at(base + 0x10_1234), Some((0x80_8000, Rights::READ)));
        assert_eq!((image.page_at(base + 0x2000), image.page_at(base - 1)), (None, None));
    }

    #[test]
    fn images_that_cannot_be_mapped_as_they_lie_are_refused() {
        let mut sample = Sample::ground(Architecture::OWN, &Rules::ROOT_TASK);
        sample.segments[0].memory_size += 1;
        let module = Module {
            index: 0,
            kind: ModuleKind::RootTask,
            name: "root-task",
            arguments: "",
            bytes: &sample.bytes(),
            entry: ModuleEntry::default(),
        };
        let error = Image::read(&module, 0).unwrap_err().to_string();
        let start = "cannot run module 'root-task': the segment at 0xbe000000 is not made of whole";
        assert!(error.starts_with(start), "{error}");
    }
}

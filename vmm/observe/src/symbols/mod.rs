//! From instruction addresses to functions and source lines.
//!
//! Functions come from an image's symbol table, which takes no more time and memory than its file is
//! large. Source lines and call frames come from its debug information, and that is looked up elsewhere ([`Lookup`]).

mod frames;
mod image;
mod name;
mod path;
mod source;
#[cfg(test)]
mod tests;

pub use frames::{Frame, Frames};
pub use image::Image;
pub use source::{Place, SourceLines};

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Which of the guest's ELF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageId {
    /// The kernel.
    Kernel,
    /// The boot module with this index.
    Module(u32),
}

/// Where source lines and call frames are looked up. Whoever does it with [`SourceLines`] and [`Frames`] must
/// survive that.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// What the debug information of an image says about an instruction.
    fn find(&self, image: ImageId, address: u64) -> Option<Place>;

    /// The call frame of the function that an instruction belongs to.
    fn frame(&self, image: ImageId, address: u64) -> Option<Frame>;
}

/// An instruction address and what the image's symbols and DWARF say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The address.
    pub address: u64,
    /// The function it lies in, if the image tells.
    pub symbol: Option<Arc<Symbol>>,
}

impl Location {
    /// An address that nothing is known about.
    pub fn unknown(address: u64) -> Self {
        Self { address, symbol: None }
    }
}

/// The place of an instruction in a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The function in the symbol table, demangled.
    pub function: String,
    /// The instruction's offset from the function's start.
    pub offset: u64,
    /// The innermost function of the program's own sources that the compiler inlined there.
    pub inlined: Option<String>,
    /// The line in the program's own sources.
    pub source: Option<Source>,
}

/// `function+0x1c`
impl fmt::Display for Symbol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}+{:#x}", self.function, self.offset)
    }
}

/// A line of source code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, without the directories that only mean something on the machine that built it.
    pub file: String,
    /// The line, from 1 on.
    pub line: u32,
}

/// `src/main.rs:42`
impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
    }
}

/// The ELF files that the guest was started from.
#[derive(Debug, Default)]
pub struct Images {
    modules: BTreeMap<u32, Image>,
    kernel: Option<Image>,
    lookup: Option<Arc<dyn Lookup>>,
}

impl Images {
    /// No images yet, and none will have source lines.
    pub fn new() -> Self {
        Self::default()
    }

    /// No images yet; their source lines are looked up there.
    pub fn with_source_lines(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup: Some(lookup), ..Self::default() }
    }

    /// The image of boot module `module_index`. Bytes that are no ELF file simply have no symbols.
    pub fn add(&mut self, module_index: u32, name: &str, elf: impl Into<Arc<[u8]>>) {
        let image = Image::new(name, elf.into(), self.source_lines(ImageId::Module(module_index)));
        self.modules.insert(module_index, image);
    }

    /// The kernel's own image.
    pub fn set_kernel(&mut self, elf: impl Into<Arc<[u8]>>) {
        let source_lines = self.source_lines(ImageId::Kernel);
        self.kernel = Some(Image::new("kernel", elf.into(), source_lines));
    }

    fn source_lines(&self, image: ImageId) -> Option<(ImageId, Arc<dyn Lookup>)> {
        self.lookup.as_ref().map(|lookup| (image, Arc::clone(lookup)))
    }

    /// The image of a boot module.
    pub fn module(&self, module_index: u32) -> Option<&Image> {
        self.modules.get(&module_index)
    }

    /// The kernel's image.
    pub fn kernel(&self) -> Option<&Image> {
        self.kernel.as_ref()
    }
}

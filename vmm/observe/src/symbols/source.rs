//! Source lines and inlined functions from an image's DWARF.
//!
//! Debug information says how deep, how long and how large it is, and readers believe it: one that was
//! made for that makes them overflow their stack, run out of memory, or never end. So this belongs in a
//! process that may be lost.

use super::{Source, name, path};
use addr2line::{Context, Frame};
use gimli::{EndianSlice, RunTimeEndian};
use object::{Object, ObjectSection};

type Reader<'data> = EndianSlice<'data, RunTimeEndian>;

/// The line tables of one image.
#[expect(missing_debug_implementations, reason = "the tables have none")]
pub struct SourceLines<'data>(Context<Reader<'data>>);

/// What DWARF says about an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The function of that line, if the compiler inlined it.
    pub inlined: Option<String>,
    /// The line.
    pub source: Option<Source>,
}

impl<'data> SourceLines<'data> {
    /// `None` if the image has no readable debug information.
    pub fn new(elf: &'data [u8]) -> Option<Self> {
        let file = object::File::parse(elf).ok()?;
        let endian =
            if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let section = |id: gimli::SectionId| -> Result<Reader<'data>, gimli::Error> {
            let data = file.section_by_name(id.name()).and_then(|section| section.data().ok());
            Ok(Reader::new(data.unwrap_or_default(), endian))
        };
        let dwarf = gimli::Dwarf::load(section).ok()?;
        Context::from_dwarf(dwarf).ok().map(Self)
    }

    /// The innermost frame of the program's own sources that has a line; without one, the innermost
    /// frame at all.
    pub fn find(&self, address: u64) -> Option<Place> {
        let directory = self.compilation_directory(address);
        let mut frames = self.0.find_frames(address).skip_all_loads().ok()?;
        let mut innermost = None;
        while let Ok(Some(frame)) = frames.next() {
            let file = frame.location.as_ref().and_then(|location| location.file);
            let is_own = file.is_some_and(|file| !path::is_foreign(file));
            let mut found = place(&frame, directory.as_deref());
            if is_own && found.source.is_some() {
                // The last frame is the function itself, all before it were inlined.
                let is_inlined = matches!(frames.next(), Ok(Some(_)));
                found.inlined = found.inlined.filter(|_| is_inlined);
                return Some(found);
            }
            innermost.get_or_insert(Place { inlined: None, ..found });
        }
        innermost
    }

    /// Where the compiler ran when it made the code at an address.
    fn compilation_directory(&self, address: u64) -> Option<String> {
        let unit = self.0.find_dwarf_and_unit(address).skip_all_loads()?;
        let directory = unit.comp_dir.as_ref()?;
        Some(String::from_utf8_lossy(directory.slice()).into_owned())
    }
}

fn place(frame: &Frame<'_, Reader<'_>>, directory: Option<&str>) -> Place {
    let inlined = frame.function.as_ref().and_then(|function| {
        let name = function.raw_name().ok()?;
        Some(name::demangled(&name))
    });
    let source = frame.location.as_ref().and_then(|location| {
        let file = path::shorten(location.file?, directory);
        let line = location.line.filter(|line| *line != 0)?;
        Some(Source { file: name::cut(&file).to_owned(), line })
    });
    Place { inlined, source }
}

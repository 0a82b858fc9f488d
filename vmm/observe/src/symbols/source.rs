//! Source lines and inlined functions from an image's DWARF.

use super::path;
use addr2line::{Context, Frame};
use gimli::{EndianArcSlice, RunTimeEndian};
use object::{Object, ObjectSection};
use std::sync::Arc;

type Reader = EndianArcSlice<RunTimeEndian>;

/// The line tables of one image.
pub(super) struct SourceLines(Context<Reader>);

/// What DWARF says about an instruction.
#[derive(Default)]
pub(super) struct Place {
    /// The function of that line, if the compiler inlined it.
    pub(super) inlined: Option<String>,
    pub(super) source: Option<(String, u32)>,
}

impl SourceLines {
    /// `None` if the image has no readable debug information.
    pub(super) fn new(elf: &[u8]) -> Option<Self> {
        let file = object::File::parse(elf).ok()?;
        let endian =
            if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let section = |id: gimli::SectionId| -> Result<Reader, gimli::Error> {
            let data = file.section_by_name(id.name()).and_then(|section| section.data().ok());
            Ok(Reader::new(Arc::from(data.unwrap_or_default()), endian))
        };
        let dwarf = gimli::Dwarf::load(section).ok()?;
        Context::from_dwarf(dwarf).ok().map(Self)
    }

    /// The innermost frame of the program's own sources that has a line; without one, the innermost
    /// frame at all. `function` is the function in the symbol table.
    pub(super) fn find(&self, address: u64, function: &str) -> Option<Place> {
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
                found.inlined = found.inlined.filter(|name| is_inlined && name != function);
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
        Some(String::from_utf8_lossy(directory.bytes()).into_owned())
    }
}

fn place(frame: &Frame<'_, Reader>, directory: Option<&str>) -> Place {
    let inlined = frame.function.as_ref().and_then(|function| {
        let name = function.raw_name().ok()?;
        Some(format!("{:#}", rustc_demangle::demangle(&name)))
    });
    let source = frame.location.as_ref().and_then(|location| {
        Some((path::shorten(location.file?, directory), location.line.filter(|line| *line != 0)?))
    });
    Place { inlined, source }
}

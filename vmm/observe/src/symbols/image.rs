//! One ELF image: its segments and symbols, read when first asked for.
//!
//! Nobody vouches for the file: names stay in it until they are asked for, since symbols may share them.

use super::{Frame, ImageId, Location, Lookup, Place, Source, Symbol, name};
use crate::{region::Area, text::shown};
use object::{
    Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionIndex, SectionKind, SegmentFlags,
    SymbolKind, elf,
};
use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    fmt,
    ops::Range,
    sync::Arc,
};

/// Locations that are remembered before all are forgotten again.
const CACHE_LIMIT: usize = 1 << 16;

/// Segments that are looked at; programs have a handful.
const MOST_SEGMENTS: usize = 64;

/// How often each byte of a file may be in the name of a function, on average. In a file that no
/// linker made, each of many symbols can be named by most of the file.
const NAMES_PER_BYTE: usize = 4;

/// An ELF file in memory.
pub struct Image {
    name: Arc<str>,
    elf: Arc<[u8]>,
    tables: OnceCell<Tables>,
    source_lines: Option<(ImageId, Arc<dyn Lookup>)>,
    cache: RefCell<HashMap<u64, Option<Arc<Symbol>>>>,
}

#[derive(Default)]
struct Tables {
    segments: Vec<Segment>,
    /// In the order of their addresses.
    functions: Vec<Function>,
}

struct Segment {
    range: Range<u64>,
    area: Area,
}

struct Function {
    start: u64,
    /// 0 for labels of assembly code.
    size: u64,
    /// Where its name is in the file.
    name: Range<usize>,
}

impl fmt::Debug for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Image").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Image {
    pub(super) fn new(
        name: &str,
        elf: Arc<[u8]>,
        source_lines: Option<(ImageId, Arc<dyn Lookup>)>,
    ) -> Self {
        let name = shown(name).into();
        Self { name, elf, tables: OnceCell::new(), source_lines, cache: RefCell::default() }
    }

    /// The name that it was added under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lowest address of its segments.
    pub fn start(&self) -> Option<u64> {
        self.tables().segments.iter().map(|segment| segment.range.start).min()
    }

    /// Which of its segments an address lies in.
    pub fn area(&self, address: u64) -> Option<Area> {
        let mut segments = self.tables().segments.iter();
        segments.find(|segment| segment.range.contains(&address)).map(|segment| segment.area)
    }

    /// Whether an address lies in its code.
    pub fn has_code_at(&self, address: u64) -> bool {
        self.area(address) == Some(Area::Text)
    }

    /// What is at an instruction address.
    pub fn locate(&self, address: u64) -> Location {
        let known = self.cache.borrow().get(&address).cloned();
        let symbol = known.unwrap_or_else(|| {
            let symbol = self.find(address, address).map(Arc::new);
            let mut cache = self.cache.borrow_mut();
            if cache.len() >= CACHE_LIMIT {
                cache.clear();
            }
            cache.insert(address, symbol.clone());
            symbol
        });
        Location { address, symbol }
    }

    /// What is at the call before a return address.
    pub fn locate_call(&self, return_address: u64) -> Location {
        let symbol = self.find(return_address, return_address.saturating_sub(1)).map(Arc::new);
        Location { address: return_address, symbol }
    }

    /// The call frame at an instruction.
    pub fn frame(&self, address: u64) -> Option<Frame> {
        let (image, lookup) = self.source_lines.as_ref()?;
        lookup.frame(*image, address)
    }

    /// The function and offset of `address`, the source line of `line_address`.
    fn find(&self, address: u64, line_address: u64) -> Option<Symbol> {
        let found = self.tables().function(line_address)?;
        let function = str::from_utf8(self.elf.get(found.name.clone())?).ok()?;
        let function = name::demangled(function);
        let lookup = self.source_lines.as_ref();
        let place = lookup.and_then(|(image, lookup)| lookup.find(*image, line_address));
        let Place { inlined, source } = place.unwrap_or_default();
        let inlined = inlined.filter(|inlined| *inlined != function);
        Some(Symbol {
            offset: address - found.start,
            function: shown(&function),
            inlined: inlined.map(|name| shown(&name)),
            source: source.map(|Source { file, line }| Source { file: shown(&file), line }),
        })
    }

    fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| Tables::read(&self.elf).unwrap_or_default())
    }
}

impl Tables {
    fn read(elf: &[u8]) -> object::Result<Self> {
        let file = object::File::parse(elf)?;
        let segments = file.segments().filter_map(|segment| {
            let end = segment.address().checked_add(segment.size())?;
            Some(Segment { range: segment.address()..end, area: area_of(segment.flags())? })
        });
        let mut functions = Vec::new();
        let mut most_names = elf.len().saturating_mul(NAMES_PER_BYTE);
        for function in file.symbols().filter_map(|symbol| function(elf, &file, &symbol)) {
            most_names = most_names.saturating_sub(function.name.len());
            functions.push(function);
            if most_names == 0 {
                functions.clear();
                break;
            }
        }
        functions.sort_by_key(|function: &Function| (function.start, function.size));
        Ok(Self { segments: segments.take(MOST_SEGMENTS).collect(), functions })
    }

    /// The function that an address lies in. A label without a size reaches to the next one.
    fn function(&self, address: u64) -> Option<&Function> {
        let next = self.functions.partition_point(|function| function.start <= address);
        let found = self.functions.get(next.checked_sub(1)?)?;
        let inside = found.size == 0 || address - found.start < found.size;
        let mut code = self.segments.iter().filter(|segment| segment.area == Area::Text);
        let same_segment = code.any(|segment| {
            segment.range.contains(&address) && segment.range.contains(&found.start)
        });
        if inside && same_segment { Some(found) } else { None }
    }
}

fn area_of(flags: SegmentFlags) -> Option<Area> {
    let SegmentFlags::Elf { p_flags, .. } = flags else { return None };
    Some(if p_flags.contains(elf::PF_X) {
        Area::Text
    } else if p_flags.contains(elf::PF_W) {
        Area::Data
    } else {
        Area::Rodata
    })
}

/// A symbol that names code.
fn function<'data>(
    elf: &[u8],
    file: &object::File<'data>,
    symbol: &impl ObjectSymbol<'data>,
) -> Option<Function> {
    let in_code = |section: SectionIndex| {
        file.section_by_index(section).is_ok_and(|section| section.kind() == SectionKind::Text)
    };
    let is_label = matches!(symbol.kind(), SymbolKind::Label | SymbolKind::Unknown);
    let is_code = symbol.kind() == SymbolKind::Text || is_label;
    if !is_code || !symbol.section_index().is_some_and(in_code) {
        return None;
    }
    let name = symbol.name().ok().filter(|name| !name.is_empty())?;
    let start = name.as_ptr().addr().checked_sub(elf.as_ptr().addr())?;
    let name = start..start + name.len();
    Some(Function { start: symbol.address(), size: symbol.size(), name })
}

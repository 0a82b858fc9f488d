//! Against a real ELF file with real DWARF: this test program itself.

use super::{Frame, Frames, Image, ImageId, Lookup, Place, SourceLines, Symbol};
use object::{Object, ObjectSymbol};
use std::sync::Arc;

/// A function of its own, with code of the standard library inlined.
#[inline(never)]
fn marker(value: u64) -> u64 {
    let inner = std::hint::black_box(value).wrapping_mul(3);
    std::hint::black_box(inner).rotate_left(7)
}

const FIRST_LINE: u32 = 10;

const MARKER: &str = "observe::symbols::tests::marker";

/// Looks source lines up where it is asked.
#[derive(Debug)]
struct Here(Arc<[u8]>);

impl Lookup for Here {
    fn find(&self, _image: ImageId, address: u64) -> Option<Place> {
        SourceLines::new(&self.0)?.find(address)
    }

    fn frame(&self, _image: ImageId, address: u64) -> Option<Frame> {
        Frames::new(&self.0)?.find(address)
    }
}

/// An image without source lines.
fn image(elf: impl Into<Arc<[u8]>>) -> Image {
    Image::new("image", elf.into(), None)
}

/// This program, and where [`marker`] begins and how long it is.
fn own_image() -> (Image, u64, u64) {
    assert_eq!(marker(0), 0);
    let elf: Arc<[u8]> = std::fs::read(std::env::current_exe().unwrap()).unwrap().into();
    let file = object::File::parse(&*elf).unwrap();
    let is_marker = |name| format!("{:#}", rustc_demangle::demangle(name)) == MARKER;
    let found = file.symbols().find(|symbol| symbol.name().is_ok_and(is_marker)).unwrap();
    let here: Arc<dyn Lookup> = Arc::new(Here(Arc::clone(&elf)));
    let image = Image::new("self", Arc::clone(&elf), Some((ImageId::Kernel, here)));
    (image, found.address(), found.size())
}

fn at(image: &Image, address: u64) -> Symbol {
    Symbol::clone(&image.locate(address).symbol.unwrap())
}

#[test]
fn a_real_function_has_a_name_an_offset_and_a_line() {
    let (image, start, size) = own_image();
    let symbol = at(&image, start);
    assert_eq!(symbol.to_string(), format!("{MARKER}+0x0"));
    let source = symbol.source.unwrap();
    assert!(source.file.ends_with("observe/src/symbols/tests.rs"), "{source}");
    assert!(!source.file.starts_with('/'), "{source}");
    for offset in 0..size {
        let symbol = at(&image, start + offset);
        assert_eq!((symbol.function.as_str(), symbol.offset), (MARKER, offset));
        // Code of `wrapping_mul` and the like counts for the line that calls it.
        let source = symbol.source.unwrap();
        assert!(source.file.ends_with("symbols/tests.rs"), "{source}");
        assert!((FIRST_LINE..FIRST_LINE + 6).contains(&source.line), "{source} at +{offset:#x}");
    }
    assert!(image.has_code_at(start));
    assert_eq!(image.locate(start), image.locate(start));
}

#[test]
fn a_return_address_belongs_to_the_call_before_it() {
    let (image, start, size) = own_image();
    let end = image.locate_call(start + size).symbol.unwrap();
    assert_eq!(end.to_string(), format!("{MARKER}+{size:#x}"));
    assert!(end.source.is_some());
}

/// Where a function begins its frame is the return address, and nothing else.
#[test]
fn a_real_function_has_a_call_frame() {
    let (image, start, _) = own_image();
    let (stack_pointer, return_address) =
        if cfg!(target_pointer_width = "64") { (7, 16) } else { (4, 8) };
    let word = size_of::<usize>() as i64;
    let saved = vec![(return_address, -word)];
    let expected = Frame { register: stack_pointer, offset: word, saved };
    assert_eq!(image.frame(start), Some(expected));
    assert_eq!(image.frame(1), None);
}

#[test]
fn files_without_symbols_have_none() {
    for elf in [vec![], b"#!/bin/sh\n".to_vec(), vec![0x7f, b'E', b'L', b'F']] {
        let image = image(elf);
        assert_eq!((image.start(), image.area(0)), (None, None));
        assert_eq!(image.locate(0x1000).symbol, None);
    }
}

#[test]
fn damaged_files_are_survived() {
    let whole = crate::testing::small_elf(0x40_0000, "start");
    let mut random = crate::testing::Random::new(3);
    for length in 0..whole.len() {
        image(whole[..length].to_vec()).locate(0x40_0100);
    }
    for _ in 0..2000 {
        let mut damaged = whole.clone();
        for _ in 0..4 {
            let at = random.below(whole.len() as u64) as usize;
            damaged[at] = random.next() as u8;
        }
        let image = image(damaged);
        image.locate(0x40_0100);
        image.locate_call(0x40_0101);
        image.area(0x40_2000);
    }
}

/// Each of the symbols is named by all that is left of the file's strings.
#[test]
fn symbols_that_share_a_long_name_are_not_believed() {
    let with = |symbols: usize, name: usize| {
        let elf = crate::testing::many_symbols(0x40_0000, symbols, &"n".repeat(name));
        image(elf).locate(0x40_0000).symbol.map(|symbol| symbol.function.clone())
    };
    assert_eq!(with(2, 500).unwrap().len(), 500);
    assert_eq!(with(20_000, 10).unwrap(), "n".repeat(10));
    assert_eq!(with(20_000, 100_000), None, "2 GB of names in a file of 580 KB");
}

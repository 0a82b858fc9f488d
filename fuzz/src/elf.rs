//! ELF images: as the host checks them, as the kernel and the root task read them in the bundle, and
//! as symbols and source lines are looked up in them.

use crate::text;
use machine::{
    Architecture, Kernel,
    bundle::{self, BundleError, Module},
};
use observe::{Images, symbols::Image};
use policy::{elf, regions::PROGRAM_AREA};
use protocol::boot::ModuleKind;
use std::sync::Arc;

/// Places of an image that are looked up, from where it starts and from where it is entered.
const MOST_PLACES: u64 = 64;

/// A sound image for each architecture: program, sigma0, root task and kernel in one.
pub const SOUND: [(Architecture, elf::Machine, &[u8]); 2] = [
    (Architecture::Amd64, elf::Machine::Amd64, include_bytes!("../corpus/elf/amd64")),
    (Architecture::Ia32, elf::Machine::Ia32, include_bytes!("../corpus/elf/ia32")),
];

/// Reads an image in all ways.
pub fn run(input: &[u8]) {
    let image: Arc<[u8]> = input.into();
    for (architecture, machine, sound) in SOUND {
        if let Err(error) = Kernel::parse(&image, architecture) {
            text::write(&error);
        }
        let read = elf::Image::parse(&image, machine, &PROGRAM_AREA);
        match (pack(&image, architecture, sound), &read) {
            (Ok(_), Err(error)) => panic!("the host takes it, the root task does not: {error}"),
            (Ok(_), Ok(image)) => check_pages(image, input),
            (Err(error), _) => text::write(&error),
        }
    }
    let mut images = Images::new();
    images.add(0, "image", Arc::clone(&image));
    let image = images.module(0).expect("it was added");
    let entry = Kernel::parse(input, Architecture::Amd64).map_or(0, |_| image.start().unwrap_or(0));
    look_up(image, entry);
    look_up(image, image.start().unwrap_or(0));
}

/// Packs the image as a program beside a sound sigma0 and a sound root task.
fn pack(
    image: &Arc<[u8]>,
    architecture: Architecture,
    sound: &[u8],
) -> Result<Vec<u8>, BundleError> {
    let modules = [
        Module::new("sigma0", ModuleKind::Sigma0, sound.into()),
        Module::new("root", ModuleKind::RootTask, sound.into()),
        Module::new("program", ModuleKind::Program, Arc::clone(image)),
    ];
    bundle::pack(&modules, architecture)
}

/// What the pager takes from the file for a page is in the file.
fn check_pages(image: &elf::Image, file: &[u8]) {
    for segment in &image.segments {
        assert!(segment.file_offset + segment.file_size <= file.len());
        assert!(PROGRAM_AREA.start <= segment.pages().start);
        assert!(segment.pages().end <= PROGRAM_AREA.end.next_multiple_of(protocol::PAGE_SIZE));
        assert!(segment.file_page(segment.pages().start) <= file.len());
    }
}

fn look_up(image: &Image, from: u64) {
    for address in (from..=u64::MAX).take(MOST_PLACES as usize) {
        image.area(address);
        image.has_code_at(address);
        for location in [image.locate(address), image.locate_call(address)] {
            let Some(symbol) = location.symbol else { continue };
            text::check(&symbol);
            symbol.inlined.iter().for_each(text::check);
            symbol.source.iter().for_each(text::check);
        }
    }
}

//! ELF images: as the host checks them, as the kernel and the root task read them in the bundle, and
//! as symbols and source lines are looked up in them.

use crate::text;
use images::{
    elf::{self, Rules},
    sample::Sample,
};
use machine::{
    Architecture, Kernel,
    bundle::{self, Module, PackError},
};
use observe::{Images, symbols::Image};
use protocol::{PAGE_SIZE, boot::ModuleKind, flexpage::Rights};
use std::{collections::HashSet, sync::Arc};

/// Places of an image that are looked up, from where it starts and from where it is entered.
const MOST_PLACES: u64 = 64;

/// A sound image for each architecture: program and kernel in one.
pub const SOUND: [(Architecture, &[u8]); 2] = [
    (Architecture::Amd64, include_bytes!("../corpus/elf/amd64")),
    (Architecture::Ia32, include_bytes!("../corpus/elf/ia32")),
];

/// Reads an image in all ways.
pub fn run(input: &[u8]) {
    let image: Arc<[u8]> = input.into();
    for (architecture, _) in SOUND {
        if let Err(error) = Kernel::parse(&image, architecture) {
            text::write(&error);
        }
        for rules in [Rules::PROGRAM, Rules::SIGMA0, Rules::ROOT_TASK] {
            if let Ok(image) = elf::Image::parse(&image, architecture, &rules) {
                check_image(&image, input, &rules);
            }
        }
        let read = elf::Image::parse(&image, architecture, &Rules::PROGRAM);
        match (pack(&image, architecture), &read) {
            (Ok(_), Ok(_)) => {}
            (Err(error), Err(_)) => text::write(&error),
            (packed, read) => panic!("the host says {packed:?}, the root task {read:?}"),
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
fn pack(image: &Arc<[u8]>, architecture: Architecture) -> Result<Vec<u8>, PackError> {
    let modules = [
        Module::new("sigma0", ModuleKind::Sigma0, ground(architecture, &Rules::SIGMA0)),
        Module::new("root", ModuleKind::RootTask, ground(architecture, &Rules::ROOT_TASK)),
        Module::new("program", ModuleKind::Program, Arc::clone(image)),
    ];
    bundle::pack(&modules, architecture)
}

/// A sound sigma0 or root task.
pub fn ground(architecture: Architecture, rules: &Rules) -> Arc<[u8]> {
    Sample::ground(architecture, rules).bytes().into()
}

/// What is taken keeps to the rules, and what its pager takes from the file for a page is there.
fn check_image(image: &elf::Image, file: &[u8], rules: &Rules) {
    let mut pages = HashSet::new();
    let mut is_entered = false;
    assert!(image.segments.len() <= rules.most_segments);
    for segment in &image.segments {
        assert!(segment.file_size <= segment.memory_size && !segment.rights.is_empty());
        assert!(segment.file_offset + segment.file_size <= file.len());
        assert!(!rules.whole_pages || segment.file_size == segment.memory_size);
        let last = segment.address + (segment.memory_size - 1);
        assert!(rules.area.contains(&segment.address) && rules.area.contains(&last));
        is_entered |= (segment.address..=last).contains(&image.entry)
            && segment.rights.contains(Rights::EXECUTE);
        for page in segment.pages().step_by(PAGE_SIZE) {
            assert!(pages.insert(page), "two segments share {page:#x}");
        }
        assert!(segment.file_page(segment.pages().start) <= file.len());
    }
    assert!(is_entered);
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

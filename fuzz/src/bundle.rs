//! The boot bundle: as the host packs it, and as the kernel, sigma0 and the root task take it.
//!
//! The first byte of an input says what the others are: modules that are to be packed, a line each, or
//! what a sound bundle is damaged with.

use crate::{elf, text};
use images::{
    bundle::{Bundle, BundleError},
    elf::Rules,
};
use kernel_core::boot_bundle::Image;
use machine::{
    Architecture,
    bundle::{self, Module, PortRange},
};
use policy::{manifest::ManifestError, programs::Programs};
use protocol::{PAGE_SIZE, boot::ModuleKind};
use std::{str::SplitN, sync::Arc};

/// Where the bundle lies in memory, where it matters.
const ADDRESS: u64 = 0x40_0000;

/// The architecture that the host has in common with the guest: `kernel-core` only reads its own.
const ARCHITECTURE: Architecture = Architecture::Amd64;

/// Packs modules, or damages a bundle; then reads it in all ways.
pub fn run(input: &[u8]) {
    match input.split_first() {
        Some((0, modules)) => pack(&String::from_utf8_lossy(modules)),
        Some((_, damage)) => read(&damaged(damage)),
        None => {}
    }
}

/// What the host packs, the guest takes as it is.
fn pack(lines: &str) {
    let modules: Vec<Module> = lines.lines().filter_map(module).collect();
    let packed = match bundle::pack(&modules, ARCHITECTURE) {
        Ok(packed) => packed,
        Err(error) => return text::write(&error),
    };
    let read: Vec<_> = Bundle::parse(&packed).expect("a sound bundle").modules().collect();
    assert_eq!(read.len(), modules.len());
    for (read, module) in read.iter().zip(&modules) {
        assert_eq!((read.name, read.arguments), (&*module.name, &*module.arguments));
        assert_eq!((read.kind, read.bytes), (module.kind, &*module.bytes));
        assert_eq!(read.entry.port_ranges(), &*module.ports);
        assert_eq!(read.entry.quota, module.quota.unwrap_or(0));
    }
    check_ground(&packed).expect("the kernel finds sigma0 and the root task");
    match programs(&packed) {
        Ok(()) | Err(ManifestError::NoProgram) => {}
        Err(error) => panic!("the host takes it, the root task does not: {error}"),
    }
}

/// A line has a word for each: kind, name, pager, server, priority, quota, ports, and arguments.
/// Where there is no word, or `-`, there is nothing.
fn module(line: &str) -> Option<Module> {
    let mut words = line.splitn(8, ' ');
    let kind = match words.next()? {
        "sigma0" => ModuleKind::Sigma0,
        "root" => ModuleKind::RootTask,
        "file" => ModuleKind::File,
        _ => ModuleKind::Program,
    };
    let name = words.next()?;
    let bytes: Arc<[u8]> = match kind {
        ModuleKind::File => name.as_bytes().into(),
        ModuleKind::Program => elf::SOUND[0].1.into(),
        _ => elf::ground(ARCHITECTURE, Rules::of(kind)),
    };
    let mut module = Module::new(name, kind, bytes);
    (module.pager, module.server) = (word(&mut words), word(&mut words));
    module.priority = number(&mut words).unwrap_or(module.priority);
    module.quota = number(&mut words);
    let ports = word(&mut words).unwrap_or_default();
    module.ports = ports.split(',').filter_map(range).collect();
    module.arguments = words.next().unwrap_or_default().to_owned();
    Some(module)
}

fn word(words: &mut SplitN<'_, char>) -> Option<String> {
    words.next().filter(|word| *word != "-").map(str::to_owned)
}

fn number(words: &mut SplitN<'_, char>) -> Option<u32> {
    word(words)?.parse().ok()
}

fn range(text: &str) -> Option<PortRange> {
    glass::units::ports(text).ok()
}

/// A sound bundle that is cut, as the first two bytes say, and of which words are replaced: each by
/// two bytes for its number, and its eight bytes.
fn damaged(damage: &[u8]) -> Vec<u8> {
    let lines = "sigma0 s\nroot r\nprogram p - - 20 64 0x60-0x6f,0x3f8 a b\nprogram q p p\nfile f";
    let modules: Vec<_> = lines.lines().filter_map(module).collect();
    let mut bytes = bundle::pack(&modules, ARCHITECTURE).expect("a sound bundle");
    let (cut, words) = damage.split_at(damage.len().min(2));
    for word in words.chunks_exact(10) {
        let number = u16::from_le_bytes([word[0], word[1]]);
        let at = usize::from(number) * 8 % bytes.len();
        bytes[at..at + 8].copy_from_slice(&word[2..]);
    }
    let cut = cut.iter().rev().fold(0, |cut, byte| cut << 8 | usize::from(*byte));
    bytes.truncate(bytes.len().saturating_sub(cut));
    bytes
}

/// Whatever bytes those are, nobody takes more of them than there is.
fn read(bytes: &[u8]) {
    if let Err(error) = check_ground(bytes) {
        text::write(&error);
    }
    if let Err(error) = programs(bytes) {
        text::write(&error);
    }
}

/// What the kernel starts; and what it would map of that is in the bundle.
fn check_ground(bytes: &[u8]) -> Result<(), BundleError> {
    let bundle = Bundle::parse(bytes)?;
    let end = ADDRESS + bytes.len().next_multiple_of(PAGE_SIZE) as u64;
    for module in [bundle.sigma0()?, bundle.root_task()?] {
        let image = Image::read(&module, ADDRESS)?;
        assert_eq!(image.module as usize, module.index);
        for page in image.elf.segments.iter().flat_map(|s| s.pages().step_by(PAGE_SIZE)) {
            let (frame, _) = image.page_at(page).expect("the segment has this page");
            assert!(ADDRESS <= frame && frame + PAGE_SIZE as u64 <= end, "{image:?}");
        }
    }
    Ok(())
}

/// What the root task makes of it.
fn programs(bytes: &[u8]) -> Result<(), ManifestError> {
    Programs::new().read(Bundle::parse(bytes)?, ARCHITECTURE)
}

//! The header that the kernel leaves in memory, read from a file of that memory.

use anyhow::{Context, Result, ensure};
use images::{Architecture, elf::Executable};
use protocol::introspection::{HEADER_MAGIC, HEADER_VERSION, Header, NOTE_OWNER, NOTE_TYPE};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};
use zerocopy::{FromZeros, IntoBytes};

/// Reads the header of the kernel whose image is `kernel` from `memory`.
pub fn read(kernel: &Path, memory: &Path) -> Result<Header> {
    let image = fs::read(kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
    let address = note_address(&image)
        .with_context(|| format!("cannot find the header through {}", kernel.display()))?;
    let mut header = Header::new_zeroed();
    File::open(memory)
        .and_then(|file| file.read_exact_at(header.as_mut_bytes(), address))
        .with_context(|| format!("cannot read the header from {}", memory.display()))?;
    ensure!(
        header.magic == HEADER_MAGIC && header.version == HEADER_VERSION,
        "there is no header of version {HEADER_VERSION} at {address:#x}: did the kernel start?"
    );
    Ok(header)
}

/// Physical address of the header, from the kernel's ELF note.
fn note_address(image: &[u8]) -> Result<u64> {
    let kernel =
        Architecture::ALL.into_iter().find_map(|known| Executable::parse(image, known).ok());
    let note = kernel.context("this is no executable")?.note(NOTE_OWNER, NOTE_TYPE);
    let note = note.with_context(|| format!("it has no note of the owner {NOTE_OWNER}"))?;
    Ok(u64::from_le_bytes(*note.first_chunk().context("its note is too short")?))
}

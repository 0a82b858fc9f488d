//! The header that the kernel leaves in memory, read from a file of that memory.

use anyhow::{Context, Result, bail, ensure};
use object::{
    Endianness, FileKind, elf,
    read::elf::{FileHeader, ProgramHeader as _},
};
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
    match FileKind::parse(image).context("this is no ELF file")? {
        FileKind::Elf32 => find_note::<elf::FileHeader32<Endianness>>(image),
        FileKind::Elf64 => find_note::<elf::FileHeader64<Endianness>>(image),
        other => bail!("this is no ELF file, but {other:?}"),
    }
}

fn find_note<Elf: FileHeader<Endian = Endianness>>(image: &[u8]) -> Result<u64> {
    let file = Elf::parse(image)?;
    let endian = file.endian()?;
    let headers = file.program_headers(endian, image)?;
    for header in headers.iter().filter(|header| header.p_type(endian) == elf::PT_NOTE) {
        let Some(mut notes) = header.notes(endian, image)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == NOTE_OWNER.as_bytes() && note.n_type(endian).0 == NOTE_TYPE {
                let address = note.desc().first_chunk().context("its note is too short")?;
                return Ok(u64::from_le_bytes(*address));
            }
        }
    }
    bail!("it has no note of the owner {NOTE_OWNER}")
}

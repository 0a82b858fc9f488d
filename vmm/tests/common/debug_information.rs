//! Debug information that was made to harm whoever reads it.

use super::file;
use std::{fs, path::Path};
use tempfile::NamedTempFile;

/// Places in an ELF header and its section headers, of 64-bit files.
const SECTIONS: usize = 0x28;
const SECTION_COUNT: usize = 0x3c;
const SECTION_NAMES: usize = 0x3e;
const SECTION_SIZE: usize = 64;

/// One unit for all code of an image, with one function.
#[derive(Clone, Copy)]
pub enum DebugInformation {
    /// In the function so many functions are inlined, each in the one before.
    Nested(usize),
    /// In the function so many functions are inlined side by side. All name the same list of so many
    /// address ranges, and each range has this many bytes.
    Ranges { functions: usize, ranges: u64, bytes: u64 },
}

impl DebugInformation {
    /// An image with this in the place of its own debug information.
    pub fn in_image(self, image: &Path) -> NamedTempFile {
        let mut elf = fs::read(image).expect("an image");
        let headers = sections(&elf);
        let text = headers.iter().find(|(name, _)| name == ".text").expect("code").1;
        let (address, size) = (word(&elf, text + 0x10), word(&elf, text + 0x20));
        for (name, header) in headers {
            let bytes = match name.as_str() {
                ".debug_abbrev" => ABBREVIATIONS.to_vec(),
                ".debug_info" => self.unit(address, size),
                ".debug_ranges" => self.ranges(),
                name if name.starts_with(".debug_") => Vec::new(),
                _ => continue,
            };
            let place = [elf.len() as u64, bytes.len() as u64].map(u64::to_le_bytes).concat();
            elf[header + 0x18..][..16].copy_from_slice(&place);
            elf.extend(bytes);
        }
        file(&elf)
    }

    fn unit(self, address: u64, size: u64) -> Vec<u8> {
        // DWARF 4, abbreviations at 0, addresses of eight bytes.
        let mut unit = vec![4, 0, 0, 0, 0, 0, 8];
        for entry in [UNIT, FUNCTION] {
            unit.push(entry);
            unit.extend([address, size].iter().flat_map(|word| word.to_le_bytes()));
        }
        match self {
            Self::Nested(depth) => unit.resize(unit.len() + depth, NESTED),
            Self::Ranges { functions, .. } => {
                unit.extend([RANGES, 0, 0, 0, 0].repeat(functions));
            }
        }
        [&(unit.len() as u32).to_le_bytes()[..], &unit].concat()
    }

    fn ranges(self) -> Vec<u8> {
        let Self::Ranges { ranges, bytes, .. } = self else { return Vec::new() };
        let pairs = (1..=ranges).flat_map(|start| [start, start + bytes]);
        pairs.chain([0, 0]).flat_map(u64::to_le_bytes).collect()
    }
}

/// Numbers of the abbreviations.
const UNIT: u8 = 1;
const FUNCTION: u8 = 2;
const NESTED: u8 = 3;
const RANGES: u8 = 4;

/// Each has a number, a tag, whether there are children, and its attributes with their forms.
const ABBREVIATIONS: [u8; 31] = [
    UNIT, 0x11, 1, 0x11, 0x01, 0x12, 0x07, 0, 0, // compile unit: low_pc addr, high_pc data8
    FUNCTION, 0x2e, 1, 0x11, 0x01, 0x12, 0x07, 0, 0, // subprogram: the same
    NESTED, 0x1d, 1, 0, 0, // inlined subroutine
    RANGES, 0x1d, 0, 0x55, 0x17, 0, 0, // inlined subroutine: ranges sec_offset
    0,
];

/// Names of the sections, and where their headers are.
fn sections(elf: &[u8]) -> Vec<(String, usize)> {
    let start = word(elf, SECTIONS) as usize;
    let header = |index: usize| start + index * SECTION_SIZE;
    let names = word(elf, header(half(elf, SECTION_NAMES)) + 0x18) as usize;
    let name = |header: usize| {
        let at = names + (word(elf, header) as u32) as usize;
        let length = elf[at..].iter().position(|byte| *byte == 0).expect("an end");
        String::from_utf8_lossy(&elf[at..at + length]).into_owned()
    };
    (0..half(elf, SECTION_COUNT)).map(|index| (name(header(index)), header(index))).collect()
}

fn word(elf: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(elf[at..][..8].try_into().expect("eight bytes"))
}

fn half(elf: &[u8], at: usize) -> usize {
    u16::from_le_bytes(elf[at..][..2].try_into().expect("two bytes")).into()
}

//! Call frames: where a function's caller goes on, and with which registers.
//!
//! As with source lines, this belongs in a process that may be lost.

use gimli::{
    BaseAddresses, CfaRule, DebugFrame, EhFrame, EndianSlice, RegisterRule, RunTimeEndian,
    UnwindContext, UnwindSection,
};
use object::{Object, ObjectSection};
use serde::{Deserialize, Serialize};

type Reader<'data> = EndianSlice<'data, RunTimeEndian>;

/// Registers that are kept for callers, at most. There are no more in [`Frame`]'s numbers.
const MOST_SAVED: usize = 17;

/// The frame of a function at one of its instructions. Registers have the numbers that DWARF gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The register from which the frame is found.
    pub register: u16,
    /// How far behind its value the frame ends: the caller's stack pointer.
    pub offset: i64,
    /// Registers of the caller's that were saved, and how far from that end.
    pub saved: Vec<(u16, i64)>,
}

/// The call frames of one image.
#[derive(Debug)]
pub struct Frames<'data> {
    debug: DebugFrame<Reader<'data>>,
    exceptions: EhFrame<Reader<'data>>,
    bases: BaseAddresses,
}

impl<'data> Frames<'data> {
    /// `None` if it is no image.
    pub fn new(elf: &'data [u8]) -> Option<Self> {
        let file = object::File::parse(elf).ok()?;
        let endian =
            if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let address_size = if file.is_64() { 8 } else { 4 };
        let section = |name| {
            let section = file.section_by_name(name);
            let data = section.as_ref().and_then(|section| section.data().ok());
            (data.unwrap_or_default(), section.map_or(0, |section| section.address()))
        };
        let mut debug = DebugFrame::from(Reader::new(section(".debug_frame").0, endian));
        let (exceptions, address) = section(".eh_frame");
        let mut exceptions = EhFrame::from(Reader::new(exceptions, endian));
        debug.set_address_size(address_size);
        exceptions.set_address_size(address_size);
        let bases = BaseAddresses::default().set_eh_frame(address);
        Some(Self { debug, exceptions, bases })
    }

    /// The frame at an instruction.
    pub fn find(&self, address: u64) -> Option<Frame> {
        self.find_in(&self.debug, address).or_else(|| self.find_in(&self.exceptions, address))
    }

    fn find_in<S: UnwindSection<Reader<'data>>>(&self, section: &S, address: u64) -> Option<Frame> {
        let mut context = UnwindContext::new();
        let row = section
            .unwind_info_for_address(&self.bases, &mut context, address, S::cie_from_offset)
            .ok()?;
        // Compilers describe no frame of an ordinary function in another way.
        let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else { return None };
        let saved = row.registers().filter_map(|(register, rule)| match rule {
            RegisterRule::Offset(offset) => Some((register.0, *offset)),
            _ => None,
        });
        let saved = saved.take(MOST_SAVED).collect();
        Some(Frame { register: register.0, offset: *offset, saved })
    }
}

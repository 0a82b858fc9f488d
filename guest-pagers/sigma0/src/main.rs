//! sigma0: the first task. It has all free memory at the addresses that it has physically, and all I/O
//! ports, and hands them out: whole pieces by its protocol, and page by page to the root task when
//! that faults.
//!
//! The kernel makes sigma0's own mappings when it faults; what sigma0 maps on it need not touch.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::ops::Range;
use images::{
    Architecture,
    bundle::{BundleError, Module},
    elf::Image,
};
use policy::{
    holdings::{Block, Holdings},
    ranges::TooManyPieces,
    regions::needed,
};
use runtime::{
    boot, message,
    pager::{Answer, Client, Pager, serve},
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        error::ObjectError,
        fault::{PageFault, PortFault},
        flexpage::{Flexpage, Kind, align_down},
        message::MessageTag,
        object::label,
        sigma0::{REQUEST_ANY, REQUEST_AT},
    },
    share::{Item, Shareable},
};

runtime::boot_entry!(main);

fn main() -> ! {
    let (own, root, root_image) = modules().unwrap_or_else(|error| panic!("{error}"));
    let holdings = Holdings::new(boot::kernel_info(), pages(own.bytes));
    serve(&mut Sigma0 {
        holdings: holdings.unwrap_or_else(|TooManyPieces| panic!("memory is in too many pieces")),
        root_image,
        root_file: root.bytes.as_ptr().addr(),
    })
}

/// sigma0's module, the root task's, and its image.
fn modules() -> Result<(Module<'static>, Module<'static>, Image), BundleError> {
    let bundle = boot::bundle()?;
    let (own, root) = (bundle.sigma0()?, bundle.root_task()?);
    Ok((own, root, root.image(Architecture::OWN)?))
}

/// The pages that hold these bytes.
fn pages(bytes: &[u8]) -> Range<Word> {
    let start = bytes.as_ptr().addr();
    start..(start + bytes.len()).next_multiple_of(PAGE_SIZE)
}

struct Sigma0 {
    holdings: Holdings,
    root_image: Image,
    /// Where the file with that image lies.
    root_file: Word,
}

impl Pager for Sigma0 {
    fn page_fault(&mut self, _: Client, fault: PageFault) -> Answer {
        let page = align_down(fault.address, PAGE_ORDER);
        match self.find(page, fault) {
            Some((address, flexpage)) => Answer::map(address, flexpage),
            None => {
                println!(
                    "sigma0: the root task has no right to access {:#x} ({}) at {:#x}",
                    fault.address,
                    fault.access.letter(),
                    fault.instruction
                );
                Answer::refuse(ObjectError::InvalidArgument)
            }
        }
    }

    fn port_fault(&mut self, _: Client, fault: PortFault) -> Answer {
        ports(fault.ports)
    }

    fn request(&mut self, _: Client, tag: MessageTag) -> Answer {
        if tag.label() != label::SIGMA0 {
            return Answer::refuse(ObjectError::BadProtocol);
        }
        if tag.words() < 2 {
            return Answer::refuse(ObjectError::MessageTooShort);
        }
        let [operation, argument] = message::read(0);
        match operation {
            REQUEST_ANY => self.any(argument),
            REQUEST_AT => self.at(Flexpage(argument)),
            _ => Answer::refuse(ObjectError::UnknownOperation),
        }
    }
}

impl Sigma0 {
    /// Where to map what, for a fault on `page` of the root task: its image's file is used as it
    /// is, all else is memory 1:1.
    fn find(&mut self, page: Word, fault: PageFault) -> Option<(Word, Shareable)> {
        let (address, flexpage) = if let Some(segment) = self.root_image.segment(page) {
            let source = self.root_file + segment.file_page(page);
            (page, Flexpage::memory(source, PAGE_ORDER, segment.rights))
        } else {
            let block = self.holdings.touch(page).ok().flatten()?;
            (block.address, one_to_one(block))
        };
        let is_enough = flexpage.rights().contains(needed(fault.access));
        Some((address, Shareable::new(flexpage)?)).filter(|_| is_enough)
    }

    fn any(&mut self, order: Word) -> Answer {
        let order = match u32::try_from(order) {
            Ok(order @ PAGE_ORDER..=31) => order,
            _ => return Answer::refuse(ObjectError::OutOfRange),
        };
        match self.holdings.take(order) {
            Ok(Some(block)) => give(block, |item| Answer::message([block.address], [item])),
            Ok(None) | Err(TooManyPieces) => Answer::refuse(ObjectError::NoMemory),
        }
    }

    fn at(&mut self, flexpage: Flexpage) -> Answer {
        if flexpage.kind() == Kind::IoPorts {
            return ports(flexpage);
        }
        let Some(area) = flexpage.memory_area().filter(|area| area.order() < 32) else {
            return Answer::refuse(ObjectError::InvalidArgument);
        };
        match self.holdings.take_at(area) {
            Ok(Some(block)) => give(block, |item| Answer::items([item])),
            Ok(None) | Err(TooManyPieces) => Answer::refuse(ObjectError::NoMemory),
        }
    }
}

/// All ports are there for who asks: that is the root task only. The kernel keeps those that it needs.
fn ports(ports: Flexpage) -> Answer {
    match ports.port_area() {
        Some(_) => Answer::ports(ports),
        None => Answer::refuse(ObjectError::InvalidArgument),
    }
}

fn give(block: Block, answer: impl FnOnce(Item) -> Answer) -> Answer {
    match Shareable::new(one_to_one(block)) {
        Some(flexpage) => answer(Item::map(block.address, flexpage)),
        None => Answer::refuse(ObjectError::PermissionDenied),
    }
}

fn one_to_one(block: Block) -> Flexpage {
    Flexpage::memory(block.address, block.order, block.rights)
}

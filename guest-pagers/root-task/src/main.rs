//! The root task: starts the programs that the manifest names, and is the pager of most of them.
//!
//! Nothing is mapped ahead of time. A program starts with an empty address space; the fault on its
//! first instruction is the first thing that the root task hears of it.
//!
//! | module | what it does |
//! |---|---|
//! | [`start`] | makes tasks, threads and gates |
//! | [`paging`] | finds or makes the page behind a fault |
//! | this one | answers messages, and knows when all is done |
//!
//! Nothing is printed unless something is wrong: the console is for the programs.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod paging;
mod start;

use core::fmt;
use images::Architecture;
use paging::{Paging, Refused};
use policy::programs::{ProgramIndex, Programs};
use runtime::{
    boot,
    capability::PARENT,
    message,
    pager::{Answer, Client, Pager, serve},
    println,
    program::exit,
    protocol::{
        PAGE_ORDER, Word,
        error::ObjectError,
        fault::{Exception, PageFault, PortFault},
        flexpage::{Flexpage, Rights, align_down},
        message::MessageTag,
        object::label,
        sigma0::{REQUEST_ANY, REQUEST_AT},
    },
    share::Item,
};

runtime::boot_entry!(main);

/// Exit status of the machine when the programs cannot even be started.
const STATUS_CANNOT_START: i32 = 126;

/// What a program counts as that was stopped.
const STATUS_STOPPED: u8 = 1;

fn main() -> ! {
    let bundle = boot::bundle().unwrap_or_else(|error| give_up(&error));
    let mut root = Root { programs: Programs::new(), paging: Paging::new(bundle) };
    root.programs.read(bundle, Architecture::OWN).unwrap_or_else(|error| give_up(&error));
    root.paging.prepare(&root.programs).unwrap_or_else(|error| give_up(&error));
    start::start(&root.programs).unwrap_or_else(|error| give_up(&error));
    serve(&mut root)
}

fn give_up(error: &dyn fmt::Display) -> ! {
    println!("root task: {error}");
    exit(STATUS_CANNOT_START)
}

struct Root {
    programs: Programs<'static>,
    paging: Paging,
}

impl Pager for Root {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        match self.programs.of_client(client.0) {
            Some(program) => self.page_in(program, fault),
            None => Answer::refuse(ObjectError::InvalidArgument),
        }
    }

    fn port_fault(&mut self, client: Client, fault: PortFault) -> Answer {
        match self.programs.of_client(client.0) {
            Some(program) => self.give_ports(program, fault.ports),
            None => Answer::refuse(ObjectError::InvalidArgument),
        }
    }

    /// Whoever raises an exception is stopped; so is, in the end, whoever's fault nobody resolved.
    fn exception(&mut self, client: Client, _: Exception) -> Answer {
        let answer = Answer::refuse(ObjectError::InvalidArgument);
        let Some(program) = self.programs.of_client(client.0) else { return answer };
        // Before the machine ends, so that the end of the program is in the trace.
        answer.send();
        self.programs.end(program, STATUS_STOPPED);
        self.end_if_done();
        Answer::nothing()
    }

    fn request(&mut self, client: Client, tag: MessageTag) -> Answer {
        let Some(program) = self.programs.of_client(client.0) else {
            return Answer::refuse(ObjectError::InvalidArgument);
        };
        match (tag.label(), tag.words()) {
            (label::EXIT, 1..) => self.exit(program, message::get(0)),
            (label::PAGE_IN, 3..) => self.page_in_for(program),
            (label::SIGMA0, 2..) => match message::read(0) {
                [REQUEST_ANY, order] => self.give_memory(order),
                [REQUEST_AT, flexpage] => self.give_ports(program, Flexpage(flexpage)),
                _ => Answer::refuse(ObjectError::UnknownOperation),
            },
            (label::EXIT | label::PAGE_IN | label::SIGMA0, _) => {
                Answer::refuse(ObjectError::MessageTooShort)
            }
            _ => Answer::refuse(ObjectError::BadProtocol),
        }
    }
}

impl Root {
    fn page_in(&mut self, program: ProgramIndex, fault: PageFault) -> Answer {
        match self.paging.find(program, &self.programs[program], fault) {
            Ok(flexpage) => Answer::map(align_down(fault.address, PAGE_ORDER), flexpage),
            Err(Refused::NoPage) => Answer::refuse(ObjectError::InvalidArgument),
            Err(Refused::NoMemory) => {
                println!(
                    "root task: no memory is left for `{}`, which touches {:#x}: give the machine \
                     more (glass run --memory)",
                    self.programs[program].name(),
                    fault.address
                );
                Answer::refuse(ObjectError::NoMemory)
            }
        }
    }

    /// `pager` asks for a page of a program that it pages.
    fn page_in_for(&mut self, pager: ProgramIndex) -> Answer {
        let [label, word0, word1] = message::read(0);
        let client = self.programs.of_gate_between_programs(label);
        match client.filter(|client| self.programs[*client].pager == Some(pager)) {
            Some(client) => self.page_in(client, PageFault::from_words([word0, word1])),
            None => Answer::refuse(ObjectError::PermissionDenied),
        }
    }

    fn give_memory(&mut self, order: Word) -> Answer {
        let order = match u32::try_from(order) {
            Ok(order @ PAGE_ORDER..=31) => order,
            _ => return Answer::refuse(ObjectError::OutOfRange),
        };
        match self.paging.memory.take(order) {
            Ok(memory) => {
                let address = memory.address();
                let item = Item::map(address, memory.flexpage(Rights::all()));
                Answer::message([address], [item])
            }
            Err(error) => error.into(),
        }
    }

    /// The ports that the manifest names for a program, if it names all of these.
    fn give_ports(&self, program: ProgramIndex, ports: Flexpage) -> Answer {
        if !self.programs[program].may_use(ports) {
            return Answer::refuse(ObjectError::PermissionDenied);
        }
        match PARENT.request_ports(ports) {
            Ok(()) => Answer::ports(ports),
            Err(error) => error.into(),
        }
    }

    fn exit(&mut self, program: ProgramIndex, status: Word) -> Answer {
        self.programs.end(program, u8::try_from(status).unwrap_or(STATUS_STOPPED));
        self.end_if_done();
        Answer::nothing()
    }

    fn end_if_done(&self) {
        if let Some(status) = self.programs.outcome() {
            exit(status.into());
        }
    }
}

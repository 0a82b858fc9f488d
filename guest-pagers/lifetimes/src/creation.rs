//! Slides "Task creation", "Creation", "ex_regs", "Page fault handling" and "Pager": a task is made, two
//! threads in it, each with a pager of its own; they run, and end.
//!
//! | who | what it is |
//! |---|---|
//! | this program | makes all of it, step by step, and hears of each |
//! | `pager one`, `pager two` | tasks of their own, each with a page that it has for a stack; code they map from their image, which is this program's |
//! | `made` | the new task, which has nothing but the kernel info page, its UTCB area, and three gates |

use crate::{
    child::{Child, report},
    house::{Heard, House, gate_to, listen},
};
use core::ops::Range;
use runtime::{
    Result,
    capability::{DEBUGGER, FACTORY, Gate, THREAD, Task, check},
    ipc,
    memory::Memory,
    objects::{Resident, Take},
    owned::Owned,
    pager::{Answer, Client, Pager, serve},
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        error::ObjectError,
        fault::PageFault,
        flexpage::{Flexpage, Rights, align_down},
        layout::{PAGER_AREA, PROGRAM_BASE, STACK_END, UTCB_AREA},
        message::MessageTag,
        object::CapabilityIndex,
        utcb::UTCB_SIZE,
    },
    share::Shareable,
};

/// To this program: a pager has got a fault, whose address and instruction these are.
const FAULT: isize = 1;
/// To this program: a thread runs, the one with this number.
const RUNS: isize = 2;

/// The stacks of both.
const STACKS: Range<Word> = STACK_END - 2 * PAGE_SIZE..STACK_END;

/// More than what is linked of this program.
const CODE: Flexpage = Flexpage::memory(PROGRAM_BASE, 22, Rights::empty());

/// A stack looks as if the function had been called.
const CALLED: usize = 16 + size_of::<Word>();

/// What the new task is called in messages.
const MADE: Word = 3;

/// What is different about the two threads, and their pagers.
const TEAMS: [Team; 2] = [
    Team { number: 1, pager_name: "pager one", pager: CapabilityIndex(32), body: first },
    Team { number: 2, pager_name: "pager two", pager: CapabilityIndex(33), body: second },
];

struct Team {
    number: Word,
    pager_name: &'static str,
    /// Where the new task has the gate to the pager.
    pager: CapabilityIndex,
    /// What the thread runs.
    body: extern "C" fn() -> !,
}

impl Team {
    fn utcb(&self) -> Word {
        UTCB_AREA + (self.number - 1) * UTCB_SIZE
    }

    /// The thread's stack is the page below.
    fn stack_end(&self) -> Word {
        STACK_END - (self.number - 1) * PAGE_SIZE
    }

    fn entry(&self) -> Word {
        self.body as *const () as usize
    }
}

/// A pager in a task of its own.
struct PagerTask {
    child: Child,
    /// To its thread: what the kernel asks it through.
    gate: Owned<Gate>,
    /// All that it has to give, beside its image.
    page: Memory,
}

/// Goes through the slides.
pub fn run() -> Result<()> {
    let mut house = House::default();
    let pagers = [make_pager(&mut house, &TEAMS[0])?, make_pager(&mut house, &TEAMS[1])?];
    let task = FACTORY.create_task(Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE))?;
    DEBUGGER.set_name(*task, None, "made")?;
    println!("creation: create_task: UTCBs from {UTCB_AREA:#x} on, else nothing");
    let parent = FACTORY.create_gate(MADE, THREAD)?;
    task.map(parent.item(CapabilityIndex::PARENT, Rights::READ))?;

    let one = make_thread(&task, &TEAMS[0], &pagers[0].gate)?;
    let two = make_thread(&task, &TEAMS[1], &pagers[1].gate)?;
    start(&one, &TEAMS[0])?;
    // Their code may lie in one page: the second one shall find nothing there either. The first one waits.
    let gate = FACTORY.create_gate(0, *one)?;
    println!("creation: thread 1 {}", answers(&gate));
    gate.end()?;
    task.unmap([CODE], Take::EVERYTHING.own_too())?;
    println!("creation: unmap: the task has no code any more");
    start(&two, &TEAMS[1])?;

    let gate = FACTORY.create_gate(0, *two)?;
    one.end()?;
    println!("creation: thread 1 has ended; thread 2 {}", answers(&gate));
    task.end()?;
    println!("creation: the task has ended; thread 2 {}", answers(&gate));
    two.end()?;
    pagers.into_iter().try_for_each(|pager| pager.end(&mut house))
}

fn make_pager(house: &mut House, team: &Team) -> Result<PagerTask> {
    let child = house.child(FACTORY, team.number)?;
    DEBUGGER.set_name(*child.task, None, team.pager_name)?;
    let page = house.page()?;
    child.give_page(0, &page)?;
    let gate = gate_to(&child, team.number)?;
    child.start(page_in)?;
    Ok(PagerTask { child, gate, page })
}

impl PagerTask {
    fn end(self, house: &mut House) -> Result<()> {
        self.gate.end()?;
        house.end(self.child)?;
        house.pool.give_back(self.page)
    }
}

fn make_thread(task: &Owned<Task>, team: &Team, pager: &Owned<Gate>) -> Result<Resident> {
    let Team { number, pager_name, pager: slot, .. } = *team;
    let thread = FACTORY.create_thread()?;
    println!("creation: create_thread: thread {number}, in no task yet");
    task.map(pager.item(slot, Rights::READ))?;
    let thread = thread.bind(task, slot, CapabilityIndex::PARENT, team.utcb())?;
    println!("creation: control: thread {number} in the task, its pager is {pager_name}");
    Ok(thread)
}

/// Lets a thread run, and hears of its faults until it does.
fn start(thread: &Resident, team: &Team) -> Result<()> {
    let Team { number, pager_name, .. } = *team;
    let entry = team.entry();
    thread.start(entry, team.stack_end() - CALLED)?;
    println!("creation: ex_regs: thread {number} is to run");
    let mut faults = 0;
    loop {
        match listen() {
            Heard::Words(from, FAULT, [address, instruction]) => {
                assert_eq!(from, number, "each thread has a pager of its own");
                // The lowest bits of a fault's address say which access it was.
                let is_fetch = align_down(address, 3) == align_down(instruction, 3);
                if faults == 0 {
                    assert!(is_fetch && instruction == entry, "{address:#x} at {instruction:#x}");
                }
                let what = if is_fetch { "fetch of an instruction" } else { "access" };
                println!("creation: {pager_name}: a fault of thread {number}, {what}");
                faults += 1;
            }
            Heard::Words(MADE, RUNS, [runs, _]) if runs == number => {
                println!("creation: thread {number} runs");
                return Ok(());
            }
            other => panic!("of thread {number} was to be heard, but: {other:?}"),
        }
    }
}

/// Whether a thread of the task answers.
fn answers(gate: &Owned<Gate>) -> &'static str {
    match gate.call(MessageTag::new(0, 0, 0)).and_then(check) {
        Ok(_) => "answers",
        Err(_) => "does not",
    }
}

extern "C" fn page_in() -> ! {
    serve(&mut PageIn)
}

struct PageIn;

impl Pager for PageIn {
    fn page_fault(&mut self, _: Client, fault: PageFault) -> Answer {
        report(FAULT, [fault.address, fault.instruction]);
        let page = align_down(fault.address, PAGE_ORDER);
        let flexpage = if STACKS.contains(&page) {
            Flexpage::memory(PAGER_AREA, PAGE_ORDER, Rights::READ_WRITE)
        } else {
            Flexpage::memory(page, PAGE_ORDER, Rights::READ_EXECUTE)
        };
        match Shareable::new(flexpage) {
            Some(flexpage) => Answer::map(page, flexpage),
            None => Answer::refuse(ObjectError::InvalidArgument),
        }
    }
}

extern "C" fn first() -> ! {
    live(1)
}

extern "C" fn second() -> ! {
    live(2)
}

/// Says that it runs, and answers whoever asks.
fn live(number: Word) -> ! {
    report(RUNS, [number, 0]);
    let _ = ipc::wait();
    loop {
        let _ = ipc::reply_and_wait(MessageTag::new(0, 0, 0));
    }
}

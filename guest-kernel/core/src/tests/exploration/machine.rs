//! The small machine: three tasks with a thread each, two pages and two capabilities.

use super::{
    alphabet::{Act, Item, Kind, PAGES, SLOTS, Thing, tag_of, words_of},
    invariants,
};
use crate::{
    mapping::capability::Object,
    memory::index::{TableIndex, TaskIndex, ThreadIndex},
    tests::{
        Bench,
        algebra::{Check, Row, same, specification::Spot},
        model::POOL,
    },
    threads::undertaking::walker,
};
use protocol::{
    PAGE_SIZE, Word,
    error::ObjectError,
    fault::{Access, PageFault},
    flexpage::{Flexpage, Rights},
    introspection::{ThreadState, mapping::Resource},
    kip::PhysicalRange,
    message::MessageTag,
    object::{CapabilityIndex, label},
    operation::{Operation as _, task, thread},
    syscall::{CAPABILITY_SHIFT, Operation},
};

pub const PLAYERS: u16 = 3;

/// Where each task has gates to the threads, the threads themselves, and the tasks.
const GATES: Word = 20;
const THREADS: Word = 24;
const TASKS: Word = 28;

/// The instruction behind the system call.
pub const START: Word = 0x40_0100;

/// As few steps from one preemption point to the next as lead anywhere.
const STEPS: u32 = 50;

/// The first of two frames of sigma0's.
const FRAMES: u64 = 0x300_0000;

/// Kernel memory that it has.
const MEMORY: PhysicalRange = PhysicalRange { start: POOL.start, end: POOL.start + (1 << 20) };

/// How a step is gone: which of the ways there are, and where the time slice ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With quick paths.
    Quick,
    /// By the general ways, without interruption.
    Calm,
    /// Left at a preemption point, with so many passed before.
    Left(u8),
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Player {
    /// What it is in.
    pub act: Option<Act>,
    /// The registers of its system call.
    pub call: [Word; 3],
    /// Of an unmap: whether all was gone that was to go. If it is left then, others may map again.
    pub is_taken: bool,
}

#[derive(Clone)]
pub struct Machine {
    pub bench: Bench,
    pub players: [Player; PLAYERS as usize],
    pub first: u16,
    /// Nodes of all that is never touched.
    pub fixed_nodes: u32,
    /// Memory of the kernel, handed out or not.
    pub memory: u64,
    /// Whether answers may come from others than those who were called.
    pub hands_on: bool,
}

impl Machine {
    pub fn new() -> Self {
        let mut bench = Bench::with_pool(MEMORY);
        for _ in 0..2 {
            bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        }
        let first = bench.kernel.threads.used();
        for number in 0..PLAYERS {
            bench.spawn(first + (number + 1) % PLAYERS, 100);
        }
        let mut machine = Self {
            bench,
            players: Default::default(),
            first,
            fixed_nodes: 0,
            memory: 0,
            hands_on: false,
        };
        let tasks = [0, 1, 2].map(|number| machine.task(number));
        for number in 0..PLAYERS {
            let (thread, own) = (machine.thread(number), machine.task(number));
            let bench = &mut machine.bench;
            for other in 0..PLAYERS {
                let index = |first| CapabilityIndex(first + Word::from(other));
                let target = ThreadIndex::from_position(first + other);
                bench.gate(own, index(GATES), target.position(), thread.position().into());
                bench.give(own, index(THREADS), Object::Thread(target));
                bench.give(own, index(TASKS), Object::Task(tasks[usize::from(other)]));
            }
            bench.kernel.threads[thread].context.set_pointers(START, 0);
            bench.kernel.utcb(thread).buffer[0] = Flexpage::WHOLE_SPACE.0;
            // Tables stand where something may arrive, so that memory is no part of the state.
            bench.enter(own, PAGES, FRAMES, Rights::READ);
        }
        for (number, object) in [(0, Object::Console), (1, Object::Debugger)] {
            machine.bench.give(tasks[0], CapabilityIndex(SLOTS + number), object);
        }
        let nothing = Act::Unmap { thing: Thing::Page(0), take: Rights::all(), own: true };
        for number in 0..PLAYERS {
            machine.begin(number, nothing);
            machine.go(number, Way::Calm);
        }
        machine.players = Default::default();
        for page in [0, 1] {
            let (offset, frame) = (page * PAGE_SIZE, FRAMES + (page * PAGE_SIZE) as u64);
            machine.bench.enter(tasks[0], PAGES + offset, frame, Rights::all());
        }
        let nodes = invariants::nodes(&machine).expect("sound");
        machine.fixed_nodes = nodes - invariants::found(&machine).expect("sound").len() as u32;
        machine.memory = invariants::memory(&machine);
        machine.bench.kernel.mappings.stretch.steps = STEPS;
        machine.clear();
        machine
    }

    pub fn thread(&self, number: u16) -> ThreadIndex {
        ThreadIndex::from_position(self.first + number)
    }

    pub fn task(&self, number: u16) -> TaskIndex {
        self.bench.task_of(self.first + number)
    }

    fn spot(&self, number: u16, thing: Thing) -> Option<Spot> {
        let (resource, unit) = thing.unit()?;
        Some(Spot { task: self.task(number).position(), resource, number: unit })
    }

    pub fn is_ready(&self, number: u16) -> bool {
        self.bench.kernel.threads[self.thread(number)].is(ThreadState::Ready)
    }

    /// Whether a thread is in a system call that it begins again.
    pub fn is_restarted(&self, number: u16) -> bool {
        let context = &self.bench.kernel.threads[self.thread(number)].context;
        self.is_ready(number) && context.instruction() != START
    }

    /// Whether a thread would do something that it cannot do.
    pub fn is_idle(&self, number: u16, act: Act, rows: &[Row]) -> bool {
        let Act::Fault { page } = act else { return false };
        let spot = self.spot(number, Thing::Page(page));
        rows.iter().any(|row| Some(row.spot) == spot && row.rights.contains(Rights::WRITE))
    }

    /// Lets a thread begin something: what its registers and its message are.
    pub fn begin(&mut self, number: u16, act: Act) {
        let thread = self.thread(number);
        let position = |other| Word::from((number + u16::from(other)) % PLAYERS);
        self.bench.message(thread.position())[..8].fill(0xdead);
        let ipc = |machine: &mut Self, kind, item: Option<Item>| {
            let message = machine.bench.message(thread.position());
            message[..2].copy_from_slice(&words_of(kind, thread.position()));
            if let Some(item) = item {
                message[2..4].copy_from_slice(&item.encode().to_words());
            }
            tag_of(kind, usize::from(item.is_some()))
        };
        let (index, operation, tag) = match act {
            Act::Send { to, item } => {
                (GATES + position(to), Operation::SEND, ipc(self, Kind::Send, item))
            }
            Act::Call { to, item } => {
                (GATES + position(to), Operation::CALL, ipc(self, Kind::Call, item))
            }
            Act::ReplyAndWait { item } => {
                (0, Operation::REPLY_AND_WAIT, ipc(self, Kind::Reply, item))
            }
            Act::Wait => (0, Operation::WAIT, MessageTag(0)),
            Act::Receive { from } => (GATES + position(from), Operation::RECEIVE, MessageTag(0)),
            Act::Map { to, item } => {
                let [base, flexpage] = item.encode().to_words();
                let tag = self.invoke(number, label::TASK, &[task::Map::NUMBER, base, flexpage]);
                (TASKS + position(to), Operation::CALL, tag)
            }
            Act::Unmap { thing, take, own } => {
                let own = if own { task::Unmap::OWN_TOO } else { 0 };
                let flexpage = thing.flexpage(Rights::empty()).0;
                let words = [task::Unmap::NUMBER, Word::from(take.bits()) | own, 1, flexpage];
                (TASKS + position(0), Operation::CALL, self.invoke(number, label::TASK, &words))
            }
            Act::Cancel { thread } => {
                let words = [thread::ExRegs::NUMBER, START, 0];
                let tag = self.invoke(number, label::THREAD, &words);
                (THREADS + position(thread), Operation::CALL, tag)
            }
            Act::SetAside { slot } => {
                (SLOTS + Word::from(slot), Operation::SET_ASIDE, MessageTag(0))
            }
            Act::Later { slot, item } => {
                let operation = match item {
                    None => Operation::ANSWER_AND_WAIT,
                    Some(_) => Operation::SEND,
                };
                (SLOTS + Word::from(slot), operation, ipc(self, Kind::Reply, item))
            }
            Act::Fault { .. } => (0, Operation(0), MessageTag(0)),
        };
        let call = [index << CAPABILITY_SHIFT | operation.0, tag.0, 0];
        self.players[usize::from(number)] = Player { act: Some(act), call, is_taken: false };
    }

    fn invoke(&mut self, number: u16, label: isize, words: &[Word]) -> MessageTag {
        self.bench.message(self.first + number)[..words.len()].copy_from_slice(words);
        MessageTag::new(label, words.len(), 0)
    }

    /// The thread enters the kernel with what it has begun. Returns how many preemption points there were.
    pub fn go(&mut self, number: u16, way: Way) -> u64 {
        let thread = self.thread(number);
        self.run(thread);
        self.clear();
        let machine = &mut self.bench.kernel.mappings.machine;
        machine.is_slow = way != Way::Quick;
        machine.is_restless = matches!(way, Way::Left(_));
        machine.calm_windows = if let Way::Left(passed) = way { passed.into() } else { 0 };
        let before = machine.interrupt_windows;
        let Player { act, call: [target, tag, timeouts], .. } = self.players[usize::from(number)];
        let kernel = &mut self.bench.kernel;
        kernel.threads[thread].context.set_pointers(START, 0);
        if let Some(Act::Fault { page }) = act {
            kernel.page_fault(fault_address(number, page), Access::WRITE);
        } else {
            kernel.system_call(target, tag, timeouts);
        }
        kernel.mappings.machine.interrupt_windows - before
    }

    /// Leaves the processor to a thread that is ready.
    fn run(&mut self, thread: ThreadIndex) {
        let kernel = &mut self.bench.kernel;
        if kernel.current == thread.into() {
            return;
        }
        if let Some(current) = kernel.current.get() {
            kernel.ready.push_back(&mut kernel.threads, current);
        }
        kernel.ready.remove(&mut kernel.threads, thread);
        kernel.current = thread.into();
    }

    fn clear(&mut self) {
        let machine = &mut self.bench.kernel.mappings.machine;
        machine.records.clear();
        machine.flushed.clear();
    }

    /// What a step has brought to all that it ended for: whose words arrived, and what is gone.
    pub fn conclude(&mut self, rows: &[Row]) -> Check {
        // Whoever is sent elsewhere is in nothing any more.
        let is_cancelling = |player: &Player| matches!(player.act, Some(Act::Cancel { .. }));
        let mut order = [0, 1, 2];
        order.sort_by_key(|number| !is_cancelling(&self.players[usize::from(*number)]));
        for number in order {
            let thread = self.thread(number);
            let Some(act) = self.players[usize::from(number)].act else { continue };
            let taken = self.check_taken(number, act, rows);
            // Others may have gone on with it, and mapped on what is not to go.
            let help = self.bench.kernel.mappings.walkers[walker(thread)].help;
            let is_over = help.is_some_and(|help| help.is_over);
            self.players[usize::from(number)].is_taken |= taken.is_ok() || is_over;
            let (instruction, arguments) = {
                let context = &self.bench.kernel.threads[thread].context;
                (context.instruction(), context.arguments())
            };
            if !self.is_ready(number) {
                continue;
            }
            if instruction == START {
                let (tag, from) = self.bench.result(thread.position());
                self.check_result(number, act, tag, from)?;
                if !self.players[usize::from(number)].is_taken {
                    taken?;
                }
                self.players[usize::from(number)] = Player::default();
            } else {
                same("where it goes on", instruction, START - 2)?;
                let player = &mut self.players[usize::from(number)];
                let waits = arguments == [Operation::WAIT.0, 0, 0]
                    && Operation(player.call[0]).contains(Operation::WAIT);
                if arguments != player.call && !waits {
                    return Err(format!("{number} begins {arguments:x?} again"));
                }
                player.call = arguments;
            }
        }
        Ok(())
    }

    /// If a thread unmaps one thing: whether nothing is left that was to go.
    fn check_taken(&self, number: u16, act: Act, rows: &[Row]) -> Check {
        let Act::Unmap { thing, take, own } = act else { return Ok(()) };
        let Some(spot) = self.spot(number, thing) else { return Ok(()) };
        invariants::expect_taken(rows, spot, take, own)
    }

    fn check_result(&mut self, number: u16, act: Act, tag: MessageTag, from: Word) -> Check {
        let position = |other: u8| (number + u16::from(other)) % PLAYERS;
        match act {
            Act::Fault { .. } | Act::Map { .. } => Ok(()),
            Act::Unmap { .. } => same("the answer to an unmap", tag, MessageTag::new(0, 4, 0)),
            Act::Cancel { thread } => {
                same("the answer to a cancellation", tag, MessageTag::new(0, 3, 0))?;
                let other = position(thread);
                let context = &self.bench.kernel.threads[self.thread(other)].context;
                same("where it was sent", context.instruction(), START)?;
                self.players[usize::from(other)] = Player::default();
                Ok(())
            }
            _ if tag.is_ipc_error() => Ok(()),
            // There may be an object of another kind.
            Act::Later { item: Some(_), .. } if tag == ObjectError::BadProtocol.tag() => Ok(()),
            Act::SetAside { .. } => same("what is set aside", tag, MessageTag(0)),
            Act::Send { .. } | Act::Later { item: Some(_), .. } => {
                same("the answer to a send", tag, MessageTag(0))
            }
            Act::Call { to, .. } => self.check_message(number, tag, from, Some(position(to))),
            Act::Receive { from: other } => {
                self.check_message(number, tag, from, Some(position(other)))
            }
            Act::Wait | Act::ReplyAndWait { .. } | Act::Later { item: None, .. } => {
                self.check_message(number, tag, from, None)
            }
        }
    }

    /// A message is whole, from whom its label says, and from the one that was waited for.
    fn check_message(
        &mut self,
        number: u16,
        tag: MessageTag,
        from: Word,
        expected: Option<u16>,
    ) -> Check {
        let message = *self.bench.message(self.first + number);
        let is_answer = from == 0;
        let sender = match (is_answer, expected) {
            // Whoever it was handed to.
            (true, Some(_)) if self.hands_on => message[0] as u16 >> 4,
            (true, Some(expected)) => self.first + expected,
            (true, None) => {
                return Err(format!("{number} got an answer that it had not asked for"));
            }
            (false, _) => from as u16,
        };
        if let Some(expected) = expected.filter(|_| !(is_answer && self.hands_on)) {
            same("who sends", sender, self.first + expected)?;
        }
        if tag == PageFault::TAG {
            let [first, second] = [0, 1].map(|page| {
                let address = fault_address(sender - self.first, page);
                PageFault { address, instruction: START, access: Access::WRITE }.to_words()
            });
            let words = [message[0], message[1]];
            return same("the words of a fault", words == first || words == second, true);
        }
        if tag.label() == label::EXCEPTION {
            return Ok(());
        }
        let kinds = if is_answer { &[Kind::Reply][..] } else { &[Kind::Send, Kind::Call] };
        let is_whole = kinds.iter().any(|kind| {
            tag == tag_of(*kind, tag.items()) && message[..2] == words_of(*kind, sender)
        });
        match is_whole {
            true => Ok(()),
            false => Err(format!("{number} got {tag:?} from {from} with {:x?}", &message[..4])),
        }
    }

    /// Where something may be.
    pub fn spots(&self) -> impl Iterator<Item = Spot> {
        let tasks = [0, 1, 2].map(|number| self.task(number).position());
        let things = [Thing::Page(0), Thing::Page(1), Thing::Slot(0), Thing::Slot(1)];
        tasks.into_iter().flat_map(move |task| {
            let units = things.into_iter().filter_map(Thing::unit);
            units.map(move |(resource, number)| Spot { task, resource, number })
        })
    }

    /// Where trees have their roots: sigma0's superpage, and the slots.
    pub fn roots(&self) -> impl Iterator<Item = Spot> {
        let sigma0 = TaskIndex::SIGMA0.position();
        let number = (FRAMES / PAGE_SIZE as u64) as u32;
        let memory = Spot { task: sigma0, resource: Resource::Memory, number };
        let slots = self.spots().filter(|spot| spot.resource == Resource::Capability);
        std::iter::once(memory).chain(slots)
    }
}

/// Every thread touches another byte of a page.
fn fault_address(number: u16, page: u8) -> Word {
    PAGES + Word::from(page) * PAGE_SIZE + 16 * (1 + Word::from(number))
}

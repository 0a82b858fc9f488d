//! Several threads at once, each of which may act between any two restarts of the others: whose words
//! arrive, and with whose tag and label.
//!
//! What a restarted thread does is what its registers say, as on a processor.

use super::{
    Bench,
    algebra::{database::note_use, specification::Spot},
    random::Random,
};
use crate::{
    mapping::capability::Object,
    memory::index::{MaybeThread, TableIndex, ThreadIndex},
};
use protocol::{
    PAGE_SIZE, Word,
    flexpage::{Flexpage, Rights, align_down},
    introspection::mapping::Resource,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, task},
    syscall::{CAPABILITY_SHIFT, Operation},
};

/// The instruction behind the system call.
const START: Word = 0x40_0100;

/// Where clients have pages, and how many.
const PAGES: Word = 0x100_0000;
const COUNT: Word = 64;
const FRAMES: u64 = 0x300_0000;

/// Where servers get them.
const WINDOW: Word = 0x800_0000;

/// Gates of clients to the servers.
const FIRST_SERVER: Word = 20;

/// Where servers have answers to clients that they have set aside.
const FIRST_LATER: Word = 40;

/// What a thread does and knows.
#[derive(Clone, Debug, Default)]
struct Player {
    /// The registers of the system call that it is in.
    call: [Word; 3],
    /// Of a server: the client whose call it took last.
    client: Option<u16>,
    /// Of a server: the clients whose answers it has set aside.
    later: Vec<u16>,
    /// Of a client: the number of the server's answer.
    answer: Option<usize>,
}

pub struct Stage {
    pub bench: Bench,
    /// Whether no time slice ends within the kernel.
    pub is_calm: bool,
    first: u16,
    players: Vec<Player>,
    servers: u16,
    random: Random,
    restarts: usize,
    messages: usize,
    answers: usize,
    /// Of these, how many servers had set aside.
    later: usize,
    unmaps: usize,
    /// All messages that were composed, with who did.
    log: Vec<(u16, MessageTag)>,
}

impl Stage {
    pub fn new(servers: u16, clients: u16, seed: u64) -> Self {
        let mut bench = Bench::new();
        bench.kernel.mappings.stretch.steps = 50;
        for _ in 0..2 {
            bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        }
        let first = bench.kernel.threads.used();
        for number in 0..servers + clients {
            let thread = bench.spawn(1, 100);
            bench.thread(thread).context.set_pointers(START, 0);
            let task = bench.task_of(thread);
            for server in 0..servers {
                let index = CapabilityIndex(FIRST_SERVER + Word::from(server));
                bench.gate(task, index, first + server, Word::from(number));
            }
            if number < servers {
                let window = Flexpage::memory(WINDOW, 24, Rights::empty());
                bench.kernel.utcb(ThreadIndex::from_position(thread)).buffer[0] = window.0;
            } else {
                for page in 0..COUNT {
                    let frame = FRAMES + (page * PAGE_SIZE) as u64;
                    bench.enter(task, PAGES + page * PAGE_SIZE, frame, Rights::all());
                }
            }
        }
        let players = vec![Player::default(); usize::from(servers + clients)];
        let random = Random::new(seed);
        let (restarts, messages, answers, later, unmaps, log) = (0, 0, 0, 0, 0, Vec::new());
        let is_calm = false;
        Self {
            bench,
            is_calm,
            first,
            players,
            servers,
            random,
            restarts,
            messages,
            answers,
            later,
            unmaps,
            log,
        }
    }

    fn below(&mut self, bound: u64) -> Word {
        (self.random.next() % bound) as Word
    }

    /// One system call of the thread that runs, or the end of its time slice.
    pub fn act(&mut self) {
        let Some(current) = self.bench.kernel.current.get() else {
            // All clients wait for answers that were set aside.
            let is_patient = |player: &Player| !player.later.is_empty();
            assert!(self.players.iter().any(is_patient), "nobody can run");
            self.send_elsewhere();
            return self.bench.kernel.timer_tick();
        };
        let number = current.position().checked_sub(self.first).expect("the others wait");
        let is_restless = self.below(3) != 0 && !self.is_calm;
        self.bench.kernel.mappings.machine.is_restless = is_restless;
        if self.below(64) == 0 {
            self.send_elsewhere();
        }
        let instruction = self.bench.kernel.threads[current].context.instruction();
        let call = if instruction == START {
            if self.below(8) == 0 {
                return self.bench.kernel.timer_tick();
            }
            self.check(number);
            match number < self.servers {
                true => self.serve(number),
                false => self.ask(number),
            }
        } else {
            self.restarts += 1;
            assert_eq!(instruction, START - 2, "{number} is where it was not sent");
            let call = self.bench.kernel.threads[current].context.arguments();
            self.check_registers(number, call);
            call
        };
        self.players[usize::from(number)].call = call;
        self.bench.kernel.threads[current].context.set_pointers(START, 0);
        let [target, tag, timeouts] = call;
        self.bench.kernel.system_call(target, tag, timeouts);
    }

    /// A thread, whatever it is in, is sent elsewhere by another one, and begins anew.
    fn send_elsewhere(&mut self) {
        let number = self.below(self.players.len() as u64) as u16;
        let thread = ThreadIndex::from_position(self.first + number);
        self.bench.kernel.cancel(thread);
        self.bench.kernel.threads[thread].context.set_pointers(START, 0);
        let player = &mut self.players[usize::from(number)];
        (player.call, player.client) = ([0; 3], None);
    }

    /// A server goes on waiting; all others do what they have begun.
    fn check_registers(&self, number: u16, call: [Word; 3]) {
        let begun = self.players[usize::from(number)].call;
        let [target, tag, timeouts] = call;
        let waits = (target, tag, timeouts) == (Operation::WAIT.0, 0, 0);
        let may_wait = Operation(begun[0]).contains(Operation::WAIT);
        assert!(call == begun || waits && may_wait, "{number} began {begun:x?}, is in {call:x?}");
    }

    /// A message with words and perhaps items.
    fn compose(&mut self, number: u16, items: usize) -> MessageTag {
        let thread = self.first + number;
        let (serial, count) = (self.log.len(), 1 + self.below(4));
        let tag = MessageTag::new(self.below(100) as isize, count, items);
        self.log.push((number, tag));
        self.bench.message(thread)[..count].copy_from_slice(&words_of(serial)[..count]);
        for item in 0..items {
            let order = [12, 12, 14, 18][self.below(4)];
            let inside = align_down(self.below(COUNT as u64) * PAGE_SIZE, order as u32);
            let base = PAGES + inside;
            let page = Flexpage::memory(base, order as u32, Rights::READ_WRITE);
            let place = self.below(0x400) * PAGE_SIZE;
            let words = MapItem::map(place, page).to_words();
            let register = count + 2 * item;
            self.bench.message(thread)[register..register + 2].copy_from_slice(&words);
        }
        tag
    }

    /// The number of the message that a thread has got; it is whole, and from nobody else.
    fn received(&mut self, number: u16, tag: MessageTag) -> usize {
        let message = *self.bench.message(self.first + number);
        let serial = message[0] >> 4;
        let (sender, sent) = self.log[serial];
        assert_eq!(tag, sent, "the words of {sender} with another tag");
        let count = tag.words();
        assert_eq!(message[..count], words_of(serial)[..count], "the words of several messages");
        serial
    }

    /// A client takes back what it has sent of one of its pages, and sometimes the page, which the
    /// processor may have used.
    fn take_back(&mut self, number: u16) -> [Word; 3] {
        let thread = self.first + number;
        let page = PAGES + self.below(COUNT as u64) * PAGE_SIZE;
        let task = self.bench.task_of(thread);
        let (resource, number) = (Resource::Memory, (page / PAGE_SIZE) as u32);
        let write = self.below(2) == 0;
        note_use(&mut self.bench, Spot { task: task.position(), resource, number }, write);
        let own = if self.below(16) == 0 { task::Unmap::OWN_TOO } else { 0 };
        let rights = [7, 7, 7, 2][self.below(4)] | own;
        let flexpage = Flexpage::memory(page, 12, Rights::empty()).0;
        let message = [task::Unmap::NUMBER, rights, 1, flexpage];
        self.bench.message(thread)[..4].copy_from_slice(&message);
        let target = CapabilityIndex::TASK.0 << CAPABILITY_SHIFT | Operation::CALL.0;
        [target, MessageTag::new(label::TASK, 4, 0).0, 0]
    }

    fn ask(&mut self, number: u16) -> [Word; 3] {
        if self.below(4) == 0 {
            return self.take_back(number);
        }
        let items = [0, 1, 1, 2][self.below(4)];
        let tag = self.compose(number, items);
        let operation = [Operation::SEND, Operation::CALL][self.below(2)];
        let server = FIRST_SERVER + self.below(self.servers.into());
        self.players[usize::from(number)].answer = None;
        [server << CAPABILITY_SHIFT | operation.0, tag.0, 0]
    }

    fn serve(&mut self, number: u16) -> [Word; 3] {
        let client = self.players[usize::from(number)].client.take();
        if let Some(client) = client
            && self.below(3) == 0
        {
            self.players[usize::from(number)].later.push(client);
            let slot = FIRST_LATER + Word::from(client);
            return [slot << CAPABILITY_SHIFT | Operation::SET_ASIDE.0, 0, 0];
        }
        let has_later = !self.players[usize::from(number)].later.is_empty();
        if client.is_none() && has_later && self.below(2) == 0 {
            return self.answer_later(number);
        }
        let (operation, tag) = match (client, self.below(4)) {
            (Some(client), 1..) => {
                let tag = self.compose(number, 0);
                self.players[usize::from(client)].answer = Some(self.log.len() - 1);
                (Operation::REPLY_AND_WAIT, tag)
            }
            _ => (Operation::WAIT, MessageTag(0)),
        };
        [operation.0, tag.0, 0]
    }

    /// Answers one of those whose answers were set aside, if it waits for that still.
    fn answer_later(&mut self, number: u16) -> [Word; 3] {
        let count = self.players[usize::from(number)].later.len();
        let chosen = self.below(count as u64);
        let client = self.players[usize::from(number)].later.swap_remove(chosen);
        let slot = FIRST_LATER + Word::from(client);
        let waiting = ThreadIndex::from_position(self.first + client);
        let task = self.bench.task_of(self.first + number);
        let mappings = &mut self.bench.kernel.mappings;
        let found = mappings.tasks[task]
            .capabilities
            .get(&mut mappings.machine, CapabilityIndex(slot))
            .map(|capability| capability.object);
        if let Some(Object::Reply(caller)) = found {
            assert_eq!(caller, waiting);
            let operation = [Operation::SEND, Operation::ANSWER_AND_WAIT][self.below(2)];
            let tag = self.compose(number, 0);
            self.players[usize::from(client)].answer = Some(self.log.len() - 1);
            self.later += 1;
            return [slot << CAPABILITY_SHIFT | operation.0, tag.0, 0];
        }
        [Operation::WAIT.0, 0, 0]
    }

    /// What the last system call of a thread brought it.
    fn check(&mut self, number: u16) {
        let thread = self.first + number;
        let (tag, label) = self.bench.result(thread);
        let begun = self.players[usize::from(number)].call;
        if begun == [0; 3] || tag.is_ipc_error() {
            return;
        }
        if number < self.servers && !Operation(begun[0]).contains(Operation::WAIT) {
            assert_eq!(tag, MessageTag(0), "an answer was set aside, or was given");
        } else if number < self.servers {
            let serial = self.received(number, tag);
            assert_eq!(Word::from(self.log[serial].0), label, "the words of another one");
            self.messages += 1;
            for item in 0..tag.items() {
                let register = tag.words() + 2 * item;
                let [first, second] =
                    [register, register + 1].map(|register| self.bench.message(thread)[register]);
                let item = MapItem::from_words([first, second]).expect("an item that arrived");
                let inside = (WINDOW..WINDOW + (1 << 24)).contains(&item.flexpage.address());
                assert!(inside, "{item:x?} arrived nowhere");
            }
            let client = ThreadIndex::from_position(self.first + label as u16);
            let is_call = Operation(self.players[label].call[0] & 0xf) == Operation::CALL;
            if is_call && self.bench.thread(thread).caller == MaybeThread::from(client) {
                self.players[usize::from(number)].client = Some(label as u16);
            }
        } else if begun[0] >> CAPABILITY_SHIFT == CapabilityIndex::TASK.0 {
            assert_eq!(tag, MessageTag::new(0, 4, 0), "the answer of the task itself");
            self.unmaps += 1;
        } else if Operation(begun[0] & 0xf) == Operation::CALL {
            let serial = self.received(number, tag);
            let answer = self.players[usize::from(number)].answer.take();
            assert_eq!(Some(serial), answer, "the answer is for another one");
            self.answers += 1;
        }
    }
}

/// The words of a message, however many of them count.
fn words_of(serial: usize) -> [Word; 4] {
    core::array::from_fn(|word| serial << 4 | word)
}

#[test]
fn everybody_gets_the_words_that_were_meant_for_them() {
    const STEPS: usize = 40_000;
    for (servers, clients, seed) in [(1, 2, 1), (1, 3, 2), (2, 3, 3), (1, 6, 4)] {
        let mut stage = Stage::new(servers, clients, seed);
        for _ in 0..STEPS {
            stage.act();
            stage.bench.kernel.mappings.machine.records.clear();
            stage.bench.kernel.mappings.machine.flushed.clear();
        }
        for often in [stage.restarts, stage.messages, stage.answers, stage.later, stage.unmaps] {
            assert!(often > STEPS / 100, "{often} with {servers} servers and {clients} clients");
        }
    }
}

//! Three threads that map, grant and take back at random, send each other what they have, write into each
//! other's messages, and begin each other anew in the middle of anything.

use crate::thread;
use core::{
    hint,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};
use runtime::{
    capability::{Cap, DEBUGGER, FACTORY, SERVER, TASK, Thread},
    ipc,
    memory::Pool,
    message,
    objects::Take,
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        flexpage::{Flexpage, Rights, align_down},
        layout::PAGER_AREA,
        message::MessageTag,
        object::CapabilityIndex,
        syscall::{CAPABILITY_SHIFT, Operation, Timeouts},
    },
    random::Random,
    share::{Item, Shareable},
};

const THREADS: usize = 3;
const FIRST_THREAD: Word = 40;
const FIRST_GATE: Word = 60;
/// Capabilities that come and go.
const FIRST_CAPABILITY: Word = 100;
const CAPABILITIES: Word = 64;

/// Where mappings come and go: 16 MiB.
const AREA: Word = PAGER_AREA;
const AREA_PAGES: Word = 1 << 12;

static SEED: AtomicUsize = AtomicUsize::new(0);
static SOURCE: AtomicUsize = AtomicUsize::new(0);
static STARTED: AtomicUsize = AtomicUsize::new(0);
static DONE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(0);
static STACKS: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];

fn thread(number: usize) -> Cap<Thread> {
    Cap::new(CapabilityIndex(FIRST_THREAD + number))
}

fn begin(number: usize) {
    // SAFETY: what it leaves it leaves in nobody's hands: from the beginning, it uses its own stack only.
    let _ =
        unsafe { thread(number).ex_regs(body as *const () as usize, STACKS[number].load(SeqCst)) };
}

fn open(flexpage: Flexpage) -> Shareable {
    Shareable::new(flexpage).expect("it is open memory")
}

pub fn run(seed: u64, operations: usize) {
    SEED.store(seed as usize, SeqCst);
    LIMIT.store(operations, SeqCst);
    let mut pool = Pool::new();
    let source = pool.take(22).or_else(|_| pool.take(16)).expect("memory");
    SOURCE.store(source.address(), SeqCst);
    for top in &STACKS {
        let mut stack = pool.take(thread::STACK_ORDER).expect("a stack");
        stack.fill(0);
        top.store(thread::top(&stack), SeqCst);
    }
    for number in 0..THREADS {
        let slot = CapabilityIndex(FIRST_THREAD + number);
        let thread = thread::create(slot, number + 1);
        let gate = CapabilityIndex(FIRST_GATE + number);
        FACTORY.create_gate_at(gate, number, thread).expect("a gate");
    }
    (0..THREADS).for_each(begin);
    watch(operations);
    println!("storm: over");
}

/// Sees to it that they go on: now and then all wait for each other, or for nobody.
fn watch(operations: usize) {
    let mut last = 0;
    while DONE.load(SeqCst) < operations {
        (0..100_000).for_each(|_| hint::spin_loop());
        let done = DONE.load(SeqCst);
        if done == last {
            (0..THREADS).for_each(begin);
        }
        last = done;
    }
}

extern "C" fn body() -> ! {
    let number = STARTED.fetch_add(1, SeqCst);
    let mut thread = Dice(Random::new((SEED.load(SeqCst) << 16 | number) as u64));
    while DONE.fetch_add(1, SeqCst) < LIMIT.load(SeqCst) {
        thread.step();
    }
    loop {
        let _ = ipc::wait();
    }
}

/// Chooses, and does it.
struct Dice(Random);

impl Dice {
    fn below(&mut self, bound: Word) -> Word {
        self.0.below(bound)
    }

    fn number(&mut self) -> Word {
        self.0.number() as Word
    }

    /// Whatever comes of it is fine.
    fn step(&mut self) {
        match self.below(14) {
            0..=3 => {
                let item = self.item();
                // SAFETY: see `item`.
                let _ = unsafe { TASK.map_anywhere(item) };
            }
            4 | 5 => self.unmap_pages(),
            6 => self.unmap_capabilities(),
            7 => self.begin_another(),
            8 => self.scribble(),
            9 | 10 => self.send(),
            11 => {
                let slot = CapabilityIndex(FIRST_CAPABILITY + self.below(CAPABILITIES));
                let label = self.number();
                let receiver = thread(self.below(THREADS));
                let _ = FACTORY.create_gate_at(slot, label, receiver);
            }
            12 => {
                let operation =
                    if self.below(2) == 0 { Operation::WAIT } else { Operation::REPLY_AND_WAIT };
                let tag = MessageTag::new(0, self.below(3), 0);
                // SAFETY: there are no items; what arrives does so in the area.
                let _ =
                    unsafe { ipc::invoke(CapabilityIndex::NIL, operation, tag, Timeouts::ZERO) };
            }
            _ => {
                let _ = DEBUGGER.null();
            }
        }
    }

    fn rights(&mut self) -> Rights {
        Rights::READ | Rights::from_bits_truncate(self.below(8) as u8)
    }

    fn place(&mut self) -> Word {
        AREA + self.below(AREA_PAGES) * PAGE_SIZE
    }

    /// Of the memory that it began with, or of where mappings come and go.
    fn page(&mut self) -> Flexpage {
        let order = match self.below(5) {
            0 | 1 => PAGE_ORDER,
            2 => PAGE_ORDER + self.below(4) as u32,
            3 => 16,
            _ => PAGE_ORDER + self.below(12) as u32,
        };
        let base = if self.below(3) == 0 { SOURCE.load(SeqCst) } else { AREA };
        let offset = self.below(AREA_PAGES) * PAGE_SIZE;
        Flexpage::memory(align_down(base + offset, order), order, self.rights())
    }

    /// Where nothing else of this program is: a word at random is in no area of it, or changes nothing there
    /// that matters.
    fn item(&mut self) -> Item {
        match self.below(8) {
            0 => {
                let own = if self.below(2) == 0 { 1 } else { FIRST_CAPABILITY };
                let from = own + self.below(10);
                let to = FIRST_CAPABILITY + self.below(CAPABILITIES);
                let capabilities =
                    Shareable::capabilities(from, self.below(3) as u32, self.rights());
                Item::map(to << CAPABILITY_SHIFT, capabilities)
            }
            1 => Item::grant(self.place(), open(self.page_of_area())),
            2 => {
                let (to, flexpage) = (self.number(), Flexpage(self.number() & !2));
                Item::map(to, Shareable::new(flexpage).expect("nobody can write there"))
            }
            _ => Item::map(self.place(), open(self.page())),
        }
    }

    fn page_of_area(&mut self) -> Flexpage {
        let order = PAGE_ORDER + self.below(6) as u32;
        Flexpage::memory(align_down(self.place(), order), order, self.rights())
    }

    fn unmap_pages(&mut self) {
        let take = match self.below(4) {
            0 => Take::NOTHING,
            1 => Take::rights(Rights::WRITE),
            _ => Take::EVERYTHING,
        };
        // What it began with it keeps.
        let _ = match self.below(2) {
            0 => TASK.unmap([self.page_of_area()], take.own_too()),
            _ => TASK.unmap([self.page()], take),
        };
    }

    fn unmap_capabilities(&mut self) {
        let first = FIRST_CAPABILITY + self.below(CAPABILITIES);
        let capabilities = Flexpage::capabilities(first, 0, Rights::empty());
        let _ = TASK.unmap([capabilities; 3], Take::EVERYTHING.own_too());
    }

    fn begin_another(&mut self) {
        if self.below(4) == 0 {
            begin(self.below(THREADS));
        }
    }

    /// Into the messages of another thread, while the kernel may be reading them.
    fn scribble(&mut self) {
        let utcb = thread::utcb(1 + self.below(THREADS)) as *mut Word;
        for _ in 0..self.below(6) {
            let word = match self.below(3) {
                0 => self.page().0,
                1 => self.below(8),
                _ => self.number(),
            };
            // SAFETY: a message register of one of this program's threads. All of them expect anything
            // there.
            unsafe { utcb.add(self.below(63)).write_volatile(word) }
        }
    }

    /// To another thread of this task, or to another task.
    fn send(&mut self) {
        message::set_receive_window(self.page_of_area());
        let items = self.below(3);
        for number in 0..items {
            message::write(2 + 2 * number, self.item().to_words());
        }
        let gate = match self.below(4) {
            0 => SERVER.index(),
            _ => CapabilityIndex(FIRST_GATE + self.below(THREADS)),
        };
        let operation = Operation(self.below(16));
        let timeouts = Timeouts(self.below(2) | self.below(2) << 16);
        let tag = MessageTag::new(0, 2, items);
        // SAFETY: others may get what the items name.
        let _ = unsafe { ipc::invoke(gate, operation, tag, timeouts) };
    }
}

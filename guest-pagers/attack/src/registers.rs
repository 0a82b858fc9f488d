//! Registers of another thread, set at random whatever it does, and read again: nothing of the kernel's is
//! among them, and nothing that is set harms anybody else.

use crate::{arch, thread};
use core::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};
use runtime::{
    capability::{Cap, FACTORY, TASK, Thread},
    ipc,
    memory::{Memory, Pool},
    message, println,
    protocol::{
        PAGE_SIZE, Word,
        fault::Exception,
        layout::USER_END,
        message::MessageTag,
        object::{CapabilityIndex, label},
        operation::{
            Operation as _,
            thread::{
                ExRegs, ExRegsFlags, ExRegsWith, FloatingPointPiece, Modify, ReadFloatingPoint,
                TakeGate, WriteFloatingPoint, WriteRegisters,
            },
        },
        registers::{FLOATING_POINT_WORDS, Registers},
        syscall::{CAPABILITY_SHIFT, Operation, Timeout, Timeouts},
    },
    random::Random,
    time,
};

const HANDLER: CapabilityIndex = CapabilityIndex(40);
const HANDLER_GATE: CapabilityIndex = CapabilityIndex(41);
const SUBJECT: CapabilityIndex = CapabilityIndex(42);
const SENDER: CapabilityIndex = CapabilityIndex(43);
const GATE: CapabilityIndex = CapabilityIndex(44);

/// Bytes between two beginnings of the code.
const STEP: usize = 64;

static CODE: AtomicUsize = AtomicUsize::new(0);
static STACK: AtomicUsize = AtomicUsize::new(0);
static SEED: AtomicUsize = AtomicUsize::new(0);
static EXCEPTIONS: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

fn word(random: &mut Random) -> Word {
    let number = random.number() as Word;
    match random.below(8) {
        0 => 0,
        1 => Word::MAX,
        2 => USER_END,
        3 => USER_END - 1,
        4 => 1 << (Word::BITS - 1),
        5 => number % USER_END,
        6 => number & 0xffff,
        _ => number,
    }
}

fn instruction(random: &mut Random) -> Word {
    match random.below(10) {
        0 => word(random),
        _ => CODE.load(SeqCst) + random.below(arch::PIECES.len() + 2) * STEP,
    }
}

/// A stack that is there, or none: nothing else of this program is to be written.
fn stack(random: &mut Random) -> Word {
    match random.below(4) {
        0 => Word::MAX - random.below(64),
        1 => USER_END + random.below(64),
        2 => 1 << (Word::BITS - 1),
        _ => STACK.load(SeqCst),
    }
}

fn general(random: &mut Random) -> Registers {
    let words: [Word; Registers::WORDS] = core::array::from_fn(|_| word(random));
    let mut all = Registers::from_words(words);
    (all.instruction, all.stack) = (instruction(random), stack(random));
    all
}

/// An address of the kernel's, which nobody has set. Of 32 bits all have been.
fn is_the_kernels(word: Word) -> bool {
    cfg!(target_pointer_width = "64")
        && (0xffff_8000_0000_0000..0xffff_ffff_ff00_0000).contains(&(word as u64))
}

fn invoke(thread: CapabilityIndex, words: &[Word]) -> Result<MessageTag, MessageTag> {
    words.iter().enumerate().for_each(|(number, word)| message::set(number, *word));
    let tag = MessageTag::new(label::THREAD, words.len(), 0);
    // SAFETY: the thread's code does nothing to this program's memory.
    let answer = unsafe { ipc::invoke(thread, Operation::CALL, tag, Timeouts::NEVER) };
    match answer {
        Ok(answer) if answer.tag.label() == 0 => Ok(answer.tag),
        Ok(answer) => Err(answer.tag),
        Err(_) => Err(MessageTag::default()),
    }
}

extern "C" fn handle() -> ! {
    let mut random = Random::new(SEED.load(SeqCst) as u64 ^ 0x77);
    let mut received = ipc::wait();
    loop {
        let mut answer = MessageTag::new(0, 0, 0);
        if received.is_ok_and(|received| received.tag.label() == label::EXCEPTION) {
            EXCEPTIONS.fetch_add(1, SeqCst);
            // Else it would be the same exception for ever, mostly.
            if random.below(8) != 0 {
                message::write(Exception::FIRST_REGISTER, general(&mut random).to_words());
                answer = MessageTag::new(0, Exception::WORDS, 0);
            }
        } else {
            CALLS.fetch_add(1, SeqCst);
        }
        received = ipc::reply_and_wait(answer);
    }
}

fn prepare(pool: &mut Pool) -> (Memory, [Memory; 2], Cap<Thread>) {
    let mut page = pool.page().expect("a page");
    assert!(arch::PIECES.len() * STEP < PAGE_SIZE);
    page.values()[..].iter().for_each(|byte| byte.set(0xf4_u8));
    let within = Timeouts::new(Timeout::NEVER, Timeout::at_least(30)).0;
    for (number, piece) in arch::PIECES.iter().enumerate() {
        page.write(number * STEP, piece);
    }
    let wait = Operation::WAIT.0;
    let call = HANDLER_GATE.0 << CAPABILITY_SHIFT | Operation::CALL.0;
    for (number, (target, timeouts)) in [(wait, within), (call, 0)].into_iter().enumerate() {
        let code = arch::system_calls(target, 0, timeouts);
        page.write((arch::PIECES.len() + number) * STEP, &code.bytes()[..code.bytes().len() - 1]);
    }
    let mut stacks = [(); 2].map(|()| pool.take(thread::STACK_ORDER).expect("a stack"));
    CODE.store(page.address(), SeqCst);
    STACK.store(thread::top(&stacks[1]), SeqCst);
    let handler = thread::create(HANDLER, 1);
    thread::start(handler, handle, &mut stacks[0]);
    stacks[1].fill(0);
    FACTORY.create_gate_at(HANDLER_GATE, 0, handler).expect("a gate");
    let subject = FACTORY.create_thread_at(SUBJECT).expect("a thread");
    // SAFETY: its code does nothing to this program's memory.
    unsafe {
        subject.control(CapabilityIndex::NIL, HANDLER_GATE, TASK, thread::utcb(2)).expect("bound");
        subject.ex_regs(page.address(), STACK.load(SeqCst)).expect("it runs");
    }
    (page, stacks, subject)
}

pub fn run(seed: Word, rounds: Word) {
    SEED.store(seed, SeqCst);
    let mut random = Random::new(seed as u64);
    let mut pool = Pool::new();
    let (_page, _stacks, subject) = prepare(&mut pool);
    let mut leaks = 0;
    let mut done = [[0; 2]; 8];
    for _ in 0..rounds {
        let kind = random.below(8);
        let result = match kind {
            0 => {
                let all = subject.registers();
                if let Ok(all) = all {
                    for (number, word) in all.to_words().into_iter().enumerate() {
                        if is_the_kernels(word) {
                            leaks += 1;
                            println!("registers: {number} is {word:#x}");
                        }
                    }
                }
                all.is_ok()
            }
            1 | 2 => {
                let new = general(&mut random);
                let now = subject.registers().ok().filter(|_| kind == 2);
                let mut all = now.unwrap_or_default();
                if now.is_some() {
                    (all.general.flags, all.general.ax) = (new.flags, new.ax);
                    (all.general.bx, all.general.bp) = (new.bx, new.bp);
                } else {
                    all.general = new;
                }
                #[cfg(target_pointer_width = "64")]
                if random.below(2) == 0 {
                    (all.fs_base, all.gs_base) = (word(&mut random), word(&mut random));
                }
                invoke(SUBJECT, &WriteRegisters { registers: all }.encode()).is_ok()
            }
            3 => {
                let first = random.below(FLOATING_POINT_WORDS);
                let count = 1 + random.below(8);
                FloatingPointPiece::new(first, count).is_some_and(|piece| {
                    let mut words = [0; 3 + 8];
                    words[..3].copy_from_slice(&WriteFloatingPoint(piece).encode());
                    words[3..].iter_mut().for_each(|place| *place = random.number() as Word);
                    let written = invoke(SUBJECT, &words[..3 + count]).is_ok();
                    written && invoke(SUBJECT, &ReadFloatingPoint(piece).encode()).is_ok()
                })
            }
            4 => {
                let flags = ExRegsFlags::from_bits_truncate(random.below(4));
                let keep = |word, keeps| if keeps { ExRegs::KEEP } else { word };
                let pointers = ExRegs {
                    instruction: keep(instruction(&mut random), random.below(2) == 0),
                    stack: keep(stack(&mut random), random.below(2) == 0),
                };
                invoke(SUBJECT, &ExRegsWith { pointers, flags }.encode()).is_ok()
            }
            5 => {
                let foreign = (random.below(2) == 0).then(|| random.below(2) == 0);
                let pager = [CapabilityIndex::NIL, HANDLER_GATE][random.below(2)];
                let new = Modify {
                    pager: Some(pager),
                    exception_handler: (random.below(3) == 0).then_some(HANDLER_GATE),
                    foreign,
                };
                invoke(SUBJECT, &new.encode()).is_ok()
            }
            6 => {
                let request =
                    ExRegs { instruction: instruction(&mut random), stack: stack(&mut random) };
                invoke(SUBJECT, &request.encode()).is_ok()
            }
            _ => time::sleep(Duration::from_micros(random.below(400) as u64)).is_ok(),
        };
        done[kind][usize::from(result)] += 1;
    }
    println!("registers: {done:?}");
    println!("registers: {} exceptions, {} calls", EXCEPTIONS.load(SeqCst), CALLS.load(SeqCst));
    println!("registers: {leaks} leaks");
}

extern "C" fn send() -> ! {
    loop {
        let _ = ipc::send(GATE, MessageTag::new(0, 0, 0));
        let _ = time::sleep(Duration::from_millis(1));
    }
}

/// Whoever waits by a jump to the entry says where it goes on, and is told to begin again before that.
pub fn again(entry: Word, behind: Word) {
    let mut pool = Pool::new();
    let (mut page, _stacks, subject) = prepare(&mut pool);
    let mut stack = pool.take(thread::STACK_ORDER).expect("a stack");
    let code = arch::wait_by_jump(entry, behind);
    page.write(0, code.bytes());
    // SAFETY: as above.
    unsafe { subject.ex_regs(page.address(), STACK.load(SeqCst)).expect("it runs") };
    let _ = time::sleep(Duration::from_millis(20));
    println!("again: waits at {:#x}", subject.registers().expect("registers").general.instruction);
    FACTORY.create_gate_at(GATE, 5, runtime::capability::THREAD).expect("a gate");
    thread::start(thread::create(SENDER, 3), send, &mut stack);
    let _ = time::sleep(Duration::from_millis(20));
    let before = EXCEPTIONS.load(SeqCst);
    let taken = invoke(SUBJECT, &TakeGate { gate: GATE, label: 6 }.encode());
    println!("again: taken {}", taken.is_ok());
    println!("again: at {:#x}", subject.registers().expect("registers").general.instruction);
    let _ = time::sleep(Duration::from_millis(50));
    println!("again: {} exceptions", EXCEPTIONS.load(SeqCst) - before);
}

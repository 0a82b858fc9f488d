//! Runs code that may do anything, and says what came of it: a second thread handles the exceptions of
//! the first one, and brings it back.

use crate::{arch, code::Code, thread};
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};
use runtime::{
    capability::{FACTORY, TASK, THREAD},
    ipc,
    memory::{Memory, Pool},
    message,
    protocol::{
        Word,
        message::MessageTag,
        object::{CapabilityIndex, label},
    },
};

const HANDLER: CapabilityIndex = CapabilityIndex(40);
const HANDLER_GATE: CapabilityIndex = CapabilityIndex(41);

/// The vector of single steps, after each of which the thread goes on: else it would never get to the
/// instruction that ends them.
const DEBUG: Word = 1;
/// So many of them, in case that there is no such instruction.
const MOST_STEPS: usize = 64;

/// No exception.
const NOTHING: Word = Word::MAX;

static VECTOR: AtomicUsize = AtomicUsize::new(NOTHING);
static ERROR: AtomicUsize = AtomicUsize::new(0);
/// How often the thread is to try again after an exception before it is brought back.
static RETRIES: AtomicUsize = AtomicUsize::new(0);
/// How many single steps it may still do.
static STEPS: AtomicUsize = AtomicUsize::new(0);

/// What came of a piece of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It came back.
    Returned,
    /// Its first exception.
    Exception {
        vector: Word,
        /// The processor's error code; `None` if it is what the code is about.
        error: Option<Word>,
    },
}

impl Outcome {
    /// The same, with the error code taken out if it is this one.
    pub fn about(self, own: Word) -> Self {
        match self {
            Self::Exception { vector, error: Some(error) } if error == own => {
                Self::Exception { vector, error: None }
            }
            other => other,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => f.write_str("returned"),
            Self::Exception { vector, error: None } => write!(f, "exception {vector} about it"),
            Self::Exception { vector, error: Some(error) } => {
                write!(f, "exception {vector} {error:#x}")
            }
        }
    }
}

/// A page for code, and a handler for what it does.
#[derive(Debug)]
pub struct Laboratory {
    page: Memory,
    /// The handler's, for as long as this is there.
    _stack: Memory,
}

impl Laboratory {
    /// There can be one in a program.
    pub fn new() -> Self {
        let mut pool = Pool::new();
        let page = pool.page().expect("a page");
        let mut stack = pool.take(thread::STACK_ORDER).expect("a stack");
        let handler = thread::create(HANDLER, 1);
        thread::start(handler, handle, &mut stack);
        let gate = FACTORY.create_gate_at(HANDLER_GATE, 0, handler).expect("a gate");
        let parent = CapabilityIndex::PARENT;
        // SAFETY: it is this thread's own task and UTCB.
        unsafe { THREAD.control(parent, gate.index(), TASK, thread::utcb(0)).expect("a handler") };
        Self { page, _stack: stack }
    }

    /// Where the code will be.
    pub const fn address(&self) -> Word {
        self.page.address()
    }

    /// Runs it.
    pub fn attempt(&mut self, code: &Code) -> Outcome {
        self.attempt_again(code, 0)
    }

    /// Runs it; after an exception it may go on where it was, so many times.
    pub fn attempt_again(&mut self, code: &Code, retries: usize) -> Outcome {
        // Wherever it may jump to in the page, it comes back.
        self.page.values()[..2 * code.bytes().len()].iter().for_each(|byte| byte.set(arch::RETURN));
        self.page.write(0, code.bytes());
        VECTOR.store(NOTHING, SeqCst);
        RETRIES.store(retries, SeqCst);
        STEPS.store(MOST_STEPS, SeqCst);
        // SAFETY: whatever it does, the handler brings this thread back; what it may do to memory it is
        // the kernel's to forbid, and of this program's own the lists use nothing but the stack.
        unsafe { arch::enter(self.page.address()) }
        match VECTOR.load(SeqCst) {
            NOTHING => Outcome::Returned,
            vector => Outcome::Exception { vector, error: Some(ERROR.load(SeqCst)) },
        }
    }
}

extern "C" fn handle() -> ! {
    let mut received = ipc::wait();
    loop {
        received = match received {
            Ok(received) if received.tag.label() == label::EXCEPTION => handle_exception(),
            _ => ipc::wait(),
        };
    }
}

fn handle_exception() -> Result<ipc::Received, runtime::protocol::error::IpcError> {
    let [vector, error] = message::read(0);
    if VECTOR.compare_exchange(NOTHING, vector, SeqCst, SeqCst).is_ok() {
        ERROR.store(error, SeqCst);
    }
    let allowed = if vector == DEBUG { &STEPS } else { &RETRIES };
    let left = allowed.load(SeqCst);
    if left > 0 {
        allowed.store(left - 1, SeqCst);
        return ipc::reply_and_wait(MessageTag::new(0, 0, 0));
    }
    // The way back is some steps, too.
    STEPS.store(MOST_STEPS, SeqCst);
    let [instruction, stack] = arch::way_back();
    // SAFETY: the first thread has left there the registers that it needs.
    unsafe { THREAD.ex_regs(instruction, stack).expect("the first thread is there") };
    ipc::wait()
}

//! What it costs to make objects and to end them, and to send a thread elsewhere.

use crate::samples::Spread;
use core::{arch::global_asm, fmt, ptr};
use runtime::{
    Error, Result,
    capability::{FACTORY, Gate, THREAD},
    ipc,
    memory::{Memory, Pool, touch},
    objects::Resident,
    owned::Owned,
    protocol::{
        PAGE_ORDER, Word,
        flexpage::{Flexpage, Rights, align_down},
        layout::{STACK_BASE, STACK_END, UTCB_AREA},
        object::CapabilityIndex,
        syscall::{CAPABILITY_SHIFT, Operation},
    },
    share::{Item, Shareable},
};

const PARENT: CapabilityIndex = CapabilityIndex::PARENT;

/// What the gate of a short-lived task is called.
const LABEL: Word = 7;

const UTCB_PAGE: Flexpage = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);

/// A call of its parent without words is all that a short-lived task does. Its code is smaller than 64
/// bytes, and so in one page.
const CALL: Word = PARENT.0 << CAPABILITY_SHIFT | Operation::CALL.0;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".p2align 6",
    "short_life: mov edi, {call}",
    "xor esi, esi",
    "xor edx, edx",
    "syscall",
    "ud2",
    call = const CALL,
);

#[cfg(target_arch = "x86")]
global_asm!(
    ".p2align 6",
    "short_life: mov eax, {call}",
    "xor edx, edx",
    "xor ecx, ecx",
    "int 0x30",
    "ud2",
    call = const CALL,
);

unsafe extern "C" {
    #[link_name = "short_life"]
    static SHORT_LIFE: u8;
}

/// What was measured.
pub struct Cycles {
    thread: Spread,
    task: Spread,
    ex_regs: Spread,
}

/// Measures all of it.
pub fn measure() -> Result<Cycles> {
    // A thread that is in no task yet.
    let thread = Spread::of(|_| FACTORY.create_thread()?.end())?;
    let parts = Parts::new()?;
    let task = Spread::of_few(|_| Ok(()), |_| parts.task(|_, _| Ok(())))?;
    let mut ex_regs = Spread::default();
    parts.task(|thread, entry| {
        // It waits for an answer, and goes on waiting.
        ex_regs = Spread::of(|_| thread.start(entry, STACK_END))?;
        Ok(())
    })?;
    Ok(Cycles { thread, task, ex_regs })
}

/// What all short-lived tasks get.
struct Parts {
    gate: Owned<Gate>,
    stack: Memory,
    code: Shareable,
    entry: Word,
}

impl Parts {
    fn new() -> Result<Self> {
        let gate = FACTORY.create_gate(LABEL, THREAD)?;
        let mut stack = Pool::new().page()?;
        stack.fill(0);
        // SAFETY: it is code of this program.
        touch(unsafe { &SHORT_LIFE });
        let entry = ptr::addr_of!(SHORT_LIFE).addr();
        let code = Flexpage::memory(entry, PAGE_ORDER, Rights::READ_EXECUTE);
        let code = Shareable::new(code).ok_or(Error::NotOpen)?;
        Ok(Self { gate, stack, code, entry })
    }

    /// A task with a gate, a page of code, a stack, and a thread that sends one message. While it waits for the
    /// answer, which does not come, `meanwhile` is told of the thread, and where it began.
    #[inline(always)]
    fn task(&self, meanwhile: impl FnOnce(&Resident, Word) -> Result<()>) -> Result<()> {
        let task = FACTORY.create_task(UTCB_PAGE)?;
        task.map(self.gate.item(PARENT, Rights::READ))?;
        task.map(Item::map(align_down(self.entry, PAGE_ORDER), self.code))?;
        task.map(Item::map(STACK_BASE, self.stack.flexpage(Rights::READ_WRITE)))?;
        let thread = FACTORY.create_thread()?.bind(&task, PARENT, PARENT, UTCB_AREA)?;
        thread.start(self.entry, STACK_END)?;
        let received = ipc::wait()?;
        if (received.label, received.tag.label()) != (LABEL, 0) {
            return Err(Error::BadAnswer);
        }
        meanwhile(&thread, self.entry)?;
        thread.end()?;
        task.end()
    }
}

/// As members of a JSON object.
impl fmt::Display for Cycles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thread, task, ex_regs } = self;
        write!(f, r#""thread_cycle":{thread},"task_cycle":{task},"ex_regs":{ex_regs}"#)
    }
}

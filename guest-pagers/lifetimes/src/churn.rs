//! Makes objects and ends them, over and over again. Others page meanwhile; and when all is over, as much
//! kernel memory is left as before.

use crate::{
    child::{Child, PARENT, report, spin, word},
    house::{Heard, House, listen},
    quota,
};
use runtime::{
    Result,
    capability::{FACTORY, THREAD, Task},
    memory::Memory,
    owned::Owned,
    println,
    protocol::{
        PAGE_ORDER, Word,
        flexpage::{Flexpage, Rights},
        layout::UTCB_AREA,
        message::MessageTag,
        object::CapabilityIndex,
    },
    random::Random,
};

/// Rounds before it counts: all that is needed again is there then.
const WARM_UP: usize = 16;

/// What the factory of a round may spend.
const LIMIT: Word = 256 << 10;

const NUMBER: Word = 71;
const HERE: isize = 1;
const MISSING: usize = 7;

/// In which state a task is ended.
#[derive(Clone, Copy, Debug)]
enum State {
    Running,
    Calling,
    Faulting,
    NeverStarted,
}

/// What was made and ended.
#[derive(Default)]
struct Counts {
    tasks: usize,
    threads: usize,
    gates: usize,
    factories: usize,
}

pub fn run(seed: u64, rounds: usize) -> Result<()> {
    let mut churn =
        Churn { house: House::default(), dice: Random::new(seed), counts: Counts::default() };
    let page = churn.house.page()?;
    for _ in 0..WARM_UP {
        churn.round(&page)?;
    }
    let before = quota::left(FACTORY)?;
    churn.counts = Counts::default();
    for _ in 0..rounds {
        churn.round(&page)?;
    }
    let Counts { tasks, threads, gates, factories } = churn.counts;
    println!("churn: {tasks} tasks, {threads} threads, {gates} gates and {factories} factories");
    let after = quota::left(FACTORY)?;
    println!("churn: kernel memory left: {before} bytes before, {after} after");
    assert_eq!(before, after);
    Ok(())
}

struct Churn {
    house: House,
    dice: Random,
    counts: Counts,
}

impl Churn {
    fn round(&mut self, page: &Memory) -> Result<()> {
        for state in [State::Running, State::Calling, State::Faulting, State::NeverStarted] {
            match self.dice.below(2) {
                0 => self.task(page, state)?,
                _ => self.factory(page, state)?,
            }
        }
        self.objects()
    }

    /// A task that ends alone.
    fn task(&mut self, page: &Memory, state: State) -> Result<()> {
        let child = self.house.child(FACTORY, NUMBER)?;
        bring_to(&child, page, state)?;
        self.count_child();
        self.house.end(child)
    }

    /// A task that ends with its factory.
    fn factory(&mut self, page: &Memory, state: State) -> Result<()> {
        let factory = FACTORY.create_factory(LIMIT)?;
        let child = self.house.child(*factory, NUMBER)?;
        bring_to(&child, page, state)?;
        factory.end()?;
        self.count_child();
        self.counts.factories += 1;
        self.house.pool.give_back(child.leave())
    }

    fn count_child(&mut self) {
        self.counts.tasks += 1;
        self.counts.threads += 1;
        self.counts.gates += 1;
    }

    /// Objects that nobody uses, in any order.
    fn objects(&mut self) -> Result<()> {
        let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);
        let task: Owned<Task> = FACTORY.create_task(area)?;
        let threads = [FACTORY.create_thread()?, FACTORY.create_thread()?];
        let gates = [FACTORY.create_gate(1, THREAD)?, FACTORY.create_gate(2, *threads[0])?];
        let [first, second] = threads;
        let first = first.bind(&task, CapabilityIndex::NIL, CapabilityIndex::NIL, UTCB_AREA)?;
        match self.dice.below(3) {
            0 => drop((first, task, gates, second)),
            1 => drop((task, gates, second, first)),
            _ => drop((gates, second, task, first)),
        }
        self.counts.tasks += 1;
        self.counts.threads += 2;
        self.counts.gates += 2;
        Ok(())
    }
}

/// Lets the child run until it is in that state.
fn bring_to(child: &Child, page: &Memory, state: State) -> Result<()> {
    let mark = 0x0bad_cafe;
    page.values::<Word>()[0].set(mark);
    child.give_page(0, page)?;
    let body = match state {
        State::NeverStarted => return Ok(()),
        State::Running => run_on,
        State::Calling => call,
        State::Faulting => fault,
    };
    child.start(body)?;
    match listen() {
        Heard::Words(NUMBER, HERE, [seen, _]) => assert_eq!(seen, mark),
        other => panic!("the child was to say that it is there, but: {other:?}"),
    }
    match (state, listen_unless(state)) {
        (State::Calling, Some(Heard::Words(NUMBER, 0, _))) => {}
        (State::Faulting, Some(Heard::Fault(NUMBER, _))) => {}
        (State::Running, None) => {}
        other => panic!("it was to be in another state: {other:?}"),
    }
    Ok(())
}

/// Who runs says no more.
fn listen_unless(state: State) -> Option<Heard> {
    match state {
        State::Running | State::NeverStarted => None,
        State::Calling | State::Faulting => Some(listen()),
    }
}

extern "C" fn run_on() -> ! {
    report(HERE, [word(0).get(), 0]);
    spin()
}

extern "C" fn call() -> ! {
    report(HERE, [word(0).get(), 0]);
    let _ = PARENT.call(MessageTag::new(0, 0, 0));
    spin()
}

extern "C" fn fault() -> ! {
    report(HERE, [word(0).get(), 0]);
    word(MISSING).set(1);
    spin()
}

//! Some tasks with threads that make calls, until they have made enough, or have used up what they may.

use crate::{
    calls,
    dice::{Dice, FIRST_GIVEN, GIVEN_OF_EACH},
};
use children::{
    child::{Child, word},
    house::House,
};
use core::time::Duration;
use runtime::{
    Result,
    capability::{Cap, DEBUGGER, FACTORY, Factory, Gate},
    interrupt, ipc,
    memory::Memory,
    objects::Resident,
    owned::Owned,
    program,
    protocol::{
        Word, flexpage::Rights, layout::UTCB_AREA, object::CapabilityIndex,
        operation::thread::Modify, registers::ThreadRegisters, utcb::UTCB_SIZE,
    },
    time,
};

pub const TASKS: usize = 3;
pub const THREADS: usize = 2;

/// What all of a round may cost, in bytes, and of that what its tasks may make themselves.
const LIMIT: Word = 768 << 10;
const OWN_LIMIT: Word = 192 << 10;

/// Pages of each task: the one that all share, and one of its own.
const SHARED: usize = 0;
const OWN: usize = 1;

/// In the shared page: the number of calls that each thread has begun, and then the seed.
const SEED: usize = TASKS * THREADS;
/// In each task's own page: its number.
const NUMBER: usize = 0;

/// From one look at how far they are to the next.
const PAUSE: Duration = Duration::from_micros(200);
/// Looks in a row at which nobody had made a call, though all had been set going again.
const PATIENCE: usize = 10_000;

/// One of the tasks.
struct Player {
    child: Child,
    second: Resident,
    own: Memory,
}

pub struct Round {
    factory: Owned<Factory>,
    own_factory: Owned<Factory>,
    players: [Player; TASKS],
    gates: [[Owned<Gate>; THREADS]; TASKS],
    shared: Memory,
    seed: u64,
    /// How often all were set going again.
    pub repairs: usize,
}

impl Round {
    /// All that is needed; nobody runs yet.
    pub fn new(house: &mut House, seed: u64) -> Result<Self> {
        let factory = FACTORY.create_factory(LIMIT)?;
        let own_factory = factory.create_factory(OWN_LIMIT)?;
        let shared = house.page()?;
        shared.values::<Word>()[SEED].set(seed as Word);
        let mut players = [const { None }; TASKS];
        for (number, place) in players.iter_mut().enumerate() {
            let child = house.child(*factory, number)?;
            DEBUGGER.set_name(*child.task, None, ["fuzz0", "fuzz1", "fuzz2"][number])?;
            let second = child.second_thread(*factory)?;
            let own = house.page()?;
            own.values::<Word>()[NUMBER].set(number);
            let task = &child.task;
            task.map(own_factory.item(CapabilityIndex::FACTORY, Rights::all()))?;
            task.map(DEBUGGER.item(CapabilityIndex::DEBUGGER, Rights::READ))?;
            let interrupt = interrupt::of_manifest(0);
            task.map(interrupt.item(CapabilityIndex::FIRST_INTERRUPT, Rights::all()))?;
            *place = Some(Player { child, second, own });
        }
        let players = players.map(|player| player.expect("all were made"));
        let gates = connect(*factory, &players)?;
        Ok(Self { factory, own_factory, players, gates, shared, seed, repairs: 0 })
    }

    /// Lets them make so many calls, or as many as they can; says how many there were.
    ///
    /// # Panics
    /// If nobody makes a call though all could.
    pub fn run(&mut self, calls: usize) -> usize {
        let (mut last, mut looks) = (0, 0);
        if !self.repair() {
            return 0;
        }
        loop {
            // What they say does not matter, nor whether they fault: they are set going again.
            while ipc::poll().is_ok() {}
            // Nobody can end that.
            let _ = time::sleep(PAUSE);
            let done = self.done();
            if done >= calls {
                return done;
            }
            if done != last {
                (last, looks) = (done, 0);
                continue;
            }
            looks += 1;
            assert!(looks < PATIENCE, "seed {}: nobody goes on after {done} calls", self.seed);
            if !self.repair() {
                return done;
            }
        }
    }

    fn done(&self) -> usize {
        let counts = &self.shared.values::<Word>()[..TASKS * THREADS];
        counts.iter().map(|count| count.get()).sum()
    }

    /// Gives back to all what they need, and sets them going again. False if they have used up what they may.
    fn repair(&mut self) -> bool {
        self.repairs += 1;
        self.players.iter().try_for_each(|player| player.repair(&self.shared)).is_ok()
    }

    /// Nothing of it is left.
    pub fn end(self, house: &mut House) -> Result<()> {
        let Self { factory, own_factory, players, gates, shared, .. } = self;
        factory.end()?;
        // They have ended with it. What is left are places for their capabilities.
        drop((own_factory, gates));
        for Player { child, own, .. } in players {
            house.pool.give_back(child.leave())?;
            house.pool.give_back(own)?;
        }
        house.pool.give_back(shared)
    }
}

/// Everybody has a capability to everybody: to tasks, threads and gates. Returns the gates.
fn connect(
    factory: Cap<Factory>,
    players: &[Player; TASKS],
) -> Result<[[Owned<Gate>; THREADS]; TASKS]> {
    let mut gates = [const { None }; TASKS];
    for (number, Player { child, second, .. }) in players.iter().enumerate() {
        let place = |offset| CapabilityIndex(FIRST_GIVEN + number * GIVEN_OF_EACH + offset);
        let gate = |label, thread| factory.create_gate(label, thread);
        let to_threads = [gate(number, *child.thread)?, gate(number, **second)?];
        for player in players {
            let to = &player.child.task;
            to.map(child.task.item(place(0), Rights::all()))?;
            to.map(child.thread.item(place(1), Rights::all()))?;
            to.map(second.item(place(2), Rights::all()))?;
            to.map(to_threads[0].item(place(3), Rights::all()))?;
            to.map(to_threads[1].item(place(4), Rights::all()))?;
        }
        gates[number] = Some(to_threads);
    }
    Ok(gates.map(|gates| gates.expect("all were made")))
}

impl Player {
    fn repair(&self, shared: &Memory) -> Result<()> {
        let Self { child, second, own } = self;
        child.give_again()?;
        child.give_page(SHARED, shared)?;
        child.give_page(OWN, own)?;
        let parent = CapabilityIndex::PARENT;
        for (thread, utcb) in [(*child.thread, UTCB_AREA), (**second, UTCB_AREA + UTCB_SIZE)] {
            // SAFETY: a task that this program has made is not its own.
            unsafe { thread.control(parent, parent, child.task.cap(), utcb)? };
            thread.modify(Modify { foreign: Some(false), ..Modify::default() })?;
        }
        repair_registers(&child.thread, UTCB_AREA)?;
        repair_registers(second, UTCB_AREA + UTCB_SIZE)?;
        child.start(first)?;
        child.start_second(second, other)
    }
}

/// Without single step, and where its UTCB is.
fn repair_registers(thread: &Resident, utcb: Word) -> Result<()> {
    let mut registers = thread.registers()?;
    registers.general.flags = 0;
    set_utcb(&mut registers, utcb);
    // One that has got into a system call meanwhile has its turn the next time.
    let _ = thread.set_registers(registers);
    Ok(())
}

/// There FS is the kernel's.
#[cfg(not(target_pointer_width = "64"))]
fn set_utcb(_registers: &mut ThreadRegisters, _utcb: Word) {}

#[cfg(target_pointer_width = "64")]
fn set_utcb(registers: &mut ThreadRegisters, utcb: Word) {
    registers.fs_base = utcb;
}

pub extern "C" fn first() -> ! {
    play(0)
}

extern "C" fn other() -> ! {
    play(1)
}

/// Makes calls for ever: which ones is up to the seed, the thread and how many it has made.
fn play(thread: usize) -> ! {
    loop {
        let number = word(OWN).get() % TASKS * THREADS + thread;
        let shared = program::pager_area::<Word>(SEED + 1);
        let count = shared[number].get();
        shared[number].set(count + 1);
        let seed = (shared[SEED].get() as u64) << 40 ^ (number as u64) << 32 ^ count as u64;
        calls::make(&mut Dice::new(seed));
    }
}

//! Anything at all with what lives and dies: threads in the place of dead ones, gates that lead elsewhere, ends by the
//! quick way.

use super::{
    Bench,
    ends::Yard,
    hostile::{Source, act, check_threads, crowd},
    quick::compare,
    soundness,
};
use crate::{
    mapping::capability::Object,
    memory::index::{GateIndex, TableIndex, ThreadIndex},
    threads::state::State,
};
use protocol::{
    Word,
    error::{IpcError, IpcFailure},
    flexpage::{Flexpage, Kind as FlexpageKind, Rights},
    introspection::{
        ALIVE, ThreadState,
        record::{Event, Kind, Message},
    },
    layout::UTCB_AREA,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, factory, task, thread},
    syscall::{CAPABILITY_SHIFT, Operation},
};
use std::{cell::Cell, collections::BTreeSet};

const NIL: CapabilityIndex = CapabilityIndex::NIL;
const ROOT: u16 = 1;

/// Where the crowd makes objects.
const MADE: Word = 40;
const SLOTS: usize = 4;

fn object(bench: &mut Bench, index: Word, label: isize, message: &[Word]) {
    let current = bench.kernel.current.get().expect("somebody runs");
    bench.kernel.utcb(current).message[..message.len()].copy_from_slice(message);
    let tag = MessageTag::new(label, message.len(), 0);
    bench.kernel.system_call(index << CAPABILITY_SHIFT | Operation::CALL.0, tag.0, 0);
}

thread_local! {
    /// Each gate that is made or taken here has a label of its own.
    static LABEL: Cell<Word> = const { Cell::new(FIRST_LABEL) };
    /// How often threads were bound, gates with somebody at them taken, and gates that lead nowhere.
    static DONE: Cell<[u32; 3]> = const { Cell::new([0; 3]) };
}

const FIRST_LABEL: Word = 10_000;

fn label() -> Word {
    LABEL.set(LABEL.get() + 1);
    LABEL.get()
}

fn count(what: usize, is_done: bool) {
    let mut done = DONE.get();
    done[what] += u32::from(is_done);
    DONE.set(done);
}

/// Whether the last operation of a thread is done.
fn is_done(bench: &mut Bench, thread: ThreadIndex) -> bool {
    bench.kernel.threads[thread].bound_task().is_some()
        && bench.kernel.threads[thread].context.result().0 == MessageTag(0)
}

fn take(bench: &mut Bench, thread: Word, gate: Word) {
    let current = bench.kernel.current.get().expect("somebody runs");
    let task = bench.kernel.task_of(current);
    let known = match bench.slot(task, gate as u32) {
        Some(Object::Gate(gate)) => Some(bench.kernel.gates[gate]),
        _ => None,
    };
    object(bench, thread, label::THREAD, &[thread::TakeGate::NUMBER, gate, label()]);
    let is_done = is_done(bench, current);
    count(1, is_done && known.is_some_and(|gate| gate.waiting.first().is_some()));
    count(2, is_done && known.is_some_and(|gate| gate.receiver().is_none()));
}

/// What is owed to threads: to learn, once, that nobody holds their gates any more.
#[derive(Default)]
struct Owed {
    owed: BTreeSet<(u16, u32)>,
    /// Gates of which nobody can say whether it is owed: several have one label, or capabilities came and went.
    unknown: BTreeSet<(u16, u32)>,
}

impl Owed {
    /// What was forgotten, or said too often.
    fn check(&mut self, bench: &mut Bench) -> Option<String> {
        for traced in bench.events() {
            if let Event::Map(map) = traced.event
                && map.sent.kind() == FlexpageKind::Capability
            {
                // Any gate may have been held and let go of again, since somebody looked.
                let gates = &bench.kernel.gates;
                let all = (0..gates.used()).map(|number| {
                    (number, gates[GateIndex::from_position(number)].record.generation)
                });
                self.unknown.extend(all);
            }
            if let Event::Message(Message { tag, gate_label, .. }) = traced.event
                && tag.label() == label::GATE_UNHELD
            {
                let gates = &bench.kernel.gates;
                let told: Vec<(u16, u32)> = (0..gates.used())
                    .map(|number| (number, gates[GateIndex::from_position(number)].record))
                    .filter(|(_, gate)| gate.state == ALIVE as u16 && gate.label == gate_label)
                    .map(|(number, gate)| (number, gate.generation))
                    .collect();
                for gate in told {
                    let was_owed = self.owed.remove(&gate);
                    if (gate_label as Word) < FIRST_LABEL {
                        self.unknown.insert(gate);
                    } else if !was_owed && !self.unknown.contains(&gate) {
                        return Some(format!("{gate:?} is told again"));
                    }
                }
            }
        }
        if bench.kernel.is_due() {
            return None;
        }
        for number in 0..bench.kernel.gates.used() {
            let index = GateIndex::from_position(number);
            let gate = bench.kernel.gates[index];
            if gate.record.state != ALIVE as u16 {
                continue;
            }
            let key = (number, gate.record.generation);
            if bench.kernel.mappings.is_held(index) {
                self.owed.insert(key);
                self.unknown.remove(&key);
            } else if let Some(receiver) = gate.receiver()
                && gate.waiting.first().is_none()
                && self.owed.contains(&key)
                && !gate.is_unheld
            {
                return Some(format!("{receiver:?} never learns of {index:?}: {gate:?}"));
            }
        }
        None
    }
}

/// Makes threads that run, ends them, and leads gates to them; else as the crowd does.
fn live_and_die(bench: &mut Bench, source: &mut Source) {
    let Some(current) = bench.kernel.current.get() else { return act(bench, source) };
    if bench.kernel.threads[current].undertaking.is_some() || bench.kernel.is_foreign(current) {
        return act(bench, source);
    }
    let slot = MADE + source.below(SLOTS);
    let other = MADE + source.below(SLOTS);
    let gates = [CapabilityIndex::PARENT.0, other, slot];
    let [pager, handler] = [0; 2].map(|_| gates[source.below(3)]);
    match source.below(16) {
        0 => object(bench, 5, label::FACTORY, &[factory::CreateThread::NUMBER, slot]),
        1 | 2 => {
            let utcb = UTCB_AREA + 1024 * source.below(4);
            let task = CapabilityIndex::TASK.0;
            let words = [thread::Control::NUMBER, pager, handler, task, utcb];
            object(bench, slot, label::THREAD, &words);
            let is_done = is_done(bench, current);
            count(0, is_done);
        }
        3 | 4 => object(bench, slot, label::THREAD, &[thread::ExRegs::NUMBER, 0x40_0000, 0]),
        5 => object(bench, 5, label::FACTORY, &[factory::CreateGate::NUMBER, slot, label(), other]),
        6 => take(bench, slot, pager),
        7 => take(bench, 9, handler),
        8 | 9 => {
            let page = Flexpage::capabilities(slot, 0, Rights::all()).0;
            let all = Word::from(Rights::all().bits()) | task::Unmap::OWN_TOO;
            let words = [task::Unmap::NUMBER, all, 1, page];
            object(bench, CapabilityIndex::TASK.0, label::TASK, &words);
        }
        10 => {
            let operation = [1, 2, 3, 6][source.below(4)];
            let timeouts = [0, 0, 1, 1 << 16][source.below(4)];
            let tag = MessageTag::new(4, source.below(4), 0);
            bench.kernel.system_call(pager << CAPABILITY_SHIFT | operation, tag.0, timeouts);
        }
        11 => {
            let operation = [Operation::WAIT.0, Operation::REPLY_AND_WAIT.0][source.below(2)];
            bench.kernel.system_call(operation, 0, 0);
        }
        12 => {
            // Somebody else gets it.
            let flexpage = Flexpage::capabilities(slot, 0, Rights::all());
            let words = MapItem::map(other << 12, flexpage).to_words();
            object(bench, 10, label::TASK, &[task::Map::NUMBER, words[0], words[1]]);
        }
        _ => act(bench, source),
    }
}

/// Who waits although there is something for it.
fn wake_ups(bench: &Bench) -> Option<String> {
    let threads = &bench.kernel.threads;
    (0..threads.used()).map(ThreadIndex::from_position).find_map(|index| {
        let thread = &threads[index];
        if thread.accepts_all() && !thread.has_nothing_to_take() {
            return Some(format!("{index:?} waits, with something to take: {thread:?}"));
        }
        match thread.state() {
            State::ReceivingFrom { from, .. } if threads[from].message_to(index).is_some() => {
                Some(format!("{index:?} waits for {from:?}, which waits to send to it"))
            }
            _ => None,
        }
    })
}

#[test]
fn whatever_lives_and_dies_is_sound() {
    let fresh = crowd();
    for seed in 100..104 {
        let mut bench = fresh.clone();
        let mut source = Source::new(seed);
        let mut owed = Owed::default();
        for step in 0..100_000 {
            bench.kernel.mappings.machine.is_restless = step % 3 == 0;
            live_and_die(&mut bench, &mut source);
            assert_eq!(owed.check(&mut bench), None, "{seed} {step}");
            bench.kernel.mappings.machine.records.clear();
            bench.kernel.mappings.machine.console.clear();
            check_threads(&mut bench);
            assert_eq!(wake_ups(&bench), None, "{seed} {step}");
            if bench.living_threads() < 7 || step % 2048 == 2047 {
                let mut old = std::mem::replace(&mut bench, fresh.clone());
                owed = Owed::default();
                old.kernel.mappings.machine.is_restless = false;
                old.drain();
                check_threads(&mut old);
                soundness::check(&mut old).expect("sound");
            }
            if step % 64 == 0 && !bench.kernel.is_due() {
                soundness::check(&mut bench).unwrap_or_else(|e| panic!("{seed} {step}: {e}"));
            }
        }
    }
    assert!(DONE.get().into_iter().all(|times| times > 30), "{:?}", DONE.get());
}

#[test]
fn whatever_lives_and_dies_does_so_quickly_as_slowly() {
    let fresh = crowd();
    for seed in 200..202 {
        let is_traced = seed % 2 == 0;
        let mut benches = [fresh.clone(), fresh.clone()];
        let mut sources = [seed, seed].map(Source::new);
        let set_up = |benches: &mut [Bench; 2]| {
            benches[1].kernel.mappings.machine.is_slow = true;
            for bench in benches {
                bench.kernel.mappings.machine.has_stopped_clock = true;
                bench.kernel.mappings.machine.wanted_records = Kind::DEFAULT_ENABLED;
            }
        };
        set_up(&mut benches);
        let mut ways = 0;
        for number in 0..50_000 {
            let is_restless = number % 3 == 0;
            let mut goes_quick = false;
            let first_label = LABEL.get();
            for (bench, source) in benches.iter_mut().zip(&mut sources) {
                LABEL.set(first_label);
                let machine = &mut bench.kernel.mappings.machine;
                machine.is_restless = is_restless && !goes_quick;
                machine.is_silent = !is_traced;
                let quick_ways = machine.quick_ways;
                live_and_die(bench, source);
                let machine = &mut bench.kernel.mappings.machine;
                goes_quick = machine.quick_ways != quick_ways;
                ways += usize::from(goes_quick);
                machine.is_restless = is_restless;
                bench.drain();
                bench.kernel.mappings.machine.console.clear();
            }
            let [one, two] = &mut benches;
            compare([one, two], number);
            if number.is_multiple_of(16) {
                let [gates, others] = [&one.kernel, &two.kernel]
                    .map(|kernel| format!("{:?} {:?}", kernel.gates, kernel.interrupts));
                assert!(gates == others, "step {number}:\n{gates}\n{others}");
            }
            if number.is_multiple_of(64) {
                assert_eq!(wake_ups(one), None, "step {number}");
            }
            if benches[0].living_threads() < 7 || number % 2048 == 2047 {
                benches = [fresh.clone(), fresh.clone()];
                set_up(&mut benches);
            }
        }
        println!("{ways} quick ways");
    }
}

/// A family that has as much as that, in which everybody does anything and takes all that there is, ends: all
/// comes back.
fn a_family_comes_back(
    yard: &mut Yard,
    source: &mut Source,
    limit: Word,
    steps: usize,
) -> [usize; 2] {
    const AREA: Word = Flexpage::memory(UTCB_AREA, 12, Rights::READ_WRITE).0;
    let boss = yard.boss;
    let (mut made, mut acts) = (0, 0);
    let mut ask = |yard: &mut Yard, index: Word, label, message: [Word; 5]| {
        let done = yard.call_among((index, label), message, |_| {});
        made += usize::from(done.is_ok());
        done.is_ok()
    };
    let all = Rights::all();
    let capability = |slot, own: Word| {
        let [base, flexpage] =
            MapItem::map(own << 12, Flexpage::capabilities(slot, 0, all)).to_words();
        [task::Map::NUMBER, base, flexpage, 0, 0]
    };
    ask(yard, 3, label::FACTORY, [factory::CreateFactory::NUMBER, 40, limit, 0, 0]);
    for family in 0..2 {
        let [task, thread] = [60 + 2 * family, 61 + 2 * family];
        ask(yard, 40, label::FACTORY, [factory::CreateTask::NUMBER, task, AREA, 0, 0]);
        ask(yard, 40, label::FACTORY, [factory::CreateThread::NUMBER, thread, 0, 0, 0]);
        for (slot, own) in [(task, 1), (thread, 2), (40, 5), (thread, 9), (task, 10), (44, 4)] {
            ask(yard, task, label::TASK, capability(slot, own));
        }
        let words = [thread::Control::NUMBER, 4, 4, task, UTCB_AREA];
        ask(yard, thread, label::THREAD, words);
        ask(yard, thread, label::THREAD, [thread::ExRegs::NUMBER, 0x40_0100, 0, 0, 0]);
        for page in 0..3 {
            let address = 0x50_0000 + (page << 12);
            let item = MapItem::map(address, Flexpage::memory(address, 12, all)).to_words();
            ask(yard, task, label::TASK, [task::Map::NUMBER, item[0], item[1], 0, 0]);
        }
    }
    for step in 0..steps {
        yard.bench.kernel.mappings.machine.is_restless = step % 3 == 0;
        let bench = &mut yard.bench;
        if bench.current() == boss {
            let mut others = bench.kernel.ready.members(&bench.kernel.threads);
            others.retain(|thread| thread.position() > boss);
            match others.first() {
                Some(other) => bench.run(other.position()),
                None => {
                    let count = bench.kernel.threads.used();
                    let any = ThreadIndex::from_position(source.below(count.into()) as u16);
                    let known = &bench.kernel.threads[any];
                    let is_one = any.position() > boss
                        && !known.is(ThreadState::Unused)
                        && known.bound_task().is_some();
                    if is_one {
                        bench.kernel.cancel(any);
                    }
                    continue;
                }
            }
        }
        if bench.kernel.current.get().is_none_or(|current| current.position() <= boss) {
            bench.kernel.timer_tick();
            continue;
        }
        acts += 1;
        match source.below(8) {
            0 => {
                // Somewhere else, which takes tables.
                let from = 0x50_0000 + (source.below(3) << 12);
                let item =
                    MapItem::map(source.below(3 << 18) << 12, Flexpage::memory(from, 12, all));
                let [base, flexpage] = item.to_words();
                object(bench, 1, label::TASK, &[task::Map::NUMBER, base, flexpage]);
            }
            1 => {
                let slots = [0; 2].map(|_| source.below(4096));
                let item = capability([1, 2, 5, slots[0]][source.below(4)], slots[1]);
                object(bench, 1, label::TASK, &item);
            }
            _ => live_and_die(bench, source),
        }
        bench.kernel.mappings.machine.records.clear();
        bench.kernel.mappings.machine.console.clear();
    }
    yard.bench.kernel.mappings.machine.is_restless = false;
    if !yard.bench.thread(boss).is(ThreadState::Ready) {
        yard.bench.kernel.cancel(ThreadIndex::from_position(boss));
    }
    yard.give_up(40);
    for slot in 60..64 {
        yard.give_up(slot);
    }
    [made, acts]
}

#[test]
fn all_that_a_family_has_comes_back_whatever_it_has() {
    for seed in 300..302 {
        let mut yard = Yard::new();
        let mut source = Source::new(seed);
        let before = yard.accounts();
        let mut all = 0;
        for pages in (0..400).chain([1000, 2000, 3000]) {
            let limit = pages * 4096 + source.below(4096);
            all += a_family_comes_back(&mut yard, &mut source, limit, 400)[1];
            assert_eq!(yard.accounts(), before, "{seed}: {pages}");
        }
        assert!(all > 50_000, "{all}");
    }
}

/// The root task rules over a gate to a server that ends, and leads it to another one.
struct Heirs {
    bench: Bench,
    old: u16,
    new: u16,
    client: u16,
}

const GATE: CapabilityIndex = CapabilityIndex(30);
const NEW: CapabilityIndex = CapabilityIndex(31);

impl Heirs {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.call(Operation::WAIT, NIL, MessageTag(0));
        let root = bench.task_of(ROOT);
        let [old, new, client] = [50, 50, 60].map(|priority| bench.spawn(ROOT, priority));
        bench.gate(root, GATE, old, 7);
        let gate = bench.slot(root, GATE.0 as u32).expect("a gate");
        bench.give(root, NEW, Object::Thread(ThreadIndex::from_position(new)));
        let task = bench.task_of(client);
        bench.give(task, GATE, gate);
        Self { bench, old, new, client }
    }

    fn unmap(&mut self, thread: u16, index: CapabilityIndex) {
        self.bench.run(thread);
        let page = Flexpage::capabilities(index.0, 0, Rights::all()).0;
        let all = Word::from(Rights::all().bits()) | task::Unmap::OWN_TOO;
        let words = [task::Unmap::NUMBER, all, 1, page];
        object(&mut self.bench, CapabilityIndex::TASK.0, label::TASK, &words);
        self.bench.drain();
        soundness::check(&mut self.bench).expect("sound");
    }

    fn take(&mut self) {
        self.bench.run(ROOT);
        let words = [thread::TakeGate::NUMBER, GATE.0, 8];
        object(&mut self.bench, NEW.0, label::THREAD, &words);
        assert_eq!(self.bench.result(ROOT).0, MessageTag(0));
        self.bench.drain();
        soundness::check(&mut self.bench).expect("sound");
    }

    fn new_is_told(&mut self) -> bool {
        self.bench.run(self.new);
        self.bench.call(Operation::WAIT, NIL, MessageTag(0));
        self.bench.thread(self.new).is(ThreadState::Ready)
            && self.bench.result(self.new) == (MessageTag::new(label::GATE_UNHELD, 0, 0), 8)
    }
}

/// A server that ends before it is told leaves that to whoever its gate comes to lead to.
#[test]
fn an_heir_learns_that_nobody_holds_its_gate_any_more() {
    // The server has not been told yet, and ends.
    let mut scene = Heirs::new();
    let (client, old) = (scene.client, scene.old);
    scene.unmap(client, GATE);
    scene.unmap(old, CapabilityIndex::THREAD);
    scene.take();
    let first = scene.new_is_told();
    // The server ends; then the client lets go.
    let mut scene = Heirs::new();
    scene.unmap(old, CapabilityIndex::THREAD);
    scene.unmap(client, GATE);
    scene.take();
    let second = scene.new_is_told();
    // Both for comparison while the old one lives.
    let mut scene = Heirs::new();
    scene.unmap(client, GATE);
    scene.take();
    assert!(scene.new_is_told());
    assert_eq!([first, second], [true, true], "told in the end");
}

/// Whoever gets the answer learns which item of it failed, and the server nothing: it waits already.
#[test]
fn of_an_answer_its_receiver_learns_what_failed() {
    let mut scene = Heirs::new();
    let (client, old) = (scene.client, scene.old);
    let bench = &mut scene.bench;
    bench.run(old);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    bench.run(client);
    bench.call(Operation::CALL, GATE, MessageTag(0));
    bench.run(old);
    bench.enter(bench.task_of(old), 0x50_0000, 0x300_0000, Rights::READ);
    let items = [0x50_0000, 0x60_0000]
        .map(|address| MapItem::map(address, Flexpage::memory(address, 12, Rights::READ)));
    let words = items.map(MapItem::to_words);
    bench.message(old)[..4].copy_from_slice(words.as_flattened());
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(0, 0, 2));
    assert!(bench.thread(old).is(ThreadState::Receiving));
    assert!(bench.result(client).0.is_ipc_error());
    let failure = IpcFailure { error: IpcError::WindowOverflow, item: 0 };
    assert_eq!(IpcFailure::from_word(bench.error(client)), Some(failure));
}

//! What was once broken of what is promised of ends, and a storm of them.

use super::{Bench, random::Random, soundness};
use crate::{
    mapping::capability::Object,
    memory::index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{Flexpage, Rights},
    introspection::{ThreadState, record::Event},
    layout::UTCB_AREA,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, factory, task, thread},
    syscall::Operation,
    utcb::UTCB_SIZE,
};

const START: Word = 0x40_0100;
const GATE: Word = 60;
const LABEL: Word = 0x77;
const REPLY: Word = 70;
const OWN_TASK: Word = CapabilityIndex::TASK.0;
const PARENT: Word = CapabilityIndex::PARENT.0;
const NOTHING: MessageTag = MessageTag(0);

struct Scene {
    bench: Bench,
}

fn index(number: u16) -> ThreadIndex {
    ThreadIndex::from_position(number)
}

impl Scene {
    fn new() -> Self {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench.call(Operation::WAIT, CapabilityIndex::NIL, NOTHING);
        }
        // No records: so the quick paths are open.
        bench.kernel.mappings.machine.is_silent = true;
        Self { bench }
    }

    /// Whether it begins again.
    fn enter(&mut self, number: u16, operation: Operation, target: Word, tag: MessageTag) -> bool {
        self.bench.run(number);
        self.bench.kernel.threads[index(number)].context.set_pointers(START, 0);
        self.bench.call(operation, CapabilityIndex(target), tag);
        let known = &self.bench.kernel.threads[index(number)];
        known.is(ThreadState::Ready) && known.context.instruction() != START
    }

    fn write(&mut self, number: u16, words: &[Word]) {
        self.bench.message(number)[..words.len()].copy_from_slice(words);
    }

    fn invoke(&mut self, number: u16, index: Word, label: isize, words: &[Word]) -> MessageTag {
        self.write(number, words);
        while self.enter(number, Operation::CALL, index, MessageTag::new(label, words.len(), 0)) {}
        self.bench.result(number).0
    }

    fn is(&mut self, number: u16, state: ThreadState) -> bool {
        self.bench.thread(number).is(state)
    }
}

fn unmap_words(page: Flexpage, own: bool) -> [Word; 4] {
    let own = if own { task::Unmap::OWN_TOO } else { 0 };
    [task::Unmap::NUMBER, Word::from(Rights::all().bits()) | own, 1, page.0]
}

/// A server with the first capability to a gate to itself, and a client that has one derived from it.
fn server_and_client() -> (Scene, u16, u16) {
    let mut scene = Scene::new();
    let server = scene.bench.spawn(1, 100);
    let client = scene.bench.spawn(server, 100);
    let [own, other] = [server, client].map(|number| scene.bench.task_of(number));
    scene.bench.gate(own, CapabilityIndex(GATE), server, LABEL);
    let Some(gate) = scene.bench.slot(own, GATE as u32) else { panic!("no gate") };
    scene.bench.give(other, CapabilityIndex(GATE), gate);
    (scene, server, client)
}

/// A server that answers by a quick path learns of a gate that nobody holds any more.
#[test]
fn a_quick_answer_that_comes_later_sees_an_unheld_gate() {
    let mut outcomes = Vec::new();
    for is_slow in [true, false] {
        let (mut scene, server, client) = server_and_client();
        scene.bench.kernel.mappings.machine.is_slow = is_slow;
        scene.enter(server, Operation::WAIT, 0, NOTHING);
        scene.enter(client, Operation::CALL, PARENT, NOTHING);
        scene.enter(server, Operation::SET_ASIDE, REPLY, NOTHING);
        // The last one who held the gate loses it.
        let page = Flexpage::capabilities(GATE, 0, Rights::empty());
        scene.invoke(server, OWN_TASK, label::TASK, &unmap_words(page, false));
        scene.enter(server, Operation::ANSWER_AND_WAIT, REPLY, NOTHING);
        assert!(scene.is(client, ThreadState::Ready));
        outcomes.push((scene.is(server, ThreadState::Ready), scene.bench.result(server)));
    }
    let told = MessageTag::new(label::GATE_UNHELD, 0, 0);
    assert_eq!(outcomes[0], (true, (told, LABEL)), "the general way");
    assert_eq!(outcomes[1], (true, (told, LABEL)), "the quick way: it waits, and was told nothing");
}

/// Who has queued through a gate and then lost it is heard first; then the server learns that nobody holds it.
#[test]
fn who_waits_at_a_gate_is_heard_before_it_is_unheld() {
    let (mut scene, server, client) = server_and_client();
    scene.enter(client, Operation::CALL, GATE, NOTHING);
    assert!(scene.is(client, ThreadState::Sending));
    let page = Flexpage::capabilities(GATE, 0, Rights::empty());
    scene.invoke(server, OWN_TASK, label::TASK, &unmap_words(page, false));
    let task = scene.bench.task_of(client);
    assert_eq!(scene.bench.slot(task, GATE as u32), None);
    scene.enter(server, Operation::WAIT, 0, NOTHING);
    assert_eq!(scene.bench.result(server), (NOTHING, LABEL), "the client's call");
    scene.enter(server, Operation::REPLY_AND_WAIT, 0, NOTHING);
    let told = MessageTag::new(label::GATE_UNHELD, 0, 0);
    scene.bench.run(server);
    assert_eq!(scene.bench.result(server), (told, LABEL), "nobody holds it");
}

/// A call ends what its caller had begun: no later unmap goes on with that.
#[test]
fn a_quick_call_leaves_nothing_begun() {
    let mut outcomes = Vec::new();
    for is_slow in [true, false] {
        let (mut scene, server, client) = server_and_client();
        scene.bench.kernel.mappings.machine.is_slow = is_slow;
        scene.enter(server, Operation::WAIT, 0, NOTHING);
        let task = scene.bench.task_of(client);
        let gate = scene.bench.slot(task, GATE as u32).expect("gate");
        for slot in [61, 62] {
            scene.bench.give(task, CapabilityIndex(slot), Object::Task(task));
        }
        let page = Flexpage::capabilities(256, 8, Rights::empty());
        scene.bench.kernel.mappings.machine.is_restless = true;
        let tag = MessageTag::new(label::TASK, 4, 0);
        scene.write(client, &unmap_words(page, true));
        assert!(scene.enter(client, Operation::CALL, 61, tag));
        scene.bench.kernel.mappings.machine.is_restless = false;
        // Somebody puts a gate there meanwhile.
        let item = MapItem::map(61 << PAGE_ORDER, Flexpage::capabilities(GATE, 0, Rights::all()));
        let other = scene.bench.spawn(server, 100);
        scene.bench.run(other);
        scene.bench.map_item(task, task, item, Flexpage::WHOLE_SPACE);
        assert_eq!(scene.bench.slot(task, 61), Some(gate));
        scene.enter(client, Operation::CALL, 61, tag);
        assert!(scene.is(client, ThreadState::Receiving));
        scene.enter(server, Operation::REPLY_AND_WAIT, 0, NOTHING);
        // Later it takes something away.
        scene.bench.give(task, CapabilityIndex(256), gate);
        let tag = scene.invoke(client, 62, label::TASK, &unmap_words(page, true));
        outcomes.push((tag.label(), scene.bench.slot(task, 256).is_some()));
    }
    assert_eq!(
        outcomes,
        [(0, false), (0, false)],
        "general, quick: success, and whether it is left"
    );
}

/// A thread whose task has ended is not bound to another one.
#[test]
fn a_thread_of_a_task_that_has_ended_runs_in_none() {
    let mut scene = Scene::new();
    let boss = scene.bench.spawn(1, 100);
    let own = scene.bench.task_of(boss);
    scene.bench.give(own, CapabilityIndex(3), Object::Factory(FactoryIndex::from_position(0)));
    let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
    for slot in [41, 42] {
        scene.invoke(boss, 3, label::FACTORY, &[factory::CreateTask::NUMBER, slot, area]);
    }
    scene.invoke(boss, 3, label::FACTORY, &[factory::CreateThread::NUMBER, 43]);
    let bind = |scene: &mut Scene, task| {
        scene
            .invoke(boss, 43, label::THREAD, &[thread::Control::NUMBER, 0, 0, task, UTCB_AREA])
            .label()
    };
    assert_eq!(bind(&mut scene, 41), 0);
    scene.invoke(boss, 43, label::THREAD, &[thread::ExRegs::NUMBER, START, 0]);
    let page = Flexpage::capabilities(41, 0, Rights::empty());
    scene.invoke(boss, OWN_TASK, label::TASK, &unmap_words(page, true));
    let bound = bind(&mut scene, 42);
    scene.invoke(boss, 43, label::THREAD, &[thread::ExRegs::NUMBER, START, 0]);
    let Some(Object::Thread(child)) = scene.bench.slot(own, 43) else { panic!() };
    let state = scene.bench.kernel.threads[child].record.state;
    assert!(bound != 0, "bound again: {bound}, state {state}");
}

/// An unmap that has taken a first capability away returns when the object has ended, even if a later flexpage
/// is none.
#[test]
fn an_unmap_with_a_bad_flexpage_returns_when_all_is_done() {
    let mut scene = Scene::new();
    let boss = scene.bench.spawn(1, 100);
    let own = scene.bench.task_of(boss);
    scene.bench.give(own, CapabilityIndex(3), Object::Factory(FactoryIndex::from_position(0)));
    let used = |scene: &Scene| {
        scene.bench.kernel.mappings.factories[FactoryIndex::from_position(0)].record.used
    };
    let create = |scene: &mut Scene| {
        scene.invoke(boss, 3, label::FACTORY, &[factory::CreateFactory::NUMBER, 40, 4 << 20]);
        let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
        for slot in 41..45 {
            scene.invoke(boss, 40, label::FACTORY, &[factory::CreateTask::NUMBER, slot, area]);
        }
    };
    let before = used(&scene);
    create(&mut scene);
    let page = Flexpage::capabilities(40, 0, Rights::empty()).0;
    let all = Word::from(Rights::all().bits()) | task::Unmap::OWN_TOO;
    let bad = Flexpage::WHOLE_SPACE.0;
    let tag = scene.invoke(boss, OWN_TASK, label::TASK, &[task::Unmap::NUMBER, all, 2, page, bad]);
    let after = used(&scene);
    assert!(tag.label() < 0);
    assert_eq!(
        after - before.min(after),
        0,
        "the quota is back ({tag:?}); due: {}",
        scene.bench.kernel.is_due()
    );
}

const FACTORY: Word = 8;
const SLOTS: usize = 24;

/// Anything that tasks do with first capabilities, small quotas and each other, left at any point. In the end
/// their factory ends, and all is as before.
fn storm(seed: u64, steps: usize) {
    let mut random = Random::new(seed);
    let mut below = move |bound: usize| (random.next() >> 7) as usize % bound;
    let mut scene = Scene::new();
    scene.bench.kernel.mappings.machine.is_silent = false;
    let boss = scene.bench.spawn(1, 100);
    let own = scene.bench.task_of(boss);
    scene.bench.give(own, CapabilityIndex(3), Object::Factory(FactoryIndex::from_position(0)));
    scene.invoke(boss, 3, label::FACTORY, &[factory::CreateFactory::NUMBER, 40, 64 << 10]);
    let page = |slot| Flexpage::capabilities(slot, 0, Rights::empty());
    scene.invoke(boss, OWN_TASK, label::TASK, &unmap_words(page(40), true));
    scene.bench.drain();
    let account = |scene: &Scene| {
        let mappings = &scene.bench.kernel.mappings;
        let used = mappings.factories[FactoryIndex::from_position(0)].record.used;
        (
            soundness::Census::of(&scene.bench),
            used,
            mappings.pool.left(),
            mappings.interrupted_walks,
        )
    };
    let before = account(&scene);
    scene.invoke(boss, 3, label::FACTORY, &[factory::CreateFactory::NUMBER, 40, 6 << 20]);
    let Some(Object::Factory(made)) = scene.bench.slot(own, 40) else { panic!("factory") };
    let workers: Vec<u16> = (0..4).map(|_| scene.bench.spawn_from(made, boss, 100)).collect();
    let tasks: Vec<TaskIndex> = workers.iter().map(|worker| scene.bench.task_of(*worker)).collect();
    for (number, task) in tasks.iter().enumerate() {
        scene.bench.give(*task, CapabilityIndex(FACTORY), Object::Factory(made));
        for other in 0..4 {
            scene.bench.give(*task, CapabilityIndex(9 + other), Object::Task(tasks[other]));
            scene.bench.give(
                *task,
                CapabilityIndex(13 + other),
                Object::Thread(index(workers[other])),
            );
        }
        scene.bench.gate(*task, CapabilityIndex(17), workers[(number + 1) % 4], 0x100 + number);
        for page in 0..8 {
            let offset = page * PAGE_SIZE;
            let frame = 0x300_0000 + ((number << 16) + offset) as u64;
            scene.bench.enter(*task, 0x50_0000 + offset, frame, Rights::all());
        }
        let window = Flexpage::WHOLE_SPACE.0;
        scene.bench.kernel.utcb(index(workers[number])).buffer[0] = window;
        scene.bench.kernel.threads[index(workers[number])].context.set_pointers(START, 0);
    }
    let mut last = std::collections::BTreeMap::new();
    let mut ended = std::collections::BTreeMap::new();
    let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
    for step in 0..steps {
        for traced in scene.bench.events() {
            if let Event::ObjectEnded(end) = traced.event {
                *ended.entry(end.object.kind() as u8).or_insert(0u32) += 1;
            }
        }
        scene.bench.kernel.mappings.machine.records.clear();
        scene.bench.kernel.mappings.machine.flushed.clear();
        let kernel = &scene.bench.kernel;
        let all = (0..kernel.threads.used()).map(index).filter(|thread| {
            let thread = &kernel.threads[*thread];
            !thread.is(ThreadState::Unused)
                && thread.bound_task().is_some_and(|task| task.position() > 2 && task != own)
        });
        let all: Vec<ThreadIndex> = all.collect();
        let ready: Vec<ThreadIndex> = all
            .iter()
            .copied()
            .filter(|thread| kernel.threads[*thread].is(ThreadState::Ready))
            .collect();
        if all.is_empty() {
            break;
        }
        let machine = &mut scene.bench.kernel.mappings.machine;
        machine.is_restless = below(3) != 0;
        machine.calm_windows = below(4) as u64;
        machine.is_slow = below(2) == 0;
        if ready.is_empty() || below(30) == 0 {
            let chosen = all[below(all.len())];
            // As ex_regs does.
            if scene.bench.kernel.current != chosen.into() {
                scene.bench.kernel.cancel(chosen);
                scene.bench.kernel.threads[chosen].context.set_pointers(START, 0);
                scene.bench.kernel.preempt();
            }
            continue;
        }
        let actor = ready[below(ready.len())].position();
        scene.bench.run(actor);
        let midway = scene.bench.thread(actor).context.instruction() != START;
        if !midway {
            match below(24) {
                0 => {
                    let address = 0x60_0000 + below(4) * PAGE_SIZE;
                    scene.bench.kernel.page_fault(address, protocol::fault::Access::WRITE);
                    continue;
                }
                1 => {
                    scene.bench.kernel.exception(6, 0);
                    continue;
                }
                2 => {
                    scene.bench.kernel.timer_tick();
                    continue;
                }
                _ => {}
            }
            let slot = |below: &mut dyn FnMut(usize) -> usize| 1 + below(SLOTS);
            let any = slot(&mut below);
            let item = |below: &mut dyn FnMut(usize) -> usize| {
                let flexpage = if below(4) == 0 {
                    Flexpage::memory(
                        0x50_0000 + below(8) * PAGE_SIZE,
                        PAGE_ORDER + below(4) as u32,
                        Rights::all(),
                    )
                } else {
                    Flexpage::capabilities(
                        1 + below(SLOTS),
                        [0, 0, 0, 1, 2, 4][below(6)],
                        Rights::all(),
                    )
                };
                let send_base = if flexpage.kind() == protocol::flexpage::Kind::Memory {
                    0x50_0000 + below(16) * PAGE_SIZE
                } else {
                    (1 + below(SLOTS)) << PAGE_ORDER
                };
                MapItem { send_base, grant: below(2) == 0, flexpage }.to_words()
            };
            let object = |scene: &mut Scene,
                          wanted: fn(Object) -> bool,
                          below: &mut dyn FnMut(usize) -> usize| {
                let task = scene.bench.task_of(actor);
                let found: Vec<usize> = (1..=SLOTS)
                    .filter(|slot| scene.bench.slot(task, *slot as u32).is_some_and(wanted))
                    .collect();
                if found.is_empty() { 1 } else { found[below(found.len())] }
            };
            let (operation, target, tag) = match below(12) {
                0 | 1 => {
                    let target =
                        object(&mut scene, |o| matches!(o, Object::Factory(_)), &mut below);
                    let receiver =
                        object(&mut scene, |o| matches!(o, Object::Thread(_)), &mut below);
                    let words = match below(4) {
                        0 => [1, any, area, 0],
                        1 => [2, any, 0, 0],
                        2 => [3, any, 0x200 + below(8), receiver],
                        _ => [4, any, 512 << 10, 0],
                    };
                    scene.write(actor, &words);
                    (Operation::CALL, target, MessageTag::new(label::FACTORY, 4, 0))
                }
                2 | 3 => {
                    let target = object(&mut scene, |o| matches!(o, Object::Task(_)), &mut below);
                    let [base, words] = item(&mut below);
                    scene.write(actor, &[task::Map::NUMBER, base, words]);
                    (Operation::CALL, target, MessageTag::new(label::TASK, 3, 0))
                }
                4 => {
                    let target = object(&mut scene, |o| matches!(o, Object::Task(_)), &mut below);
                    let page =
                        Flexpage::capabilities(any, [0, 0, 0, 0, 1, 2][below(6)], Rights::empty());
                    let words = unmap_words(page, below(2) == 0);
                    scene.write(actor, &words);
                    (Operation::CALL, target, MessageTag::new(label::TASK, 4, 0))
                }
                5 => {
                    let target = object(&mut scene, |o| matches!(o, Object::Thread(_)), &mut below);
                    let to = object(&mut scene, |o| matches!(o, Object::Task(_)), &mut below);
                    if below(2) == 0 {
                        let utcb = UTCB_AREA + below(4) * UTCB_SIZE;
                        let gates = [PARENT, 17];
                        scene.write(
                            actor,
                            &[thread::Control::NUMBER, gates[below(2)], gates[below(2)], to, utcb],
                        );
                        (Operation::CALL, target, MessageTag::new(label::THREAD, 5, 0))
                    } else {
                        scene.write(actor, &[thread::ExRegs::NUMBER, START, 0]);
                        (Operation::CALL, target, MessageTag::new(label::THREAD, 3, 0))
                    }
                }
                6 => (Operation::SET_ASIDE, any, NOTHING),
                7 => {
                    let target = object(&mut scene, |o| matches!(o, Object::Reply(_)), &mut below);
                    let words = item(&mut below);
                    scene.write(actor, &words);
                    let items = below(2);
                    (
                        [Operation::ANSWER_AND_WAIT, Operation::SEND][below(2)],
                        target,
                        MessageTag::new(0, 0, items),
                    )
                }
                8 | 9 => {
                    let target = object(
                        &mut scene,
                        |o| matches!(o, Object::Gate(_) | Object::Thread(_)),
                        &mut below,
                    );
                    let words = item(&mut below);
                    scene.write(actor, &words);
                    let items = below(2);
                    let all =
                        [Operation::SEND, Operation::CALL, Operation::CALL, Operation::RECEIVE];
                    (all[below(4)], target, MessageTag::new(0, 0, items))
                }
                _ => {
                    let words = item(&mut below);
                    scene.write(actor, &words);
                    let items = below(2);
                    (
                        [Operation::REPLY_AND_WAIT, Operation::WAIT][below(2)],
                        0,
                        MessageTag::new(0, 0, items),
                    )
                }
            };
            last.insert(actor, (operation, target, tag));
        }
        let (operation, target, tag) = if midway && scene.bench.thread(actor).undertaking.is_some_and(|u| {
            matches!(u.operation, crate::threads::undertaking::Operation::Transfer { receiver, .. } if receiver == index(actor))
        }) {
            (Operation::WAIT, 0, NOTHING)
        } else {
            last.get(&actor).copied().unwrap_or((Operation::WAIT, 0, NOTHING))
        };
        scene.bench.kernel.threads[index(actor)].context.set_pointers(START, 0);
        scene.bench.call(operation, CapabilityIndex(target), tag);
        if step % 7 == 0 {
            soundness::check(&mut scene.bench)
                .unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
        }
    }
    scene.bench.kernel.mappings.machine.is_restless = false;
    soundness::check(&mut scene.bench).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    scene.bench.kernel.cancel(index(boss));
    scene.bench.kernel.preempt();
    scene.bench.kernel.mappings.machine.is_slow = true;
    scene.invoke(boss, OWN_TASK, label::TASK, &unmap_words(page(40), true));
    scene.bench.drain();
    soundness::check(&mut scene.bench).unwrap_or_else(|error| panic!("seed {seed}, end: {error}"));
    assert_eq!(account(&scene), before, "seed {seed}");
    if std::env::var("STORMS").is_ok() && seed < 6 {
        println!("{seed}: {ended:?}");
    }
}

#[test]
fn a_storm_of_ends() {
    let count = std::env::var("STORMS").map_or(300, |count| count.parse().expect("a number"));
    for seed in 1..=count {
        let done = std::panic::catch_unwind(|| storm(seed, 400));
        assert!(done.is_ok(), "seed number {seed}");
    }
}

/// A map that takes no first capability away goes its way while what others have ended is taken apart.
#[test]
fn a_map_does_not_wait_for_the_ends_of_others() {
    const HERE: Word = 0x1000_0000;
    let mut scene = Scene::new();
    let victim = scene.bench.spawn(1, 100);
    let dying = scene.bench.spawn(1, 100);
    let [own, corpse] = [victim, dying].map(|n| scene.bench.task_of(n));
    scene.bench.enter(own, HERE, 0x280_0000, Rights::all());
    for page in 0..2000 {
        scene.bench.enter(corpse, HERE + page * PAGE_SIZE, 0x300_0000, Rights::all());
    }
    scene.bench.kernel.mappings.machine.is_restless = true;
    let words = unmap_words(Flexpage::capabilities(OWN_TASK, 0, Rights::empty()), true);
    scene.write(dying, &words);
    scene.enter(dying, Operation::CALL, OWN_TASK, MessageTag::new(label::TASK, 4, 0));
    let item =
        MapItem::map(HERE + 2 * PAGE_SIZE, Flexpage::memory(HERE, PAGE_ORDER, Rights::all()));
    let [base, words] = item.to_words();
    scene.write(victim, &[task::Map::NUMBER, base, words]);
    let mut restarts = 0;
    while scene.enter(victim, Operation::CALL, OWN_TASK, MessageTag::new(label::TASK, 3, 0)) {
        restarts += 1;
    }
    assert!(restarts < 4, "one page was mapped after {restarts} stretches");
}

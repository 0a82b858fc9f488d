//! Nobody can make an unmap endless, a map, or an end: who comes first is served first.
//!
//! All threads have the same priority, and each turn ends at the first preemption point.

use super::Bench;
use crate::{
    arch::{TABLE_ENTRIES, TABLE_ORDER},
    mapping::capability::Object,
    memory::index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{Flexpage, Rights},
    introspection::ThreadState,
    layout::UTCB_AREA,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, factory, task},
    syscall::Operation,
};

const START: Word = 0x40_0100;
const OWN_TASK: Word = CapabilityIndex::TASK.0;

/// Where each attacker has the task that it maps into.
const OTHER_TASK: Word = 50;

/// Where everybody has what is to be taken, and where they map it on.
const HERE: Word = 0x1000_0000;
const THERE: Word = 0x2000_0000;

/// Pages that an attacker maps on by one system call, and how often.
const PIECE: u32 = 20;
const RING: usize = 24;

const WHOLE: Flexpage = Flexpage::memory(HERE, TABLE_ORDER, Rights::all());
const WINDOW: Flexpage = Flexpage::WHOLE_SPACE;

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
            bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        }
        Self { bench }
    }

    fn restless(&mut self) {
        self.bench.kernel.mappings.machine.is_restless = true;
    }

    /// A thread is the one that runs.
    fn run(&mut self, number: u16) {
        let (thread, kernel) = (index(number), &mut self.bench.kernel);
        assert!(kernel.threads[thread].is(ThreadState::Ready), "{number} can run");
        if kernel.current == thread.into() {
            return;
        }
        if let Some(current) = kernel.current.get() {
            kernel.ready.push_back(&mut kernel.threads, current);
        }
        kernel.ready.remove(&mut kernel.threads, thread);
        kernel.current = thread.into();
    }

    /// One turn of a thread: an operation on a task is begun, or goes on. Whether it begins again.
    fn operate(&mut self, number: u16, task: Word, words: &[Word]) -> bool {
        self.run(number);
        self.bench.message(number)[..words.len()].copy_from_slice(words);
        self.bench.kernel.threads[index(number)].context.set_pointers(START, 0);
        let tag = MessageTag::new(label::TASK, words.len(), 0);
        self.bench.call(Operation::CALL, CapabilityIndex(task), tag);
        let known = &self.bench.kernel.threads[index(number)];
        known.is(ThreadState::Ready) && known.context.instruction() != START
    }

    fn unmap(&mut self, number: u16, take: Rights, own: bool, flexpage: Flexpage) -> bool {
        let own = if own { task::Unmap::OWN_TOO } else { 0 };
        let words = [task::Unmap::NUMBER, Word::from(take.bits()) | own, 1, flexpage.0];
        self.operate(number, OWN_TASK, &words)
    }

    fn map(&mut self, number: u16, task: Word, item: MapItem) -> bool {
        let [base, words] = item.to_words();
        self.operate(number, task, &[task::Map::NUMBER, base, words])
    }

    fn create(&mut self, number: u16, message: &[Word]) {
        self.run(number);
        self.bench.message(number)[..message.len()].copy_from_slice(message);
        let tag = MessageTag::new(label::FACTORY, message.len(), 0);
        self.bench.call(Operation::CALL, CapabilityIndex(FACTORY), tag);
        assert_eq!(self.bench.result(number).0.label(), 0);
    }

    fn has(&mut self, task: TaskIndex, address: Word) -> bool {
        self.bench.page(task, address).is_present()
    }
}

/// Where a factory is.
const FACTORY: Word = 8;

/// One who maps a superpage on into another task, piece by piece and always the next one.
struct Attacker {
    thread: u16,
    task: TaskIndex,
    into: TaskIndex,
    next: usize,
    is_midway: bool,
}

impl Attacker {
    fn new(scene: &mut Scene) -> Self {
        let [thread, helper] = [(); 2].map(|()| scene.bench.spawn(1, 100));
        let [task, into] = [thread, helper].map(|thread| scene.bench.task_of(thread));
        scene.bench.give(task, CapabilityIndex(OTHER_TASK), Object::Task(into));
        Self { thread, task, into, next: 0, is_midway: false }
    }

    fn place(&self) -> Word {
        THERE + (self.next << PIECE)
    }

    /// One turn. The page at the beginning of the superpage is left out.
    fn act(&mut self, scene: &mut Scene) {
        let last = self.place() + (1 << PIECE) - PAGE_SIZE;
        if !self.is_midway && scene.has(self.into, last) {
            return;
        }
        let piece = Flexpage::memory(HERE + (1 << PIECE), PIECE, Rights::all());
        self.is_midway = scene.map(self.thread, OTHER_TASK, MapItem::map(self.place(), piece));
        if !self.is_midway {
            self.next = (self.next + 1) % RING;
        }
    }

    /// Maps as much as it can.
    fn fill(&mut self, scene: &mut Scene) {
        while !scene.has(self.into, self.place()) || self.is_midway {
            self.act(scene);
        }
    }
}

/// An owner of a superpage, and attackers that have a part of it and have mapped that on.
fn owner_and_attackers(count: usize, part: Flexpage) -> (Scene, u16, Vec<Attacker>) {
    let mut scene = Scene::new();
    let owner = scene.bench.spawn(1, 100);
    let own = scene.bench.task_of(owner);
    let whole = Flexpage::memory(0x300_0000, TABLE_ORDER, Rights::all());
    scene.bench.map_item(TaskIndex::SIGMA0, own, MapItem::map(HERE, whole), WINDOW);
    let mut attackers: Vec<_> = (0..count).map(|_| Attacker::new(&mut scene)).collect();
    for attacker in &mut attackers {
        scene.bench.map_item(own, attacker.task, MapItem::map(part.address(), part), WINDOW);
        attacker.fill(&mut scene);
    }
    (scene, owner, attackers)
}

/// Turns that an unmap takes, after each of which all attackers have one.
fn turns(
    scene: &mut Scene,
    attackers: &mut [Attacker],
    most: usize,
    mut unmap: impl FnMut(&mut Scene) -> bool,
) -> usize {
    scene.restless();
    for turn in 1..=most {
        if !unmap(scene) {
            return turn;
        }
        for attacker in attackers.iter_mut() {
            attacker.act(scene);
        }
    }
    panic!("it has not ended after {most} turns")
}

/// Each of their turns that is not in a map that was begun before makes the walk's way shorter.
#[test]
fn an_unmap_ends_against_those_who_map_on() {
    let page = Flexpage::memory(HERE, PAGE_ORDER, Rights::all());
    let half = Flexpage::memory(HERE + (1 << PIECE), PIECE, Rights::all());
    for (given, take, own, flexpage) in [
        (WHOLE, Rights::all(), false, WHOLE),
        (WHOLE, Rights::all(), true, WHOLE),
        (WHOLE, Rights::WRITE, false, WHOLE),
        (WHOLE, Rights::empty(), true, WHOLE),
        (WHOLE, Rights::all(), false, page),
        // It passes by all that the attackers have.
        (half, Rights::all(), false, page),
    ] {
        let what = format!("{given:?}: {take:?}, {own}, {flexpage:?}");
        let (mut scene, owner, mut attackers) = owner_and_attackers(3, given);
        let mut alone = Scene { bench: scene.bench.clone() };
        let needed =
            turns(&mut alone, &mut [], usize::MAX, |scene| scene.unmap(owner, take, own, flexpage));
        assert!(needed > 20, "{what}: {needed}");
        // Of each attacker one map may have been begun before.
        let most = needed + attackers.len() * TABLE_ENTRIES;
        let taken = turns(&mut scene, &mut attackers, most, |scene| {
            scene.unmap(owner, take, own, flexpage)
        });
        assert!(taken <= needed, "{what}: {needed} turns alone, {taken} with the help of others");
        let own_task = scene.bench.task_of(owner);
        let keeps = take != Rights::all() || given == half;
        for attacker in &attackers {
            assert_eq!(scene.has(attacker.task, half.address()), keeps, "{what}");
        }
        assert_eq!(scene.has(own_task, HERE), !own || take != Rights::all(), "{what}");
        super::soundness::check(&mut scene.bench).expect("sound");
    }
}

/// The same with capabilities: an object whose first capability is being taken away ends, however fast those
/// hand theirs on who have it.
#[test]
fn an_object_ends_against_those_who_hand_it_on() {
    const MADE: Word = 40;
    const FIRST: Word = 512;
    let mut scene = Scene::new();
    let owner = scene.bench.spawn(1, 100);
    let own = scene.bench.task_of(owner);
    scene.bench.give(
        own,
        CapabilityIndex(FACTORY),
        Object::Factory(FactoryIndex::from_position(0)),
    );
    scene.create(owner, &[factory::CreateFactory::NUMBER, MADE, 1 << 20]);
    let made = scene.bench.slot(own, MADE as u32).expect("a factory");
    let attackers: Vec<u16> = (0..5).map(|_| scene.bench.spawn(1, 100)).collect();
    let tasks: Vec<TaskIndex> =
        attackers.iter().map(|thread| scene.bench.task_of(*thread)).collect();
    for task in &tasks {
        scene.bench.give(*task, CapabilityIndex(FACTORY), made);
    }
    let item = |slot: Word| {
        let flexpage = Flexpage::capabilities(FACTORY, 0, Rights::all());
        MapItem::map(slot << PAGE_ORDER, flexpage)
    };
    for slot in FIRST..FIRST + 100 {
        for attacker in &attackers {
            while scene.map(*attacker, OWN_TASK, item(slot)) {}
        }
    }
    scene.restless();
    let mut alone = Scene { bench: scene.bench.clone() };
    let end = |scene: &mut Scene| {
        scene.unmap(owner, Rights::all(), true, Flexpage::capabilities(MADE, 0, Rights::all()))
    };
    let needed = turns(&mut alone, &mut [], usize::MAX, end);
    assert!(needed > 20, "{needed}");
    for turn in 0.. {
        assert!(turn <= needed, "after {turn} turns, instead of {needed} alone");
        if !end(&mut scene) {
            break;
        }
        for (attacker, task) in attackers.iter().zip(&tasks) {
            let free = (FIRST..FIRST + 512)
                .find(|slot| scene.bench.slot(*task, *slot as u32).is_none())
                .expect("more than can be filled");
            scene.map(*attacker, OWN_TASK, item(free));
        }
    }
    for task in &tasks {
        assert_eq!(scene.bench.slot(*task, FACTORY as u32), None);
    }
    assert_eq!(scene.bench.slot(own, MADE as u32), None);
    super::soundness::check(&mut scene.bench).expect("sound");
}

/// The same with a task that is being taken apart, from whose memory others map on.
#[test]
fn a_task_ends_against_those_who_map_from_it() {
    let (mut scene, corpse, mut attackers) = owner_and_attackers(3, WHOLE);
    scene.restless();
    let own = Flexpage::capabilities(OWN_TASK, 0, Rights::all());
    let task = scene.bench.task_of(corpse);
    scene.unmap(corpse, Rights::all(), true, own);
    assert!(scene.bench.kernel.is_due());
    // Some of it each time that the kernel is left.
    let most = (attackers.len() * RING) << (PIECE - PAGE_ORDER);
    let turns = (0..most / 4).find(|_| {
        scene.bench.kernel.timer_tick();
        for attacker in &mut attackers {
            attacker.act(&mut scene);
        }
        !scene.bench.kernel.is_due()
    });
    assert!(turns.is_some());
    for attacker in &attackers {
        assert!(!scene.has(attacker.task, HERE));
    }
    assert!(!super::soundness::Census::of(&scene.bench).tasks.contains(&task.position()));
    super::soundness::check(&mut scene.bench).expect("sound");
}

/// Who begins walk after walk starves no map that began before: it goes on with those that were there only.
#[test]
fn a_map_ends_against_those_who_begin_walks() {
    let (mut scene, owner, mut attackers) = owner_and_attackers(4, WHOLE);
    for attacker in &attackers {
        while scene.unmap(attacker.thread, Rights::all(), false, WHOLE) {}
    }
    let elsewhere = HERE + (4 << TABLE_ORDER);
    let half = Flexpage::memory(HERE, PIECE, Rights::all());
    let item = MapItem::map(elsewhere + PAGE_SIZE, half);
    scene.restless();
    let mut alone = Scene { bench: scene.bench.clone() };
    let needed = turns(&mut alone, &mut [], usize::MAX, |scene| scene.map(owner, OWN_TASK, item));
    let (mut taken, mut walks) = (1, 0);
    let few = Flexpage::memory(HERE, PAGE_ORDER + 4, Rights::all());
    while scene.map(owner, OWN_TASK, item) {
        taken += 1;
        assert!(
            taken <= needed,
            "it has not ended after {needed} turns and {walks} walks of others"
        );
        for Attacker { thread, is_midway, .. } in &mut attackers {
            // By turns it maps something on and takes that away.
            if *is_midway {
                *is_midway = scene.unmap(*thread, Rights::all(), false, WHOLE);
                walks += usize::from(!*is_midway);
            } else {
                *is_midway = !scene.map(*thread, OTHER_TASK, MapItem::map(THERE, few));
            }
        }
    }
    let own = scene.bench.task_of(owner);
    assert!(scene.has(own, elsewhere + PAGE_SIZE) && walks > 2, "{taken} turns, {walks} walks");
}

/// Two who map into the same place, each of whom has to take away what the other one has put there: each
/// gets its turn.
#[test]
fn a_map_ends_against_those_who_map_to_the_same_place() {
    let (mut scene, owner, attackers) = owner_and_attackers(2, WHOLE);
    let own = scene.bench.task_of(owner);
    let page =
        |number: Word| Flexpage::memory(HERE + number * PAGE_SIZE, PAGE_ORDER, Rights::all());
    scene.bench.give(own, CapabilityIndex(OTHER_TASK), Object::Task(attackers[0].task));
    for attacker in &attackers[1..] {
        let task = attacker.task;
        scene.bench.give(task, CapabilityIndex(60), Object::Task(attackers[0].task));
    }
    // The attackers' victim maps on, forty times, what comes there.
    let place = THERE;
    let spread = |scene: &mut Scene| {
        let into = attackers[1].into;
        for number in 0..40 {
            let flexpage = Flexpage::memory(place, PAGE_ORDER, Rights::all());
            let item = MapItem::map(THERE + (RING << PIECE) + number * PAGE_SIZE, flexpage);
            scene.bench.map_item(attackers[0].task, into, item, WINDOW);
        }
    };
    while scene.map(attackers[1].thread, 60, MapItem::map(place, page(64))) {}
    spread(&mut scene);
    scene.restless();
    let (mut turns, mut number) = (0, 1);
    loop {
        if !scene.map(owner, OTHER_TASK, MapItem::map(place, page(5))) {
            break;
        }
        turns += 1;
        assert!(turns < 200, "the place was taken {number} times");
        let thread = attackers[1].thread;
        while scene.map(thread, 60, MapItem::map(place, page(64 + number % 2))) {}
        number += 1;
        spread(&mut scene);
    }
    assert!(turns > 0, "it was interrupted");
}

/// Who ends something waits for that, and for what had ended before, but not for what strangers end meanwhile.
#[test]
fn an_unmap_does_not_wait_for_what_strangers_end() {
    const MADE: Word = 600;
    const EACH: Word = 16;
    let mut scene = Scene::new();
    let victim = scene.bench.spawn(1, 100);
    let own = scene.bench.task_of(victim);
    scene.bench.gate(own, CapabilityIndex(MADE), victim, 1);
    let factory = Object::Factory(FactoryIndex::from_position(0));
    let strangers: Vec<u16> = (0..3).map(|_| scene.bench.spawn(1, 100)).collect();
    for stranger in &strangers {
        let task = scene.bench.task_of(*stranger);
        scene.bench.give(task, CapabilityIndex(FACTORY), factory);
        for slot in MADE..MADE + EACH {
            let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
            scene.create(*stranger, &[factory::CreateTask::NUMBER, slot, area]);
        }
    }
    let free = |scene: &Scene| {
        scene.bench.kernel.mappings.factories[FactoryIndex::from_position(0)].record.used
    };
    scene.restless();
    let before = free(&scene);
    let gate = Flexpage::capabilities(MADE, 0, Rights::all());
    let mut turns = 0;
    for round in 0..EACH {
        // Something has ended before.
        if round > 0 {
            turns += 1;
            if !scene.unmap(victim, Rights::all(), true, gate) {
                break;
            }
        }
        for stranger in &strangers {
            // What it has begun to wait for it forgets.
            scene.bench.kernel.abandon(index(*stranger));
            let next = Flexpage::capabilities(MADE + round, 0, Rights::all());
            scene.unmap(*stranger, Rights::all(), true, next);
        }
    }
    assert_eq!(scene.bench.slot(own, MADE as u32), None);
    assert!((2..EACH - 2).contains(&turns), "{turns} turns");
    assert!(scene.bench.kernel.is_due(), "the strangers end more than is taken apart");
    assert!(free(&scene) < before);
    scene.bench.drain();
    super::soundness::check(&mut scene.bench).expect("sound");
}

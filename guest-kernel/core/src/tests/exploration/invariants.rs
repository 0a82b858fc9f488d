//! What is true after every step of the small machine, and when two of its states are the same.

use super::{
    machine::{Machine, PLAYERS, START},
    replies,
};
use crate::{
    mapping::{progress::Walker, walk::Walk},
    memory::{
        index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex},
        node::MaybeNode,
    },
    tests::algebra::{Check, Row, database::Reader, same, specification::Spot, trees},
    threads::{
        queue::{Queue, ThreadList},
        state::{Question, State},
        undertaking::walker,
    },
};
use protocol::{
    PAGE_ORDER, Word,
    flexpage::Rights,
    introspection::{ThreadState, mapping::Resource},
};
use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

/// Nodes in use.
pub fn nodes(machine: &Machine) -> Result<u32, String> {
    Reader::new(&machine.bench).count_nodes()
}

/// Memory that is in the pool or paid for.
pub fn memory(machine: &Machine) -> u64 {
    let mappings = &machine.bench.kernel.mappings;
    let factories = (0..mappings.factories.used()).map(FactoryIndex::from_position);
    let used: u64 = factories.map(|factory| mappings.factories[factory].record.used).sum();
    mappings.pool.left() + used
}

/// All mappings that may change, in the order of the database.
pub fn found(machine: &Machine) -> Result<Vec<Row>, String> {
    let reader = Reader::new(&machine.bench);
    let is_interrupted = machine.bench.kernel.mappings.interrupted_walks != 0;
    let roots: Vec<Spot> = machine
        .roots()
        .filter(|spot| {
            let found = reader.found(*spot);
            found.is_some_and(|found| reader.node(found.node).depth == 0)
        })
        .collect();
    trees(&reader, roots.into_iter(), is_interrupted)
}

/// The same; nothing is left over.
pub fn rows(machine: &Machine) -> Result<Vec<Row>, String> {
    let (reader, rows) = (Reader::new(&machine.bench), found(machine)?);
    // Every entry is in one of the trees, and no node is anywhere else.
    for spot in machine.spots() {
        let is_row = rows.iter().any(|row| row.spot == spot);
        same("whether something is there", reader.found(spot).is_some(), is_row)?;
        if !is_row && !reader.is_clean(spot) {
            return Err(format!("{spot:?} has a node"));
        }
    }
    same("nodes", nodes(machine)?, machine.fixed_nodes + rows.len() as u32)?;
    same("memory", memory(machine), machine.memory)?;
    Ok(rows)
}

/// What the processor may have cached is forgotten.
pub fn check_flushes(machine: &Machine, before: &[Row], after: &[Row]) -> Check {
    let mappings = &machine.bench.kernel.mappings;
    for old in before.iter().filter(|row| row.spot.resource == Resource::Memory) {
        let Spot { task, number, .. } = old.spot;
        let is_left = after.iter().any(|row| {
            row.spot == old.spot && row.what == old.what && row.rights.contains(old.rights)
        });
        let root = mappings.tasks[TaskIndex::from_position(task)].space.root();
        let address = (number as Word) << PAGE_ORDER;
        if !is_left && !mappings.machine.flushed.contains(&(root, address)) {
            return Err(format!("the processor still knows {old:?}"));
        }
    }
    Ok(())
}

/// An unmap has just ended.
pub fn expect_taken(rows: &[Row], spot: Spot, take: Rights, own: bool) -> Check {
    let mut family = BTreeSet::from([spot]);
    for row in rows {
        let is_derived = row.parent.is_some_and(|parent| family.contains(&parent));
        if is_derived {
            family.insert(row.spot);
        }
        let is_meant = is_derived || own && row.spot == spot;
        let keeps = take.contains(Rights::READ) || row.rights.intersects(take);
        if is_meant && keeps {
            return Err(format!("{row:?} was to lose {take:?}"));
        }
    }
    Ok(())
}

/// Threads are in the queues that they wait in, and whoever waits has a reason.
pub fn check_threads(machine: &mut Machine) -> Check {
    same("a time slice is over", machine.bench.kernel.mappings.stretch.take_tick(), false)?;
    let kernel = &machine.bench.kernel;
    same("bereaved", kernel.bereaved.is_empty(), true)?;
    let ready: BTreeSet<u16> =
        kernel.ready.members(&kernel.threads).into_iter().map(TableIndex::position).collect();
    let mut walks = 0;
    for number in 0..PLAYERS {
        let index = machine.thread(number);
        let thread = &kernel.threads[index];
        let is_current = kernel.current == index.into();
        let runs = is_current != ready.contains(&index.position());
        same("whether it can run", runs, thread.is(ThreadState::Ready))?;
        let is_restarted = runs && thread.context.instruction() != START;
        let walker = walker(index);
        let walk = kernel.mappings.walkers[walker].walk;
        if thread.undertaking.is_some() && !is_restarted {
            return Err(format!("{number} has an undertaking that it does not go on with"));
        }
        walks += u16::from(walk.is_some());
        if walk.is_some() && thread.undertaking.is_none() {
            return Err(format!("{number} has a walk that it does not go on with"));
        }
        let bookmark = MaybeNode::from_raw(thread.record.bookmark).raw();
        let node = Reader::new(&machine.bench).node(bookmark);
        same("whether a bookmark is in a list", node.previous != 0, walk.is_some())?;
        for queue in [Queue::Senders, Queue::Receivers] {
            check_queue(machine, index, queue)?;
        }
        check_reason(machine, index)?;
    }
    replies::check(machine)?;
    same("interrupted walks", kernel.mappings.interrupted_walks, walks)
}

/// Those in one of a thread's queues.
fn members(machine: &Machine, of: ThreadIndex, queue: Queue) -> Vec<ThreadIndex> {
    let threads = &machine.bench.kernel.threads;
    let list: ThreadList = match queue {
        Queue::Senders => threads[of].senders,
        Queue::Receivers => threads[of].receivers,
    };
    let first = list.first();
    std::iter::successors(first, |thread| threads[*thread].next_waiting.get())
        .take(usize::from(PLAYERS) + 1)
        .collect()
}

fn check_queue(machine: &Machine, of: ThreadIndex, queue: Queue) -> Check {
    let threads = &machine.bench.kernel.threads;
    let mut previous = None;
    let found = members(machine, of, queue);
    for member in &found {
        let thread = &threads[*member];
        same("the way back in a queue", thread.previous_waiting.get(), previous)?;
        same("its queue", (thread.queue(), thread.partner()), (Some(queue), Some(of)))?;
        previous = Some(*member);
    }
    let waiting = (0..PLAYERS).map(|number| machine.thread(number)).filter(|index| {
        let thread = &threads[*index];
        thread.queue() == Some(queue) && thread.waits_for(of)
    });
    same("threads in a queue", found.len(), waiting.count())
}

fn check_reason(machine: &Machine, index: ThreadIndex) -> Check {
    let threads = &machine.bench.kernel.threads;
    let thread = &threads[index];
    let state = thread.state();
    let is_owed = thread.partner().is_some_and(|partner| threads[partner].caller == index.into());
    let is_sound = match state {
        State::Awaiting { answer_to: Question::PortFault, .. } => false,
        State::Awaiting { of, .. } => is_owed == of.is_some(),
        State::Unused | State::Inactive => false,
        _ => !is_owed,
    };
    // Nobody owes an answer to a thread that does not wait for it.
    if let Some(caller) = thread.caller.get()
        && (!threads[caller].waits_for(index) || threads[caller].queue().is_some())
    {
        return Err(format!("{index:?} owes {caller:?} an answer, which does not wait for it"));
    }
    let is_hopeless =
        thread.partner().is_some_and(|partner| threads[partner].is(ThreadState::Stopped));
    if !is_sound || is_hopeless {
        return Err(format!("{index:?} does {state:?}"));
    }
    // A partner that has got no message can make no progress with it.
    if let State::Sending { to, .. } = state
        && threads[to].accepts(index)
    {
        return Err(format!("{index:?} waits to send to {to:?}, which waits for that"));
    }
    Ok(())
}

/// Equal for states that differ in nothing that matters: not in which nodes are in use, when faults
/// happened, who of those that can run is the next one, or what a thread has in registers that it will
/// not read.
pub fn fingerprint(machine: &mut Machine, rows: &[Row]) -> u64 {
    let mut hash = DefaultHasher::new();
    let reader = Reader::new(&machine.bench);
    for row in rows {
        let node = reader.found(row.spot).map(|found| reader.node(found.node));
        let place = node.map(|node| (node.place.0, node.depth));
        (row.spot.task, row.spot.number, place, row.what, row.rights.bits(), row.noted)
            .hash(&mut hash);
    }
    machine.bench.kernel.mappings.pool.left().hash(&mut hash);
    for number in 0..PLAYERS {
        let index = machine.thread(number);
        hash_thread(machine, number, index, &mut hash);
    }
    hash.finish()
}

/// Whose interrupted walks began before what a thread is in, as far as others have to give way to that, or it to
/// others.
fn precedence(machine: &Machine, index: ThreadIndex) -> [Option<bool>; 2 * PLAYERS as usize] {
    let ticket = |index| machine.bench.kernel.mappings.walkers[walker(index)].tickets();
    let [own_walk, own_map] = ticket(index);
    let mut before = [None; 2 * PLAYERS as usize];
    for number in 0..PLAYERS {
        let [walk, _] = ticket(machine.thread(number));
        for (place, own) in [own_walk, own_map].into_iter().enumerate() {
            let both = walk.zip(own);
            before[2 * usize::from(number) + place] = both.map(|(walk, own)| walk < own);
        }
    }
    before
}

fn hash_thread(machine: &mut Machine, number: u16, index: ThreadIndex, hash: &mut impl Hasher) {
    let thread = &machine.bench.kernel.threads[index];
    let record = &thread.record;
    (record.state, record.partner, thread.caller.raw(), thread.answerer.raw()).hash(hash);
    let fault = &thread.fault;
    (fault.address, fault.repeated, fault.instruction).hash(hash);
    for queue in [Queue::Senders, Queue::Receivers] {
        for member in members(machine, index, queue) {
            member.position().hash(hash);
        }
        u16::MAX.hash(hash);
    }
    if let State::Sending { message, .. } = thread.state() {
        format!("{message:?}").hash(hash);
    }
    if let Some(undertaking) = thread.undertaking {
        let walker = walker(index);
        let walk = machine.bench.kernel.mappings.walkers[walker].walk;
        format!("{undertaking:?} {:?}", walk.map(Walk::without_claim)).hash(hash);
        precedence(machine, index).hash(hash);
        let Walker { help, ahead, .. } = machine.bench.kernel.mappings.walkers[walker];
        (format!("{help:?}"), ahead.is_some()).hash(hash);
        let reader = Reader::new(&machine.bench);
        let before = reader.node(record.bookmark).previous;
        if before != 0 {
            let node = reader.node(before);
            (node.task, node.place.0, node.depth).hash(hash);
        }
    }
    let player = machine.players[usize::from(number)];
    (player.call, player.is_taken).hash(hash);
    if player.act.is_some() {
        format!("{:?}", player.act).hash(hash);
        machine.bench.message(index.position())[..8].hash(hash);
    }
}

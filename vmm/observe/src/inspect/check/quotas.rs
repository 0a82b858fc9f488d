//! Rules about kernel memory: what factories say that they spent, and what can be counted.
//!
//! Sums over many places are of one moment only if the kernel did nothing while they were read, so
//! they are checked only then.

use super::{Report, Rule, factory_path, memory::PAIR_SIZE};
use crate::{
    inspect::{Snapshot, forest::Step},
    paging::TABLE_SIZE,
};
use protocol::{
    introspection::{
        ALIVE, NOBODY, ThreadRecord, ThreadState,
        mapping::{FactoryRecord, NODE_SIZE, Resource},
    },
    layout::UTCB_AREA,
};
use std::convert::Infallible;

/// Nodes of a pair of frames, without the one that leads to the next pair.
const NODES_PER_PAIR: u64 = PAIR_SIZE / NODE_SIZE - 1;

/// What was counted of a factory.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// Bytes in frames.
    frames: u64,
    /// Limits of the factories made from it.
    handed_on: u64,
    /// Nodes of mappings.
    mapped: u64,
    /// Nodes that its threads keep as bookmarks.
    bookmarks: u64,
    /// Nodes in its list.
    free: u64,
}

pub(super) fn check(snapshot: &Snapshot, report: &mut Report) {
    if !snapshot.is_of_one_moment() {
        return;
    }
    let counted = count(snapshot);
    // What does not fit was read again.
    if !snapshot.is_of_one_moment() {
        return;
    }
    for (number, counted) in (0..=u16::MAX).zip(&counted) {
        let problem = problem(snapshot, number, *counted);
        report.judge(Rule::Quotas, || factory_path(snapshot, number), problem);
    }
    let header = &snapshot.header;
    let pool = header.pool_end.saturating_sub(header.pool_start);
    report.expect(
        header.pool_used <= pool,
        Rule::Quotas,
        || "pool".to_owned(),
        || format!("{:#x} bytes are used of {pool:#x}", header.pool_used),
    );
}

fn count(snapshot: &Snapshot) -> Vec<Counted> {
    let mut counted = vec![Counted::default(); snapshot.factories.len()];
    for frame in &snapshot.frames {
        let frames = 1 + u64::from(frame.has_companion);
        add(snapshot, &mut counted, frame.task, |counted| counted.frames += frames * TABLE_SIZE);
    }
    for mapping in snapshot.mappings() {
        let is_memory = mapping.place.resource() == Resource::Memory;
        if is_memory && mapping.address() >= UTCB_AREA as u64 {
            add(snapshot, &mut counted, mapping.task, |counted| counted.frames += TABLE_SIZE);
        }
    }
    let Ok(()) = snapshot.follow_trees(|step| {
        if let Step::Member(member) = step {
            add(snapshot, &mut counted, member.record.task, |counted| counted.mapped += 1);
        }
        Ok::<_, Infallible>(())
    });
    // The kernel has one, of the first factory.
    if let Some(counted) = counted.first_mut() {
        counted.bookmarks += u64::from(snapshot.header.bookmark != 0);
    }
    let is_there = |thread: &&ThreadRecord| thread.state != ThreadState::Unused as u16;
    for thread in snapshot.threads.iter().filter(is_there).filter(|thread| thread.bookmark != 0) {
        if let Some(counted) = counted.get_mut(usize::from(thread.factory)) {
            counted.bookmarks += 1;
        }
    }
    for (counted, free) in counted.iter_mut().zip(&snapshot.free_counts) {
        counted.free = *free;
    }
    for factory in snapshot.factories.iter().filter(|factory| is_alive(factory)) {
        if let Some(parent) = counted.get_mut(usize::from(factory.parent)) {
            parent.handed_on = parent.handed_on.saturating_add(factory.limit);
        }
    }
    counted
}

fn is_alive(factory: &FactoryRecord) -> bool {
    u32::from(factory.state) == ALIVE
}

/// Counts something for the factory that pays for a task.
fn add(snapshot: &Snapshot, counted: &mut [Counted], task: u16, count: impl FnOnce(&mut Counted)) {
    let factory = snapshot.factory_of(task).map(usize::from);
    if let Some(counted) = factory.and_then(|factory| counted.get_mut(factory)) {
        count(counted);
    }
}

fn problem(snapshot: &Snapshot, number: u16, counted: Counted) -> Option<String> {
    let factory = snapshot.factory(number).filter(|factory| is_alive(factory))?;
    let (used, limit) = (factory.used, factory.limit);
    let nodes = u64::from(factory.nodes) / NODES_PER_PAIR * PAIR_SIZE;
    let Counted { frames, handed_on, mapped, bookmarks, free } = counted;
    let least = frames.saturating_add(nodes).saturating_add(handed_on);
    let pool = snapshot.header.pool_end.saturating_sub(snapshot.header.pool_start);
    match () {
        () if used > limit => Some(format!("it has spent {used:#x} bytes of {limit:#x}")),
        () if least > used => Some(format!(
            "it says that it has spent {used:#x} bytes, but there are {frames:#x} in tables, \
             {nodes:#x} in frames of nodes and {handed_on:#x} in limits of other factories"
        )),
        () if !u64::from(factory.nodes).is_multiple_of(NODES_PER_PAIR) => Some(format!(
            "it has {} nodes, which are not all of some pairs of frames",
            factory.nodes
        )),
        () if mapped + bookmarks + free != u64::from(factory.nodes) => Some(format!(
            "it has {} nodes, but {mapped} are of mappings, {bookmarks} are bookmarks of its threads \
             and {free} are free",
            factory.nodes
        )),
        () if factory.parent == NOBODY && limit > pool => {
            Some(format!("its limit of {limit:#x} bytes is more than the pool's {pool:#x}"))
        }
        () => None,
    }
}

//! Rules about the kernel's memory: every frame of its pool is free, or somebody has it.
//!
//! The kernel hands out pairs of frames. Those that were never used lie at the end of the pool; those that
//! came back are in a list, which begins with the header. All others belong to a living object, or to one
//! that is being taken apart: then some are for a moment nobody's, and nobody is accused.

use super::{Report, Rule};
use crate::{
    inspect::{Snapshot, Target},
    memory::{GuestMemory, read_value},
    paging::TABLE_SIZE,
};
use protocol::{
    introspection::{
        Header,
        mapping::{LifeState, Resource},
    },
    layout::KERNEL_INFO_PAGE,
};
use std::collections::HashSet;

/// Bytes of a pair.
pub(super) const PAIR_SIZE: u64 = 2 * TABLE_SIZE;

/// Pairs that nobody has are reported one by one up to so many.
const MOST_LOST: usize = 16;

pub(super) fn check(snapshot: &Snapshot, report: &mut Report) {
    if !snapshot.is_of_one_moment() || snapshot.is_anybody(LifeState::Dying) {
        return;
    }
    let Header { pool_start, pool_end, pool_pairs, pool_fresh, pool_used, .. } = snapshot.header;
    let is_pool = pool_start <= pool_pairs
        && pool_pairs <= pool_fresh
        && pool_fresh <= pool_end
        && [pool_pairs, pool_fresh].iter().all(|end| end.is_multiple_of(PAIR_SIZE));
    report.expect(
        is_pool,
        Rule::Memory,
        || "pool".to_owned(),
        || format!("{pool_pairs:#x} to {pool_fresh:#x} are no pairs of frames in it"),
    );
    if !is_pool {
        return;
    }
    let owned = owned(snapshot);
    let mut found = Vec::new();
    let free = free_list(snapshot, &owned, &mut found);
    found.extend(misplaced(snapshot, &owned));
    found.extend(lost(snapshot, &owned, &free));
    // What does not fit was read again.
    if !snapshot.is_of_one_moment() {
        return;
    }
    for (pair, problem) in found {
        report.violation(Rule::Memory, || format!("frames at {pair:#x}"), || problem.to_owned());
    }
    let pairs = (pool_fresh - pool_pairs) / PAIR_SIZE;
    report.counts[Rule::Memory as usize] += pairs;
    let used = (pool_pairs - pool_start) + (pairs - free.len() as u64) * PAIR_SIZE;
    report.expect(
        pool_used == used,
        Rule::Memory,
        || "pool".to_owned(),
        || format!("{pool_used:#x} bytes are said to be used, but {used:#x} are"),
    );
}

/// The pair that a frame is one of.
fn pair_of(frame: u64) -> u64 {
    frame - frame % PAIR_SIZE
}

/// All pairs that belong to somebody.
fn owned(snapshot: &Snapshot) -> HashSet<u64> {
    let claimed = snapshot.pool.frames().map(pair_of);
    let kernels = snapshot.mappings().filter(|mapping| {
        let is_memory = mapping.place.resource() == Resource::Memory;
        is_memory && mapping.address() >= KERNEL_INFO_PAGE as u64
    });
    let pages = kernels.filter_map(|mapping| match mapping.target {
        Target::Memory(physical) => Some(pair_of(physical)),
        _ => None,
    });
    claimed.chain(pages).collect()
}

/// The pairs in the list of free ones, up to the first that cannot be one.
fn free_list(
    snapshot: &Snapshot,
    owned: &HashSet<u64>,
    found: &mut Vec<(u64, &'static str)>,
) -> HashSet<u64> {
    let Header { pool_pairs, pool_fresh, pool_free, .. } = snapshot.header;
    let (memory, mut free, mut next) = (snapshot.memory(), HashSet::new(), pool_free);
    while next != 0 {
        let is_pair = next.is_multiple_of(PAIR_SIZE) && (pool_pairs..pool_fresh).contains(&next);
        let problem = match is_pair {
            false => Some("they are no pair of the pool, but in the list of free ones"),
            true if owned.contains(&next) => Some("they are free, and somebody has them"),
            true if !free.insert(next) => Some("they are twice in the list of free ones"),
            true => None,
        };
        if let Some(problem) = problem {
            found.push((next, problem));
            break;
        }
        if !is_zero_behind_link(memory, next) {
            found.push((next, "they are free, but not zero"));
        }
        next = read_value(memory, next).unwrap_or(0);
    }
    free
}

fn is_zero_behind_link(memory: &dyn GuestMemory, pair: u64) -> bool {
    let mut bytes = [0; PAIR_SIZE as usize];
    memory.read(pair, &mut bytes).is_ok() && bytes[8..].iter().all(|byte| *byte == 0)
}

/// Pairs that somebody has and that were never given out.
fn misplaced(snapshot: &Snapshot, owned: &HashSet<u64>) -> Vec<(u64, &'static str)> {
    let Header { pool_pairs, pool_fresh, pool_start, pool_end, .. } = snapshot.header;
    let is_given = |pair: &&u64| (pool_pairs..pool_fresh).contains(*pair);
    let in_pool = |pair: &&u64| (pool_start..pool_end).contains(*pair);
    let odd = owned.iter().filter(in_pool).filter(|pair| !is_given(pair));
    odd.take(MOST_LOST)
        .map(|pair| (*pair, "somebody has them, but they were not given out"))
        .collect()
}

/// Pairs that were given out, and nobody has them.
fn lost(
    snapshot: &Snapshot,
    owned: &HashSet<u64>,
    free: &HashSet<u64>,
) -> Vec<(u64, &'static str)> {
    let Header { pool_pairs, pool_fresh, .. } = snapshot.header;
    let all = (pool_pairs..pool_fresh).step_by(PAIR_SIZE as usize);
    let lost = all.filter(|pair| !owned.contains(pair) && !free.contains(pair));
    lost.take(MOST_LOST).map(|pair| (pair, "nobody has them, and they are not free")).collect()
}

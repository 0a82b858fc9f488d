//! The introspection header and all that it leads to: tasks, mappings, trees, walks, and the check.
//!
//! The input changes the memory of a guest that has run, see [`crate::memory`].

use crate::{memory::Changing, text};
use observe::{
    inspect::{Guest, Mapping, Snapshot, Target, Task, TreeStep, Unmap},
    paging::End,
};
use protocol::introspection::mapping::Resource;
use std::convert::Infallible;

/// Looks at a guest in all ways.
pub fn run(input: &[u8]) {
    let Some(mut changing) = Changing::new(input) else { return };
    changing.change();
    let memory = &changing.memory;
    match Guest::open(memory, changing.recorded.header) {
        Ok(guest) => look(&guest, changing.choice),
        Err(error) => text::check(&error),
    }
}

/// `choice` says of which mapping the trees are looked at: those of all would take too long.
fn look(guest: &Guest<'_>, choice: usize) {
    let tasks = guest.tasks();
    let snapshot = guest.snapshot();
    assert!(snapshot.is_of_one_moment(), "memory stands still");
    for task in &tasks {
        text::check(&task.name);
        for thread in &task.threads {
            text::check(&snapshot.thread_name(thread.number));
            snapshot.pager_of(thread.number);
        }
        for resource in [Resource::Memory, Resource::Ports, Resource::Capability] {
            let mappings: Vec<_> = snapshot.mappings_of(task.number, resource).collect();
            check_mappings(guest, &snapshot, task, resource, &mappings);
            if !mappings.is_empty() {
                check_trees(&snapshot, task, &mappings[choice % mappings.len()]);
            }
        }
    }
    for violation in &guest.check().violations {
        text::check(&format_args!("{}: {}", violation.path, violation.evidence));
    }
}

fn check_mappings(
    guest: &Guest<'_>,
    snapshot: &Snapshot<'_>,
    task: &Task,
    resource: Resource,
    mappings: &[Mapping],
) {
    let ranges = snapshot.ranges(task.number, resource);
    let of_ranges: usize = ranges.iter().map(|range| range.mappings()).sum();
    assert_eq!(of_ranges, mappings.len(), "ranges have all mappings");
    if resource == Resource::Memory {
        mappings.iter().for_each(|mapping| check_walk(guest, task, mapping));
    }
}

/// The walk of an address ends where the mapping is that the tables have there.
fn check_walk(guest: &Guest<'_>, task: &Task, mapping: &Mapping) {
    let walk = guest.walk(task, mapping.address());
    let End::Page(page) = walk.end else { panic!("{walk:?} does not end at {mapping:?}") };
    assert_eq!((Target::Memory(page.physical), page.order), (mapping.target, mapping.order));
}

/// Whoever has a thing stands in its trees, and an unmap takes nothing that is not there.
fn check_trees(snapshot: &Snapshot<'_>, task: &Task, mapping: &Mapping) {
    let place = mapping.place;
    let (unit, found) = snapshot
        .unit_at(task.number, place.resource(), mapping.number())
        .expect("a mapping is found where it is");
    assert!(found.covers(unit));
    text::check(&snapshot.path(mapping));
    for own in [false, true] {
        let unmap = Some(Unmap { task: task.number, own });
        let told = snapshot.tell_trees(unit, unmap, |step| {
            if let TreeStep::Branch(branch) = step {
                assert!(branch.mapping.covers(unit));
                let parent = branch.parent;
                assert!(parent.is_none_or(|parent| parent < branch.position), "parents come first");
            }
            Ok::<_, Infallible>(())
        });
        let Ok(totals) = told;
        assert!(totals.unmapping.tasks.len() <= totals.unmapping.taken);
    }
}

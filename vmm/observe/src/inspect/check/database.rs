//! Rules about the mapping database: entries, nodes and lists say the same.

use super::{Report, Rule, node_path};
use crate::inspect::{
    Mapping, Snapshot, Target,
    forest::{Member, Tree},
    mapping::letters,
};
use protocol::{
    introspection::{
        NOBODY,
        mapping::{CapabilitySlot, MappingNode, ObjectKind, Resource},
    },
    layout::{MAPPABLE_END, ONE_TO_ONE_END, SIGMA0_BASE},
};
use std::collections::HashMap;

/// The number of sigma0's task.
const SIGMA0: u16 = 0;

pub(super) fn check(snapshot: &Snapshot, report: &mut Report) {
    for mapping in &snapshot.mappings {
        let problem = entry_problem(snapshot, mapping);
        report.judge(Rule::Nodes, || snapshot.path(mapping), problem);
    }
    for (path, node) in &snapshot.strays {
        let evidence = format!("nothing is mapped there, but the companion names node {node:#x}");
        report.violation(Rule::Nodes, path.clone(), evidence);
    }
    let forest = &snapshot.forest;
    for (node, problem) in &forest.broken_links {
        report.violation(Rule::Lists, node_path(*node), problem.clone());
    }
    for (node, problem) in &forest.broken_depths {
        report.violation(Rule::Depths, node_path(*node), problem.clone());
    }
    for (node, record) in &forest.bookmarks {
        let thread = snapshot.threads.get(record.place.number() as usize);
        let is_its_own = thread.is_some_and(|thread| thread.bookmark == *node);
        let evidence = || {
            let thread = record.place.number();
            format!("it is the bookmark of thread {thread}, which has another")
        };
        report.expect(is_its_own, Rule::Lists, || node_path(*node), evidence);
    }
    let mut firsts = HashMap::new();
    for tree in &forest.trees {
        check_tree(snapshot, tree, report);
        if let Some(root) = tree.first() {
            check_root(snapshot, root, &mut firsts, report);
        }
    }
    free_nodes(snapshot, report);
}

/// Whether an entry's node leads back to it.
fn entry_problem(snapshot: &Snapshot, mapping: &Mapping) -> Option<String> {
    let Mapping { value, node, place, .. } = *mapping;
    let is_memory = place.resource() == Resource::Memory;
    if is_memory && mapping.address() >= MAPPABLE_END as u64 {
        let has_node = node != 0;
        return has_node.then(|| format!("{value:#x} is the kernel's, but has node {node:#x}"));
    }
    if node == 0 {
        return Some(format!("{value:#x} has no node"));
    }
    let Some(record) = snapshot.nodes.get(node) else {
        return Some(format!("{value:#x} has node {node:#x}, which is not in the kernel's pool"));
    };
    if (record.task, record.place.bare()) != (mapping.task, place) {
        return Some(format!("{value:#x} has node {node:#x}, {}", leads_to(snapshot, &record)));
    }
    match mapping.target {
        Target::Ports(port) if port != mapping.number() => {
            Some(format!("{value:#x} is port {port:#x}"))
        }
        Target::Object(slot) if !exists(snapshot, slot) => {
            Some(format!("{value:#x} is for an object that does not exist"))
        }
        _ => None,
    }
}

/// Whether there is the object that a capability is for.
fn exists(snapshot: &Snapshot, slot: CapabilitySlot) -> bool {
    let index = slot.index();
    let is_below = |count: usize| usize::from(index) < count;
    match slot.kind() {
        None => false,
        Some(ObjectKind::Gate) => is_below(snapshot.gates.len()),
        Some(ObjectKind::Thread) => is_below(snapshot.threads.len()),
        Some(ObjectKind::Task) => snapshot.task_names.contains_key(&index),
        Some(ObjectKind::Factory) => is_below(snapshot.factories.len()),
        // There is one of each of the others.
        Some(_) => index == 0,
    }
}

/// What a node says of its place.
fn leads_to(snapshot: &Snapshot, record: &MappingNode) -> String {
    let place = record.place;
    let (number, task) = (place.number(), snapshot.task_name(record.task));
    let what = match (place.resource(), place.is_superpage()) {
        (Resource::Memory, false) => "page",
        (Resource::Memory, true) => "superpage",
        (Resource::Ports, false) => "port",
        (Resource::Ports, true) => "ports from",
        (Resource::Capability, _) => "capability",
        (Resource::Bookmark, _) => "the bookmark of thread",
    };
    match record.task {
        NOBODY => format!("which leads to {what} {number:#x} of nobody"),
        _ => format!("which leads to {what} {number:#x} of {task}"),
    }
}

fn check_tree(snapshot: &Snapshot, tree: &Tree, report: &mut Report) {
    for member in tree {
        report.applied(Rule::Lists);
        report.applied(Rule::Depths);
        let Some(mapping) = snapshot.mapping_of(member) else {
            let evidence =
                format!("{}, which has another node or none", leads_to(snapshot, &member.record));
            report.violation(Rule::Nodes, node_path(member.node), evidence);
            continue;
        };
        let Some(parent) = member.parent else { continue };
        // A parent that leads nowhere is reported as such.
        if let Some(parent) = snapshot.mapping_of(&tree[parent as usize]) {
            check_derived(snapshot, mapping, parent, report);
        }
    }
}

fn check_derived(snapshot: &Snapshot, mapping: &Mapping, parent: &Mapping, report: &mut Report) {
    let path = || snapshot.path(mapping);
    let (value, from) = (mapping.value, parent.value);
    report.expect(mapping.is_part_of(parent), Rule::Derived, path, || {
        format!("{value:#x} is of something else than {from:#x} of {}", snapshot.path(parent))
    });
    report.expect(parent.rights.contains(mapping.rights), Rule::Rights, path, || {
        format!(
            "{value:#x} allows {}, but {from:#x} of {} only {}",
            letters(mapping.rights),
            snapshot.path(parent),
            letters(parent.rights)
        )
    });
}

/// Objects of which there are many have one tree each; the others, such as the console, have one for
/// each task that the kernel gave them to.
fn check_root(
    snapshot: &Snapshot,
    root: &Member,
    firsts: &mut HashMap<u32, u32>,
    report: &mut Report,
) {
    let problem = match snapshot.mapping_of(root) {
        // Reported as a node that leads nowhere.
        None => None,
        Some(Mapping { target: Target::Object(slot), .. }) => {
            let other = is_one_of_many(*slot).then(|| firsts.insert(object(*slot), root.node));
            other
                .flatten()
                .map(|other| format!("its object has another tree, under node {other:#x}"))
        }
        Some(mapping) if mapping.task != SIGMA0 => {
            Some(format!("{} is derived from nothing", snapshot.path(mapping)))
        }
        Some(mapping) => not_one_to_one(snapshot, mapping),
    };
    report.judge(Rule::Roots, || node_path(root.node), problem);
}

/// sigma0 has memory 1:1, but for its own image.
fn not_one_to_one(snapshot: &Snapshot, mapping: &Mapping) -> Option<String> {
    let Target::Memory(physical) = mapping.target else { return None };
    let address = mapping.address();
    let is_image = address >= SIGMA0_BASE as u64;
    let holds = is_image || physical == address && address < ONE_TO_ONE_END as u64;
    (!holds).then(|| format!("{} maps {physical:#x}, not 1:1", snapshot.path(mapping)))
}

/// The object without the rights.
fn object(slot: CapabilitySlot) -> u32 {
    slot.0 & 0xffff_00ff
}

fn is_one_of_many(slot: CapabilitySlot) -> bool {
    use ObjectKind::{Factory, Gate, Task, Thread};
    matches!(slot.kind(), Some(Gate | Thread | Task | Factory))
}

fn free_nodes(snapshot: &Snapshot, report: &mut Report) {
    for (factory, problem) in &snapshot.broken_free_lists {
        let path = super::factory_path(snapshot, *factory);
        report.violation(Rule::FreeNodes, path, problem.clone());
    }
    report.counts[Rule::FreeNodes as usize] += snapshot.free_nodes.len() as u64;
    let mut used: Vec<_> =
        snapshot.free_nodes.iter().filter(|(node, _)| snapshot.forest.has(**node)).collect();
    used.sort_unstable();
    for (node, factory) in used {
        let evidence = format!("it is in use, and in the list of free nodes of factory {factory}");
        report.violation(Rule::FreeNodes, node_path(*node), evidence);
    }
}

//! Rules about the mapping database: entries, nodes and lists say the same.

use super::{Report, Rule, node_path};
use crate::inspect::{
    Mapping, Snapshot, Target,
    forest::{Lineage, Member, Step},
    mapping::letters,
};
use protocol::{
    introspection::{
        ALIVE, NOBODY, ThreadState,
        mapping::{CapabilitySlot, MAX_DEPTH, MappingNode, ObjectKind, Resource},
    },
    layout::{MAPPABLE_END, ONE_TO_ONE_END, SIGMA0_BASE},
};
use std::{collections::HashMap, convert::Infallible};

/// The number of sigma0's task.
const SIGMA0: u16 = 0;

pub(super) fn check(snapshot: &Snapshot, report: &mut Report) {
    let geometry = snapshot.geometry;
    for frame in &snapshot.frames {
        for element in frame.elements(&snapshot.pool, geometry) {
            let node = element.node;
            if let Some(mapping) = frame.mapping(element, geometry) {
                let problem = entry_problem(snapshot, &mapping, report);
                report.judge(Rule::Nodes, || snapshot.path(&mapping), problem);
            } else if node != 0 {
                let path = || frame.path(&snapshot.task_name(frame.task), element);
                let evidence =
                    || format!("nothing is mapped there, but the companion names node {node:#x}");
                report.violation(Rule::Nodes, path, evidence);
            }
        }
    }
    let (firsts, lineage) = (HashMap::new(), Lineage::default());
    let mut trees = Trees { snapshot, report, firsts, is_first: false, lineage };
    let Ok(()) = snapshot.follow_trees(|step| {
        trees.step(step);
        Ok::<_, Infallible>(())
    });
}

/// The trees, node by node.
struct Trees<'s, 'r> {
    snapshot: &'s Snapshot<'s>,
    report: &'r mut Report,
    /// The first root that every object had.
    firsts: HashMap<u32, u32>,
    /// Whether the next node is its tree's first.
    is_first: bool,
    /// What the forebears of a node map.
    lineage: Lineage<Option<Mapping>>,
}

impl Trees<'_, '_> {
    fn step(&mut self, step: Step) {
        match step {
            Step::Tree => (self.lineage, self.is_first) = (Lineage::default(), true),
            Step::Member(member) => self.member(&member),
            Step::Bookmark(node, record) => self.bookmark(node, &record),
            Step::BrokenLink(node, problem) => {
                self.report.violation(Rule::Lists, || node_path(node), || problem.to_string());
            }
            Step::BrokenDepth(node, problem) => {
                self.report.violation(Rule::Depths, || node_path(node), || problem.to_string());
            }
        }
    }

    fn bookmark(&mut self, node: u32, record: &MappingNode) {
        let thread = record.place.number();
        let own = match thread == u32::from(NOBODY) {
            true => Some(self.snapshot.header.bookmark as u32),
            false => self.snapshot.threads.get(thread as usize).map(|thread| thread.bookmark),
        };
        let evidence = || match thread == u32::from(NOBODY) {
            true => "it is the bookmark of the kernel, which has another".to_owned(),
            false => format!("it is the bookmark of thread {thread}, which has another"),
        };
        self.report.expect(own == Some(node), Rule::Lists, || node_path(node), evidence);
    }

    fn member(&mut self, member: &Member) {
        let snapshot = self.snapshot;
        self.report.applied(Rule::Lists);
        self.report.applied(Rule::Depths);
        let depth = member.record.depth;
        let evidence = || format!("its depth is {depth}, more than {MAX_DEPTH}");
        let path = || node_path(member.node);
        self.report.expect(depth <= MAX_DEPTH, Rule::DepthLimit, path, evidence);
        let above = self.lineage.parent_of(member).copied();
        let mapping = snapshot.mapping_of_member(member);
        self.lineage.push(mapping);
        if std::mem::take(&mut self.is_first) {
            check_root(snapshot, member.node, mapping.as_ref(), &mut self.firsts, self.report);
        }
        let Some(mapping) = mapping else {
            let leads = || leads_to(snapshot, &member.record);
            let evidence = || format!("{}, which has another node or none", leads());
            return self.report.violation(Rule::Nodes, || node_path(member.node), evidence);
        };
        // A parent that leads nowhere is reported as such.
        if let Some(parent) = above.flatten() {
            check_derived(snapshot, &mapping, &parent, self.report);
        }
    }
}

/// Whether an entry's node leads back to it.
fn entry_problem(snapshot: &Snapshot<'_>, mapping: &Mapping, report: &Report) -> Option<String> {
    let Mapping { value, node, place, .. } = *mapping;
    let is_memory = place.resource() == Resource::Memory;
    let words =
        |evidence: &dyn Fn() -> String| Some(report.words(|| format!("{value:#x} {}", evidence())));
    if is_memory && mapping.address() >= MAPPABLE_END as u64 {
        let has_node = node != 0;
        let evidence = || format!("is the kernel's, but has node {node:#x}");
        return has_node.then(|| words(&evidence)).flatten();
    }
    if node == 0 {
        return words(&|| "has no node".to_owned());
    }
    let Some(record) = snapshot.node(node) else {
        return words(&|| format!("has node {node:#x}, which is not in the kernel's pool"));
    };
    if (record.task, record.place.bare()) != (mapping.task, place) {
        return words(&|| format!("has node {node:#x}, {}", leads_to(snapshot, &record)));
    }
    match mapping.target {
        Target::Ports(port) if port != mapping.number() => words(&|| format!("is port {port:#x}")),
        Target::Object(slot) if !exists(snapshot, slot) => {
            words(&|| "is for an object that does not exist".to_owned())
        }
        _ => None,
    }
}

/// Whether there is the object that a capability is for.
fn exists(snapshot: &Snapshot, slot: CapabilitySlot) -> bool {
    let index = slot.index();
    match slot.kind() {
        None => false,
        Some(ObjectKind::Gate) => {
            let gate = snapshot.gates.get(usize::from(index));
            gate.is_some_and(|gate| u32::from(gate.state) == ALIVE)
        }
        Some(ObjectKind::Thread) => {
            let thread = snapshot.threads.get(usize::from(index));
            thread.is_some_and(|thread| thread.state != ThreadState::Unused as u16)
        }
        Some(ObjectKind::Task) => snapshot.task(index).is_some(),
        Some(ObjectKind::Factory) => {
            let factory = snapshot.factory(index);
            factory.is_some_and(|factory| u32::from(factory.state) == ALIVE)
        }
        Some(ObjectKind::Reply) => snapshot.waits_for_reply(index),
        Some(ObjectKind::Interrupt) => snapshot.interrupt(index).is_some(),
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
    node: u32,
    root: Option<&Mapping>,
    firsts: &mut HashMap<u32, u32>,
    report: &mut Report,
) {
    let problem = match root {
        // Reported as a node that leads nowhere.
        None => None,
        Some(Mapping { target: Target::Object(slot), .. }) => {
            let other = is_one_of_many(*slot).then(|| firsts.insert(object(*slot), node));
            other
                .flatten()
                .map(|other| format!("its object has another tree, under node {other:#x}"))
        }
        Some(mapping) if mapping.task != SIGMA0 => {
            Some(format!("{} is derived from nothing", snapshot.path(mapping)))
        }
        Some(mapping) => not_one_to_one(snapshot, mapping),
    };
    report.judge(Rule::Roots, || node_path(node), problem);
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
    use ObjectKind::{Factory, Gate, Interrupt, Reply, Task, Thread};
    matches!(slot.kind(), Some(Gate | Thread | Task | Factory | Reply | Interrupt))
}

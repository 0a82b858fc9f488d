//! Rules about I/O ports: what the processor was told of them fits the tasks' tables of ports.

use super::{Report, Rule, space::Kept};
use crate::inspect::{ProcessorPorts, Snapshot, Unit, mapping::letters};
use protocol::{
    flexpage::{IO_PORTS, KERNEL_PORTS, Rights},
    introspection::{CACHED_PORT_WORDS, PORT_BITMAP_SIZE, PortCache, mapping::Resource},
};

/// Ports in a word of the kernel's list.
const PORTS_IN_WORD: u16 = 64;

pub(super) fn check(snapshot: &Snapshot, kept: &Kept, report: &mut Report) {
    for mapping in snapshot.mappings() {
        let covered = KERNEL_PORTS.iter().find(|port| mapping.covers(Unit::Port((**port).into())));
        if let Some(port) = covered {
            let evidence =
                || format!("{:#x} has port {port:#x}, which the kernel keeps", mapping.value);
            report.violation(Rule::Ports, || snapshot.path(&mapping), evidence);
        }
    }
    let segment = || "task state segment".to_owned();
    let ports = match &snapshot.ports {
        Ok(ports) => ports,
        Err(outside) => {
            let evidence = || format!("it cannot be found: {outside}");
            return report.violation(Rule::Ports, segment, evidence);
        }
    };
    if let Some(problem) = segment_problem(snapshot, kept, ports) {
        report.violation(Rule::Ports, segment, || problem);
    }
    report.counts[Rule::Ports as usize] += IO_PORTS as u64;
    for port in ports.open() {
        if let Some(problem) = open_problem(snapshot, ports, port) {
            report.violation(Rule::Ports, || path(snapshot, ports, port), || problem);
        }
    }
}

fn path(snapshot: &Snapshot, ports: &ProcessorPorts, port: u16) -> String {
    match ports.owner() {
        Some(owner) => format!("{}: port {port:#x}", snapshot.task_name(owner)),
        None => format!("port {port:#x}"),
    }
}

/// Whether the processor goes by the bitmap that the kernel names, and in the task that it is for.
fn segment_problem(snapshot: &Snapshot, kept: &Kept, ports: &ProcessorPorts) -> Option<String> {
    let PortCache { task_state, bitmap, .. } = ports.cache;
    let end = bitmap.saturating_add(PORT_BITMAP_SIZE as u64);
    let at = task_state.saturating_add(ports.offset.into());
    let runs = snapshot.tasks.iter().find(|(_, record)| record.page_table == ports.root);
    let runs = runs.map(|(number, _)| *number);
    let name =
        |task: Option<u16>| task.map_or("nobody".to_owned(), |task| snapshot.task_name(task));
    match () {
        () if !kept.has(bitmap, end) => {
            Some(format!("the bitmap of ports at {bitmap:#x} is not in the kernel's memory"))
        }
        () if !ports.applies() => None,
        () if at != bitmap => {
            Some(format!("it has a bitmap of ports at {at:#x}, but the kernel's is at {bitmap:#x}"))
        }
        () if runs.is_none() || runs != ports.owner() => Some(format!(
            "its bitmap of ports applies to {}, but is that of {}",
            name(runs),
            name(ports.owner())
        )),
        () => None,
    }
}

/// Why the bitmap must not allow a port that it allows.
fn open_problem(snapshot: &Snapshot, ports: &ProcessorPorts, port: u16) -> Option<String> {
    let says = "the processor's bitmap allows it";
    if KERNEL_PORTS.contains(&port) {
        return Some(format!("{says}, but the kernel keeps it"));
    }
    let Some(owner) = ports.owner() else { return Some(format!("{says}, but is for no task")) };
    let word = port / PORTS_IN_WORD;
    if !ports.cache.words.contains(&word) {
        return Some(format!(
            "{says}, but it is in word {word:#x}, none of the {CACHED_PORT_WORDS} that the kernel \
             will take back"
        ));
    }
    match snapshot.mapping_at(owner, Resource::Ports, port.into()) {
        None => Some(format!("{says}, but the task does not have it")),
        Some(mapping) if !mapping.rights.contains(Rights::READ_WRITE) => {
            Some(format!("{says}, but {:#x} only {}", mapping.value, letters(mapping.rights)))
        }
        Some(_) => None,
    }
}

//! How the views write sizes, rights and where mappings came from.

use observe::inspect::{Mapping, Snapshot, Source, Target, Unit};
use protocol::{
    flexpage::Rights,
    introspection::mapping::{CapabilitySlot, InterruptRecord, ObjectKind, Resource},
};
use serde_json::{Value, json};

/// A number of bytes as short as `4K`, `2M` or `36K`.
pub fn short(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{}M", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{}K", bytes >> 10),
        bytes => format!("{bytes}B"),
    }
}

/// `1 task`, `2 tasks`
pub fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// `rwx`, with a dash for each right that is missing.
pub fn letters(rights: Rights) -> String {
    rights.letters().map(char::from).into_iter().collect()
}

/// A number as JSON carries addresses.
pub fn hex(number: u64) -> String {
    format!("{number:#x}")
}

/// `root, by map`; of a grant the task from which the granting one had it
pub fn source_words(snapshot: &Snapshot<'_>, source: Source) -> String {
    match source {
        Source::Root => "where it begins".to_owned(),
        Source::Kernel => "the kernel".to_owned(),
        Source::Map(task) => format!("{}, by map", snapshot.task_name(task)),
        Source::Grant(task) => format!("{}, granted on", snapshot.task_name(task)),
        Source::Unknown => "unknown".to_owned(),
    }
}

/// Where a mapping came from: how, and from which task.
pub fn source_json(snapshot: &Snapshot<'_>, source: Source) -> Value {
    let (by, task) = match source {
        Source::Root => ("root", None),
        Source::Kernel => ("kernel", None),
        Source::Map(task) => ("map", Some(task)),
        Source::Grant(task) => ("grant", Some(task)),
        Source::Unknown => ("unknown", None),
    };
    json!({ "by": by, "task": task, "name": task.map(|task| snapshot.task_name(task)) })
}

/// What a capability is for.
pub fn object_words(snapshot: &Snapshot<'_>, slot: CapabilitySlot) -> String {
    let index = slot.index();
    match slot.kind() {
        None => format!("nothing known ({:#x})", slot.0),
        Some(ObjectKind::Gate) => match snapshot.gate(slot) {
            Some(gate) => {
                let thread = snapshot.thread_name(gate.thread);
                format!("gate {index} to {thread}, label {:#x}", gate.label)
            }
            None => format!("gate {index}"),
        },
        Some(ObjectKind::Thread) => format!("thread {index}, {}", snapshot.thread_name(index)),
        Some(ObjectKind::Task) => format!("task {index}, {}", snapshot.task_name(index)),
        Some(ObjectKind::Factory) => format!("factory {index}"),
        Some(ObjectKind::Console) => "the console".to_owned(),
        Some(ObjectKind::Scheduler) => "the scheduler".to_owned(),
        Some(ObjectKind::Debugger) => "the debugger object".to_owned(),
        Some(ObjectKind::Platform) => "the platform".to_owned(),
        Some(ObjectKind::Interrupts) => "the interrupts".to_owned(),
        Some(ObjectKind::Interrupt) => interrupt_words(snapshot, index),
        Some(ObjectKind::Reply) => {
            format!("the answer that {} waits for", snapshot.thread_name(index))
        }
    }
}

/// `interrupt 4, to echo, label 0x1, told 7 times, open`
fn interrupt_words(snapshot: &Snapshot<'_>, number: u16) -> String {
    let Some(record) = snapshot.interrupt(number) else { return format!("interrupt {number}") };
    let bound = match snapshot.gate(CapabilitySlot::new(ObjectKind::Gate, 0, record.gate)) {
        Some(gate) => format!("to {}, label {:#x}", snapshot.thread_name(gate.thread), gate.label),
        None => "bound to nothing".to_owned(),
    };
    let is = |flag| record.flags & flag != 0;
    let state = match () {
        () if is(InterruptRecord::PENDING) => "pending",
        () if is(InterruptRecord::OPEN) => "open",
        () => "masked",
    };
    format!("interrupt {number}, {bound}, told {} times, {state}", record.told)
}

/// `frame 0x2fbe`, `port 0x3ff`, or what a capability is for
pub fn unit_words(snapshot: &Snapshot<'_>, unit: Unit) -> String {
    match unit {
        Unit::Frame(frame) => format!("frame {frame:#x}"),
        Unit::Port(port) => format!("port {port:#x}"),
        Unit::Object(slot) => object_words(snapshot, slot),
    }
}

/// A mapping's address, first port, or index, as it stands in the columns of `map`.
pub fn place_words(mapping: &Mapping) -> String {
    match mapping.place.resource() {
        Resource::Memory => format!("{:#010x}", mapping.address()),
        Resource::Ports => format!("{:#06x}", mapping.number()),
        _ => mapping.number().to_string(),
    }
}

/// A mapping's size in bytes, or the number of its ports or capabilities.
pub fn size_words(mapping: &Mapping) -> String {
    match mapping.place.resource() {
        Resource::Memory => short(1 << mapping.order),
        _ => mapping.count().to_string(),
    }
}

/// What the processor noted of a mapping.
pub fn usage(mapping: &Mapping) -> &'static str {
    match (mapping.is_accessed, mapping.is_dirty) {
        (true, true) => "accessed dirty",
        (true, false) => "accessed",
        (false, true) => "dirty",
        (false, false) => "",
    }
}

/// A mapping's place, with everything that is known of it.
pub fn mapping_json(snapshot: &Snapshot<'_>, mapping: &Mapping) -> Value {
    let mut json = json!({
        "task": mapping.task,
        "name": snapshot.task_name(mapping.task),
        "rights": letters(mapping.rights),
        "node": hex(mapping.node.into()),
    });
    match mapping.target {
        Target::Memory(physical) => {
            json["address"] = json!(hex(mapping.address()));
            json["size"] = json!(1u64 << mapping.order);
            json["accessed"] = json!(mapping.is_accessed);
            json["dirty"] = json!(mapping.is_dirty);
            json["target"] = json!({ "physical": hex(physical) });
        }
        Target::Ports(port) => {
            json["first"] = json!(hex(mapping.number()));
            json["count"] = json!(mapping.count());
            json["target"] = json!({ "port": hex(port) });
        }
        Target::Object(slot) => {
            json["index"] = json!(mapping.number());
            json["target"] = json!({ "object": object_words(snapshot, slot) });
        }
    }
    json
}

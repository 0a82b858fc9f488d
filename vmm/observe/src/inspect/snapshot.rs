//! All that the kernel's tables say, read once: what views show and `check` judges.
//!
//! Reading comes first and believes nothing: each frame is read once, there are only so many, and what
//! cannot be read is noted. Judging comes later, on what was read. The guest runs meanwhile, so that
//! parts of a snapshot may be of different moments: see [`Snapshot::is_of_one_moment`].

use super::{
    Guest, entries,
    forest::{Forest, Member},
    frame::Frame,
    mapping::{Key, Mapping, Target, key},
    nodes::Nodes,
    ports::ProcessorPorts,
    reader::Reader,
};
use crate::{
    memory::{GuestMemory, OutsideMemory, read_value},
    names::printable,
    paging::{Geometry, TABLE_SIZE},
};
use protocol::introspection::{
    Header, TaskRecord, ThreadRecord,
    mapping::{CapabilitySlot, FactoryRecord, GateRecord, ObjectKind, Resource},
};
use std::collections::HashMap;
use zerocopy::IntoBytes;

/// A guest's tables.
pub struct Snapshot {
    pub(super) header: Header,
    pub(super) geometry: &'static Geometry,
    /// The tasks that are alive, by number.
    pub(super) tasks: Vec<(u16, TaskRecord)>,
    /// Those that are neither alive nor unused: number and state.
    pub(super) odd_tasks: Vec<(u16, u32)>,
    pub(super) task_names: HashMap<u16, String>,
    pub(super) threads: Vec<ThreadRecord>,
    pub(super) factories: Vec<FactoryRecord>,
    pub(super) gates: Vec<GateRecord>,
    /// Page tables, port tables and capability tables.
    pub(super) frames: Vec<Frame>,
    /// By [`Mapping::key`].
    pub(super) mappings: Vec<Mapping>,
    /// Elements of companions that name a node where no entry maps anything: path and node.
    pub(super) strays: Vec<(String, u32)>,
    pub(super) ports: Result<ProcessorPorts, OutsideMemory>,
    pub(super) nodes: Nodes,
    pub(super) forest: Forest,
    /// Free nodes, and the factory whose list they are in.
    pub(super) free_nodes: HashMap<u32, u16>,
    /// Lists of free nodes that do not end: the factory, and why.
    pub(super) broken_free_lists: Vec<(u16, String)>,
    /// Frames that are not what they should be: path and evidence.
    pub(super) broken_frames: Vec<(String, String)>,
    /// Every frame that was read, and what it is.
    pub(super) used: HashMap<u64, &'static str>,
    is_of_one_moment: bool,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Snapshot of {} mappings", self.mappings.len())
    }
}

impl<M: GuestMemory + ?Sized> Guest<'_, M> {
    /// Reads everything.
    pub fn snapshot(&self) -> Snapshot {
        let before = self.changing_words();
        let mut snapshot = Snapshot::of_records(self);
        Reader::new(self, &mut snapshot).read_all();
        let mut mapped: Vec<u32> = snapshot.mappings.iter().map(|mapping| mapping.node).collect();
        mapped.extend(snapshot.strays.iter().map(|(_, node)| *node));
        mapped.retain(|node| *node != 0);
        mapped.sort_unstable();
        mapped.dedup();
        let bookmarks: Vec<u32> = snapshot.threads.iter().map(|thread| thread.bookmark).collect();
        snapshot.forest = Forest::new(&snapshot.nodes, &mapped, &bookmarks);
        snapshot.is_of_one_moment = before == self.changing_words();
        snapshot
    }

    /// Words that do not stay the same when the kernel maps or unmaps.
    fn changing_words(&self) -> Vec<u8> {
        let header: Option<Header> = read_value(self.memory, self.header_address).ok();
        let counters = header.map(|header| {
            [
                header.trace.written,
                header.pool_used,
                header.preemption_points,
                header.factories.count,
            ]
        });
        let mut words = counters.unwrap_or_default().as_bytes().to_vec();
        for (_, factory) in entries::<FactoryRecord, M>(self.memory, self.header.factories) {
            words.extend(factory.as_bytes());
        }
        words
    }
}

impl Snapshot {
    fn of_records<M: GuestMemory + ?Sized>(guest: &Guest<'_, M>) -> Self {
        let (memory, header) = (guest.memory, guest.header);
        let (mut tasks, mut odd_tasks) = (Vec::new(), Vec::new());
        for (number, record) in entries::<TaskRecord, M>(memory, header.tasks) {
            match record.state {
                0 => {}
                1 => tasks.push((number, record)),
                state => odd_tasks.push((number, state)),
            }
        }
        let name = |(number, record): &(u16, TaskRecord)| {
            (*number, printable(&record.name).unwrap_or_else(|| format!("task{number}")))
        };
        Self {
            header,
            geometry: guest.geometry,
            task_names: tasks.iter().map(name).collect(),
            tasks,
            odd_tasks,
            threads: entries(memory, header.threads).map(|(_, record)| record).collect(),
            factories: entries(memory, header.factories).map(|(_, record)| record).collect(),
            gates: entries(memory, header.gates).map(|(_, record)| record).collect(),
            frames: Vec::new(),
            mappings: Vec::new(),
            strays: Vec::new(),
            ports: ProcessorPorts::read(memory, header.port_cache),
            nodes: Nodes::default(),
            forest: Forest::default(),
            free_nodes: HashMap::new(),
            broken_free_lists: Vec::new(),
            broken_frames: Vec::new(),
            used: HashMap::new(),
            is_of_one_moment: false,
        }
    }

    /// Whether the kernel mapped and unmapped nothing while all this was read. If it did, what belongs
    /// together may not fit together, though nothing is wrong.
    pub fn is_of_one_moment(&self) -> bool {
        self.is_of_one_moment
    }

    /// What the processor was told of I/O ports, if that is in memory.
    pub fn ports(&self) -> Option<&ProcessorPorts> {
        self.ports.as_ref().ok()
    }

    /// The name of a task, or its number if it has none.
    pub fn task_name(&self, task: u16) -> String {
        self.task_names.get(&task).cloned().unwrap_or_else(|| format!("task{task}"))
    }

    /// What reports and views call a mapping.
    pub fn path(&self, mapping: &Mapping) -> String {
        mapping.path(&self.task_name(mapping.task), self.geometry)
    }

    /// All mappings of one kind that a task has, by place.
    pub fn mappings_of(&self, task: u16, resource: Resource) -> &[Mapping] {
        let range = |from: Key| self.mappings.partition_point(|mapping| mapping.key() < from);
        let start = range(key(task, resource, 0));
        let end = start
            + self.mappings[start..].partition_point(|mapping| {
                (mapping.task, mapping.place.resource()) == (task, resource)
            });
        &self.mappings[start..end]
    }

    /// The mapping that covers a page, port or capability of a task.
    pub fn mapping_at(&self, task: u16, resource: Resource, number: u64) -> Option<&Mapping> {
        let mappings = self.mappings_of(task, resource);
        let behind = mappings.partition_point(|mapping| mapping.number() <= number);
        let mapping = mappings.get(behind.checked_sub(1)?)?;
        (number - mapping.number() < mapping.count()).then_some(mapping)
    }

    /// The mapping that a node leads to, if that leads back to the node.
    pub(super) fn mapping_of(&self, member: &Member) -> Option<&Mapping> {
        let place = member.record.place;
        let wanted = key(member.record.task, place.resource(), place.number().into());
        let found = self.mappings.binary_search_by_key(&wanted, Mapping::key).ok()?;
        let mapping = &self.mappings[found];
        let fits = mapping.place.is_superpage() == place.is_superpage();
        (fits && mapping.node == member.node).then_some(mapping)
    }

    /// The mapping that this one was derived from, and whether it came by grant; `None` if it is
    /// derived from none, or nobody can tell.
    pub fn origin(&self, mapping: &Mapping) -> Option<Origin<'_>> {
        let (tree, position) = self.forest.find(mapping.node)?;
        let member = &tree[position];
        Some(Origin {
            parent: member.parent.and_then(|parent| self.mapping_of(&tree[parent as usize])),
            is_root: member.record.depth == 0,
            is_granted: member.record.place.is_granted(),
        })
    }

    /// The thread that answers page faults of a thread: through its task's capability, to a gate.
    pub fn pager_of(&self, thread: u16) -> Option<u16> {
        let record = self.threads.get(usize::from(thread))?;
        let slot = self.mapping_at(record.task, Resource::Capability, record.pager.into())?;
        let Target::Object(slot) = slot.target else { return None };
        self.gate(slot).map(|gate| gate.thread)
    }

    /// The gate that a capability is for.
    pub fn gate(&self, slot: CapabilitySlot) -> Option<&GateRecord> {
        match slot.kind() {
            Some(ObjectKind::Gate) => self.gates.get(usize::from(slot.index())),
            _ => None,
        }
    }

    /// A thread as people name it: its task's name, and its own if it has one.
    pub fn thread_name(&self, thread: u16) -> String {
        let Some(record) = self.threads.get(usize::from(thread)) else {
            return format!("thread{thread}");
        };
        if !self.task_names.contains_key(&record.task) {
            return format!("thread{thread}");
        }
        let task = self.task_name(record.task);
        match printable(&record.name) {
            Some(own) => format!("{task}/{own}"),
            None => task,
        }
    }

    /// What the kernel uses a page frame for, if it is one of its pool.
    pub fn kernel_use(&self, frame: u64) -> Option<&'static str> {
        let address = frame.checked_mul(TABLE_SIZE)?;
        let in_pool = (self.header.pool_start..self.header.pool_end).contains(&address);
        in_pool.then(|| self.used.get(&address).copied().unwrap_or("of its pool"))
    }

    /// A factory.
    pub fn factory(&self, number: u16) -> Option<&FactoryRecord> {
        self.factories.get(usize::from(number))
    }

    /// The factory that pays for a task.
    pub fn factory_of(&self, task: u16) -> Option<u16> {
        let found = self.tasks.binary_search_by_key(&task, |(number, _)| *number).ok()?;
        Some(self.tasks[found].1.factory)
    }
}

/// Where a mapping came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'s> {
    /// What it was derived from.
    pub parent: Option<&'s Mapping>,
    /// Whether it is where its resource entered the system.
    pub is_root: bool,
    /// Whether it came by grant.
    pub is_granted: bool,
}

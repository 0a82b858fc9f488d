//! All that the kernel's tables say: what views show and `check` judges.
//!
//! Finding comes first and believes nothing: each frame is claimed once, there are only so many, and
//! what cannot be read is noted. Judging comes later. Nothing is kept of single entries and nodes: who
//! goes through them meets them one after the other, so that a look takes little memory, whatever the
//! tables say. The guest runs meanwhile, so that parts of a snapshot may be of different moments: see
//! [`Snapshot::is_of_one_moment`].

use super::{
    Guest, MOST_GATES, MOST_RECORDS,
    check::{Report, Rule, Violation},
    entries, entry,
    forest::{Forest, Member},
    frame::{Content, Frame},
    mapping::{Mapping, Target},
    nodes::{NodeSet, Nodes},
    pool::Pool,
    ports::ProcessorPorts,
    reader::Reader,
};
use crate::{
    memory::{GuestMemory, OutsideMemory, read_value},
    names::printable,
    paging::{Geometry, TABLE_SIZE},
};
use protocol::{
    PAGE_ORDER,
    introspection::{
        ALIVE, CAPABILITY_TABLE_FRAMES, Header, LifeTables, SET_ASIDE, Table, TaskRecord,
        ThreadRecord,
        mapping::{
            CapabilitySlot, FactoryRecord, GateRecord, InterruptRecord, LifeRecord, LifeState,
            MappingNode, ObjectKind, Resource,
        },
    },
    kip::PhysicalRange,
    operation::interrupts::INTERRUPTS,
};
use std::collections::HashMap;
use zerocopy::IntoBytes;

/// A guest's tables.
pub struct Snapshot<'m> {
    guest: Guest<'m>,
    pub(super) header: Header,
    pub(super) geometry: &'static Geometry,
    /// The tasks that are alive, by number.
    pub(super) tasks: Vec<(u16, TaskRecord)>,
    /// Those that are neither alive nor unused: number and state.
    pub(super) odd_tasks: Vec<(u16, u32)>,
    pub(super) threads: Vec<ThreadRecord>,
    pub(super) factories: Vec<FactoryRecord>,
    pub(super) gates: Vec<GateRecord>,
    pub(super) interrupts: Vec<InterruptRecord>,
    /// Page tables, port tables and capability tables.
    pub(super) frames: Vec<Frame>,
    /// Which frame is at a spot.
    pub(super) frame_at: HashMap<Spot, u32>,
    pub(super) ports: Result<ProcessorPorts, OutsideMemory>,
    pub(super) pool: Pool<'m>,
    pub(super) nodes: Nodes,
    pub(super) forest: Forest,
    pub(super) free_nodes: NodeSet,
    /// How many free nodes each factory has.
    pub(super) free_counts: Vec<u64>,
    /// What was wrong with frames and lists of free nodes.
    pub(super) findings: Report,
    /// What there is more of than any kernel has.
    excess: Option<Violation>,
    /// [`Guest::changing_words`] before anything was read.
    before: Vec<u8>,
    was_of_one_moment: bool,
}

/// Where a frame is in a task: its resource, level and first number.
pub(super) type Spot = (u16, u8, u8, u64);

/// The level of a part of a capability table in its [`Spot`].
pub(super) const CAPABILITIES: usize = 0;

/// The spot of the frame of that level whose first entry is for that number.
pub(super) fn spot(task: u16, resource: Resource, level: usize, first: u64) -> Spot {
    (task, resource as u8, level as u8, first)
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Snapshot of {} frames", self.pool.count())
    }
}

impl<'m> Guest<'m> {
    /// Finds everything.
    pub fn snapshot(&self) -> Snapshot<'m> {
        let before = self.changing_words();
        // The header says how many objects there are, and what is free.
        let header = read_value(self.memory, self.header_address).unwrap_or(self.header);
        let mut snapshot = Snapshot::of_records(Self { header, ..*self }, before);
        Reader::new(&mut snapshot).read_all();
        snapshot.was_of_one_moment = snapshot.is_unchanged();
        snapshot
    }

    /// Words that do not stay the same when the kernel maps or unmaps.
    fn changing_words(&self) -> Vec<u8> {
        let header: Option<Header> = read_value(self.memory, self.header_address).ok();
        let counters = header.map(|header| {
            [
                header.trace.written,
                header.pool_used,
                header.pool_fresh,
                header.pool_free,
                header.preemption_points,
                header.factories.count,
            ]
        });
        let mut words = counters.unwrap_or_default().as_bytes().to_vec();
        let factories = entries::<FactoryRecord>(self.memory, self.header.factories, MOST_RECORDS);
        for (_, factory) in factories {
            words.extend(factory.as_bytes());
        }
        words
    }
}

impl<'m> Snapshot<'m> {
    fn of_records(guest: Guest<'m>, before: Vec<u8>) -> Self {
        let Guest { memory, header, geometry, .. } = guest;
        let (mut tasks, mut odd_tasks) = (Vec::new(), Vec::new());
        for (number, record) in entries::<TaskRecord>(memory, header.tasks, MOST_RECORDS) {
            match record.state {
                0 => {}
                1 => tasks.push((number, record)),
                state => odd_tasks.push((number, state)),
            }
        }
        let threads = entries(memory, header.threads, MOST_RECORDS);
        let factories = entries(memory, header.factories, MOST_RECORDS);
        let gates = entries(memory, header.gates, MOST_GATES);
        let interrupts = entries(memory, header.interrupts, INTERRUPTS);
        let pool = PhysicalRange { start: header.pool_start, end: header.pool_end };
        let mut snapshot = Self {
            guest,
            header,
            geometry,
            tasks,
            odd_tasks,
            threads: threads.map(|(_, record)| record).collect(),
            factories: factories.map(|(_, record)| record).collect(),
            gates: gates.map(|(_, record)| record).collect(),
            interrupts: interrupts.map(|(_, record)| record).collect(),
            frames: Vec::new(),
            frame_at: HashMap::new(),
            ports: ProcessorPorts::read(memory, header.port_cache),
            pool: Pool::new(memory, pool),
            nodes: Nodes::default(),
            forest: Forest::default(),
            free_nodes: NodeSet::default(),
            free_counts: Vec::new(),
            findings: Report::default(),
            excess: None,
            before,
            was_of_one_moment: false,
        };
        for (name, table, most) in snapshot.tables() {
            if table.count > most.into() {
                let evidence = format!("{} entries are more than any kernel has", table.count);
                let path = format!("table of {name}");
                snapshot.exceed(|_| Violation { rule: Rule::Records, path, evidence });
            }
        }
        snapshot
    }

    /// The tables of records: what they are called, and how many entries they can have.
    pub(super) fn tables(&self) -> [(&'static str, Table, u16); 5] {
        let Header { tasks, threads, factories, gates, interrupts, .. } = self.header;
        [
            ("tasks", tasks, MOST_RECORDS),
            ("threads", threads, MOST_RECORDS),
            ("factories", factories, MOST_RECORDS),
            ("gates", gates, MOST_GATES),
            ("interrupts", interrupts, INTERRUPTS),
        ]
    }

    /// Notes that there is more of something than any kernel has.
    pub(super) fn exceed(&mut self, found: impl FnOnce(&Self) -> Violation) {
        if self.excess.is_none() {
            self.excess = Some(found(self));
        }
    }

    /// What there is more of than any kernel has, if anything: the rest of it was left out, so that
    /// what is shown would be wrong.
    pub fn excess(&self) -> Option<&Violation> {
        self.excess.as_ref()
    }

    /// Whether the kernel mapped and unmapped nothing while all this was read. If it did, what belongs
    /// together may not fit together, though nothing is wrong.
    pub fn is_of_one_moment(&self) -> bool {
        // What did not fit is read again while it is looked at.
        self.was_of_one_moment && (self.pool.is_whole() || self.is_unchanged())
    }

    fn is_unchanged(&self) -> bool {
        self.before == self.guest.changing_words()
    }

    /// What the processor was told of I/O ports, if that is in memory.
    pub fn ports(&self) -> Option<&ProcessorPorts> {
        self.ports.as_ref().ok()
    }

    /// The record of a task that is alive.
    pub(super) fn task(&self, task: u16) -> Option<&TaskRecord> {
        let found = self.tasks.binary_search_by_key(&task, |(number, _)| *number).ok()?;
        Some(&self.tasks[found].1)
    }

    /// The name of a task, or its number if it has none.
    pub fn task_name(&self, task: u16) -> String {
        let name = self.task(task).and_then(|record| printable(&record.name));
        name.unwrap_or_else(|| format!("task{task}"))
    }

    /// What reports and views call a mapping.
    pub fn path(&self, mapping: &Mapping) -> String {
        mapping.path(&self.task_name(mapping.task), self.geometry)
    }

    /// All mappings of all tasks.
    pub fn mappings(&self) -> impl Iterator<Item = Mapping> {
        self.frames.iter().flat_map(|frame| {
            let elements = frame.elements(&self.pool, self.geometry);
            elements.filter_map(|element| frame.mapping(element, self.geometry))
        })
    }

    /// All mappings of one kind that a task has, by place.
    pub fn mappings_of(&self, task: u16, resource: Resource) -> impl Iterator<Item = Mapping> {
        let tops = self.tops_of(task, resource);
        let mut ways: Vec<_> =
            tops.map(|(level, frame)| (level, frame, self.elements(frame))).collect();
        ways.reverse();
        std::iter::from_fn(move || {
            loop {
                let (level, frame, elements) = ways.last_mut()?;
                let Some(element) = elements.next() else {
                    ways.pop();
                    continue;
                };
                match frame.content(element, self.geometry) {
                    Content::Mapping(mapping) => return Some(mapping),
                    Content::Table(_) => {
                        let level = *level + 1;
                        let below = self.frame(spot(task, resource, level, element.number));
                        ways.extend(below.map(|frame| (level, frame, self.elements(frame))));
                    }
                    Content::Nothing => {}
                }
            }
        })
    }

    fn elements(&self, frame: Frame) -> impl Iterator<Item = super::frame::Element> + use<> {
        frame.elements(&self.pool, self.geometry)
    }

    fn frame(&self, spot: Spot) -> Option<Frame> {
        self.frame_at.get(&spot).map(|index| self.frames[*index as usize])
    }

    /// The frames that lead to all mappings of one kind that a task has, with their level.
    fn tops_of(&self, task: u16, resource: Resource) -> impl Iterator<Item = (usize, Frame)> {
        let (level, count) = match resource {
            Resource::Memory => (0, 1),
            Resource::Ports => (self.geometry.first_port_level(), 1),
            _ => (CAPABILITIES, CAPABILITY_TABLE_FRAMES as u64),
        };
        let spots = (0..count).map(move |part| spot(task, resource, level, part * TABLE_SIZE / 4));
        spots.filter_map(move |spot| Some((level, self.frame(spot)?)))
    }

    /// The mapping that covers a page, port or capability of a task.
    pub fn mapping_at(&self, task: u16, resource: Resource, number: u64) -> Option<Mapping> {
        let levels = self.geometry.levels.len();
        (0..levels).rev().find_map(|level| self.entry_for(task, resource, level, number))
    }

    /// What an entry of that level maps, if there is one for that number.
    fn entry_for(
        &self,
        task: u16,
        resource: Resource,
        level: usize,
        number: u64,
    ) -> Option<Mapping> {
        let span = match resource {
            Resource::Capability => TABLE_SIZE / 4,
            _ => self.geometry.entries() << (self.geometry.levels[level].shift - PAGE_ORDER),
        };
        let frame = self.frame(spot(task, resource, level, number - number % span))?;
        frame.mapping(frame.element_of(&self.pool, self.geometry, number), self.geometry)
    }

    /// A node of the mapping database; `None` if its frame was not claimed.
    pub(super) fn node(&self, index: u32) -> Option<MappingNode> {
        self.nodes.get(&self.pool, index)
    }

    /// The mapping that a node leads to, if that leads back to the node.
    pub(super) fn mapping_of(&self, node: u32, record: &MappingNode) -> Option<Mapping> {
        let (task, place) = (record.task, record.place);
        let last = self.geometry.levels.len() - 1;
        let level = match place.resource() {
            Resource::Capability => CAPABILITIES,
            Resource::Bookmark => return None,
            _ => last - usize::from(place.is_superpage()),
        };
        let number = place.number().into();
        let mapping = self.entry_for(task, place.resource(), level, number)?;
        (mapping.place == place.bare() && mapping.node == node).then_some(mapping)
    }

    /// The mapping of a member of a tree.
    pub(super) fn mapping_of_member(&self, member: &Member) -> Option<Mapping> {
        self.mapping_of(member.node, &member.record)
    }

    /// The mapping that this one was derived from, and whether it came by grant; `None` if it is
    /// derived from none, or nobody can tell.
    pub fn origin(&self, mapping: &Mapping) -> Option<Origin> {
        let record = self.node(mapping.node).filter(|_| mapping.node != 0)?;
        let parent = self.parent_of(&record);
        Some(Origin {
            parent: parent.and_then(|(node, record)| self.mapping_of(node, &record)),
            is_root: record.depth == 0,
            is_granted: record.place.is_granted(),
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

    /// Whether a thread waits for an answer that was set aside.
    pub fn waits_for_reply(&self, thread: u16) -> bool {
        let record = self.threads.get(usize::from(thread));
        record.is_some_and(|record| record.partner == SET_ASIDE)
    }

    /// The capability to the answer that a thread waits for, if that was set aside.
    pub fn holder_of_reply(&self, thread: u16) -> Option<Mapping> {
        let root = self.life_of_reply(thread)?.root;
        let record = self.node(root).filter(|_| root != 0)?;
        let mapping = self.mapping_of(root, &record)?;
        let Target::Object(slot) = mapping.target else { return None };
        let is_reply = (slot.kind(), slot.index()) == (Some(ObjectKind::Reply), thread);
        is_reply.then_some(mapping)
    }

    /// The guest's memory.
    pub(super) fn memory(&self) -> &'m dyn GuestMemory {
        self.guest.memory
    }

    /// The lives of objects of one kind.
    pub(super) fn lives(&self, table: Table) -> impl Iterator<Item = (u16, LifeRecord)> {
        entries(self.guest.memory, table, MOST_GATES)
    }

    /// Whether the life of any object is in a state.
    pub(super) fn is_anybody(&self, state: LifeState) -> bool {
        let LifeTables { gates, threads, tasks, factories, replies, interrupts } =
            self.header.lives;
        let mut lives = [gates, threads, tasks, factories, replies, interrupts]
            .into_iter()
            .flat_map(|table| self.lives(table));
        lives.any(|(_, life)| life.state == state as u16)
    }

    /// Whether a task is being taken apart.
    pub(super) fn is_dying(&self, task: u16) -> bool {
        let life: Option<LifeRecord> = entry(self.guest.memory, self.header.lives.tasks, task);
        life.is_some_and(|life| life.state == LifeState::Dying as u16)
    }

    /// How long the answer lives that a thread waits for.
    pub(super) fn life_of_reply(&self, thread: u16) -> Option<LifeRecord> {
        entry(self.guest.memory, self.header.lives.replies, thread)
    }

    /// A thread as people name it: its task's name, and its own if it has one.
    pub fn thread_name(&self, thread: u16) -> String {
        let Some(record) = self.threads.get(usize::from(thread)) else {
            return format!("thread{thread}");
        };
        if self.task(record.task).is_none() {
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
        in_pool.then(|| self.pool.what(address).unwrap_or("of its pool"))
    }

    /// A factory.
    pub fn factory(&self, number: u16) -> Option<&FactoryRecord> {
        self.factories.get(usize::from(number))
    }

    /// An interrupt of which there is an object.
    pub fn interrupt(&self, number: u16) -> Option<&InterruptRecord> {
        let record = self.interrupts.get(usize::from(number));
        record.filter(|record| u32::from(record.state) == ALIVE)
    }

    /// The factory that pays for a task.
    pub fn factory_of(&self, task: u16) -> Option<u16> {
        self.task(task).map(|record| record.factory)
    }
}

/// Where a mapping came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What it was derived from.
    pub parent: Option<Mapping>,
    /// Whether it is where its resource entered the system.
    pub is_root: bool,
    /// Whether it came by grant.
    pub is_granted: bool,
}

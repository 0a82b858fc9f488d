//! A guest made by hand, for tests: a sound kernel of a few tasks, entry by entry and node by node.

use super::{Guest, Snapshot};
use crate::{
    memory::read_value,
    paging::{Entry, Execute, Geometry, TABLE_SIZE},
};
use protocol::{
    PAGE_ORDER,
    boot::pad_name,
    flexpage::Rights,
    introspection::{
        ALIVE, BITMAP_OFFSET_AT, HEADER_MAGIC, HEADER_VERSION, Header, NAME_LENGTH, NOBODY,
        PORT_BITMAP_SIZE, PortCache, Table, TaskRecord, ThreadRecord,
        mapping::{
            COMPANION_OFFSET, CapabilitySlot, FactoryRecord, GateRecord, InterruptRecord,
            LifeRecord, LifeState, MappingNode, NODE_SIZE, ObjectKind, Place, Resource,
        },
    },
    kip::{KIP_MAGIC, KernelInfoPage, PhysicalRange},
    layout::{KERNEL_INFO_PAGE, UTCB_AREA},
    object::CapabilityIndex,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

pub(super) const HEADER: u64 = 0x1000;
const TASK_STATE: u64 = 0x2000;
pub(super) const BITMAP: u64 = TASK_STATE + 0x68;
const PORT_CACHE: u64 = 0x5000;
const LOADED_ROOT: u64 = 0x5100;
pub(super) const POOL: PhysicalRange = PhysicalRange { start: 0x10_0000, end: 0x1c_0000 };
pub(super) const IMAGE_END: u64 = 0x8000;
/// More than there is in these tests: nobody looks into user memory.
pub(super) const RAM_END: u64 = 0x200_0000;
pub(super) const TASKS: u64 = POOL.start;
pub(super) const THREADS: u64 = POOL.start + 0x1000;
pub(super) const FACTORIES: u64 = POOL.start + 0x2000;
const GATES: u64 = POOL.start + 0x3000;
pub(super) const INTERRUPTS: u64 = POOL.start + 0x5000;
/// The lives of interrupts.
const INTERRUPT_LIVES: u64 = POOL.start + 0x5800;
/// The lives of tasks, threads, factories and gates.
const LIVES: [u64; 4] =
    [POOL.start + 0x4000, POOL.start + 0x4400, POOL.start + 0x4800, POOL.start + 0x4c00];
/// The first pair of frames.
pub(super) const INFO_PAGE: u64 = POOL.start + 0x6000;
/// The first one that can be allocated: the top-level table of the first task.
pub(super) const FIRST_FREE: u64 = POOL.start + 0x8000;
/// Entries are larger than their records, as the kernel's objects are.
pub(super) const STRIDE: u64 = 96;

pub(super) const SIGMA0: u16 = 0;
pub(super) const ROOT: u16 = 1;
pub(super) const APP: u16 = 2;
pub(super) const OTHER: u16 = 3;

/// Where things are that [`Made::database`] makes.
pub(super) const TEXT: u64 = 0x40_0000;
pub(super) const SUPERPAGE: u64 = 0x80_0000;
pub(super) const WINDOW: u64 = 0x1000_0000;

const RW: Rights = Rights::READ_WRITE;
const RX: Rights = Rights::READ_EXECUTE;

/// Where a mapping goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) task: u16,
    pub(super) place: Place,
}

/// A page of a task.
pub(super) fn page(task: u16, address: u64) -> At {
    let number = (address >> PAGE_ORDER) as u32;
    At { task, place: Place::new(Resource::Memory, number, false) }
}

/// A superpage of a task.
pub(super) fn superpage(task: u16, address: u64) -> At {
    let number = (address >> PAGE_ORDER) as u32;
    At { task, place: Place::new(Resource::Memory, number, true) }
}

/// A port of a task.
pub(super) fn port(task: u16, port: u32) -> At {
    At { task, place: Place::new(Resource::Ports, port, false) }
}

/// A capability of a task.
pub(super) fn capability(task: u16, index: usize) -> At {
    At { task, place: Place::new(Resource::Capability, index as u32, false) }
}

pub(super) struct Made {
    pub(super) memory: Vec<u8>,
    pub(super) geometry: &'static Geometry,
    pub(super) next: u64,
}

impl Made {
    /// sigma0, the root task, "app" and "other" with their threads and capabilities; no memory.
    pub(super) fn new(geometry: &'static Geometry) -> Self {
        Self::with_frames(geometry, 0)
    }

    /// The same, with so many more frames in its pool.
    pub(super) fn with_frames(geometry: &'static Geometry, more: u64) -> Self {
        let pool = PhysicalRange { end: POOL.end + more * TABLE_SIZE, ..POOL };
        let memory = vec![0; pool.end as usize];
        let mut made = Self { memory, geometry, next: FIRST_FREE };
        let mut info = KernelInfoPage::new_zeroed();
        (info.magic, info.ram_end) = (KIP_MAGIC, RAM_END);
        info.reserved[..2].copy_from_slice(&[PhysicalRange { start: 0, end: IMAGE_END }, pool]);
        made.put(INFO_PAGE, &info);
        let whole = pool.end - FIRST_FREE;
        made.factory(0, NOBODY, whole);
        made.factory(1, 0, 0x3_0000);
        made.header();
        for (task, name) in (0..).zip([&b"sigma0"[..], b"root", b"app", b"other"]) {
            made.task(task, name, u16::from(task >= APP));
        }
        for (number, thread) in [(0, SIGMA0), (1, ROOT)] {
            let (label, state) = (number + 1, ALIVE as u16);
            let record = GateRecord { label, thread, state, generation: 1 };
            made.put(GATES + number * STRIDE, &record);
        }
        for task in [SIGMA0, ROOT, APP, OTHER] {
            made.bookmark_for(task);
        }
        made.capabilities();
        made.lives();
        made.no_ports();
        made.header();
        made
    }

    /// Every object lives as long as its first capability.
    fn lives(&mut self) {
        let (task, thread) = (CapabilityIndex::TASK.0, CapabilityIndex::THREAD.0);
        let parent = CapabilityIndex::PARENT.0;
        let own = (SIGMA0..=OTHER).flat_map(|number| {
            [
                (ObjectKind::Task, number, capability(number, task)),
                (ObjectKind::Thread, number, capability(number, thread)),
            ]
        });
        let others = [
            (ObjectKind::Factory, 0, capability(ROOT, 3)),
            (ObjectKind::Factory, 1, capability(ROOT, 21)),
            (ObjectKind::Gate, 0, capability(ROOT, parent)),
            (ObjectKind::Gate, 1, capability(ROOT, 20)),
        ];
        for (kind, number, first) in own.chain(others) {
            let root = self.node_at(first);
            self.change_life(kind, number, |life| {
                (life.root, life.state, life.factory) = (root, LifeState::Living as u16, 0);
            });
        }
    }

    pub(super) fn change_life(
        &mut self,
        kind: ObjectKind,
        number: u16,
        change: impl FnOnce(&mut LifeRecord),
    ) {
        let table = match kind {
            ObjectKind::Task => LIVES[0],
            ObjectKind::Thread => LIVES[1],
            ObjectKind::Factory => LIVES[2],
            _ => LIVES[3],
        };
        let address = table + u64::from(number) * size_of::<LifeRecord>() as u64;
        let mut life: LifeRecord = read_value(&self.memory, address).unwrap();
        change(&mut life);
        self.put(address, &life);
    }

    /// The processor forbids all ports.
    fn no_ports(&mut self) {
        self.memory[BITMAP as usize..][..=PORT_BITMAP_SIZE].fill(!0);
        let task_state_size = BITMAP - TASK_STATE + PORT_BITMAP_SIZE as u64 + 1;
        self.put(TASK_STATE + BITMAP_OFFSET_AT, &(task_state_size as u16));
        let cache = PortCache {
            task_state: TASK_STATE,
            task_state_size,
            bitmap: BITMAP,
            loaded_root: LOADED_ROOT,
            owner: NOBODY,
            next: 0,
            words: [0, 1, 2, 3, 4, 5, 6, 7],
            reserved: [0; 2],
        };
        self.put(PORT_CACHE, &cache);
    }

    pub(super) fn change_ports(&mut self, change: impl FnOnce(&mut PortCache)) {
        let mut cache: PortCache = read_value(&self.memory, PORT_CACHE).unwrap();
        change(&mut cache);
        self.put(PORT_CACHE, &cache);
    }

    /// A task runs, and the processor goes by the bitmap of ports.
    pub(super) fn run_with_ports(&mut self, task: u16) {
        self.put(LOADED_ROOT, &self.record(task).page_table);
        self.put(TASK_STATE + BITMAP_OFFSET_AT, &((BITMAP - TASK_STATE) as u16));
    }

    /// Makes the bitmap allow a port that it forbids, or forbid one that it allows.
    pub(super) fn flip_port(&mut self, port: u16) {
        self.memory[BITMAP as usize + usize::from(port / 8)] ^= 1 << (port % 8);
    }

    /// Gives a task's thread its bookmark.
    fn bookmark_for(&mut self, thread: u16) {
        let address = THREADS + u64::from(thread) * STRIDE;
        let mut record: ThreadRecord = read_value(&self.memory, address).unwrap();
        record.factory = self.factory_of(thread);
        record.bookmark = self.new_node(record.factory);
        self.put(address, &record);
        self.change_node(record.bookmark, |node| *node = MappingNode::default());
    }

    /// The node that marks where an unmap of a thread was interrupted.
    pub(super) fn bookmark(&self, thread: u16) -> u32 {
        let address = THREADS + u64::from(thread) * STRIDE;
        let record: ThreadRecord = read_value(&self.memory, address).unwrap();
        record.bookmark
    }

    /// With mappings of all kinds: see the test `views_show_what_was_made`.
    pub(super) fn database(geometry: &'static Geometry) -> Self {
        let mut made = Self::new(geometry);
        for number in 0..3 {
            let offset = number << PAGE_ORDER;
            let at = page(SIGMA0, 0x100_0000 + offset);
            made.root(at, 0x100_0000 + offset, Rights::all());
            made.map(at, page(ROOT, 0x100_0000 + offset), Rights::all());
            made.map(page(ROOT, 0x100_0000 + offset), page(APP, TEXT + offset), RX);
        }
        made.map(page(APP, TEXT), page(OTHER, WINDOW), Rights::READ);
        made.map(page(APP, TEXT), page(OTHER, WINDOW + 0x1000), RX);
        let whole = superpage(SIGMA0, SUPERPAGE);
        made.root(whole, SUPERPAGE, Rights::all());
        made.map(whole, superpage(ROOT, SUPERPAGE), Rights::all());
        let (from, to) = (superpage(ROOT, SUPERPAGE), superpage(APP, SUPERPAGE));
        made.map(from, to, RW);
        // A page out of the superpage, and one that was granted on with what was derived from it.
        made.map_part(from, 3, page(OTHER, WINDOW + 0x5000), RW);
        made.map(page(OTHER, WINDOW + 0x5000), page(APP, WINDOW), Rights::READ);
        made.grant(page(OTHER, WINDOW + 0x5000), page(OTHER, WINDOW + 0x7000));
        for number in 0x3f8..0x400 {
            made.root(port(SIGMA0, number), u64::from(number) << PAGE_ORDER, RW);
            made.map(port(SIGMA0, number), port(ROOT, number), RW);
        }
        made.map(port(ROOT, 0x3f8), port(APP, 0x3f8), RW);
        made.flip_port(0x3f8);
        made.change_ports(|cache| (cache.owner, cache.words[0]) = (APP, 0x3f8 / 64));
        made.run_with_ports(APP);
        made.header();
        made
    }

    fn capabilities(&mut self) {
        let slot = |kind, index| u64::from(CapabilitySlot::new(kind, 7, index).0);
        for task in [SIGMA0, ROOT, APP, OTHER] {
            let own = [
                (CapabilityIndex::TASK, ObjectKind::Task),
                (CapabilityIndex::THREAD, ObjectKind::Thread),
            ];
            for (index, kind) in own {
                self.root(capability(task, index.0), slot(kind, task), Rights::all());
            }
        }
        let parent = CapabilityIndex::PARENT.0;
        self.root(capability(ROOT, 3), slot(ObjectKind::Factory, 0), Rights::all());
        self.root(capability(ROOT, parent), slot(ObjectKind::Gate, 0), Rights::all());
        self.root(capability(ROOT, 5), slot(ObjectKind::Console, 0), Rights::all());
        self.root(capability(ROOT, 20), slot(ObjectKind::Gate, 1), Rights::all());
        self.root(capability(ROOT, 21), slot(ObjectKind::Factory, 1), Rights::all());
        for task in [APP, OTHER] {
            self.map(capability(ROOT, 20), capability(task, parent), Rights::READ);
            self.map(capability(ROOT, 5), capability(task, 5), Rights::READ);
        }
    }

    /// Writes the header, when all else is made.
    pub(super) fn header(&mut self) {
        let mut header = Header::new_zeroed();
        (header.magic, header.version) = (HEADER_MAGIC, HEADER_VERSION);
        header.machine = self.geometry.machine;
        let table = |address, count| Table { address, stride: STRIDE, count };
        (header.tasks, header.threads) = (table(TASKS, 6), table(THREADS, 4));
        (header.factories, header.gates) = (table(FACTORIES, 2), table(GATES, 2));
        let lives = |kind: usize, count| Table {
            address: LIVES[kind],
            stride: size_of::<LifeRecord>() as u64,
            count,
        };
        (header.lives.tasks, header.lives.threads) = (lives(0, 6), lives(1, 4));
        (header.lives.factories, header.lives.gates) = (lives(2, 2), lives(3, 2));
        // There are no objects of them.
        header.interrupts = table(INTERRUPTS, 2);
        header.lives.interrupts = Table { address: INTERRUPT_LIVES, ..lives(0, 2) };
        for number in 0..2 {
            let none = InterruptRecord { gate: NOBODY, ..InterruptRecord::new_zeroed() };
            self.put(INTERRUPTS + number * STRIDE, &none);
        }
        (header.pool_start, header.pool_end) = (POOL.start, self.memory.len() as u64);
        (header.pool_used, header.pool_fresh) = (self.next - POOL.start, self.next);
        header.pool_pairs = INFO_PAGE;
        header.port_cache = PORT_CACHE;
        self.put(HEADER, &header);
    }

    fn task(&mut self, number: u16, name: &[u8], factory: u16) {
        let mut record = TaskRecord::new_zeroed();
        (record.state, record.image, record.factory) = (1, u32::from(number), factory);
        record.name = pad_name::<NAME_LENGTH>(name);
        self.put(TASKS + u64::from(number) * STRIDE, &record);
        record.page_table = self.frame(factory);
        self.put(TASKS + u64::from(number) * STRIDE, &record);
        let mut thread = thread(2, number, b"");
        thread.pager = CapabilityIndex::PARENT.0 as u16;
        self.put(THREADS + u64::from(number) * STRIDE, &thread);
        let utcb = self.frame(factory);
        for (address, physical, rights) in
            [(KERNEL_INFO_PAGE, INFO_PAGE, Rights::READ), (UTCB_AREA, utcb, RW)]
        {
            let (entry, _) = self.slot(page(number, address as u64));
            self.put_entry(entry, self.page_entry(physical, rights, false));
        }
    }

    pub(super) fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, address: u64, value: &T) {
        let bytes = value.as_bytes();
        self.memory[address as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn guest(&self) -> Guest<'_> {
        Guest::open(&self.memory, HEADER).unwrap()
    }

    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        self.guest().snapshot()
    }

    fn factory(&mut self, number: u64, parent: u16, limit: u64) {
        if parent != NOBODY {
            self.change_factory(parent, |record| record.used += limit);
        }
        let state = ALIVE as u16;
        let record =
            FactoryRecord { limit, parent, state, generation: 1, ..FactoryRecord::default() };
        self.put(FACTORIES + number * STRIDE, &record);
    }

    pub(super) fn change_factory<R>(
        &mut self,
        number: u16,
        change: impl FnOnce(&mut FactoryRecord) -> R,
    ) -> R {
        let address = FACTORIES + u64::from(number) * STRIDE;
        let mut record: FactoryRecord = read_value(&self.memory, address).unwrap();
        let result = change(&mut record);
        self.put(address, &record);
        result
    }

    pub(super) fn change_gate(&mut self, number: u64, change: impl FnOnce(&mut GateRecord)) {
        let address = GATES + number * STRIDE;
        let mut record: GateRecord = read_value(&self.memory, address).unwrap();
        change(&mut record);
        self.put(address, &record);
    }

    /// A pair of frames.
    pub(super) fn frame(&mut self, factory: u16) -> u64 {
        self.change_factory(factory, |record| record.used += 2 * TABLE_SIZE);
        self.next += 2 * TABLE_SIZE;
        assert!(self.next <= self.memory.len() as u64, "the made guest is too large");
        self.change_header(|header| {
            header.pool_used += 2 * TABLE_SIZE;
            header.pool_fresh += 2 * TABLE_SIZE;
        });
        self.next - 2 * TABLE_SIZE
    }

    pub(super) fn change_header(&mut self, change: impl FnOnce(&mut Header)) {
        let mut header: Header = read_value(&self.memory, HEADER).unwrap();
        change(&mut header);
        self.put(HEADER, &header);
    }

    pub(super) fn record(&self, task: u16) -> TaskRecord {
        read_value(&self.memory, TASKS + u64::from(task) * STRIDE).unwrap()
    }

    /// Addresses of a place's entry and companion element; makes the tables on the way.
    pub(super) fn slot(&mut self, at: At) -> (u64, u64) {
        let mut record = self.record(at.task);
        let (task_address, number) = (TASKS + u64::from(at.task) * STRIDE, at.place.number());
        let size = self.geometry.entry_size;
        match at.place.resource() {
            Resource::Capability => {
                let frame = number as usize / 1024;
                if record.capability_table[frame] == 0 {
                    record.capability_table[frame] = self.frame(record.factory);
                    self.put(task_address, &record);
                }
                let entry = record.capability_table[frame] + u64::from(number % 1024) * 4;
                (entry, entry + COMPANION_OFFSET)
            }
            Resource::Ports => {
                if record.port_directory == 0 {
                    record.port_directory = self.frame(record.factory);
                    self.put(task_address, &record);
                }
                let level = self.geometry.levels.len() - 2;
                self.descend(at, record.port_directory, level, record.factory, size)
            }
            _ => self.descend(at, record.page_table, 0, record.factory, size),
        }
    }

    fn descend(&mut self, at: At, top: u64, level: usize, factory: u16, size: u64) -> (u64, u64) {
        let geometry = self.geometry;
        let last = geometry.levels.len() - 1 - usize::from(at.place.is_superpage());
        let address = u64::from(at.place.number()) << PAGE_ORDER;
        let (mut table, mut level) = (top, level);
        loop {
            let index = geometry.index(&geometry.levels[level], address);
            let entry = table + index * size;
            if level == last {
                return (entry, table + COMPANION_OFFSET + index * 4);
            }
            let value = self.get_entry(entry);
            let present = Entry::new(value, &geometry.levels[level], geometry);
            level += 1;
            table = present.physical();
            if !present.is_present() {
                table = self.frame(factory);
                self.put_entry(entry, table | 7);
            }
        }
    }

    fn get_entry(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        let size = self.geometry.entry_size as usize;
        bytes[..size].copy_from_slice(&self.memory[address as usize..][..size]);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn put_entry(&mut self, address: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.put(address, &bytes[..self.geometry.entry_size as usize]);
    }

    pub(super) fn page_entry(&self, physical: u64, rights: Rights, superpage: bool) -> u64 {
        let write = if rights.contains(Rights::WRITE) { 2 } else { 0 };
        let executes = rights.contains(Rights::EXECUTE);
        let execute = match self.geometry.execute {
            Execute::Withheld(bit) if !executes => bit,
            Execute::Noted(bit) if executes => bit,
            _ => 0,
        };
        physical | 5 | write | execute | if superpage { 0x80 } else { 0 }
    }

    /// The index of the node of a place.
    pub(super) fn node_at(&mut self, at: At) -> u32 {
        let (_, companion) = self.slot(at);
        read_value(&self.memory, companion).unwrap()
    }

    pub(super) fn node(&self, index: u32) -> MappingNode {
        read_value(&self.memory, u64::from(index) * NODE_SIZE).unwrap()
    }

    pub(super) fn change_node(&mut self, index: u32, change: impl FnOnce(&mut MappingNode)) {
        let mut node = self.node(index);
        change(&mut node);
        self.put(u64::from(index) * NODE_SIZE, &node);
    }

    /// Takes a node from a factory's list, or from two new frames, whose first one leads to those before.
    fn new_node(&mut self, factory: u16) -> u32 {
        let first = self.change_factory(factory, |record| record.free_nodes);
        let node = match first {
            0 => {
                let link = (self.frame(factory) / NODE_SIZE) as u32;
                let before = self.change_factory(factory, |record| {
                    record.nodes += 511;
                    std::mem::replace(&mut record.node_frames, link)
                });
                self.change_node(link, |node| node.next = before);
                self.change_node(link + 511, |last| last.next = 0u32.wrapping_sub(link + 512));
                link + 1
            }
            node => node,
        };
        let next = node.wrapping_add(1).wrapping_add(self.node(node).next);
        self.change_factory(factory, |record| record.free_nodes = next);
        node
    }

    fn factory_of(&self, task: u16) -> u16 {
        self.record(task).factory
    }

    /// Where a resource enters the system. `target`: physical address, port << 12, or slot.
    pub(super) fn root(&mut self, at: At, target: u64, rights: Rights) -> u32 {
        self.enter(at, target, rights, None)
    }

    /// A mapping of the whole of another one.
    pub(super) fn map(&mut self, from: At, to: At, rights: Rights) -> u32 {
        let target = self.target(from);
        let parent = self.node_at(from);
        self.enter(to, target, rights, Some(parent))
    }

    /// A mapping of one page of a superpage.
    fn map_part(&mut self, from: At, part: u64, to: At, rights: Rights) -> u32 {
        let target = self.target(from) + (part << PAGE_ORDER);
        let parent = self.node_at(from);
        self.enter(to, target, rights, Some(parent))
    }

    fn target(&mut self, at: At) -> u64 {
        let (entry, _) = self.slot(at);
        if at.place.resource() == Resource::Capability {
            return read_value::<u32, _>(&self.memory, entry).unwrap().into();
        }
        let geometry = self.geometry;
        let depth = geometry.levels.len() - 1 - usize::from(at.place.is_superpage());
        Entry::new(self.get_entry(entry), &geometry.levels[depth], geometry).physical()
    }

    fn enter(&mut self, at: At, target: u64, rights: Rights, parent: Option<u32>) -> u32 {
        let (entry, companion) = self.slot(at);
        match at.place.resource() {
            Resource::Capability => {
                let slot = target as u32 & 0xffff_00ff | u32::from(rights.bits()) << 8;
                self.put(entry, &slot);
            }
            _ => self.put_entry(entry, self.page_entry(target, rights, at.place.is_superpage())),
        }
        let node = self.new_node(self.factory_of(at.task));
        let mut record = MappingNode { place: at.place, task: at.task, ..MappingNode::default() };
        if let Some(parent) = parent {
            let above = self.node(parent);
            (record.depth, record.previous, record.next) = (above.depth + 1, parent, above.next);
            self.change_node(parent, |above| above.next = node);
            if record.next != 0 {
                self.change_node(record.next, |behind| behind.previous = node);
            }
        }
        self.put(u64::from(node) * NODE_SIZE, &record);
        self.put(companion, &node);
        node
    }

    /// The node moves, and what was derived from it stays below it.
    fn grant(&mut self, from: At, to: At) {
        let (old_entry, old_companion) = self.slot(from);
        let (new_entry, new_companion) = self.slot(to);
        let (value, node) = (self.get_entry(old_entry), self.node_at(from));
        self.put_entry(old_entry, 0);
        self.put_entry(new_entry, value);
        self.put(old_companion, &0u32);
        self.put(new_companion, &node);
        self.change_node(node, |node| {
            (node.task, node.place) = (to.task, to.place.granted());
        });
    }

    /// Puts any entry at a page's place, as no kernel would.
    pub(super) fn force(&mut self, at: At, value: u64) {
        let (entry, _) = self.slot(at);
        self.put_entry(entry, value);
        self.header();
    }
}

pub(super) fn thread(state: u32, task: u16, name: &[u8]) -> ThreadRecord {
    let mut record = ThreadRecord::new_zeroed();
    (record.state, record.task, record.priority) = (state as u16, task, 100);
    (record.partner, record.name) = (NOBODY, pad_name::<NAME_LENGTH>(name));
    record
}

//! The largest sound machine: a kernel whose pool is as large as it can be, and full.

use super::{
    hostile::{HEADER, PORT_CACHE},
    memory::Ram,
};
use observe::paging::{Entry, Execute, Geometry};
use protocol::{
    introspection::{
        ALIVE, BITMAP_OFFSET_AT, HEADER_MAGIC, HEADER_VERSION, Header, NOBODY, PORT_BITMAP_SIZE,
        PortCache, Table, TaskRecord,
        mapping::{COMPANION_OFFSET, FactoryRecord, MappingNode, NODE_SIZE, Place, Resource},
    },
    kip::{KIP_MAGIC, KernelInfoPage, PhysicalRange},
    layout::{KERNEL_INFO_PAGE, ONE_TO_ONE_END},
};
use zerocopy::FromZeros;

const FRAME: u64 = 4096;
const POOL: PhysicalRange = PhysicalRange { start: 1 << 20, end: 129 << 20 };
const RAM: u64 = 3 << 30;
/// Below the pool: the kernel's image, with the processor's task state.
const IMAGE_END: u64 = 0x8000;
const TASK_STATE: u64 = 0x2000;
const BITMAP: u64 = TASK_STATE + 0x68;
const TASKS: u64 = POOL.start;
const FACTORIES: u64 = POOL.start + FRAME;
const INFO_PAGE: u64 = POOL.start + 2 * FRAME;
const FIRST_FREE: u64 = POOL.start + 4 * FRAME;
const NUMBER_OF_TASKS: u64 = 6;
/// Nodes in a pair of frames.
const NODES: u64 = 2 * FRAME / NODE_SIZE;

pub struct Sound {
    pub ram: Ram,
    /// How many pages are mapped by tasks.
    pub mappings: u64,
    geometry: &'static Geometry,
    next: u64,
    /// The next node, and the end of those of its pair of frames.
    node: u64,
    nodes_end: u64,
    /// The node that leads to the last pair, and how many there are.
    node_frames: u64,
    node_pairs: u64,
}

impl Sound {
    /// sigma0 has memory 1:1 and maps each page on; each task to the next one, until no frame is left.
    pub fn new(geometry: &'static Geometry) -> Self {
        let ram = Ram::new(RAM, POOL.end);
        let mut sound = Self {
            ram,
            mappings: 0,
            geometry,
            next: FIRST_FREE,
            node: 0,
            nodes_end: 0,
            node_frames: 0,
            node_pairs: 0,
        };
        sound.records();
        for page in POOL.end / FRAME..ONE_TO_ONE_END as u64 / FRAME {
            // A table and its companion for each task at most, and a pair of frames of nodes.
            if sound.next + (2 * NUMBER_OF_TASKS + 2) * FRAME > POOL.end {
                break;
            }
            sound.tree(page);
        }
        sound.finish();
        sound
    }

    fn records(&mut self) {
        let mut info = KernelInfoPage::new_zeroed();
        (info.magic, info.ram_end) = (KIP_MAGIC, RAM);
        info.reserved[..2].copy_from_slice(&[PhysicalRange { start: 0, end: IMAGE_END }, POOL]);
        self.ram.put(INFO_PAGE, &info);
        for task in 0..NUMBER_OF_TASKS {
            let mut record = TaskRecord::new_zeroed();
            (record.state, record.page_table) = (1, self.frame());
            self.ram.put(TASKS + task * size_of::<TaskRecord>() as u64, &record);
            let (entry, _) = self.slot(task, KERNEL_INFO_PAGE as u64 / FRAME);
            self.put_entry(entry, INFO_PAGE | 5);
        }
        let task_state_size = BITMAP - TASK_STATE + PORT_BITMAP_SIZE as u64 + 1;
        self.ram.put(TASK_STATE + BITMAP_OFFSET_AT, &(task_state_size as u16));
        self.ram.bytes[BITMAP as usize..][..=PORT_BITMAP_SIZE].fill(!0);
        let mut cache = PortCache::new_zeroed();
        (cache.task_state, cache.task_state_size) = (TASK_STATE, task_state_size);
        (cache.bitmap, cache.loaded_root, cache.owner) = (BITMAP, PORT_CACHE + 64, NOBODY);
        self.ram.put(PORT_CACHE, &cache);
    }

    /// A page's list: one mapping in every task, each derived from that of the task before.
    fn tree(&mut self, page: u64) {
        let execute = match self.geometry.execute {
            Execute::Noted(bit) => bit,
            Execute::Withheld(_) => 0,
        };
        let value = (page * FRAME) | 7 | execute;
        let mut previous = 0;
        for task in 0..NUMBER_OF_TASKS {
            let (entry, companion) = self.slot(task, page);
            let node = self.new_node();
            self.put_entry(entry, value);
            self.ram.put(companion, &node);
            let place = Place::new(Resource::Memory, page as u32, false);
            let (task, depth) = (task as u16, task as u16);
            self.ram.put(
                u64::from(node) * NODE_SIZE,
                &MappingNode { next: 0, previous, place, task, depth },
            );
            if previous != 0 {
                self.ram.put(u64::from(previous) * NODE_SIZE, &node);
            }
            previous = node;
            self.mappings += 1;
        }
    }

    fn new_node(&mut self) -> u32 {
        if self.node == self.nodes_end {
            let link = self.frame() / NODE_SIZE;
            self.ram.put(link * NODE_SIZE, &(self.node_frames as u32));
            (self.node_frames, self.node, self.nodes_end) = (link, link + 1, link + NODES);
            self.node_pairs += 1;
        }
        self.node += 1;
        (self.node - 1) as u32
    }

    fn finish(&mut self) {
        let mut factory =
            FactoryRecord { limit: POOL.end - FIRST_FREE, ..FactoryRecord::default() };
        (factory.used, factory.parent) = (self.next - FIRST_FREE, NOBODY);
        factory.state = ALIVE as u16;
        factory.nodes = (self.node_pairs * (NODES - 1)) as u32;
        factory.node_frames = self.node_frames as u32;
        let end = self.nodes_end;
        if self.node < end {
            factory.free_nodes = self.node as u32;
            self.ram.put((end - 1) * NODE_SIZE, &0u32.wrapping_sub(end as u32));
        }
        self.ram.put(FACTORIES, &factory);
        let table = |address, stride: usize, count| Table { address, stride: stride as u64, count };
        let mut header = Header::new_zeroed();
        (header.magic, header.version) = (HEADER_MAGIC, HEADER_VERSION);
        header.machine = self.geometry.machine;
        header.tasks = table(TASKS, size_of::<TaskRecord>(), NUMBER_OF_TASKS);
        header.threads = table(POOL.start, 64, 0);
        header.factories = table(FACTORIES, size_of::<FactoryRecord>(), 1);
        header.gates = table(POOL.start, 64, 0);
        header.interrupts = table(POOL.start, 64, 0);
        (header.pool_start, header.pool_end) = (POOL.start, POOL.end);
        (header.pool_pairs, header.pool_fresh) = (INFO_PAGE, self.next);
        (header.pool_used, header.port_cache) = (self.next - POOL.start, PORT_CACHE);
        self.ram.put(HEADER, &header);
    }

    /// A pair of frames.
    fn frame(&mut self) -> u64 {
        self.next += 2 * FRAME;
        self.next - 2 * FRAME
    }

    /// Addresses of a page's entry and companion element; makes the tables on the way.
    fn slot(&mut self, task: u64, page: u64) -> (u64, u64) {
        let record: TaskRecord = self.ram.get(TASKS + task * size_of::<TaskRecord>() as u64);
        let (geometry, mut table) = (self.geometry, record.page_table);
        for (number, level) in geometry.levels.iter().enumerate() {
            let index = geometry.index(level, page * FRAME);
            let entry = table + index * geometry.entry_size;
            if number + 1 == geometry.levels.len() {
                return (entry, table + COMPANION_OFFSET + index * 4);
            }
            let present = Entry::new(self.get_entry(entry), level, geometry);
            table = present.physical();
            if !present.is_present() {
                table = self.frame();
                self.put_entry(entry, table | 7);
            }
        }
        unreachable!("there is a last level");
    }

    fn get_entry(&self, address: u64) -> u64 {
        match self.geometry.entry_size {
            4 => self.ram.get::<u32>(address).into(),
            _ => self.ram.get(address),
        }
    }

    fn put_entry(&mut self, address: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.ram.put(address, &bytes[..self.geometry.entry_size as usize]);
    }
}

//! Fills a [`Snapshot`]: every frame of page tables, capability tables, companions and nodes.

use super::{
    Guest,
    frame::{Element, Frame, Page, USER_PAGES},
    mapping::{Mapping, Slot},
    nodes::Nodes,
    snapshot::Snapshot,
};
use crate::{
    memory::GuestMemory,
    paging::{Geometry, Level, TABLE_SIZE},
};
use protocol::{
    PAGE_ORDER,
    introspection::mapping::{COMPANION_OFFSET, Resource},
};
use std::collections::HashSet;

/// The most frames that are read: more than the largest pool has.
const MOST_FRAMES: usize = 1 << 16;

/// Capability slots of a frame.
const SLOTS: u64 = TABLE_SIZE / 4;

pub(super) struct Reader<'r, 'm, M: ?Sized> {
    guest: &'r Guest<'m, M>,
    snapshot: &'r mut Snapshot,
    /// Frames of nodes that cannot be read.
    unreadable: HashSet<u64>,
}

/// Where a table is, and what for.
#[derive(Clone, Copy)]
struct Position {
    task: u16,
    resource: Resource,
    /// Index of the level in the geometry.
    level: usize,
    table: u64,
    /// The number of the first page or port that it translates.
    first: u64,
}

impl<'r, 'm, M: GuestMemory + ?Sized> Reader<'r, 'm, M> {
    pub(super) fn new(guest: &'r Guest<'m, M>, snapshot: &'r mut Snapshot) -> Self {
        Self { guest, snapshot, unreadable: HashSet::new() }
    }

    pub(super) fn read_all(mut self) {
        let geometry = self.geometry();
        let ports_level = geometry.levels.len() - geometry.port_levels().len();
        for (task, record) in self.snapshot.tasks.clone() {
            let at = Position {
                task,
                resource: Resource::Memory,
                level: 0,
                table: record.page_table,
                first: 0,
            };
            self.table(at);
            if record.port_directory != 0 {
                let (resource, table) = (Resource::Ports, record.port_directory);
                self.table(Position { resource, level: ports_level, table, ..at });
            }
            for (number, table) in (0..).zip(record.capability_table) {
                if table != 0 {
                    self.capabilities(task, table, number * SLOTS);
                }
            }
        }
        self.nodes();
        for number in 0..self.snapshot.factories.len() {
            self.free_list(number as u16);
        }
    }

    fn geometry(&self) -> &'static Geometry {
        self.guest.geometry
    }

    /// Reads a frame that must be one of the pool, and used for nothing else.
    fn claim(&mut self, frame: u64, what: &'static str) -> Result<Page, String> {
        let (start, end) = (self.guest.header.pool_start, self.guest.header.pool_end);
        let in_pool = frame >= start && frame.checked_add(TABLE_SIZE) <= Some(end);
        if !in_pool || !frame.is_multiple_of(TABLE_SIZE) {
            return Err(format!("at {frame:#x}, no frame of the pool {start:#x}-{end:#x}"));
        }
        if let Some(other) = self.snapshot.used.get(&frame) {
            return Err(format!("at {frame:#x}, which is {other} elsewhere, too"));
        }
        if self.snapshot.used.len() >= MOST_FRAMES {
            return Err(format!("at {frame:#x}: there are more than {MOST_FRAMES} frames"));
        }
        let mut page: Page = Box::new([0; TABLE_SIZE as usize]);
        self.guest.memory.read(frame, &mut page[..]).map_err(|error| error.to_string())?;
        self.snapshot.used.insert(frame, what);
        Ok(page)
    }

    fn broken(&mut self, path: String, evidence: String) {
        self.snapshot.broken_frames.push((path, evidence));
    }

    /// Reads a table and all below it.
    fn table(&mut self, at: Position) {
        let level = &self.geometry().levels[at.level];
        let what = match at.resource {
            Resource::Memory => "a page table",
            _ => "a table of ports",
        };
        if let Some(frame) = self.frame(at, Some(level), what) {
            for element in frame.elements(self.geometry()) {
                self.entry(at, &frame, element);
            }
            self.snapshot.frames.push(frame);
        }
    }

    /// A frame of entries and its companion.
    fn frame(
        &mut self,
        at: Position,
        level: Option<&'static Level>,
        what: &'static str,
    ) -> Option<Frame> {
        let mut frame = Frame {
            task: at.task,
            resource: at.resource,
            level,
            address: at.table,
            first: at.first,
            page: Box::new([0; TABLE_SIZE as usize]),
            companion: None,
        };
        let path = |snapshot: &Snapshot, frame: &Frame| {
            let task = snapshot.task_name(frame.task);
            match frame.resource {
                Resource::Memory => {
                    format!("{task}:{:#x} {}", frame.first << PAGE_ORDER, frame.name())
                }
                _ => format!("{task}: {} from {:#x}", frame.name(), frame.first),
            }
        };
        match self.claim(at.table, what) {
            Ok(page) => frame.page = page,
            Err(problem) => {
                self.broken(path(self.snapshot, &frame), problem);
                return None;
            }
        }
        if !level.is_some_and(|level| level.is_spine) {
            match self.claim(at.table + COMPANION_OFFSET, "a companion") {
                Ok(page) => frame.companion = Some(page),
                Err(problem) => {
                    let problem = format!("its companion: {problem}");
                    self.broken(path(self.snapshot, &frame), problem);
                }
            }
        }
        Some(frame)
    }

    fn entry(&mut self, at: Position, frame: &Frame, element: Element) {
        let Some(entry) = frame.entry(element.value, self.geometry()) else { return };
        let is_user = at.resource == Resource::Ports || element.number < USER_PAGES;
        if is_user && entry.is_present() && entry.maps() {
            let mapping = Mapping::of_entry(at.resource, slot(at.task, element), entry);
            return self.snapshot.mappings.push(mapping);
        }
        if element.node != 0 {
            let path = frame.path(&self.snapshot.task_name(at.task), element);
            self.snapshot.strays.push((path, element.node));
        }
        if is_user && entry.is_present() && !entry.is_malformed() && !entry.maps() {
            let (level, table) = (at.level + 1, entry.physical());
            self.table(Position { level, table, first: element.number, ..at });
        }
    }

    fn capabilities(&mut self, task: u16, table: u64, first: u64) {
        let at = Position { task, resource: Resource::Capability, level: 0, table, first };
        let Some(frame) = self.frame(at, None, "a capability table") else { return };
        for element in frame.elements(self.geometry()) {
            if element.value != 0 {
                let mapping = Mapping::of_capability(slot(task, element));
                self.snapshot.mappings.push(mapping);
            } else if element.node != 0 {
                let path = frame.path(&self.snapshot.task_name(task), element);
                self.snapshot.strays.push((path, element.node));
            }
        }
        self.snapshot.frames.push(frame);
    }

    /// Reads the frames of all nodes that companions name, and of those that their lists lead to.
    fn nodes(&mut self) {
        let mut to_do: Vec<u32> = self.snapshot.mappings.iter().map(|found| found.node).collect();
        to_do.extend(self.snapshot.strays.iter().map(|(_, node)| *node));
        to_do.extend(self.snapshot.threads.iter().map(|thread| thread.bookmark));
        let mut seen = HashSet::from([0]);
        while let Some(node) = to_do.pop() {
            if seen.insert(node) && self.node_frame(node) {
                let links = self.snapshot.nodes.get(node);
                to_do.extend(links.iter().flat_map(|node| [node.next, node.previous]));
            }
        }
    }

    /// Whether the frame of a node could be read.
    fn node_frame(&mut self, node: u32) -> bool {
        let frame = Nodes::frame_of(node);
        if self.snapshot.nodes.has(frame) {
            return true;
        }
        if self.unreadable.contains(&frame) {
            return false;
        }
        match self.claim(frame, "a frame of nodes") {
            Ok(page) => {
                self.snapshot.nodes.insert(frame, page);
                true
            }
            Err(problem) => {
                self.unreadable.insert(frame);
                self.broken(format!("frame of node {node:#x}"), problem);
                false
            }
        }
    }

    /// Follows a factory's free nodes to their end, or to the first that was met before.
    fn free_list(&mut self, factory: u16) {
        let mut node = self.snapshot.factories[usize::from(factory)].free_nodes;
        while node != 0 {
            let problem = if !self.node_frame(node) {
                Some(format!("it comes to node {node:#x}, which is not in the kernel's pool"))
            } else {
                self.snapshot.free_nodes.insert(node, factory).map(|other| {
                    format!("it comes to node {node:#x}, which is in the list of factory {other}")
                })
            };
            if let Some(problem) = problem {
                return self.snapshot.broken_free_lists.push((factory, problem));
            }
            let further = self.snapshot.nodes.get(node).map_or(0, |free| free.next);
            node = node.wrapping_add(1).wrapping_add(further);
        }
    }
}

fn slot(task: u16, element: Element) -> Slot {
    Slot {
        task,
        number: element.number,
        entry_address: element.address,
        value: element.value,
        node: element.node,
    }
}

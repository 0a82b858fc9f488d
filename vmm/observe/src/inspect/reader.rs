//! Fills a [`Snapshot`]: finds every frame of page tables, capability tables, companions and nodes.

use super::{
    check::{Rule, Violation},
    forest::Forest,
    frame::{Content, Element, Frame},
    nodes::{NodeSet, Nodes},
    pool::Unclaimed,
    snapshot::{CAPABILITIES, Snapshot, spot},
};
use crate::paging::{Geometry, Level, TABLE_SIZE};
use protocol::introspection::{
    ALIVE, ThreadState,
    mapping::{COMPANION_OFFSET, Resource},
};
use std::collections::HashSet;

/// Capability slots of a frame.
const SLOTS: u64 = TABLE_SIZE / 4;

/// Frames of nodes that cannot be used are reported once each, up to so many.
const MOST_UNREADABLE: usize = 1000;

pub(super) struct Reader<'r, 'm> {
    snapshot: &'r mut Snapshot<'m>,
    /// Frames of nodes that cannot be used.
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

impl<'r, 'm> Reader<'r, 'm> {
    pub(super) fn new(snapshot: &'r mut Snapshot<'m>) -> Self {
        Self { snapshot, unreadable: HashSet::new() }
    }

    pub(super) fn read_all(mut self) {
        for index in 0..self.snapshot.tasks.len() {
            self.tables(index);
        }
        for number in 0..self.snapshot.factories.len() {
            self.node_frames(number as u16);
        }
        self.names();
        self.lists();
        for number in 0..self.snapshot.factories.len() {
            self.free_list(number as u16);
        }
    }

    fn geometry(&self) -> &'static Geometry {
        self.snapshot.geometry
    }

    /// All tables of a task.
    fn tables(&mut self, index: usize) {
        let (task, record) = self.snapshot.tasks[index];
        let (resource, table) = (Resource::Memory, record.page_table);
        let at = Position { task, resource, level: 0, table, first: 0 };
        self.table(at);
        if record.port_directory != 0 {
            let (resource, table) = (Resource::Ports, record.port_directory);
            let level = self.geometry().first_port_level();
            self.table(Position { resource, level, table, ..at });
        }
        for (number, table) in (0..).zip(record.capability_table) {
            if table != 0 {
                let (resource, level) = (Resource::Capability, CAPABILITIES);
                let first = number * SLOTS;
                let at = Position { resource, level, table, first, ..at };
                self.frame(at, None, "a capability table");
            }
        }
    }

    /// Reads a table and all below it, which are not more levels than the architecture has.
    fn table(&mut self, at: Position) {
        let level = &self.geometry().levels[at.level];
        let what = match at.resource {
            Resource::Memory => "a page table",
            _ => "a table of ports",
        };
        let Some(frame) = self.frame(at, Some(level), what) else { return };
        for element in frame.elements(&self.snapshot.pool, self.geometry()) {
            if let Content::Table(table) = frame.content(element, self.geometry()) {
                let (level, first) = (at.level + 1, element.number);
                self.table(Position { level, table, first, ..at });
            }
        }
    }

    /// A frame of entries and its companion.
    fn frame(
        &mut self,
        at: Position,
        level: Option<&'static Level>,
        what: &'static str,
    ) -> Option<Frame> {
        let Position { task, resource, table, first, .. } = at;
        let mut frame =
            Frame { task, resource, level, address: table, first, has_companion: false };
        let claimed = self.snapshot.pool.claim(table, what);
        self.judge(|snapshot| frame.whole_path(&snapshot.task_name(task)), claimed, "").ok()?;
        if !level.is_some_and(|level| level.is_spine) {
            let claimed = match table.checked_add(COMPANION_OFFSET) {
                Some(companion) => self.snapshot.pool.claim(companion, "a companion"),
                None => Err(Unclaimed::Outside { frame: table }),
            };
            let path = |snapshot: &Snapshot<'_>| frame.whole_path(&snapshot.task_name(task));
            frame.has_companion = self.judge(path, claimed, "its companion: ").is_ok();
        }
        let snapshot = &mut *self.snapshot;
        snapshot
            .frame_at
            .insert(spot(task, resource, at.level, first), snapshot.frames.len() as u32);
        snapshot.frames.push(frame);
        Some(frame)
    }

    /// Notes why a frame cannot be used.
    fn judge(
        &mut self,
        path: impl Fn(&Snapshot<'_>) -> String,
        claimed: Result<(), Unclaimed>,
        introduction: &str,
    ) -> Result<(), Unclaimed> {
        let Err(problem) = claimed else { return Ok(()) };
        let snapshot = &mut *self.snapshot;
        let mut findings = std::mem::take(&mut snapshot.findings);
        let evidence = || format!("{introduction}{problem}");
        findings.expect(false, Rule::Tables, || path(snapshot), evidence);
        if matches!(problem, Unclaimed::TooMany { .. }) {
            snapshot.exceed(|snapshot| {
                let (rule, path) = (Rule::Tables, path(snapshot));
                Violation { rule, path, evidence: evidence() }
            });
        }
        snapshot.findings = findings;
        claimed
    }

    /// Follows the chain of the frames of nodes that a factory has paid for.
    fn node_frames(&mut self, factory: u16) {
        let record = self.snapshot.factories[usize::from(factory)];
        let mut link = if u32::from(record.state) == ALIVE { record.node_frames } else { 0 };
        while link != 0 {
            let is_new = !self.snapshot.nodes.has(Nodes::frame_of(link));
            let second = Nodes::further(link);
            if !is_new || !self.node_frame(link) || !self.node_frame(second) {
                let problem =
                    format!("it comes to frames of nodes at node {link:#x}, which are not its own");
                return self.broken_list(factory, &problem);
            }
            link = self.snapshot.node(link).map_or(0, |record| record.next);
        }
    }

    /// Finds the frames of all nodes that companions and threads name.
    fn names(&mut self) {
        for index in 0..self.snapshot.frames.len() {
            let frame = self.snapshot.frames[index];
            if !frame.has_companion {
                continue;
            }
            for Element { node, .. } in frame.elements(&self.snapshot.pool, self.geometry()) {
                self.name(node);
            }
        }
        let threads = self.snapshot.threads.iter();
        let threads = threads.filter(|thread| thread.state != ThreadState::Unused as u16);
        let own = self.snapshot.header.bookmark as u32;
        let bookmarks: Vec<u32> = threads.map(|thread| thread.bookmark).chain([own]).collect();
        for node in bookmarks {
            // A bookmark that marks nothing is in no list.
            let is_linked = |snapshot: &Snapshot<'_>| {
                let record = snapshot.node(node);
                record.is_some_and(|record| (record.previous, record.next) != (0, 0))
            };
            if node != 0 && self.node_frame(node) && is_linked(self.snapshot) {
                self.name(node);
            }
        }
    }

    fn name(&mut self, node: u32) {
        if node != 0 && self.node_frame(node) {
            let snapshot = &mut *self.snapshot;
            snapshot.forest.named.insert(&snapshot.nodes, node);
        }
    }

    /// Follows all lists that begin with a named node, to find frames of nodes that none names.
    fn lists(&mut self) {
        for head in self.snapshot.nodes.indices() {
            let Snapshot { forest: Forest { named, .. }, nodes, .. } = &*self.snapshot;
            let is_named = named.has(nodes, head);
            let begins = |snapshot: &Snapshot<'_>| {
                snapshot.node(head).is_some_and(|record| record.previous == 0)
            };
            if is_named && begins(self.snapshot) {
                self.list(head);
            }
        }
    }

    fn list(&mut self, head: u32) {
        let mut node = head;
        while node != 0 && self.node_frame(node) {
            let snapshot = &mut *self.snapshot;
            if !snapshot.forest.reached.insert(&snapshot.nodes, node) {
                return;
            }
            node = snapshot.node(node).map_or(0, |record| record.next);
        }
    }

    /// Whether the frame of a node can be used.
    fn node_frame(&mut self, node: u32) -> bool {
        let frame = Nodes::frame_of(node);
        if self.snapshot.nodes.has(frame) {
            return true;
        }
        if self.unreadable.contains(&frame) {
            return false;
        }
        let claimed = self.snapshot.pool.claim(frame, "a frame of nodes");
        if self.judge(|_| format!("frame of node {node:#x}"), claimed, "").is_err() {
            if self.unreadable.len() < MOST_UNREADABLE {
                self.unreadable.insert(frame);
            }
            return false;
        }
        self.snapshot.nodes.insert(frame);
        true
    }

    /// Follows a factory's free nodes to their end, or to the first that was met before.
    fn free_list(&mut self, factory: u16) {
        let mut node = self.snapshot.factories[usize::from(factory)].free_nodes;
        let mut count = 0;
        while node != 0 {
            if !self.node_frame(node) {
                let problem =
                    format!("it comes to node {node:#x}, which is not in the kernel's pool");
                self.broken_list(factory, &problem);
                break;
            }
            let Snapshot { free_nodes, nodes, .. } = &mut *self.snapshot;
            if !free_nodes.insert(nodes, node) {
                let problem = format!("it comes to node {node:#x}, which is in a list already");
                self.broken_list(factory, &problem);
                break;
            }
            count += 1;
            self.unused(factory, node);
            let further = self.snapshot.node(node).map_or(0, |free| free.next);
            node = node.wrapping_add(1).wrapping_add(further);
        }
        self.snapshot.free_counts.push(count);
    }

    fn broken_list(&mut self, factory: u16, problem: &str) {
        let mut findings = std::mem::take(&mut self.snapshot.findings);
        let path = || super::check::factory_path(self.snapshot, factory);
        findings.violation(Rule::FreeNodes, path, || problem.to_owned());
        self.snapshot.findings = findings;
    }

    /// A free node must be in no tree.
    fn unused(&mut self, factory: u16, node: u32) {
        let Snapshot { forest: Forest { named, reached }, nodes, findings, .. } =
            &mut *self.snapshot;
        let is_in = |set: &NodeSet| set.has(nodes, node);
        let is_unused = !is_in(named) && !is_in(reached);
        let path = || super::check::node_path(node);
        findings.expect(is_unused, Rule::FreeNodes, path, || {
            format!("it is in use, and in the list of free nodes of factory {factory}")
        });
    }
}

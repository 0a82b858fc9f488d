//! Proves from outside what the kernel promises about its page tables and records.
//!
//! A pass reads each page table once. The guest runs meanwhile and may change what was read, so
//! that one pass alone convicts nobody: see [`Report::confirmed_by`].

use super::{Guest, entries};
use crate::{
    memory::{GuestMemory, read_value},
    names::printable,
    paging::{End, Entry, Level, TABLE_SIZE, Walk},
};
use protocol::{
    boot::trim_name,
    introspection::{Header, NOBODY, Table, TaskRecord, ThreadRecord, ThreadState},
    kip::{KIP_MAGIC, KernelInfoPage, PhysicalRange},
    layout::{KERNEL_INFO_PAGE, USER_END, UTCB_AREA},
};
use std::collections::HashSet;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The header and its tables.
    Records,
    /// The kernel info page.
    KernelInfo,
    /// Where page tables are.
    Tables,
    /// The kernel's part of the address spaces.
    KernelArea,
    /// Bits of entries.
    Bits,
    /// What user pages map.
    Pages,
}

impl Rule {
    /// All of them, in the order in which reports show them.
    pub const ALL: [Self; 6] =
        [Self::Records, Self::KernelInfo, Self::Tables, Self::KernelArea, Self::Bits, Self::Pages];

    /// What holds.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Records => "records of tasks and threads are well-formed",
            Self::KernelInfo => "every task has the kernel info page, read-only",
            Self::Tables => "every page table lies in the kernel's pool and is used once",
            Self::KernelArea => "no entry above the user area lets user code through",
            Self::Bits => "every user entry has only bits that the kernel or the processor sets",
            Self::Pages => "every user page maps memory that the kernel does not keep",
        }
    }

    /// What is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::KernelInfo => "tasks",
            Self::Tables => "tables",
            Self::KernelArea | Self::Bits => "entries",
            Self::Pages => "pages",
        }
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What should hold.
    pub rule: Rule,
    /// The way to it: a record, or a task and the entries from its top-level table on.
    pub path: String,
    /// What stands there.
    pub evidence: String,
}

/// The most violations that a report shows; more are only counted.
const MOST: usize = 1000;

/// The most pages in the kernel's memory that may turn out to be UTCBs.
const MOST_SUSPECTS: usize = 1 << 16;

/// What one pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often each rule was applied, in the order of [`Rule::ALL`].
    pub counts: [u64; Rule::ALL.len()],
    /// Where it did not hold.
    pub violations: Vec<Violation>,
    /// Violations beyond the most that are shown.
    pub more: u64,
}

impl Report {
    /// How often a rule was applied.
    pub fn count(&self, rule: Rule) -> u64 {
        self.counts[rule as usize]
    }

    /// Whether all that was checked holds.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.more == 0
    }

    /// What both passes found: what only one of them saw was changing at that moment.
    pub fn confirmed_by(mut self, second: &Self) -> Self {
        let seen: HashSet<_> =
            second.violations.iter().map(|found| (found.rule, &found.path)).collect();
        self.violations.retain(|found| seen.contains(&(found.rule, &found.path)));
        self.more = self.more.min(second.more);
        self
    }

    fn applied(&mut self, rule: Rule) {
        self.counts[rule as usize] += 1;
    }

    fn violation(&mut self, rule: Rule, path: String, evidence: String) {
        if self.violations.len() < MOST {
            self.violations.push(Violation { rule, path, evidence });
        } else {
            self.more += 1;
        }
    }

    /// Counts one application of a rule.
    fn expect(&mut self, holds: bool, rule: Rule, path: impl FnOnce() -> String, evidence: String) {
        self.applied(rule);
        if !holds {
            self.violation(rule, path(), evidence);
        }
    }
}

impl<M: GuestMemory + ?Sized> Guest<'_, M> {
    /// One pass over all that can be checked from outside. It reads no table twice, so it ends,
    /// whatever stands in memory.
    pub fn check(&self) -> Report {
        let mut report = Report::default();
        let tasks = check_records(self.memory, &self.header, &mut report);
        let kept = self.kept_memory(&tasks, &mut report);
        let mut pass = Pass {
            guest: self,
            report,
            kept,
            tables: HashSet::new(),
            utcb_frames: HashSet::new(),
            suspects: Vec::new(),
        };
        for task in &tasks {
            pass.space(task);
        }
        pass.judge_suspects();
        pass.report
    }

    /// What the kernel keeps for itself, as its info page says. The page must be in every task.
    fn kept_memory(&self, tasks: &[Space], report: &mut Report) -> Kept {
        let pool = PhysicalRange { start: self.header.pool_start, end: self.header.pool_end };
        let mut kept = Kept { ram_end: u64::MAX, ranges: vec![pool], info_page: None };
        for task in tasks {
            report.applied(Rule::KernelInfo);
            let walk =
                Walk::new(self.memory, self.geometry, task.page_table, KERNEL_INFO_PAGE as u64);
            let problem = match walk.end {
                End::Page(page) if page.is_writable => Some("the task can write it".to_owned()),
                End::Page(page) => self.read_info_page(page.physical, &mut kept),
                End::Absent(level) => Some(format!("not present in the {}", level.name)),
                _ => Some("the page tables lead nowhere".to_owned()),
            };
            if let Some(problem) = problem {
                let path = format!("{}:{KERNEL_INFO_PAGE:#x}", task.name);
                report.violation(Rule::KernelInfo, path, problem);
            }
        }
        kept
    }

    fn read_info_page(&self, physical: u64, kept: &mut Kept) -> Option<String> {
        match kept.info_page {
            Some(known) if known == physical => return None,
            Some(known) => {
                return Some(format!("it is {physical:#x}, but another task's is {known:#x}"));
            }
            None => {}
        }
        let page: Option<KernelInfoPage> = read_value(self.memory, physical).ok();
        let Some(page) = page.filter(|page| page.magic == KIP_MAGIC) else {
            return Some(format!("there is no kernel info page at {physical:#x}"));
        };
        kept.info_page = Some(physical);
        kept.ram_end = page.ram_end;
        kept.ranges.extend(page.reserved);
        None
    }
}

/// The kernel's memory.
#[derive(Debug)]
struct Kept {
    ram_end: u64,
    ranges: Vec<PhysicalRange>,
    info_page: Option<u64>,
}

impl Kept {
    fn meets(&self, start: u64, end: u64) -> bool {
        self.ranges.iter().any(|range| start < range.end && range.start < end)
    }
}

/// A task whose tables are to be checked.
#[derive(Debug)]
struct Space {
    name: String,
    page_table: u64,
}

fn check_records<M>(memory: &M, header: &Header, report: &mut Report) -> Vec<Space>
where
    M: GuestMemory + ?Sized,
{
    check_table("tasks", header.tasks, size_of::<TaskRecord>(), header, report);
    check_table("threads", header.threads, size_of::<ThreadRecord>(), header, report);
    let mut tasks = Vec::new();
    let mut alive = HashSet::new();
    for (number, record) in entries::<TaskRecord, M>(memory, header.tasks) {
        let path = || format!("task {number}");
        if let Some(problem) = task_problem(&record) {
            report.violation(Rule::Records, path(), problem);
        }
        report.applied(Rule::Records);
        if record.state == 1 {
            alive.insert(number);
            let name = printable(&record.name).unwrap_or_else(|| format!("task{number}"));
            tasks.push(Space { name, page_table: record.page_table });
        }
    }
    let threads: Vec<_> = entries::<ThreadRecord, M>(memory, header.threads).collect();
    for (number, record) in &threads {
        let partner = threads.get(usize::from(record.partner)).map(|(_, record)| record.state);
        let problem = thread_problem(record, alive.contains(&record.task), partner);
        report.applied(Rule::Records);
        if let Some(problem) = problem {
            report.violation(Rule::Records, format!("thread {number}"), problem);
        }
    }
    tasks
}

fn check_table(name: &str, table: Table, record: usize, header: &Header, report: &mut Report) {
    let size = table.stride.checked_mul(table.count);
    let end = size.and_then(|size| size.checked_add(table.address));
    let fits = table.address >= header.pool_start && end.is_some_and(|end| end <= header.pool_end);
    let Table { address, stride, count } = table;
    report.expect(
        fits && stride >= record as u64 && count <= NOBODY.into(),
        Rule::Records,
        || format!("table of {name}"),
        format!("{count} entries of {stride} bytes at {address:#x} are no table in the pool"),
    );
}

fn task_problem(record: &TaskRecord) -> Option<String> {
    let TaskRecord { state, page_table, reserved, .. } = *record;
    match state {
        0 => None,
        1 if !is_padded(&record.name) => Some("its name goes on behind its end".to_owned()),
        1 if reserved != 0 => Some(format!("its reserved word is {reserved:#x}")),
        1 if !page_table.is_multiple_of(TABLE_SIZE) => {
            Some(format!("its page table at {page_table:#x} is on no page boundary"))
        }
        1 => None,
        _ => Some(format!("its state is {state}")),
    }
}

fn thread_problem(
    record: &ThreadRecord,
    task_is_alive: bool,
    partner: Option<u32>,
) -> Option<String> {
    let ThreadRecord { state, task, priority, .. } = *record;
    let Some(known) = ThreadState::from_u32(state) else {
        return Some(format!("its state is {state}"));
    };
    let waits = matches!(
        known,
        ThreadState::Sending
            | ThreadState::Receiving
            | ThreadState::PageFault
            | ThreadState::PortFault
            | ThreadState::Exception
    );
    let partner_exists = partner.is_some_and(|state| state != ThreadState::Unused as u32);
    match known {
        ThreadState::Unused => None,
        _ if !is_padded(&record.name) => Some("its name goes on behind its end".to_owned()),
        _ if priority > 255 => Some(format!("its priority is {priority}")),
        ThreadState::Inactive if task == NOBODY => None,
        _ if !task_is_alive => Some(format!("it runs in task {task}, which is not alive")),
        _ if waits && record.partner != NOBODY && !partner_exists => {
            Some(format!("it waits for thread {}, which does not exist", record.partner))
        }
        _ => None,
    }
}

fn is_padded(name: &[u8]) -> bool {
    name[trim_name(name).len()..].iter().all(|byte| *byte == 0)
}

/// A pass over the page tables.
struct Pass<'g, 'm, M: ?Sized> {
    guest: &'g Guest<'m, M>,
    report: Report,
    kept: Kept,
    /// The tables that were read.
    tables: HashSet<u64>,
    /// The frames that are mapped in UTCB areas.
    utcb_frames: HashSet<u64>,
    /// Small pages in the kernel's memory: UTCBs, or violations.
    suspects: Vec<(u64, String)>,
}

/// A table on the way from a task's top-level one.
#[derive(Clone, Copy)]
struct Position<'p> {
    task: &'p str,
    /// Index of the level in the geometry.
    level: usize,
    /// Physical address of the table.
    table: u64,
    /// The first address that it translates.
    base: u64,
}

impl<M: GuestMemory + ?Sized> Pass<'_, '_, M> {
    fn space(&mut self, task: &Space) {
        self.table(Position { task: &task.name, level: 0, table: task.page_table, base: 0 });
    }

    /// Checks a table and all below it, unless that was done or it is no table.
    fn table(&mut self, at: Position<'_>) {
        let levels = self.guest.geometry.levels;
        let path = || format!("{}:{:#x} {}", at.task, at.base, levels[at.level].name);
        self.report.applied(Rule::Tables);
        let (start, end) = (self.guest.header.pool_start, self.guest.header.pool_end);
        let in_pool = at.table >= start && at.table.checked_add(TABLE_SIZE) <= Some(end);
        let is_aligned = at.table.is_multiple_of(TABLE_SIZE);
        let mut bytes = [0; TABLE_SIZE as usize];
        let problem = if !in_pool || !is_aligned {
            format!("at {:#x}, no frame of the pool {start:#x}-{end:#x}", at.table)
        } else if !self.tables.insert(at.table) {
            format!("at {:#x}, which is a table elsewhere, too", at.table)
        } else if let Err(error) = self.guest.memory.read(at.table, &mut bytes) {
            error.to_string()
        } else {
            return self.entries(at, &bytes);
        };
        self.report.violation(Rule::Tables, path(), problem);
    }

    fn entries(&mut self, at: Position<'_>, bytes: &[u8]) {
        let geometry = self.guest.geometry;
        let level = &geometry.levels[at.level];
        for (index, bytes) in (0..).zip(bytes.chunks(geometry.entry_size as usize)) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            let entry = Entry::new(u64::from_le_bytes(value), level, geometry);
            if entry.is_present() {
                self.entry(at, at.base | index << level.shift, index, entry);
            }
        }
    }

    fn entry(&mut self, at: Position<'_>, address: u64, index: u64, entry: Entry) {
        let path = |level: &Level| format!("{}:{address:#x} {}[{index}]", at.task, level.name);
        let value = entry.value;
        if address >= USER_END as u64 {
            let evidence = format!("{value:#x} has the user bit");
            let path = || path(entry.level);
            return self.report.expect(!entry.is_user(), Rule::KernelArea, path, evidence);
        }
        let unexpected = entry.unexpected_bits();
        let evidence = if entry.is_user() {
            format!("{value:#x} has the bits {unexpected:#x}")
        } else {
            format!("{value:#x} lacks the user bit")
        };
        let holds = unexpected == 0 && entry.is_user();
        self.report.expect(holds, Rule::Bits, || path(entry.level), evidence);
        if entry.maps() {
            self.page(address, entry, || path(entry.level));
        } else if !entry.is_malformed() {
            let (level, table) = (at.level + 1, entry.physical());
            self.table(Position { level, table, base: address, ..at });
        }
    }

    fn page(&mut self, address: u64, entry: Entry, path: impl FnOnce() -> String) {
        self.report.applied(Rule::Pages);
        let (start, size) = (entry.physical(), 1 << entry.level.shift);
        let end = start + size;
        let is_small = size == protocol::PAGE_SIZE as u64;
        if is_small && address >= UTCB_AREA as u64 {
            self.utcb_frames.insert(start);
        }
        if end > self.kept.ram_end {
            let evidence = format!("{:#x} maps {start:#x}, which is not RAM", entry.value);
            return self.report.violation(Rule::Pages, path(), evidence);
        }
        let is_info_page = self.kept.info_page == Some(start) && !entry.is_writable();
        if !self.kept.meets(start, end) || is_small && is_info_page {
            return;
        }
        if is_small && self.suspects.len() < MOST_SUSPECTS {
            self.suspects.push((start, path()));
        } else {
            let evidence = format!("{:#x} maps the kernel's memory at {start:#x}", entry.value);
            self.report.violation(Rule::Pages, path(), evidence);
        }
    }

    /// A page in the kernel's memory must be a UTCB, and nothing else beside.
    fn judge_suspects(&mut self) {
        let Header { tasks, threads, trace, .. } = self.guest.header;
        let size = |table: Table| table.stride.saturating_mul(table.count);
        let records = [
            (tasks.address, size(tasks)),
            (threads.address, size(threads)),
            (trace.address, trace.capacity.saturating_mul(64)),
        ];
        let holds_records = |frame: u64| {
            let overlaps = |&(start, size): &(u64, u64)| {
                start < frame + TABLE_SIZE && frame < start.saturating_add(size)
            };
            records.iter().any(overlaps)
        };
        for (frame, path) in std::mem::take(&mut self.suspects) {
            let what = match () {
                () if self.tables.contains(&frame) => "a page table",
                () if holds_records(frame) => "the kernel's records",
                () if !self.utcb_frames.contains(&frame) => "the kernel's memory",
                () => continue,
            };
            self.report.violation(Rule::Pages, path, format!("it maps {what} at {frame:#x}"));
        }
    }
}

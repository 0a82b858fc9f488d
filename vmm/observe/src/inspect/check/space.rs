//! Rules about page tables and what they map.

use super::{Report, Rule};
use crate::{
    inspect::{Guest, Mapping, Snapshot, Target, frame::USER_PAGES},
    memory::{GuestMemory, read_value},
    paging::{End, Entry, TABLE_SIZE, Walk},
};
use protocol::{
    PAGE_ORDER,
    introspection::{Header, Table, mapping::Resource},
    kip::{KIP_MAGIC, KernelInfoPage, PhysicalRange},
    layout::{KERNEL_INFO_PAGE, MAPPABLE_START, UTCB_AREA},
};
use std::collections::HashSet;

/// The first address that can be mapped.
const FIRST: u64 = MAPPABLE_START as u64;

/// The kernel's memory.
pub(super) struct Kept {
    ram_end: u64,
    ranges: Vec<PhysicalRange>,
    info_page: Option<u64>,
}

impl Kept {
    fn meets(&self, start: u64, end: u64) -> bool {
        self.ranges.iter().any(|range| start < range.end && range.start < end)
    }

    pub(super) fn has(&self, start: u64, end: u64) -> bool {
        self.ranges.iter().any(|range| range.start <= start && end <= range.end)
    }
}

/// What the kernel keeps for itself, as its info page says. The page must be in every task; one that ends loses
/// it before the rest.
pub(super) fn kept_memory(guest: &Guest<'_>, snapshot: &Snapshot, report: &mut Report) -> Kept {
    let pool = PhysicalRange { start: guest.header.pool_start, end: guest.header.pool_end };
    let mut kept = Kept { ram_end: u64::MAX, ranges: vec![pool], info_page: None };
    for (task, record) in &snapshot.tasks {
        let address = KERNEL_INFO_PAGE as u64;
        let walk = Walk::new(guest.memory, guest.geometry, record.page_table, address);
        let problem = match walk.end {
            End::Page(page) if page.is_writable => Some("the task can write it".to_owned()),
            End::Page(page) => read_info_page(guest.memory, page.physical, &mut kept),
            End::Absent(_) if snapshot.is_dying(*task) => None,
            End::Absent(level) => Some(format!("not present in the {}", level.name)),
            _ => Some("the page tables lead nowhere".to_owned()),
        };
        let path = || format!("{}:{address:#x}", snapshot.task_name(*task));
        report.judge(Rule::KernelInfo, path, problem);
    }
    kept
}

fn read_info_page(memory: &dyn GuestMemory, physical: u64, kept: &mut Kept) -> Option<String> {
    match kept.info_page {
        Some(known) if known == physical => return None,
        Some(known) => {
            return Some(format!("it is {physical:#x}, but another task's is {known:#x}"));
        }
        None => {}
    }
    let page: Option<KernelInfoPage> = read_value(memory, physical).ok();
    let Some(page) = page.filter(|page| page.magic == KIP_MAGIC) else {
        return Some(format!("there is no kernel info page at {physical:#x}"));
    };
    kept.info_page = Some(physical);
    kept.ram_end = page.ram_end;
    kept.ranges.extend(page.reserved);
    None
}

pub(super) fn check(snapshot: &Snapshot, kept: &Kept, report: &mut Report) {
    report.counts[Rule::Tables as usize] += snapshot.pool.count() as u64;
    entries(snapshot, report);
    let mut utcb_frames = HashSet::new();
    for mapping in snapshot.mappings() {
        if let Target::Memory(start) = mapping.target {
            let what = page_problem(snapshot, kept, &mapping, start, &mut utcb_frames);
            let evidence = |what| format!("{:#x} maps {what} at {start:#x}", mapping.value);
            let problem = what.map(|what| report.words(|| evidence(what)));
            report.judge(Rule::Pages, || snapshot.path(&mapping), problem);
            let evidence =
                || format!("{:#x}, but nothing is mapped below {FIRST:#x}", mapping.value);
            let path = || snapshot.path(&mapping);
            report.expect(mapping.address() >= FIRST, Rule::Addresses, path, evidence);
        }
    }
}

/// All present entries of page tables and port tables.
fn entries(snapshot: &Snapshot, report: &mut Report) {
    let geometry = snapshot.geometry;
    for frame in &snapshot.frames {
        let is_memory = frame.resource == Resource::Memory;
        for element in frame.elements(&snapshot.pool, geometry) {
            let entry = frame.entry(element.value, geometry);
            let Some(entry) = entry.filter(|entry| entry.is_present()) else { continue };
            let path = || frame.path(&snapshot.task_name(frame.task), element);
            if is_memory && element.number >= USER_PAGES {
                let evidence = || format!("{:#x} has the user bit", entry.value);
                report.expect(!entry.is_user(), Rule::KernelArea, path, evidence);
            } else {
                let problem = bits_problem(entry, report);
                report.judge(Rule::Bits, path, problem);
            }
        }
    }
}

fn bits_problem(entry: Entry, report: &Report) -> Option<String> {
    let (value, unexpected) = (entry.value, entry.unexpected_bits());
    match () {
        () if !entry.is_user() => Some(report.words(|| format!("{value:#x} lacks the user bit"))),
        () if unexpected != 0 => {
            Some(report.words(|| format!("{value:#x} has the bits {unexpected:#x}")))
        }
        () => None,
    }
}

/// What a page maps that it must not.
fn page_problem(
    snapshot: &Snapshot,
    kept: &Kept,
    mapping: &Mapping,
    start: u64,
    utcb_frames: &mut HashSet<u64>,
) -> Option<&'static str> {
    let address = mapping.address();
    let end = start.saturating_add(1 << mapping.order);
    if end > kept.ram_end {
        return Some("what is not RAM");
    }
    let is_small = mapping.order == PAGE_ORDER;
    let is_info_page = address == KERNEL_INFO_PAGE as u64 && kept.info_page == Some(start);
    if !kept.meets(start, end) || is_small && is_info_page {
        return None;
    }
    let claimed = snapshot.pool.what(start).filter(|_| is_small);
    match () {
        () if claimed.is_some() => claimed,
        () if holds_records(&snapshot.header, start) => Some("the kernel's records"),
        () if !is_small || address < UTCB_AREA as u64 => Some("the kernel's memory"),
        () if !utcb_frames.insert(start) => Some("another page's UTCBs"),
        () => None,
    }
}

/// Whether any of the kernel's records lies in a page.
fn holds_records(header: &Header, page: u64) -> bool {
    let Header { tasks, threads, factories, gates, trace, .. } = *header;
    let size = |table: Table| table.stride.saturating_mul(table.count);
    let tables = [tasks, threads, factories, gates].map(|table| (table.address, size(table)));
    let ring = (trace.address, trace.capacity.saturating_mul(64));
    let overlaps =
        |(start, size): (u64, u64)| start < page + TABLE_SIZE && page < start.saturating_add(size);
    tables.into_iter().chain([ring]).any(overlaps)
}

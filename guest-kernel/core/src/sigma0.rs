//! sigma0's memory: the kernel itself resolves the page faults of the first task.
//!
//! sigma0 owns all memory that the kernel does not keep, 1:1. Nothing of that is entered ahead of
//! time: it would make starting a machine slower the more memory it has. The kernel fabricates a
//! page of sigma0 when sigma0 touches it or sends it on.

use crate::{
    arch::{Entry, TABLE_ORDER, Table},
    boot_bundle::Image,
    frames::{KernelFrame, NoMemory, PhysicalAddress},
    index::{TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    map::Outcome,
    page_fault::{fault_record, suffices},
    space::{DirectoryEntry, page_of_superpage, table_index},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    fault::Access,
    flexpage::{Flexpage, Rights, align_down},
    introspection::record::{Kind, MapStatus, Unresolved},
    kip::PhysicalRange,
    layout::ONE_TO_ONE_END,
    message::{MapItem, MessageTag},
};

/// What sigma0 is made of.
#[derive(Clone, Copy, Debug)]
pub struct Sigma0 {
    /// The kernel info page, which every task gets.
    pub kernel_info_page: KernelFrame,
    /// End of RAM.
    pub ram_end: u64,
    /// Memory that the kernel keeps.
    pub reserved: [PhysicalRange; 4],
    /// Its image in the bundle, mapped as it lies there.
    pub image: Image,
}

impl Sigma0 {
    /// The page that sigma0 has at `address`: of its image, or memory 1:1.
    fn page_at(&self, address: Word) -> Option<(PhysicalAddress, Rights)> {
        if let Some((physical, rights)) = self.image.page_at(address) {
            return Some((PhysicalAddress(physical), rights));
        }
        let page = align_down(address, PAGE_ORDER);
        let free = self.is_free(page as u64, PAGE_SIZE as u64);
        free.then_some((PhysicalAddress(page as u64), Rights::all()))
    }

    /// Whether a piece of memory is RAM that the kernel does not keep.
    fn is_free(&self, start: u64, size: u64) -> bool {
        let end = start + size;
        end <= self.ram_end.min(ONE_TO_ONE_END as u64)
            && self.reserved.iter().all(|kept| end <= kept.start || kept.end <= start)
    }
}

impl<M: Machine> Kernel<'_, M> {
    /// Makes sure that sigma0 has its pages in the piece of `2^order` bytes (at most one directory
    /// entry) at `address`.
    pub(crate) fn fabricate(&mut self, address: Word, order: u32) -> Result<(), NoMemory> {
        let space = &self.tasks[TaskIndex::SIGMA0].space;
        match space.directory_entry(&mut self.machine, address) {
            DirectoryEntry::Superpage(_) => return Ok(()),
            DirectoryEntry::Empty if self.fabricate_superpage(address) => return Ok(()),
            DirectoryEntry::Empty | DirectoryEntry::Table(_) => {}
        }
        let table = self.table_for(TaskIndex::SIGMA0, address)?;
        for page in 0..1 << (order - PAGE_ORDER) {
            let address = address + page * PAGE_SIZE;
            let slot = &mut self.machine.view::<Table>(table)[table_index(address)];
            if !slot.is_present()
                && let Some((physical, rights)) = self.sigma0.page_at(address)
            {
                *slot = Entry::page(physical, rights, false);
            }
        }
        Ok(())
    }

    fn fabricate_superpage(&mut self, address: Word) -> bool {
        let start = align_down(address, TABLE_ORDER);
        let free = self.sigma0.is_free(start as u64, 1 << TABLE_ORDER);
        if free {
            let entry = Entry::page(PhysicalAddress(start as u64), Rights::all(), true);
            let space = &self.tasks[TaskIndex::SIGMA0].space;
            space.set_directory_entry(&mut self.machine, start, entry);
        }
        free
    }

    /// A page fault of sigma0 itself: resolved here, or never.
    #[cold]
    #[inline(never)]
    pub(crate) fn sigma0_page_fault(
        &mut self,
        faulter: ThreadIndex,
        address: Word,
        access: Access,
        time: u64,
    ) {
        self.faults += 1;
        let instruction = self.threads[faulter].context.instruction();
        let fault = &mut self.threads[faulter].fault;
        fault.number = self.faults;
        fault.address = address;
        fault.access = access;
        fault.delivered = time;
        fault.instruction = instruction;
        if self.traces(Kind::Fault) {
            let mut record = fault_record(time, faulter, &self.threads[faulter]);
            record.c = self.ids_of(None);
            self.machine.record(record);
        }
        let rights = self.sigma0.page_at(address).map(|(_, rights)| rights);
        let allowed = !access.contains(Access::PRESENT)
            && rights.is_some_and(|rights| suffices(rights, access));
        if !allowed || self.fabricate(align_down(address, PAGE_ORDER), PAGE_ORDER).is_err() {
            return self.unresolved(faulter, Unresolved::NoPager, 0);
        }
        self.trace_fabricated(faulter, address);
    }

    fn trace_fabricated(&mut self, faulter: ThreadIndex, address: Word) {
        if self.traces(Kind::Map) {
            let space = &self.tasks[TaskIndex::SIGMA0].space;
            let (entry, order) = match space.directory_entry(&mut self.machine, address) {
                DirectoryEntry::Superpage(entry) => (page_of_superpage(entry, 0), TABLE_ORDER),
                _ => (space.page_entry(&mut self.machine, address), PAGE_ORDER),
            };
            let destination = align_down(address, order);
            let flexpage = Flexpage::memory(entry.physical().0 as Word, order, entry.rights());
            let outcome = Outcome {
                status: MapStatus::Done,
                destination,
                order,
                physical: entry.physical(),
                rights: entry.rights(),
                entries: 1,
            };
            let mut record = self.map_record(faulter);
            record.d = self.threads[faulter].fault.number;
            self.trace_map(record, None, MapItem::map(destination, flexpage), outcome);
        }
        if self.traces(Kind::Resume) {
            let replied = self.machine.time();
            self.trace_resume(faulter, None, replied, MessageTag::default());
        }
    }
}

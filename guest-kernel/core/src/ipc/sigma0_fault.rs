//! Page faults of sigma0: the kernel itself resolves them.

use crate::{
    arch::TABLE_ORDER,
    ipc::page_fault::fault_event,
    mapping::{
        item::{Outcome, suffices},
        space::{DirectoryEntry, Pages, page_of_superpage},
    },
    memory::{
        index::{TaskIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{kernel::Kernel, next::Next, trace::Arrival},
};
use protocol::{
    PAGE_ORDER, Word,
    fault::Access,
    flexpage::{Flexpage, align_down},
    introspection::record::{Ids, Kind, MapStatus, Unresolved},
    message::{MapItem, MessageTag},
};

impl<M: Machine> Kernel<M> {
    /// A page fault of sigma0 itself: resolved here, or never.
    #[cold]
    #[inline(never)]
    pub(crate) fn sigma0_page_fault(
        &mut self,
        faulter: ThreadIndex,
        address: Word,
        access: Access,
        time: u64,
    ) -> Next {
        self.faults += 1;
        let instruction = self.threads[faulter].context.instruction();
        let fault = &mut self.threads[faulter].fault;
        fault.number = self.faults;
        fault.address = address;
        fault.access = access;
        fault.delivered = time;
        fault.instruction = instruction;
        if self.traces(Kind::Fault) {
            self.trace(time, faulter, fault_event(&self.threads[faulter], Ids::NOBODY));
        }
        let rights = self.mappings.sigma0.page_at(address).map(|(_, rights)| rights);
        let allowed = !access.contains(Access::PRESENT)
            && rights.is_some_and(|rights| suffices(rights, access));
        if !allowed || self.mappings.fabricate(Pages::Memory, address).is_err() {
            return Next::switch(self.unresolved(faulter, Unresolved::NoPager, 0));
        }
        self.trace_fabricated(faulter, address);
        Next::Current
    }

    fn trace_fabricated(&mut self, faulter: ThreadIndex, address: Word) {
        if self.traces(Kind::Map) {
            let space = &self.mappings.tasks[TaskIndex::SIGMA0].space;
            let pages = Pages::Memory;
            let (entry, order) =
                match space.directory_entry(&mut self.mappings.machine, pages, address) {
                    DirectoryEntry::Superpage(entry) => (page_of_superpage(entry, 0), TABLE_ORDER),
                    _ => (space.page_entry(&mut self.mappings.machine, pages, address), PAGE_ORDER),
                };
            let destination = align_down(address, order);
            let flexpage = Flexpage::memory(entry.physical().0 as Word, order, entry.rights());
            let outcome = Outcome {
                status: MapStatus::Done,
                source: destination,
                destination,
                order,
                physical: entry.physical(),
                rights: entry.rights(),
                entries: 1,
            };
            let fault = self.threads[faulter].fault.number;
            let item = MapItem::map(destination, flexpage);
            let arrival = Arrival { to: self.ids_of(Some(faulter)), fault, outcome };
            self.trace_map(arrival, Ids::NOBODY, item, Flexpage::WHOLE_SPACE);
        }
        if self.traces(Kind::Resume) {
            let replied = self.mappings.machine.time();
            self.trace_resume(faulter, None, replied, MessageTag::default());
        }
    }
}

//! Map items: entering pages of one task into another, and handing on capabilities.

use crate::{
    arch::{Entry, TABLE_ENTRIES, TABLE_ORDER, Table},
    capability::Capability,
    frames::{KernelFrame, NoMemory, PhysicalAddress},
    index::{MaybeThread, TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    page_fault::suffices,
    space::{DirectoryEntry, page_of_superpage, table_index},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::IpcError,
    flexpage::{Flexpage, Kind as FlexpageKind, Placement, Rights, low_mask},
    introspection::{
        ThreadState,
        record::{Kind, MapStatus, Record, head, word},
    },
    layout::MAPPABLE_END,
    message::{MapItem, MessageTag},
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
};

/// What became of an item.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Whether it was entered, or why not.
    pub status: MapStatus,
    /// Where it arrived: an address, or an index for capabilities.
    pub destination: Word,
    /// Binary logarithm of the size of the area that was considered.
    pub order: u32,
    /// The first frame that was entered.
    pub physical: PhysicalAddress,
    /// The rights of that page.
    pub rights: Rights,
    /// Table entries, or capabilities, that were written.
    pub entries: u32,
}

/// What one step of a mapping entered: at most one page table's worth.
struct Entered {
    first: Entry,
    entries: u32,
}

const NOTHING: Entered = Entered { first: Entry::EMPTY, entries: 0 };

impl<M: Machine> Kernel<'_, M> {
    /// The hot case of a pager's answer: one page, mapped where nothing was, that allows what had
    /// faulted; the faulter is ready then. False, with nothing done, in every other case.
    #[inline(always)]
    pub(crate) fn resolve_with_one_page(
        &mut self,
        pager: ThreadIndex,
        faulter: ThreadIndex,
        replied: u64,
    ) -> bool {
        let Some((from, to)) = self.threads.pair(pager, faulter) else { return false };
        let (Some(source_task), Some(task)) = (from.bound_task(), to.bound_task()) else {
            return false;
        };
        let message = &self.machine.utcb(from.utcb).message;
        let Some(item) = MapItem::from_words([message[0], message[1]]) else { return false };
        let (flexpage, destination) = (item.flexpage, item.send_base);
        let plain = flexpage.kind() == FlexpageKind::Memory
            && flexpage.order() == PAGE_ORDER
            && !item.grant
            && flexpage.address() < MAPPABLE_END
            && destination == to.fault.address & !low_mask(PAGE_ORDER);
        if !plain {
            return false;
        }
        let source = &self.tasks[source_task].space;
        let entry = source.page_entry(&mut self.machine, flexpage.address());
        let Some(new) = entry.restricted(flexpage.rights()) else { return false };
        let space = &self.tasks[task].space;
        let table = match space.directory_entry(&mut self.machine, destination) {
            DirectoryEntry::Table(table) => table,
            _ => return false,
        };
        let slot = &mut self.machine.view::<Table>(table)[table_index(destination)];
        if slot.is_present() || !suffices(new.rights(), to.fault.access) {
            return false;
        }
        *slot = new;
        to.fault.repeated = 0;
        to.set_state(ThreadState::Ready, MaybeThread::NOBODY);
        if self.machine.records(Kind::Resolve) {
            let time = self.machine.time();
            let record = self.machine.begin_record();
            record[word::TIME] = time;
            record[word::HEAD] = head(to.head, Kind::Resolve, new.rights().bits());
            record[word::A] = to.fault.delivered;
            record[word::B] = flexpage.0 as u64 | (destination as u64) << 32;
            record[word::C] = new.physical().0;
            record[word::D] = to.fault.number;
            record[word::E] = from.ids | (time - replied) << 32;
            self.machine.end_record();
        }
        true
    }

    /// Enters all items of a pager's answer. True if one of them allows what had faulted.
    pub(crate) fn map_answer(
        &mut self,
        pager: ThreadIndex,
        faulter: ThreadIndex,
        tag: MessageTag,
    ) -> Result<bool, IpcError> {
        let address = self.threads[faulter].fault.address;
        let access = self.threads[faulter].fault.access;
        let mut resolved = false;
        for number in 0..tag.items() {
            let item = self.item(pager, tag, number)?;
            let window = Flexpage::WHOLE_SPACE;
            let outcome = self.send_item(pager, faulter, item, window)?;
            let inside = address.wrapping_sub(outcome.destination) >> outcome.order == 0;
            resolved |= inside && outcome.entries != 0 && suffices(outcome.rights, access);
        }
        Ok(resolved)
    }

    /// Enters the items of an ordinary message as the receiver's window allows, and tells the
    /// receiver in its message what arrived where.
    #[cold]
    pub(crate) fn transfer_items(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        tag: MessageTag,
    ) -> Result<(), IpcError> {
        let window = Flexpage(self.utcb(receiver).buffer[0]);
        for number in 0..tag.items() {
            let item = self.item(sender, tag, number)?;
            let outcome = self.send_item(sender, receiver, item, window)?;
            let arrived = match item.flexpage.kind() {
                FlexpageKind::Capability => {
                    Flexpage::capabilities(outcome.destination, outcome.order, outcome.rights)
                }
                _ => Flexpage::memory(outcome.destination, outcome.order, outcome.rights),
            };
            let word = tag.words() + 2 * number;
            let send_base = arrived.0 & !low_mask(PAGE_ORDER);
            let words = MapItem { send_base, grant: item.grant, flexpage: arrived }.to_words();
            self.utcb(receiver).message[word..word + 2].copy_from_slice(&words);
        }
        Ok(())
    }

    #[inline]
    fn item(
        &mut self,
        sender: ThreadIndex,
        tag: MessageTag,
        number: usize,
    ) -> Result<MapItem, IpcError> {
        let word = tag.words() + 2 * number;
        let message = &self.utcb(sender).message;
        match message.get(word..word + 2) {
            Some(&[first, second]) => {
                MapItem::from_words([first, second]).ok_or(IpcError::InvalidArgument)
            }
            _ => Err(IpcError::InvalidArgument),
        }
    }

    /// One item from a thread's task to another's; leaves a record.
    #[inline]
    pub(crate) fn send_item(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        item: MapItem,
        window: Flexpage,
    ) -> Result<Outcome, IpcError> {
        let (from, to) = (self.task_of(sender), self.task_of(receiver));
        let outcome = self.map_item(from, to, item, window);
        if self.traces(Kind::Map) {
            let record = self.map_record(receiver);
            self.trace_map(record, Some(sender), item, outcome);
        }
        match outcome.status {
            MapStatus::Done | MapStatus::SourceEmpty => Ok(outcome),
            MapStatus::Overflow => Err(IpcError::WindowOverflow),
            MapStatus::NoMemory | MapStatus::TooDeep => Err(IpcError::MapFailed),
        }
    }

    /// Leaves a record of an item that arrived in `record.task`.
    #[inline]
    pub(crate) fn trace_map(
        &mut self,
        mut record: Record,
        sender: Option<ThreadIndex>,
        item: MapItem,
        outcome: Outcome,
    ) {
        let grant = u8::from(item.grant) << 3;
        record.flags = outcome.rights.bits() | grant | (outcome.status as u8) << 4;
        record.order = outcome.order as u8;
        record.a = outcome.destination as u64;
        record.b = item.flexpage.0 as u64;
        record.c = outcome.physical.0;
        record.e = self.ids_of(sender) << 32 | u64::from(outcome.entries);
        self.machine.record(record);
    }

    /// The record of an item for `receiver`, naming the fault that it answers.
    #[inline]
    pub(crate) fn map_record(&self, receiver: ThreadIndex) -> Record {
        let mut record = self.new_record(Kind::Map, self.machine.time(), receiver);
        let thread = &self.threads[receiver];
        if thread.is(ThreadState::PageFault) || thread.is(ThreadState::PortFault) {
            record.d = thread.fault.number;
        }
        record
    }

    /// Maps or grants one flexpage.
    #[inline]
    pub(crate) fn map_item(
        &mut self,
        from: TaskIndex,
        to: TaskIndex,
        item: MapItem,
        window: Flexpage,
    ) -> Outcome {
        match item.flexpage.kind() {
            FlexpageKind::Memory => self.map_memory(from, to, item, window),
            FlexpageKind::Capability => self.map_capabilities(from, to, item, window),
            FlexpageKind::Special | FlexpageKind::IoPorts => Outcome::failed(MapStatus::Overflow),
        }
    }

    #[inline]
    fn map_memory(
        &mut self,
        from: TaskIndex,
        to: TaskIndex,
        item: MapItem,
        window: Flexpage,
    ) -> Outcome {
        let areas = (item.flexpage.memory_area(), window.memory_area());
        let (Some(area), Some(window)) = areas else { return Outcome::failed(MapStatus::Overflow) };
        let Some(placement) = area.place(item.send_base, window) else {
            return Outcome::failed(MapStatus::Overflow);
        };
        let mut outcome = Outcome {
            destination: placement.destination,
            order: placement.order,
            ..Outcome::failed(MapStatus::SourceEmpty)
        };
        let step_order = placement.order.min(TABLE_ORDER);
        let steps = 1 << (placement.order - step_order);
        for step in 0..steps {
            let offset = step << step_order;
            let step = Placement {
                source: placement.source + offset,
                destination: placement.destination + offset,
                order: step_order,
            };
            match self.map_step(from, to, step, item.flexpage.rights(), item.grant) {
                Ok(entered) if entered.entries == 0 => {}
                Ok(entered) => {
                    if outcome.entries == 0 {
                        outcome.status = MapStatus::Done;
                        outcome.physical = entered.first.physical();
                        outcome.rights = entered.first.rights();
                    }
                    outcome.entries += entered.entries;
                }
                Err(NoMemory) => {
                    outcome.status = MapStatus::NoMemory;
                    return outcome;
                }
            }
        }
        outcome
    }

    /// Maps a piece that lies in one directory entry on both sides.
    #[inline]
    fn map_step(
        &mut self,
        from: TaskIndex,
        to: TaskIndex,
        step: Placement,
        rights: Rights,
        grant: bool,
    ) -> Result<Entered, NoMemory> {
        if from == TaskIndex::SIGMA0 {
            self.fabricate(step.source, step.order)?;
        }
        let source = self.tasks[from].space.directory_entry(&mut self.machine, step.source);
        if let DirectoryEntry::Superpage(entry) = source
            && step.order == TABLE_ORDER
            && let Some(entered) = self.map_superpage(to, step.destination, entry, rights)
        {
            if grant {
                self.remove_directory_entry(from, step.source);
            }
            return Ok(entered);
        }
        if matches!(source, DirectoryEntry::Empty) {
            return Ok(NOTHING);
        }
        let table = self.table_for(to, step.destination)?;
        let mut entered = NOTHING;
        let first = table_index(step.destination);
        for page in 0..1 << (step.order - PAGE_ORDER) {
            let from_address = step.source + page * PAGE_SIZE;
            let to_address = step.destination + page * PAGE_SIZE;
            if from_address.max(to_address) >= MAPPABLE_END {
                break;
            }
            let entry = match source {
                DirectoryEntry::Table(frame) => {
                    self.machine.view::<Table>(frame)[table_index(from_address)]
                }
                DirectoryEntry::Superpage(entry) => page_of_superpage(entry, from_address),
                DirectoryEntry::Empty => Entry::EMPTY,
            };
            let allowed = entry.rights() & rights;
            if !entry.is_present() || !allowed.contains(Rights::READ) {
                continue;
            }
            let slot = &mut self.machine.view::<Table>(table)[(first + page) % TABLE_ENTRIES];
            let old = *slot;
            let new = entry_over(old, entry.physical(), allowed);
            *slot = new;
            if old.is_present() {
                self.flush_if_current(to, to_address);
            }
            if grant && let DirectoryEntry::Table(frame) = source {
                self.machine.view::<Table>(frame)[table_index(from_address)] = Entry::EMPTY;
                self.flush_if_current(from, from_address);
            }
            if entered.entries == 0 {
                entered.first = new;
            }
            entered.entries += 1;
        }
        Ok(entered)
    }

    /// Enters a superpage, unless the receiver has a page table there.
    fn map_superpage(
        &mut self,
        to: TaskIndex,
        destination: Word,
        source: Entry,
        rights: Rights,
    ) -> Option<Entered> {
        let allowed = source.rights() & rights;
        if !allowed.contains(Rights::READ) {
            return Some(NOTHING);
        }
        let old = match self.tasks[to].space.directory_entry(&mut self.machine, destination) {
            DirectoryEntry::Table(_) => return None,
            DirectoryEntry::Superpage(old) => old,
            DirectoryEntry::Empty => Entry::EMPTY,
        };
        let keep = old.is_present() && old.physical() == source.physical();
        let kept = if keep { old.rights() } else { Rights::empty() };
        let new = Entry::page(source.physical(), allowed | kept, true);
        self.tasks[to].space.set_directory_entry(&mut self.machine, destination, new);
        if old.is_present() {
            self.flush_if_current(to, destination);
        }
        Some(Entered { first: new, entries: 1 })
    }

    fn remove_directory_entry(&mut self, task: TaskIndex, address: Word) {
        self.tasks[task].space.set_directory_entry(&mut self.machine, address, Entry::EMPTY);
        self.flush_if_current(task, address);
    }

    /// The page table for `address`, made if there is none. A superpage there becomes a table that
    /// maps the same.
    #[inline]
    pub(crate) fn table_for(
        &mut self,
        task: TaskIndex,
        address: Word,
    ) -> Result<KernelFrame, NoMemory> {
        match self.tasks[task].space.directory_entry(&mut self.machine, address) {
            DirectoryEntry::Table(frame) => Ok(frame),
            other => self.add_table(task, address, other),
        }
    }

    #[cold]
    fn add_table(
        &mut self,
        task: TaskIndex,
        address: Word,
        old: DirectoryEntry,
    ) -> Result<KernelFrame, NoMemory> {
        let frame = self.allocate(self.tasks[task].factory)?;
        if let DirectoryEntry::Superpage(entry) = old {
            let table = self.machine.view::<Table>(frame);
            for (number, slot) in table.iter_mut().enumerate() {
                *slot = page_of_superpage(entry, number << PAGE_ORDER);
            }
        }
        let entry = Entry::table(frame);
        self.tasks[task].space.set_directory_entry(&mut self.machine, address, entry);
        if matches!(old, DirectoryEntry::Superpage(_)) {
            self.flush_if_current(task, address);
        }
        Ok(frame)
    }

    /// A replaced entry may be cached by the processor only in the space that it works in; the
    /// switch to another space forgets everything of this one.
    #[inline]
    fn flush_if_current(&mut self, task: TaskIndex, address: Word) {
        let current = self.current.get().map(|thread| self.task_of(thread));
        if current == Some(task) {
            self.machine.flush_page(address);
        }
    }

    /// Copies capabilities with equal or fewer rights; the offset rules are those of memory.
    #[cold]
    fn map_capabilities(
        &mut self,
        from: TaskIndex,
        to: TaskIndex,
        item: MapItem,
        window: Flexpage,
    ) -> Outcome {
        let Some((source, destination, order)) = place_capabilities(item, window) else {
            return Outcome::failed(MapStatus::Overflow);
        };
        let mut outcome = Outcome { destination, order, ..Outcome::failed(MapStatus::SourceEmpty) };
        for number in 0..1 << order {
            let source = CapabilityIndex(source + number);
            let target = CapabilityIndex(destination + number);
            let found = self.tasks[from].capabilities.get(&mut self.machine, source);
            let Some(capability) = found else { continue };
            let rights = capability.rights & item.flexpage.rights();
            if !rights.contains(Rights::READ) || target == CapabilityIndex::NIL {
                continue;
            }
            let capability = Capability { rights, ..capability };
            if self.put_capability(to, target, capability).is_err() {
                outcome.status = MapStatus::NoMemory;
                return outcome;
            }
            outcome.status = MapStatus::Done;
            outcome.rights = rights;
            outcome.entries += 1;
        }
        outcome
    }

    /// Puts a capability into a task's table, which grows if it must.
    pub(crate) fn put_capability(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
        capability: Capability,
    ) -> Result<(), NoMemory> {
        if self.tasks[task].capabilities.needs_frame(index) {
            let frame = self.allocate(self.tasks[task].factory)?;
            self.tasks[task].capabilities.add_frame(index, frame);
        }
        self.tasks[task].capabilities.set(&mut self.machine, index, capability);
        Ok(())
    }
}

impl Outcome {
    fn failed(status: MapStatus) -> Self {
        Self {
            status,
            destination: 0,
            order: 0,
            physical: PhysicalAddress(0),
            rights: Rights::empty(),
            entries: 0,
        }
    }
}

/// The entry that maps `physical` where `old` was: rights only grow while the frame stays.
#[inline]
fn entry_over(old: Entry, physical: PhysicalAddress, rights: Rights) -> Entry {
    if old.is_present() && old.physical() == physical {
        Entry::page(physical, old.rights() | rights, false)
    } else {
        Entry::page(physical, rights, false)
    }
}

/// Source index, destination index and order of a capability item.
fn place_capabilities(item: MapItem, window: Flexpage) -> Option<(Word, Word, u32)> {
    const TABLE_ORDER: u32 = CAPABILITY_TABLE_SIZE.ilog2();
    let send_base = item.send_base >> PAGE_ORDER;
    let send_order = item.flexpage.order();
    let send = item.flexpage.address() & !low_mask(send_order);
    let (window_base, window_order) = if window.is_whole_space() {
        (0, TABLE_ORDER)
    } else if window.kind() == FlexpageKind::Capability {
        (window.address() & !low_mask(window.order()), window.order())
    } else {
        return None;
    };
    let order = send_order.min(window_order);
    if order > TABLE_ORDER {
        return None;
    }
    let (source, destination) = if send_order <= window_order {
        (send, window_base | send_base & low_mask(window_order) & !low_mask(send_order))
    } else {
        (send | send_base & low_mask(send_order) & !low_mask(window_order), window_base)
    };
    let fits = |index: Word| index <= CAPABILITY_TABLE_SIZE - (1 << order);
    (fits(source) && fits(destination)).then_some((source, destination, order))
}

//! Map items: what becomes of those in a pager's answer, in a message, and in `task::MAP`.

use crate::{
    arch::Entry,
    database::{self, NewMapping},
    derivation::{Mapping, NotEntered},
    factory::Factories,
    frames::PhysicalAddress,
    index::{MaybeThread, TableIndex, TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    page_fault::suffices,
    restart::{Operation, Progress},
    space::{DirectoryEntry, Pages, Spot, page_of_superpage, table_index},
    stretch::Preempted,
    task::Tasks,
};
use protocol::{
    PAGE_ORDER, Word,
    error::IpcError,
    fault::Access,
    flexpage::{Flexpage, Kind as FlexpageKind, Placement, Rights, align_down, low_mask},
    introspection::{
        ThreadState,
        mapping::{Place, Resource},
        record::{Kind, MapStatus, Record, head, word},
    },
    layout::{MAPPABLE_END, MAPPABLE_START, USER_END},
    message::{MapItem, MessageTag},
    object::CAPABILITY_TABLE_SIZE,
};

/// Steps from the last page of an item to the first one of the next item, or to the end.
const ITEM_STEPS: u32 = 30;

/// Binary logarithm of 1 GiB, of which the user area has a whole number.
const GIBIBYTE_ORDER: u32 = 30;

const _: () = assert!(USER_END.is_multiple_of(1 << GIBIBYTE_ORDER));

/// What became of an item.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Whether it was entered, or why not.
    pub status: MapStatus,
    /// Where it came from in the sender's space: an address, a port or an index.
    pub source: Word,
    /// Where it arrived.
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

/// Why an operation with items does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It failed.
    Failed(IpcError),
    /// It was left at a preemption point.
    Preempted,
}

impl From<IpcError> for Stopped {
    fn from(error: IpcError) -> Self {
        Self::Failed(error)
    }
}

impl<M: Machine> Kernel<M> {
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
        let plain = from.progress.is_none()
            && is_one_page(item)
            && destination == to.fault.address & !low_mask(PAGE_ORDER);
        if !plain {
            return false;
        }
        let (tasks, factories) = (&self.tasks, &mut self.factories);
        let pages = (source_task, flexpage, task, destination);
        let access = to.fault.access;
        let Some(new) = map_one_page(&mut self.machine, tasks, factories, pages, access) else {
            return false;
        };
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
    ) -> Result<bool, Stopped> {
        let mut progress = self.begin(Operation::Transfer { sender: pager, receiver: faulter });
        while progress.number < tag.items() {
            let item = self.send_item(&mut progress, tag, Flexpage::WHOLE_SPACE)?;
            progress.resolved |= self.allows(faulter, item, progress.outcome);
            progress.next();
        }
        self.end_stretch();
        Ok(progress.resolved)
    }

    /// Whether an item that was entered allows what had faulted.
    fn allows(&self, faulter: ThreadIndex, item: MapItem, outcome: Outcome) -> bool {
        let fault = &self.threads[faulter].fault;
        let port = fault.access.contains(Access::PORT);
        let kind = if port { FlexpageKind::IoPorts } else { FlexpageKind::Memory };
        let offset = fault.address.wrapping_sub(outcome.destination);
        let inside = align_down(offset, outcome.order) == 0;
        item.flexpage.kind() == kind
            && inside
            && outcome.entries != 0
            && suffices(outcome.rights, fault.access)
    }

    /// Enters the items of an ordinary message as the receiver's window allows, and tells the
    /// receiver in its message what arrived where.
    #[cold]
    pub(crate) fn transfer_items(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        tag: MessageTag,
    ) -> Result<(), Stopped> {
        let window = Flexpage(self.utcb(receiver).buffer[0]);
        let mut progress = self.begin(Operation::Transfer { sender, receiver });
        while progress.number < tag.items() {
            let item = self.send_item(&mut progress, tag, window)?;
            self.tell(receiver, tag, progress.number, item, progress.outcome);
            progress.next();
        }
        self.end_stretch();
        Ok(())
    }

    /// The hot case of a message with one item: one page that is mapped where nothing was, in a receive
    /// window of at most 1 GiB. False, with nothing done, in every other case.
    #[inline(always)]
    pub(crate) fn transfer_one_page(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        tag: MessageTag,
    ) -> bool {
        let Some((from, to)) = self.threads.pair(sender, receiver) else { return false };
        if from.progress.is_some() || to.progress.is_some() {
            return false;
        }
        let (source, target) = (from.record.task, to.record.task);
        let (from, to) = (from.utcb, to.utcb);
        let message = &self.machine.utcb(from).message;
        let Some(&[first, second]) = message.get(tag.words()..tag.words() + 2) else {
            return false;
        };
        let Some(item) = MapItem::from_words([first, second]) else { return false };
        let window = Flexpage(self.machine.utcb(to).buffer[0]);
        let order = window.order();
        let plain = is_one_page(item)
            && window.kind() == FlexpageKind::Memory
            && (PAGE_ORDER..=GIBIBYTE_ORDER).contains(&order)
            && target != TaskIndex::SIGMA0.position();
        if !plain {
            return false;
        }
        let inside = align_down(item.send_base & low_mask(order), PAGE_ORDER);
        let destination = align_down(window.address(), order) | inside;
        if destination >= MAPPABLE_END {
            return false;
        }
        let (tasks, factories) = (&self.tasks, &mut self.factories);
        let [source, target] = [source, target].map(TaskIndex::from_position);
        let pages = (source, item.flexpage, target, destination);
        let entered = map_one_page(&mut self.machine, tasks, factories, pages, Access::empty());
        let Some(entry) = entered else { return false };
        if tag.words() != 0 {
            self.machine.copy_message(from, to, tag.words());
        }
        let arrived = Flexpage::memory(destination, PAGE_ORDER, entry.rights());
        let words = MapItem::map(destination, arrived).to_words();
        if let Some(place) = self.machine.utcb(to).message.get_mut(tag.words()..tag.words() + 2) {
            place.copy_from_slice(&words);
        }
        if self.machine.records(Kind::Map) {
            self.trace_one_page(sender, receiver, item, window, (destination, entry));
        }
        true
    }

    #[cold]
    fn trace_one_page(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        item: MapItem,
        window: Flexpage,
        (destination, entry): (Word, Entry),
    ) {
        let outcome = Outcome {
            status: MapStatus::Done,
            source: item.flexpage.address(),
            destination,
            order: PAGE_ORDER,
            physical: entry.physical(),
            rights: entry.rights(),
            entries: 1,
        };
        let record = self.map_record(receiver);
        self.trace_map(record, Some(sender), item, window, outcome);
    }

    /// Tells a receiver in its message what arrived where.
    #[inline(always)]
    fn tell(
        &mut self,
        receiver: ThreadIndex,
        tag: MessageTag,
        number: usize,
        item: MapItem,
        outcome: Outcome,
    ) {
        let Outcome { destination, order, rights, .. } = outcome;
        let arrived = match item.flexpage.kind() {
            FlexpageKind::Capability => Flexpage::capabilities(destination, order, rights),
            FlexpageKind::IoPorts => Flexpage::ports(destination, order, rights),
            _ => Flexpage::memory(destination, order, rights),
        };
        let word = tag.words() + 2 * number;
        let send_base = arrived.0 & !low_mask(PAGE_ORDER);
        let words = MapItem { send_base, grant: item.grant, flexpage: arrived }.to_words();
        if let Some(place) = self.utcb(receiver).message.get_mut(word..word + 2) {
            place.copy_from_slice(&words);
        }
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

    /// The next item from a thread's task to another's; leaves a record.
    fn send_item(
        &mut self,
        progress: &mut Progress,
        tag: MessageTag,
        window: Flexpage,
    ) -> Result<MapItem, Stopped> {
        let Operation::Transfer { sender, receiver } = progress.operation else {
            return Err(Stopped::Failed(IpcError::InvalidArgument));
        };
        let (from, to) = (self.task_of(sender), self.task_of(receiver));
        let item = self.item(sender, tag, progress.number);
        if let Ok(item) = item
            && self.map_item(progress, from, to, item, window) == Err(Preempted)
        {
            self.interrupt(*progress);
            return Err(Stopped::Preempted);
        }
        self.end_walk(progress);
        let item = item?;
        if self.traces(Kind::Map) {
            let record = self.map_record(receiver);
            self.trace_map(record, Some(sender), item, window, progress.outcome);
        }
        match progress.outcome.status {
            MapStatus::Done | MapStatus::SourceEmpty => Ok(item),
            MapStatus::Overflow => Err(IpcError::WindowOverflow.into()),
            MapStatus::NoMemory => Err(IpcError::MapFailed.into()),
            MapStatus::TooDeep => Err(IpcError::TooDeep.into()),
        }
    }

    /// Leaves a record of an item that arrived in `record.task`.
    pub(crate) fn trace_map(
        &mut self,
        mut record: Record,
        sender: Option<ThreadIndex>,
        item: MapItem,
        window: Flexpage,
        outcome: Outcome,
    ) {
        let grant = u8::from(item.grant) << 3;
        record.flags = outcome.rights.bits() | grant | (outcome.status as u8) << 4;
        record.order = outcome.order as u8;
        record.cpu = window.order() as u8;
        record.a = outcome.destination as u64 | (outcome.source as u64) << 32;
        record.b = item.flexpage.0 as u64;
        record.c = outcome.physical.0;
        record.e = self.ids_of(sender) << 32 | u64::from(outcome.entries);
        self.machine.record(record);
    }

    /// The record of an item for `receiver`, naming the fault that it answers.
    pub(crate) fn map_record(&self, receiver: ThreadIndex) -> Record {
        let mut record = self.new_record(Kind::Map, self.machine.time(), receiver);
        record.d = self.answered_fault(receiver);
        record
    }

    /// Number of the fault that `receiver` waits with, 0 if it has none.
    pub(crate) fn answered_fault(&self, receiver: ThreadIndex) -> u64 {
        let thread = &self.threads[receiver];
        let faults = thread.is(ThreadState::PageFault) || thread.is(ThreadState::PortFault);
        if faults { thread.fault.number } else { 0 }
    }

    /// Maps or grants one flexpage; `progress` says how far that had come already. What becomes of
    /// it is in `progress.outcome`.
    pub(crate) fn map_item(
        &mut self,
        progress: &mut Progress,
        from: TaskIndex,
        to: TaskIndex,
        item: MapItem,
        window: Flexpage,
    ) -> Result<(), Preempted> {
        let Some((kind, placement)) = place(item, window).filter(|_| to != TaskIndex::SIGMA0)
        else {
            progress.outcome.status = MapStatus::Overflow;
            return Ok(());
        };
        let page_order = if kind == Resource::Memory { 0 } else { PAGE_ORDER };
        progress.outcome.source = placement.source >> page_order;
        progress.outcome.destination = placement.destination >> page_order;
        progress.outcome.order = placement.order - page_order;
        self.finish_walk(progress)?;
        let result = match kind {
            // The right to read is the mapping itself.
            _ if !item.flexpage.rights().contains(Rights::READ) => Ok(()),
            Resource::Memory => self.map_pages(progress, from, to, Pages::Memory, item, placement),
            Resource::Ports => self.map_pages(progress, from, to, Pages::Ports, item, placement),
            _ => self.map_capabilities(progress, from, to, item, placement),
        };
        if result.is_ok() {
            progress.done = placement.size();
            self.spend(ITEM_STEPS)?;
        }
        progress.outcome.status = match result {
            Ok(()) if progress.outcome.entries == 0 => MapStatus::SourceEmpty,
            Ok(()) => MapStatus::Done,
            Err(NotEntered::NoMemory) => MapStatus::NoMemory,
            Err(NotEntered::TooDeep) => MapStatus::TooDeep,
            Err(NotEntered::Preempted) => return Err(Preempted),
        };
        let Outcome { destination, order, .. } = progress.outcome;
        let area = match kind {
            Resource::Memory => Flexpage::memory(destination, order, Rights::empty()),
            Resource::Ports => Flexpage::ports(destination, order, Rights::empty()),
            _ => Flexpage::capabilities(destination, order, Rights::empty()),
        };
        self.trace_replaced(progress, to, area);
        Ok(())
    }
}

impl Outcome {
    /// Nothing happened yet.
    pub const NOTHING: Self = Self {
        status: MapStatus::SourceEmpty,
        source: 0,
        destination: 0,
        order: 0,
        physical: PhysicalAddress(0),
        rights: Rights::empty(),
        entries: 0,
    };

    /// Notes `count` mappings that were entered, of which this is the first one.
    #[inline(always)]
    pub(crate) fn note(&mut self, entry: impl Mapping, count: u32) {
        if self.entries == 0 {
            self.physical = entry.physical();
            self.rights = entry.rights();
        }
        self.entries += count;
    }
}

/// Whether an item maps one page of memory.
#[inline(always)]
fn is_one_page(item: MapItem) -> bool {
    item.flexpage.kind() == FlexpageKind::Memory
        && item.flexpage.order() == PAGE_ORDER
        && !item.grant
        && item.flexpage.address() < MAPPABLE_END
}

/// Enters one page where nothing is, if it allows `access` there: from a task, its flexpage, to a
/// task, at an address below [`MAPPABLE_END`] and not in the first page. `None`, with nothing done, in
/// every other case. What it is given of the kernel is what the hot paths do not hold already.
#[inline(always)]
fn map_one_page<M: Machine>(
    machine: &mut M,
    tasks: &Tasks<M>,
    factories: &mut Factories<M>,
    (from, flexpage, to, destination): (TaskIndex, Flexpage, TaskIndex, Word),
    access: Access,
) -> Option<Entry> {
    if destination < MAPPABLE_START {
        return None;
    }
    let address = flexpage.address();
    let spot = tasks[from].space.spot(machine, Pages::Memory, address)?;
    let found = spot.entry(machine);
    let found = if found.is_superpage() { page_of_superpage(found, address) } else { found };
    let new = found.restricted(flexpage.rights()).filter(|new| suffices(new.rights(), access))?;
    let parent = spot.node(machine)?;
    let receiver = &tasks[to];
    let entry = receiver.space.directory_entry(machine, Pages::Memory, destination);
    let DirectoryEntry::Table(table) = entry else { return None };
    let spot = Spot::<Entry>::new(table, table_index(destination));
    if spot.entry(machine).is_present() {
        return None;
    }
    let factory = &mut factories[receiver.factory];
    let node = database::take_node(machine, factory)?;
    let place = Place::new(Resource::Memory, (destination >> PAGE_ORDER) as u32, false);
    let mapping = NewMapping { task: to.position(), place };
    if !database::insert_child(machine, parent, node, mapping) {
        database::free_node(machine, factory, node);
        return None;
    }
    spot.set_node(machine, node.into());
    spot.set_entry(machine, new);
    Some(new)
}

/// What an item is about, and its place; ports and capabilities are counted as pages.
fn place(item: MapItem, window: Flexpage) -> Option<(Resource, Placement)> {
    let (flexpage, base) = (item.flexpage, item.send_base);
    let (resource, placement) = match flexpage.kind() {
        FlexpageKind::Memory => {
            let placement = flexpage.memory_area()?.place(base, window.memory_area()?)?;
            (Resource::Memory, placement)
        }
        FlexpageKind::IoPorts => {
            let placement = flexpage.port_area()?.common(window.port_area()?)?;
            (Resource::Ports, placement)
        }
        FlexpageKind::Capability => {
            let placement = flexpage.capability_area()?.place(base, window.capability_area()?)?;
            let end = CAPABILITY_TABLE_SIZE << PAGE_ORDER;
            let fits = placement.destination + placement.size() <= end;
            (Resource::Capability, Some(placement).filter(|_| fits)?)
        }
        FlexpageKind::Special => return None,
    };
    Some((resource, placement))
}

//! Map items: entering pages and ports of one task into another, and handing on capabilities.

use crate::{
    arch::{Entry, TABLE_ENTRIES, TABLE_ORDER},
    capability::{Capability, Slot},
    database::{self, MaybeNode, NewMapping, NodeIndex},
    frames::{NoMemory, PhysicalAddress, TableFrame},
    index::{MaybeThread, TableIndex, TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    page_fault::suffices,
    restart::{Operation, Preempted, Progress},
    space::{DirectoryEntry, Entries, Pages, Spot, page_of_superpage, table_index},
    unmap::Effect,
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::IpcError,
    fault::Access,
    flexpage::{
        Area, Flexpage, IO_PORTS, Kind as FlexpageKind, Placement, Rights, align_down, low_mask,
    },
    introspection::{
        ThreadState,
        mapping::{Place, Resource},
        record::{Kind, MapStatus, Record, head, word},
    },
    layout::{MAPPABLE_END, USER_END},
    message::{MapItem, MessageTag},
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
};

/// Steps that entering one page costs.
const ENTER_STEPS: u32 = 4;

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

/// Why a page is not entered.
#[derive(Clone, Copy, Debug)]
enum NotEntered {
    Preempted,
    NoMemory,
    TooDeep,
}

impl From<Preempted> for NotEntered {
    fn from(_: Preempted) -> Self {
        Self::Preempted
    }
}

impl From<NoMemory> for NotEntered {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// What the rules of map and grant need to know of an entry.
pub(crate) trait Mapping: Entries {
    const EMPTY: Self;
    fn is_present(self) -> bool;
    fn rights(self) -> Rights;
    /// Whether both map the same frame, port or object.
    fn is_same(self, other: Self) -> bool;
    /// The same with other rights.
    fn with_rights(self, rights: Rights) -> Self;
    /// A new mapping of the same, which nobody has used yet.
    fn derived(self, rights: Rights) -> Self;
    /// The frame.
    fn physical(self) -> PhysicalAddress;
}

impl Mapping for Entry {
    const EMPTY: Self = Self::EMPTY;
    #[inline(always)]
    fn is_present(self) -> bool {
        self.is_present()
    }
    #[inline(always)]
    fn rights(self) -> Rights {
        self.rights()
    }
    #[inline(always)]
    fn is_same(self, other: Self) -> bool {
        self.physical() == other.physical()
    }
    #[inline(always)]
    fn with_rights(self, rights: Rights) -> Self {
        self.with_rights(rights)
    }
    #[inline(always)]
    fn derived(self, rights: Rights) -> Self {
        self.without_usage().with_rights(rights)
    }
    #[inline(always)]
    fn physical(self) -> PhysicalAddress {
        self.physical()
    }
}

impl Mapping for Slot {
    const EMPTY: Self = Self::EMPTY;
    fn is_present(self) -> bool {
        self.is_present()
    }
    fn rights(self) -> Rights {
        self.rights()
    }
    fn is_same(self, other: Self) -> bool {
        self.with_rights(Rights::empty()) == other.with_rights(Rights::empty())
    }
    fn with_rights(self, rights: Rights) -> Self {
        self.with_rights(rights)
    }
    fn derived(self, rights: Rights) -> Self {
        self.with_rights(rights)
    }
    fn physical(self) -> PhysicalAddress {
        PhysicalAddress(0)
    }
}

/// What is mapped on: an entry as it would be in a table of the smallest pages, and its node.
#[derive(Clone, Copy)]
struct Source<E> {
    entry: E,
    node: NodeIndex,
    /// Where it stands, if it can be granted: not a part of a superpage, and not sigma0's.
    own: Option<(TaskIndex, Place, Spot<E>)>,
}

/// Where it is to be entered.
#[derive(Clone, Copy)]
struct Target<E> {
    task: TaskIndex,
    place: Place,
    spot: Spot<E>,
}

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
        let plain = from.progress.is_none()
            && flexpage.kind() == FlexpageKind::Memory
            && flexpage.order() == PAGE_ORDER
            && !item.grant
            && flexpage.address() < MAPPABLE_END
            && destination == to.fault.address & !low_mask(PAGE_ORDER);
        if !plain {
            return false;
        }
        let address = flexpage.address();
        let space = &self.tasks[source_task].space;
        let Some(spot) = space.spot(&mut self.machine, Pages::Memory, address) else {
            return false;
        };
        let found = spot.entry(&mut self.machine);
        let found = if found.is_superpage() { page_of_superpage(found, address) } else { found };
        let Some(new) = found.restricted(flexpage.rights()) else { return false };
        let Some(parent) = spot.node(&mut self.machine) else { return false };
        let space = &self.tasks[task].space;
        let table = match space.directory_entry(&mut self.machine, Pages::Memory, destination) {
            DirectoryEntry::Table(table) => table,
            _ => return false,
        };
        let spot = Spot::<Entry>::new(table, table_index(destination));
        let is_free = !spot.entry(&mut self.machine).is_present();
        if !is_free || !suffices(new.rights(), to.fault.access) {
            return false;
        }
        let factory = &mut self.factories[self.tasks[task].factory];
        let Some(node) = database::take_node(&mut self.machine, factory) else { return false };
        let place = Place::new(Resource::Memory, (destination >> PAGE_ORDER) as u32, false);
        let mapping = NewMapping { task: to.record.task, place };
        if !database::insert_child(&mut self.machine, parent, node, mapping) {
            database::free_node(&mut self.machine, factory, node);
            return false;
        }
        spot.set_node(&mut self.machine, node.into());
        spot.set_entry(&mut self.machine, new);
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
            let Outcome { destination, order, rights, .. } = progress.outcome;
            let arrived = match item.flexpage.kind() {
                FlexpageKind::Capability => Flexpage::capabilities(destination, order, rights),
                FlexpageKind::IoPorts => Flexpage::ports(destination, order, rights),
                _ => Flexpage::memory(destination, order, rights),
            };
            let word = tag.words() + 2 * progress.number;
            let send_base = arrived.0 & !low_mask(PAGE_ORDER);
            let words = MapItem { send_base, grant: item.grant, flexpage: arrived }.to_words();
            self.utcb(receiver).message[word..word + 2].copy_from_slice(&words);
            progress.next();
        }
        self.end_stretch();
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
            MapStatus::NoMemory | MapStatus::TooDeep => Err(IpcError::MapFailed.into()),
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
        let result = match kind {
            Resource::Memory => self.map_pages(progress, from, to, Pages::Memory, item, placement),
            Resource::Ports => self.map_pages(progress, from, to, Pages::Ports, item, placement),
            _ => self.map_capabilities(progress, from, to, item, placement),
        };
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

    fn map_pages(
        &mut self,
        progress: &mut Progress,
        from: TaskIndex,
        to: TaskIndex,
        pages: Pages,
        item: MapItem,
        placement: Placement,
    ) -> Result<(), NotEntered> {
        while progress.done < placement.size() {
            self.spend(1)?;
            let source = placement.source + progress.done;
            let destination = placement.destination + progress.done;
            if is_kernels(pages, source.max(destination)) {
                break;
            }
            if from == TaskIndex::SIGMA0 {
                self.fabricate(pages, source)?;
            }
            let Some(spot) = self.tasks[from].space.directory_spot(pages, source) else { break };
            let run = Run { from, to, pages, placement, item, spot };
            match DirectoryEntry::from(spot.entry(&mut self.machine)) {
                DirectoryEntry::Empty => {
                    progress.done = (progress.done | low_mask(TABLE_ORDER)) + 1;
                }
                DirectoryEntry::Superpage(entry)
                    if placement.order >= TABLE_ORDER
                        && self.takes_superpage(&run, destination) =>
                {
                    self.map_superpage(progress, &run, entry)?;
                }
                found => self.map_small_pages(progress, &run, found)?,
            }
        }
        Ok(())
    }

    /// Whether a superpage can be entered: there is no page table in its place.
    fn takes_superpage(&mut self, run: &Run, destination: Word) -> bool {
        let space = &self.tasks[run.to].space;
        let entry = space.directory_entry(&mut self.machine, run.pages, destination);
        !matches!(entry, DirectoryEntry::Table(_))
    }

    fn map_superpage(
        &mut self,
        progress: &mut Progress,
        run: &Run,
        entry: Entry,
    ) -> Result<(), NotEntered> {
        let (source, destination) = run.addresses(progress.done);
        if run.pages == Pages::Ports {
            self.need_port_directory(run.to)?;
        }
        let target = self.tasks[run.to].space.directory_spot(run.pages, destination);
        if let (Some(node), Some(spot)) = (run.spot.node(&mut self.machine), target) {
            let own = run.own(run.place(source, true), run.spot);
            let source = Source { entry, node, own };
            let target = Target { task: run.to, place: run.place(destination, true), spot };
            self.enter(progress, source, target, run.item)?;
        }
        progress.done += 1 << TABLE_ORDER;
        Ok(())
    }

    /// Maps the small pages that lie in one directory entry on both sides: of a table, or parts of
    /// a superpage.
    fn map_small_pages(
        &mut self,
        progress: &mut Progress,
        run: &Run,
        found: DirectoryEntry,
    ) -> Result<(), NotEntered> {
        let (source, destination) = run.addresses(progress.done);
        let Some(first) = self.source_page(run, found, source) else {
            progress.done += PAGE_SIZE;
            return Ok(());
        };
        let space = &self.tasks[run.to].space;
        let table = match space.directory_entry(&mut self.machine, run.pages, destination) {
            DirectoryEntry::Table(table) => table,
            DirectoryEntry::Empty => self.add_table(run.to, run.pages, destination)?,
            DirectoryEntry::Superpage(old) => {
                return self.map_over_superpage(progress, run, first, old);
            }
        };
        let left = (run.placement.size() - progress.done) >> PAGE_ORDER;
        let in_source = TABLE_ENTRIES - table_index(source);
        let in_target = TABLE_ENTRIES - table_index(destination);
        for _ in 0..left.min(in_source).min(in_target) {
            let (source, destination) = run.addresses(progress.done);
            if is_kernels(run.pages, source.max(destination)) {
                break;
            }
            self.spend(ENTER_STEPS)?;
            match self.source_page(run, found, source) {
                Some(source) => {
                    let place = run.place(destination, false);
                    let spot = Spot::new(table, table_index(destination));
                    let target = Target { task: run.to, place, spot };
                    self.enter(progress, source, target, run.item)?;
                }
                // It may only have to be made.
                None if run.from == TaskIndex::SIGMA0 => break,
                None => {}
            }
            progress.done += PAGE_SIZE;
        }
        Ok(())
    }

    /// The smallest page at `address` of the sender, if there is one that can be mapped on.
    #[inline(always)]
    fn source_page(
        &mut self,
        run: &Run,
        found: DirectoryEntry,
        address: Word,
    ) -> Option<Source<Entry>> {
        match found {
            DirectoryEntry::Table(table) => {
                let spot = Spot::<Entry>::new(table, table_index(address));
                let entry = spot.entry(&mut self.machine);
                let node = spot.node(&mut self.machine)?;
                Some(Source { entry, node, own: run.own(run.place(address, false), spot) })
            }
            DirectoryEntry::Superpage(entry) => {
                let node = run.spot.node(&mut self.machine)?;
                Some(Source { entry: page_of_superpage(entry, address), node, own: None })
            }
            DirectoryEntry::Empty => None,
        }
    }

    /// A small page where the receiver has a superpage: if that is not of the same frame, or has
    /// not all the rights, it is unmapped first.
    #[cold]
    fn map_over_superpage(
        &mut self,
        progress: &mut Progress,
        run: &Run,
        source: Source<Entry>,
        old: Entry,
    ) -> Result<(), NotEntered> {
        let (_, destination) = run.addresses(progress.done);
        let piece = page_of_superpage(old, destination);
        let allowed = source.entry.rights() & run.item.flexpage.rights();
        let readable = allowed.contains(Rights::READ);
        if readable && !(piece.is_same(source.entry) && piece.rights().contains(allowed)) {
            let spot = self.tasks[run.to].space.directory_spot(run.pages, destination);
            let node = spot.and_then(|spot| spot.node(&mut self.machine));
            if let Some(node) = node {
                self.unmap_tree(progress, node, Effect::REMOVE, true)?;
                return Ok(());
            }
        }
        if readable {
            progress.outcome.note(piece);
        }
        progress.done += PAGE_SIZE;
        Ok(())
    }

    #[cold]
    fn map_capabilities(
        &mut self,
        progress: &mut Progress,
        from: TaskIndex,
        to: TaskIndex,
        item: MapItem,
        placement: Placement,
    ) -> Result<(), NotEntered> {
        while progress.done < placement.size() {
            self.spend(ENTER_STEPS)?;
            let source = CapabilityIndex((placement.source + progress.done) >> PAGE_ORDER);
            let target = CapabilityIndex((placement.destination + progress.done) >> PAGE_ORDER);
            let found = self.tasks[from].capabilities.spot(source).filter(|_| target.0 != 0);
            if let Some(spot) = found
                && let Some(node) = spot.node(&mut self.machine)
            {
                let entry = spot.entry(&mut self.machine);
                let own = Some((from, capability_place(source), spot)).filter(|_| item.grant);
                let spot = self.capability_spot(to, target)?;
                let target = Target { task: to, place: capability_place(target), spot };
                self.enter(progress, Source { entry, node, own }, target, item)?;
            }
            progress.done += PAGE_SIZE;
        }
        Ok(())
    }

    /// Enters one mapping by the rules of map and grant, the same for all resources.
    #[inline(always)]
    fn enter<E: Mapping>(
        &mut self,
        progress: &mut Progress,
        source: Source<E>,
        target: Target<E>,
        item: MapItem,
    ) -> Result<(), NotEntered> {
        let allowed = source.entry.rights() & item.flexpage.rights();
        if !allowed.contains(Rights::READ) {
            return Ok(());
        }
        let old = target.spot.entry(&mut self.machine);
        let entered = if old.is_present() || source.own.is_some() {
            self.enter_with_care(progress, source, target, allowed, old)?
        } else {
            self.derive(source, target, allowed)?
        };
        progress.outcome.note(entered);
        Ok(())
    }

    /// A new child of the sender's mapping.
    #[inline(always)]
    fn derive<E: Mapping>(
        &mut self,
        source: Source<E>,
        target: Target<E>,
        allowed: Rights,
    ) -> Result<E, NotEntered> {
        let factory = self.tasks[target.task].factory;
        let node = self.allocate_node(factory)?;
        let mapping = NewMapping { task: target.task.position(), place: target.place };
        if !database::insert_child(&mut self.machine, source.node, node, mapping) {
            database::free_node(&mut self.machine, &mut self.factories[factory], node);
            return Err(NotEntered::TooDeep);
        }
        let entry = source.entry.derived(allowed);
        target.spot.set_node(&mut self.machine, node.into());
        target.spot.set_entry(&mut self.machine, entry);
        Ok(entry)
    }

    /// Enters a mapping where there is one already, or by grant.
    #[cold]
    #[inline(never)]
    fn enter_with_care<E: Mapping>(
        &mut self,
        progress: &mut Progress,
        source: Source<E>,
        target: Target<E>,
        allowed: Rights,
        old: E,
    ) -> Result<E, NotEntered> {
        if !database::can_have_children(&mut self.machine, source.node) && source.own.is_none() {
            return Err(NotEntered::TooDeep);
        }
        if let Some(node) = target.spot.node(&mut self.machine) {
            if old.is_same(source.entry) {
                return self.enter_over_same(progress, source, target, allowed, (old, node));
            }
            self.unmap_tree(progress, node, Effect::REMOVE, true)?;
        }
        match source.own {
            Some(own) => self.move_mapping(progress, source, own, target, allowed),
            None => self.derive(source, target, allowed),
        }
    }

    /// The receiver has the same frame, port or object there already: its rights may grow.
    fn enter_over_same<E: Mapping>(
        &mut self,
        progress: &mut Progress,
        source: Source<E>,
        target: Target<E>,
        allowed: Rights,
        (old, node): (E, NodeIndex),
    ) -> Result<E, NotEntered> {
        if old.rights().contains(allowed) {
            return Ok(old);
        }
        let rights = if database::is_child_of(&mut self.machine, node, source.node) {
            old.rights() | allowed
        } else if database::has_children(&mut self.machine, node) {
            self.unmap_tree(progress, node, Effect::REMOVE, true)?;
            return self.derive(source, target, allowed);
        } else {
            // Nothing hangs on it: it can become the sender's child.
            let mapping = NewMapping { task: target.task.position(), place: target.place };
            database::unlink(&mut self.machine, node);
            database::insert_child(&mut self.machine, source.node, node, mapping);
            (old.rights() | allowed) & source.entry.rights()
        };
        let entry = old.with_rights(rights);
        target.spot.set_entry(&mut self.machine, entry);
        self.entry_changed(target.task, target.place);
        Ok(entry)
    }

    /// Grant: the mapping itself changes hands; what was derived from it stays (lecture, "aliases
    /// remain").
    fn move_mapping<E: Mapping>(
        &mut self,
        progress: &mut Progress,
        source: Source<E>,
        (from, place, spot): (TaskIndex, Place, Spot<E>),
        target: Target<E>,
        allowed: Rights,
    ) -> Result<E, NotEntered> {
        let take = source.entry.rights() - allowed;
        if !take.is_empty() {
            self.unmap_tree(progress, source.node, Effect { take, frames: None }, false)?;
        }
        let (giver, taker) = (self.tasks[from].factory, self.tasks[target.task].factory);
        let mut node = source.node;
        if giver != taker {
            // Each factory keeps its own nodes.
            node = self.allocate_node(taker)?;
            database::replace(&mut self.machine, source.node, node);
            database::free_node(&mut self.machine, &mut self.factories[giver], source.node);
        }
        let moved = self.machine.node(node);
        moved.task = target.task.position();
        moved.place = target.place.granted();
        spot.set_node(&mut self.machine, MaybeNode::NONE);
        spot.set_entry(&mut self.machine, E::EMPTY);
        self.entry_changed(from, place);
        let entry = source.entry.with_rights(allowed);
        target.spot.set_node(&mut self.machine, node.into());
        target.spot.set_entry(&mut self.machine, entry);
        Ok(entry)
    }

    /// A page table where there is nothing yet.
    #[cold]
    pub(crate) fn add_table(
        &mut self,
        task: TaskIndex,
        pages: Pages,
        address: Word,
    ) -> Result<TableFrame, NoMemory> {
        if pages == Pages::Ports {
            self.need_port_directory(task)?;
        }
        let table = self.allocate_table(self.tasks[task].factory)?;
        if let Some(spot) = self.tasks[task].space.directory_spot(pages, address) {
            spot.set_entry(&mut self.machine, Entry::table(table.entries()));
        }
        Ok(table)
    }

    pub(crate) fn need_port_directory(&mut self, task: TaskIndex) -> Result<(), NoMemory> {
        if self.tasks[task].space.port_directory().is_none() {
            let directory = self.allocate_table(self.tasks[task].factory)?;
            let task = &mut self.tasks[task];
            task.space.set_port_directory(directory);
            task.record.port_directory = directory.entries().address().0;
        }
        Ok(())
    }

    /// Where a capability stands in a task's table, which grows if it must.
    fn capability_spot(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
    ) -> Result<Spot<Slot>, NoMemory> {
        if let Some(spot) = self.tasks[task].capabilities.spot(index) {
            return Ok(spot);
        }
        let frame = self.allocate_table(self.tasks[task].factory)?;
        let task = &mut self.tasks[task];
        let number = task.capabilities.add_frame(index, frame);
        if let Some(address) = task.record.capability_table.get_mut(number) {
            *address = frame.entries().address().0;
        }
        task.capabilities.spot(index).ok_or(NoMemory)
    }

    /// Puts the first capability to a new object, or to one of the kernel's own, into an empty slot.
    pub(crate) fn give(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
        capability: Capability,
    ) -> Result<(), NoMemory> {
        let spot = self.capability_spot(task, index)?;
        let node = self.allocate_node(self.tasks[task].factory)?;
        let mapping = NewMapping { task: task.position(), place: capability_place(index) };
        database::make_root(&mut self.machine, node, mapping);
        spot.set_node(&mut self.machine, node.into());
        spot.set_entry(&mut self.machine, capability.into());
        Ok(())
    }
}

/// What one item of memory or ports is about.
struct Run {
    from: TaskIndex,
    to: TaskIndex,
    pages: Pages,
    placement: Placement,
    item: MapItem,
    /// The sender's directory entry that is looked at.
    spot: Spot<Entry>,
}

impl Run {
    /// Source and destination when `done` bytes are done.
    #[inline(always)]
    fn addresses(&self, done: Word) -> (Word, Word) {
        (self.placement.source + done, self.placement.destination + done)
    }

    #[inline(always)]
    fn place(&self, address: Word, superpage: bool) -> Place {
        Place::new(self.pages.resource(), (address >> PAGE_ORDER) as u32, superpage)
    }

    /// What a grant would move: nothing of sigma0's, which keeps all that it ever had.
    #[inline(always)]
    fn own(&self, place: Place, spot: Spot<Entry>) -> Option<(TaskIndex, Place, Spot<Entry>)> {
        let moves = self.item.grant && self.from != TaskIndex::SIGMA0;
        moves.then_some((self.from, place, spot))
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

    /// Notes a mapping that was entered.
    #[inline(always)]
    fn note(&mut self, entry: impl Mapping) {
        if self.entries == 0 {
            self.physical = entry.physical();
            self.rights = entry.rights();
        }
        self.entries += 1;
    }
}

/// Whether a page is one of those that the kernel has put into every task.
#[inline(always)]
fn is_kernels(pages: Pages, address: Word) -> bool {
    pages == Pages::Memory && address >= MAPPABLE_END
}

fn capability_place(index: CapabilityIndex) -> Place {
    Place::new(Resource::Capability, index.0 as u32, false)
}

/// What an item is about, and its place; ports and capabilities are counted as pages.
fn place(item: MapItem, window: Flexpage) -> Option<(Resource, Placement)> {
    let (resource, area, window, end): (_, Area, Area, Word) = match item.flexpage.kind() {
        FlexpageKind::Memory => {
            let area = item.flexpage.memory_area()?;
            (Resource::Memory, area, window.memory_area()?, USER_END)
        }
        FlexpageKind::IoPorts => {
            let area = item.flexpage.port_area()?;
            (Resource::Ports, area, window.port_area()?, IO_PORTS << PAGE_ORDER)
        }
        FlexpageKind::Capability => {
            let area = item.flexpage.capability_area()?;
            let end = CAPABILITY_TABLE_SIZE << PAGE_ORDER;
            (Resource::Capability, area, window.capability_area()?, end)
        }
        FlexpageKind::Special => return None,
    };
    let placement = area.place(item.send_base, window)?;
    let fits = placement.destination + placement.size() <= end;
    fits.then_some((resource, placement))
}

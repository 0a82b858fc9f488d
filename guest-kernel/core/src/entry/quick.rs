//! The quick paths: what is asked for most often, if nothing is special about it.
//!
//! Each first looks at all that it needs, and changes nothing until it is sure. Then it does all of it and
//! says so. Or it returns `None`, having done nothing, and the general way begins anew. So whatever is
//! done here is done there too, and a test holds both against each other.

use crate::{
    arch::{Entry, Restriction},
    mapping::{
        capability::Slot,
        database::{self, NewMapping, Stock},
        item::suffices,
        mappings::Mappings,
        space::{DirectoryEntry, Spot, page_of_superpage, table_index},
        walk::Tally,
    },
    memory::{
        index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        node::{MaybeNode, NodeIndex},
        utcb::UtcbReference,
    },
    threads::{
        kernel::Kernel,
        state::{Question, State},
        thread::Thread,
        trace::Unmapping,
    },
};
use core::ops::RangeInclusive;
use protocol::{
    PAGE_ORDER, Word,
    fault::{Access, PageFault},
    flexpage::{Flexpage, Kind as FlexpageKind, Rights, align_down, low_mask},
    introspection::{
        mapping::{MappingNode, Place, Resource},
        record::{Fault, Kind, Map, MapStatus, Resolve, set_by_words},
    },
    layout::{MAPPABLE_END, MAPPABLE_START, USER_END},
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, debugger::Null, task::Unmap},
    syscall::{CAPABILITY_SHIFT, Operation, Timeouts},
    utcb::MESSAGE_REGISTERS,
};

/// Bits of a tag that ask for more than words: flags and items.
const SPECIAL: Word = 0xf << 12 | ITEMS;
const ITEMS: Word = 0x3f << 6;
pub(crate) const ONE_ITEM: MessageTag = MessageTag::new(0, 0, 1);

/// [`Unmap`] of one flexpage.
pub(crate) const UNMAP: MessageTag = MessageTag::new(label::TASK, 4, 0);

/// Tags of messages of words for the object that does nothing.
const NOTHING: RangeInclusive<Word> = MessageTag::new(label::DEBUGGER, 1, 0).0
    ..=MessageTag::new(label::DEBUGGER, MESSAGE_REGISTERS, 0).0;

const OPERATION_MASK: Word = 0xf;

/// Binary logarithm of 1 GiB, of which the user area has a whole number.
const GIBIBYTE_ORDER: u32 = 30;

const _: () = assert!(USER_END.is_multiple_of(1 << GIBIBYTE_ORDER));

impl<M: Machine> Kernel<M> {
    /// A system call of the current thread without items. The thread that goes on, which is the current one
    /// then; `None`: nothing was done.
    pub(crate) fn quick_system_call(&mut self, target: Word, tag: Word) -> Option<&mut Thread> {
        if is_special(tag) {
            return None;
        }
        if target == Operation::REPLY_AND_WAIT.0 {
            return self.quick_answer(MessageTag(tag));
        }
        if operation(target) == Operation::CALL {
            let index = CapabilityIndex(target >> CAPABILITY_SHIFT);
            return self.quick_call(index, MessageTag(tag), |_| {});
        }
        None
    }

    /// A system call of the current thread whose message [has one item](has_one_item).
    pub(crate) fn quick_system_call_with_item(
        &mut self,
        target: Word,
        tag: Word,
    ) -> Option<&mut Thread> {
        if target == Operation::REPLY_AND_WAIT.0 {
            return self.quick_answer_with_item(MessageTag(tag));
        }
        if operation(target) == Operation::CALL {
            let index = CapabilityIndex(target >> CAPABILITY_SHIFT);
            return self.quick_call_with_item(index, MessageTag(tag));
        }
        None
    }

    /// A page fault whose pager waits for it.
    pub(crate) fn quick_page_fault(
        &mut self,
        address: Word,
        access: Access,
    ) -> Option<&mut Thread> {
        let time = self.mappings.machine.time();
        let faulter = self.current.expected();
        let from = &self.threads[faulter];
        if address >= MAPPABLE_END || address == from.fault.address {
            return None;
        }
        let gate = self.quick_slot(from.pager(), faulter)?.gate()?;
        let gate = &self.gates[gate];
        let pager = gate.thread();
        let mut threads = self.threads.all();
        // Whom a gate leads to that leads nowhere is beyond the table, too.
        let to = threads.get(pager)?;
        if !to.takes_calls() || self.ready.has_above(to.priority()) {
            return None;
        }
        let to = &mut threads[pager];
        to.take_call(faulter, PageFault::TAG, gate.label());
        let utcb = to.utcb;
        let number = self.faults + 1;
        self.faults = number;
        self.current = pager.into();
        let from = &mut threads[faulter];
        from.enter(State::Awaiting { answer_to: Question::PageFault, of: Some(pager) });
        let instruction = from.context.instruction();
        let [first, second] = PageFault { address, instruction, access }.to_words();
        let fault = &mut from.fault;
        fault.number = number;
        fault.address = address;
        fault.access = access;
        fault.instruction = instruction;
        fault.repeated = 0;
        fault.message = [first, second];
        let machine = &mut self.mappings.machine;
        let registers = &mut machine.utcb(utcb).message;
        (registers[0], registers[1]) = (first, second);
        if machine.enabled_records() != 0 {
            if machine.records(Kind::Fault) {
                let asked = threads[pager].ids;
                let from = &mut threads[faulter];
                let record = machine.begin_record();
                set_by_words!(
                    record,
                    time,
                    from.head,
                    Fault {
                        access,
                        address: address as u64,
                        instruction: instruction as u64,
                        pager: asked,
                        owed: from.caller.raw(),
                        number,
                        stack: from.context.stack() as u64,
                    }
                );
                machine.end_record();
            }
            threads[faulter].fault.delivered = machine.time();
        }
        Some(threads.only(pager))
    }

    /// The slot at an index of the thread's task, if it is among its first capabilities.
    pub(super) fn quick_slot(
        &mut self,
        index: CapabilityIndex,
        thread: ThreadIndex,
    ) -> Option<Slot> {
        let task = self.task_of(thread);
        self.mappings.tasks[task].capabilities.first_slot(&mut self.mappings.machine, index)
    }

    /// A call without items: to a thread that waits for it, or of the object that does nothing. Who waits for an
    /// answer then is told to `limit`.
    // It has two callers, and no room for a call.
    #[inline(always)]
    fn quick_call(
        &mut self,
        index: CapabilityIndex,
        tag: MessageTag,
        limit: impl FnOnce(&mut Thread),
    ) -> Option<&mut Thread> {
        let caller = self.current.expected();
        let slot = self.quick_slot(index, caller)?;
        let Some(gate) = slot.gate() else { return self.quick_nothing(caller, slot, tag) };
        let gate = &self.gates[gate];
        let receiver = gate.thread();
        let mut threads = self.threads.all();
        let (from, to) = (&threads[caller], threads.get(receiver)?);
        let machine = &mut self.mappings.machine;
        if !to.takes_calls()
            || from.undertaking.is_some()
            || self.ready.has_above(to.priority())
            || machine.records(Kind::Message)
        {
            return None;
        }
        if tag.words() != 0 {
            machine.copy_message(from.utcb, to.utcb, tag.words());
        }
        let from = &mut threads[caller];
        from.enter(State::Awaiting { answer_to: Question::Call, of: Some(receiver) });
        limit(from);
        let to = threads.only(receiver);
        to.take_call(caller, tag, gate.label());
        self.current = receiver.into();
        Some(to)
    }

    /// A call without items that may not wait for its answer as long as it takes. The caller has an alarm
    /// already.
    pub(crate) fn quick_timed_call(
        &mut self,
        index: CapabilityIndex,
        tag: MessageTag,
        timeouts: Timeouts,
    ) -> Option<&mut Thread> {
        let caller = self.current.expected();
        if self.threads[caller].alarm_covers as Word != timeouts.0 {
            self.note_cover(caller, timeouts)?;
        }
        let since = self.mappings.machine.time();
        self.quick_call(index, tag, |caller| caller.wait_within(timeouts.receive(), since))
    }

    /// The operation that does nothing.
    fn quick_nothing(
        &mut self,
        caller: ThreadIndex,
        slot: Slot,
        tag: MessageTag,
    ) -> Option<&mut Thread> {
        if slot.protocol() != label::DEBUGGER || !NOTHING.contains(&tag.0) {
            return None;
        }
        let thread = &mut self.threads[caller];
        if self.mappings.machine.utcb(thread.utcb).message[0] != Null::NUMBER {
            return None;
        }
        thread.context.set_result(MessageTag::default(), 0);
        Some(thread)
    }

    /// An answer without items to a call, by a server for which nobody waits.
    fn quick_answer(&mut self, tag: MessageTag) -> Option<&mut Thread> {
        let server = self.current.expected();
        let mut threads = self.threads.all();
        let from = &threads[server];
        // Nobody is beyond the table.
        let caller = from.caller.expected();
        let to = threads.get(caller)?;
        let machine = &mut self.mappings.machine;
        if !to.awaits(Question::Call, Some(server))
            || !from.has_nothing_to_take()
            || from.undertaking.is_some()
            || self.ready.has_above(to.priority())
            || machine.records(Kind::Message)
        {
            return None;
        }
        if tag.words() != 0 {
            machine.copy_message(from.utcb, to.utcb, tag.words());
        }
        threads[server].wait_after_answer();
        let to = threads.only(caller);
        to.take_answer(tag);
        self.current = caller.into();
        Some(to)
    }

    /// A pager's answer with nothing but one page that allows what had faulted.
    pub(crate) fn quick_answer_to_fault(&mut self) -> Option<&mut Thread> {
        let is_traced = self.mappings.machine.records(Kind::Resolve);
        let replied = if is_traced { self.mappings.machine.time() } else { 0 };
        let pager = self.current.expected();
        let mut threads = self.threads.all();
        let from = &threads[pager];
        // Nobody is beyond the table.
        let faulter = from.caller.expected();
        let to = threads.get(faulter)?;
        let item = one_page(&mut self.mappings.machine, from.utcb, 0)?;
        let number = to.fault.address >> PAGE_ORDER;
        if !to.awaits(Question::PageFault, Some(pager))
            || !from.has_nothing_to_take()
            || from.undertaking.is_some()
            || self.ready.has_above(to.priority())
            || item.send_base >> PAGE_ORDER != number
        {
            return None;
        }
        let [source, target] = [from.record.task, to.record.task].map(TaskIndex::from_position);
        let page = self.mappings.new_page((source, item.flexpage, target, number))?;
        let entry = page.entry;
        if !suffices(entry.rights(), to.fault.access) {
            return None;
        }
        self.mappings.enter_page(page);
        let from = &mut threads[pager];
        from.wait_after_answer();
        let answerer = from.ids;
        let to = threads.only(faulter);
        to.enter(State::Ready);
        to.fault.repeated = 0;
        self.current = faulter.into();
        let machine = &mut self.mappings.machine;
        if machine.records(Kind::Resolve) {
            let time = machine.time();
            let record = machine.begin_record();
            set_by_words!(
                record,
                time,
                to.head,
                Resolve {
                    rights: entry.rights(),
                    delivered: to.fault.delivered,
                    sent: item.flexpage,
                    destination: (number << PAGE_ORDER) as u32,
                    physical: entry.physical().0,
                    number: to.fault.number,
                    by: answerer,
                    answer_ticks: (time - replied) as u32,
                }
            );
            machine.end_record();
        }
        Some(to)
    }

    /// An answer to a call with one item: a page that arrives where nothing was.
    fn quick_answer_with_item(&mut self, tag: MessageTag) -> Option<&mut Thread> {
        let server = self.current.expected();
        let from = &self.threads[server];
        let caller = from.caller.get()?;
        let to = &self.threads[caller];
        if !to.awaits(Question::Call, Some(server))
            || !from.has_nothing_to_take()
            || from.undertaking.is_some()
            || self.ready.has_above(to.priority())
            || self.mappings.machine.records(Kind::Message)
        {
            return None;
        }
        self.transfer_one_page(server, caller, tag)?;
        self.threads[server].wait_after_answer();
        self.current = caller.into();
        let to = &mut self.threads[caller];
        to.take_answer(tag);
        Some(to)
    }

    /// A call with one item: a page that arrives where nothing was.
    fn quick_call_with_item(
        &mut self,
        index: CapabilityIndex,
        tag: MessageTag,
    ) -> Option<&mut Thread> {
        let caller = self.current.expected();
        let gate = self.quick_slot(index, caller)?.gate()?;
        let gate = self.gates[gate];
        let (from, to) = self.threads.pair(caller, gate.thread())?;
        if !to.takes_calls()
            || from.undertaking.is_some()
            || self.ready.has_above(to.priority())
            || self.mappings.machine.records(Kind::Message)
        {
            return None;
        }
        self.transfer_one_page(caller, gate.thread(), tag)?;
        let (from, to) = self.threads.pair(caller, gate.thread())?;
        from.enter(State::Awaiting { answer_to: Question::Call, of: Some(gate.thread()) });
        to.take_call(caller, tag, gate.label());
        self.current = gate.thread().into();
        Some(to)
    }

    /// The words of a message and its one item: a page that is mapped where nothing was, in a receive
    /// window of at most 1 GiB.
    #[inline(always)]
    fn transfer_one_page(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        tag: MessageTag,
    ) -> Option<()> {
        let (from, to) = (&self.threads[sender], &self.threads[receiver]);
        let [source, target] =
            [from, to].map(|thread| TaskIndex::from_position(thread.record.task));
        let (from, to) = (from.utcb, to.utcb);
        // Nothing can be mapped into sigma0; it waits for no pager either.
        if target == TaskIndex::SIGMA0 {
            return None;
        }
        let (words, machine) = (tag.words(), &mut self.mappings.machine);
        let item = one_page(machine, from, words)?;
        let window = Flexpage(machine.utcb(to).buffer[0]);
        let order = window.order();
        let is_plain =
            window.kind() == FlexpageKind::Memory && (PAGE_ORDER..=GIBIBYTE_ORDER).contains(&order);
        if !is_plain {
            return None;
        }
        let inside = align_down(item.send_base & low_mask(order), PAGE_ORDER);
        let destination = align_down(window.address(), order) | inside;
        let pages = (source, item.flexpage, target, destination >> PAGE_ORDER);
        let page = self.mappings.new_page(pages)?;
        let entry = page.entry;
        self.mappings.enter_page(page);
        let machine = &mut self.mappings.machine;
        machine.copy_message(from, to, words);
        let arrived = Flexpage::memory(destination, PAGE_ORDER, entry.rights());
        if let Some(place) = machine.utcb(to).message.get_mut(words..words + 2) {
            place.copy_from_slice(&MapItem::map(destination, arrived).to_words());
        }
        if machine.records(Kind::Map) {
            let (from, to) = (&self.threads[sender], &self.threads[receiver]);
            let time = machine.time();
            let record = machine.begin_record();
            set_by_words!(
                record,
                time,
                to.head,
                Map {
                    status: MapStatus::Done,
                    grant: false,
                    rights: entry.rights(),
                    order: PAGE_ORDER as u8,
                    window: order as u8,
                    destination: destination as u32,
                    source: item.flexpage.address() as u32,
                    sent: item.flexpage,
                    physical: entry.physical().0,
                    fault: 0,
                    sender: from.ids,
                    entries: 1,
                }
            );
            machine.end_record();
        }
        Some(())
    }

    /// [`Unmap`] of all of one page of memory from which little was derived, by a call with [`UNMAP`].
    pub(crate) fn quick_unmap(&mut self, index: CapabilityIndex) -> Option<&mut Thread> {
        let invoker = self.current.expected();
        let thread = &self.threads[invoker];
        let [operation, rights, count, flexpage, ..] =
            self.mappings.machine.utcb(thread.utcb).message;
        let flexpage = Flexpage(flexpage);
        // Often it is a capability that goes.
        if !flexpage.is_one_page() {
            return self.quick_end(index);
        }
        let task = self.quick_slot(index, invoker)?.modifiable_task()?;
        let thread = &self.threads[invoker];
        let is_plain = (operation, count) == (Unmap::NUMBER, 1)
            && rights & Word::from(Rights::READ.bits()) != 0
            && flexpage.address() < MAPPABLE_END
            && thread.undertaking.is_none();
        if !is_plain {
            return None;
        }
        let own = rights & Unmap::OWN_TOO != 0 && task != TaskIndex::SIGMA0;
        let tally = self.mappings.unmap_one_page(task, flexpage.address(), own)?;
        let invoker_utcb = self.threads[invoker].utcb;
        self.mappings.machine.utcb(invoker_utcb).message[3] |= tally.usage_bits();
        if self.traces(Kind::Unmap) {
            let take = Rights::from_bits_truncate(rights as u8);
            let flexpage = flexpage.with_rights(Rights::empty());
            let ids = self.threads[invoker].ids;
            self.record_unmap(Unmapping { task, flexpage, take, own, tally }, ids, None);
        }
        let thread = &mut self.threads[invoker];
        thread.context.set_result(MessageTag::new(0, 4, 0), 0);
        Some(thread)
    }
}

/// A page that can be entered, where nothing is.
struct NewPage {
    target: Spot<Entry>,
    entry: Entry,
    parent: NodeIndex,
    depth: u16,
    mapping: NewMapping,
    /// Who pays for its node, and has one.
    factory: FactoryIndex,
}

impl<M: Machine> Mappings<M> {
    /// A page of a flexpage of a task's, as it would arrive in another one at the page of a number.
    #[inline(always)]
    fn new_page(
        &mut self,
        (from, flexpage, to, number): (TaskIndex, Flexpage, TaskIndex, Word),
    ) -> Option<NewPage> {
        if !(MAPPABLE_START >> PAGE_ORDER..MAPPABLE_END >> PAGE_ORDER).contains(&number) {
            return None;
        }
        let (machine, address) = (&mut self.machine, flexpage.address());
        let receiver = &self.tasks[to];
        let target = receiver.space.small_spot(machine, number << PAGE_ORDER)?;
        // Who has begun to take something away comes first. One comparison is enough for both.
        if u16::from(target.entry(machine).is_present()) | self.interrupted_walks != 0 {
            return None;
        }
        let directory = self.tasks[from].space.any_directory_spot(address)?;
        let (spot, found) = match DirectoryEntry::from(directory.entry(machine)) {
            DirectoryEntry::Empty => return None,
            DirectoryEntry::Superpage(entry) => (directory, page_of_superpage(entry, address)),
            DirectoryEntry::Table(table) => {
                let spot = Spot::<Entry>::new(table, table_index(address));
                (spot, spot.entry(machine))
            }
        };
        // Only what is present, and mapped by a task, has a node.
        let parent = spot.node(machine)?;
        let entry = Restriction::to(flexpage.rights())?.of(found);
        let depth = database::depth_below(machine, parent)?;
        let factory = receiver.factory;
        Stock::of(&self.factories[factory]).first()?;
        let place = Place::new(Resource::Memory, number as u32, false);
        let mapping = NewMapping { task: to.position(), place };
        Some(NewPage { target, entry, parent, depth, mapping, factory })
    }

    /// Enters it.
    #[inline(always)]
    fn enter_page(&mut self, page: NewPage) {
        let NewPage { target, entry, parent, depth, mapping, factory } = page;
        let machine = &mut self.machine;
        let Some(node) = database::take_node(machine, &mut self.factories[factory]) else { return };
        database::insert_behind(machine, parent, node, depth, mapping);
        target.set_node(machine, node.into());
        target.set_entry(machine, entry);
    }

    /// Takes away what was derived from a task's page, if that is little, and the page itself if it is to
    /// go too.
    fn unmap_one_page(&mut self, task: TaskIndex, address: Word, own: bool) -> Option<Tally> {
        let spot = self.small_page(task, address >> PAGE_ORDER)?;
        let node = spot.node(&mut self.machine)?;
        let mut tally = Tally::default();
        match database::last_or_leaf(&mut self.machine, node).map(MaybeNode::get) {
            Some(None) => {}
            Some(Some(child)) => {
                let MappingNode { task, place, .. } = *self.machine.node(child);
                let (task, number) = (TaskIndex::from_position(task), place.number() as Word);
                let spot = self.small_page(task, number)?;
                self.remove_page(&mut tally, child, task, spot);
            }
            None => tally = self.take_few(node)?,
        }
        if own {
            self.remove(&mut tally, node);
        }
        Some(tally)
    }
}

/// Whether a message has one item, and nothing else that is special.
pub(crate) fn has_one_item(tag: Word) -> bool {
    tag & SPECIAL == ONE_ITEM.0
}

/// Whether a system call is an operation of a task with one flexpage.
pub(crate) fn is_unmap(target: Word, tag: Word) -> bool {
    operation(target) == Operation::CALL && tag == UNMAP.0
}

/// What a system call asks for, if [its tag is not special](is_special).
pub(crate) fn operation(target: Word) -> Operation {
    Operation(target & OPERATION_MASK)
}

/// Whether a tag asks for more than words.
pub(crate) fn is_special(tag: Word) -> bool {
    tag & SPECIAL != 0
}

/// Whether a system call is an answer with nothing but one item, which is what most page faults get.
pub(crate) fn is_answer_with_item(target: Word, tag: Word) -> bool {
    (target, tag) == (Operation::REPLY_AND_WAIT.0, ONE_ITEM.0)
}

/// The item in a message behind so many words, if it maps one page of memory.
fn one_page(machine: &mut impl Machine, utcb: UtcbReference, words: usize) -> Option<MapItem> {
    let &[first, second] = machine.utcb(utcb).message.get(words..words + 2)? else { return None };
    let item = MapItem::from_words([first, second])?;
    (!item.grant && item.flexpage.is_one_page()).then_some(item)
}

//! Items of messages and of pagers' answers on their way.

use crate::{
    mapping::{
        item::{Outcome, suffices},
        progress::Progress,
        stretch::Preempted,
    },
    memory::{
        index::{ThreadIndex, WalkerIndex},
        machine::Machine,
    },
    threads::{kernel::Kernel, trace::Arrival, undertaking::Operation},
};
use protocol::{
    PAGE_ORDER,
    error::{IpcError, IpcFailure},
    flexpage::{Flexpage, Kind as FlexpageKind, align_down, low_mask},
    introspection::record::{Kind, MapStatus},
    message::{MapItem, MessageTag},
    utcb::RECEIVE_WINDOWS,
};

/// Why an operation with items does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It failed.
    Failed(IpcFailure),
    /// It was left at a preemption point.
    Preempted,
}

impl From<IpcError> for Stopped {
    fn from(error: IpcError) -> Self {
        Self::Failed(error.into())
    }
}

/// Where items may arrive.
#[derive(Clone, Copy, Debug)]
enum Windows {
    /// Anywhere: the receiver has a fault.
    Everything,
    /// Where the receiver says.
    OfReceiver,
}

/// From whom to whom a message goes, and which of the two is the current thread that does it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub worker: ThreadIndex,
    pub sender: ThreadIndex,
    pub receiver: ThreadIndex,
}

impl Transfer {
    /// A message that its sender delivers.
    pub fn of_sender(sender: ThreadIndex, receiver: ThreadIndex) -> Self {
        Self { worker: sender, sender, receiver }
    }

    /// A message that its receiver takes.
    pub fn of_receiver(sender: ThreadIndex, receiver: ThreadIndex) -> Self {
        Self { worker: receiver, sender, receiver }
    }

    pub fn operation(self, tag: MessageTag) -> Operation {
        Operation::Transfer { sender: self.sender, receiver: self.receiver, tag }
    }
}

impl<M: Machine> Kernel<M> {
    /// Enters all items of a pager's answer. True if one of them is the page that had faulted, and allows that;
    /// otherwise the tables have to be looked at.
    pub(crate) fn map_answer(
        &mut self,
        transfer: Transfer,
        tag: MessageTag,
    ) -> Result<bool, Stopped> {
        let mut progress = self.begin(transfer.worker, transfer.operation(tag));
        while usize::from(progress.number) < tag.items() {
            let item = self.send_item(&mut progress, transfer, tag, Windows::Everything)?;
            progress.resolved |= self.allows(transfer.receiver, item, progress.outcome);
            progress.next();
        }
        self.mappings.end_stretch();
        Ok(progress.resolved)
    }

    /// Whether an item that was entered is the page that had faulted, and allows that. Of a larger one
    /// not all may have been there.
    fn allows(&self, faulter: ThreadIndex, item: MapItem, outcome: Outcome) -> bool {
        let fault = &self.threads[faulter].fault;
        item.flexpage.kind() == FlexpageKind::Memory
            && outcome.order == PAGE_ORDER
            && outcome.destination == align_down(fault.address, PAGE_ORDER)
            && outcome.entries != 0
            && suffices(outcome.rights, fault.access)
    }

    /// Enters the items of an ordinary message as the receiver's windows allow, and tells the
    /// receiver in its message what arrived where.
    #[cold]
    pub(crate) fn transfer_items(
        &mut self,
        transfer: Transfer,
        tag: MessageTag,
    ) -> Result<(), Stopped> {
        let receiver = transfer.receiver;
        let mut progress = self.begin(transfer.worker, transfer.operation(tag));
        while usize::from(progress.number) < tag.items() {
            let item = self.send_item(&mut progress, transfer, tag, Windows::OfReceiver)?;
            self.tell(receiver, tag, progress.number.into(), item, progress.outcome);
            progress.next();
        }
        self.mappings.end_stretch();
        Ok(())
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
        let arrived = outcome.arrived(item.flexpage.kind());
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
        transfer: Transfer,
        tag: MessageTag,
        windows: Windows,
    ) -> Result<MapItem, Stopped> {
        let Transfer { worker, sender, receiver } = transfer;
        let number = progress.number;
        let (from, to) = (self.task_of(sender), self.task_of(receiver));
        let item = match progress.item {
            Some(begun) => Ok(begun),
            None => self.item(sender, tag, progress.number.into()),
        };
        progress.item = item.ok();
        let mut window = Flexpage::NIL;
        if let Ok(item) = item {
            window = self.window(receiver, windows, item, progress.walker);
            if self.mappings.map_item(progress, from, to, item, window) == Err(Preempted) {
                self.interrupt(worker, transfer.operation(tag), *progress);
                return Err(Stopped::Preempted);
            }
        }
        self.mappings.end_walk(progress.walker);
        let failed = |error| Stopped::Failed(IpcFailure { error, item: number });
        let item = item.map_err(failed)?;
        self.trace_replaced(
            self.threads[worker].ids,
            progress,
            to,
            item,
            self.answered_fault(receiver),
        );
        if self.traces(Kind::Map) {
            let (to, fault) = (self.ids_of(Some(receiver)), self.answered_fault(receiver));
            let arrival = Arrival { to, fault, outcome: progress.outcome };
            self.trace_map(arrival, self.ids_of(Some(sender)), item, window);
        }
        match progress.outcome.status {
            MapStatus::Done | MapStatus::SourceEmpty => Ok(item),
            MapStatus::Overflow => Err(failed(IpcError::WindowOverflow)),
            MapStatus::NoMemory => Err(failed(IpcError::MapFailed)),
            MapStatus::TooDeep => Err(failed(IpcError::TooDeep)),
        }
    }

    /// Where an item arrives: in the window that it was begun in, else in the first one of its kind.
    fn window(
        &mut self,
        receiver: ThreadIndex,
        windows: Windows,
        item: MapItem,
        walker: WalkerIndex,
    ) -> Flexpage {
        if let Some(window) = self.mappings.walkers[walker].window {
            return window;
        }
        if matches!(windows, Windows::Everything) {
            return Flexpage::WHOLE_SPACE;
        }
        let mut all =
            self.utcb(receiver).buffer.iter().take(RECEIVE_WINDOWS).copied().map(Flexpage);
        all.find(|window| window.takes(item.flexpage.kind())).unwrap_or(Flexpage::NIL)
    }
}

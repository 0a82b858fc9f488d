//! The quick path of ends: the first capability of an object is taken away, and the object with it, if nobody
//! else has to do with it. The same holds for it as for the others.

use crate::{
    mapping::{database::Links, life::Mortal, walk::Tally},
    memory::{
        index::{MaybeThread, TaskIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{kernel::Kernel, thread::Thread, trace::Unmapping},
};
use protocol::{
    Word,
    flexpage::{Flexpage, Rights},
    introspection::record::Kind,
    message::MessageTag,
    object::CapabilityIndex,
    operation::{Operation as _, task::Unmap},
};

/// Rights of an [`Unmap`] that takes the mapping itself away, of the task too.
const WHOLE: Word = Rights::READ.bits() as Word | Unmap::OWN_TOO;

impl<M: Machine> Kernel<M> {
    /// [`Unmap`] of one capability, the first one to a thread or gate from which nothing was derived, by a call
    /// with [`UNMAP`](super::quick::UNMAP).
    #[inline(never)]
    pub(crate) fn quick_end(&mut self, index: CapabilityIndex) -> Option<&mut Thread> {
        let invoker = self.current.expected();
        let from = &self.threads[invoker];
        let [operation, rights, count, flexpage, ..] =
            self.mappings.machine.utcb(from.utcb).message;
        let flexpage = Flexpage(flexpage);
        let is_plain = (operation, count) == (Unmap::NUMBER, 1)
            && rights & WHOLE == WHOLE
            && flexpage.is_one_capability()
            && from.undertaking.is_none()
            && self.mappings.interrupted_walks == 0
            && !self.is_due();
        if !is_plain {
            return None;
        }
        let ids = from.ids;
        let task = self.quick_slot(index, invoker)?.modifiable_task()?;
        let owner = &self.mappings.tasks[task];
        let spot = owner.capabilities.spot(CapabilityIndex(flexpage.address()))?;
        let (machine, factory) = (&mut self.mappings.machine, owner.factory);
        let object = spot.entry(machine).capability()?.object.mortal()?;
        let node = spot.node(machine)?;
        let is_alone = task != TaskIndex::SIGMA0
            && machine.node(node).following().get().is_none()
            && self.mappings.lives.of(object).root() == Some(node)
            && match object {
                Mortal::Thread(thread) => thread != invoker && self.is_alone(thread),
                Mortal::Gate(gate) => self.gates[gate].waiting.first().is_none(),
                _ => false,
            };
        if !is_alone {
            return None;
        }
        self.mappings.lives.set_cause(ids);
        spot.clear(&mut self.mappings.machine).is_unknown();
        self.mappings.drop_node(factory, node);
        if self.traces(Kind::Unmap) {
            // The host may look now, and what has no first capability any more must be dying then.
            self.mappings.lives.put_among_dying(object);
            let take = Rights::from_bits_truncate(rights as u8);
            let flexpage = flexpage.with_rights(Rights::empty());
            let tally = Tally { removed: 1, ..Tally::default() };
            let unmapping = Unmapping { task, flexpage, take, own: true, tally };
            self.record_unmap(unmapping, ids, None);
        } else {
            // Its turn comes at once.
            self.mappings.lives.give_turn();
        }
        match object {
            Mortal::Gate(gate) => {
                if let Some(thread) = self.gates[gate].receiver() {
                    self.lead_nowhere(gate, thread);
                }
                self.end_gate(gate);
            }
            Mortal::Thread(thread) => {
                self.stop_for_good(thread);
                self.end_thread(thread);
            }
            _ => {}
        }
        let thread = &mut self.threads[invoker];
        thread.context.set_result(MessageTag::new(0, 4, 0), 0);
        Some(thread)
    }

    /// Whether nobody waits for a thread or at a place that it would leave, and no gate leads to it.
    fn is_alone(&self, thread: ThreadIndex) -> bool {
        let thread = &self.threads[thread];
        thread.has_nothing_to_take()
            && thread.receivers.is_empty()
            && thread.caller == MaybeThread::NOBODY
            && thread.gates.first().is_none()
            && thread.undertaking.is_none()
            && !thread.is_queued()
    }
}

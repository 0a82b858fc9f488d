//! Interrupts: how objects of them are made, and their operations.

use crate::{
    mapping::{
        capability::{Capability, Object},
        life::Mortal,
    },
    memory::{
        index::{InterruptIndex, TableIndex, ThreadIndex},
        machine::Machine,
    },
    objects::invocation::{Answer, Reply, require},
    threads::{kernel::Kernel, next::Next},
};
use protocol::{
    error::ObjectError,
    flexpage::Rights,
    introspection::record::{EndedObject, Ids},
    message::MessageTag,
    object::CapabilityIndex,
    operation::{
        interrupt::{self, Bind},
        interrupts::{self, Create},
    },
};

impl<M: Machine> Kernel<M> {
    pub(crate) fn interrupts_operation(
        &mut self,
        caller: ThreadIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        require(rights, Rights::EXECUTE)?;
        let interrupts::Request::Create(Create { slot, interrupt }) =
            interrupts::Request::decode(self.words(caller, tag))?;
        let index = InterruptIndex::from_position(interrupt);
        self.create_interrupt(caller, slot, index)?;
        let message = self.mappings.machine.message(index);
        self.utcb(caller).message[..message.len()].copy_from_slice(&message);
        Ok(Reply::words(message.len()))
    }

    /// Makes an object of an interrupt. It costs its creator a node: there are only so many.
    fn create_interrupt(
        &mut self,
        creator: ThreadIndex,
        slot: CapabilityIndex,
        index: InterruptIndex,
    ) -> Result<(), ObjectError> {
        let task = self.task_of(creator);
        let is_free =
            self.mappings.tasks[task].capabilities.is_free(&mut self.mappings.machine, slot);
        if !is_free || self.interrupts[index].exists() {
            return Err(ObjectError::Busy);
        }
        let spot = self.mappings.capability_spot(task, slot)?;
        let node = self.mappings.allocate_node(self.mappings.tasks[task].factory)?;
        self.interrupts[index].begin();
        self.mappings.begin_life(Mortal::Interrupt(index), None);
        let capability = Capability { object: Object::Interrupt(index), rights: Rights::all() };
        self.mappings.enter_root(task, slot, (spot, node), capability);
        self.publish();
        Ok(())
    }

    pub(crate) fn interrupt_operation(
        &mut self,
        caller: ThreadIndex,
        index: InterruptIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        match interrupt::Request::decode(self.words(caller, tag))? {
            interrupt::Request::Bind(Bind { gate }) => {
                require(rights, Rights::WRITE)?;
                let capability = self.capability(caller, gate)?;
                let Object::Gate(gate) = capability.object else {
                    return Err(ObjectError::InvalidArgument.into());
                };
                require(capability.rights, Rights::EXECUTE)?;
                if self.gates[gate].interrupt.get().is_some_and(|bound| bound != index) {
                    return Err(ObjectError::Busy.into());
                }
                self.bind_interrupt(index, gate);
            }
            interrupt::Request::Unbind(_) => {
                require(rights, Rights::WRITE)?;
                self.unbind_interrupt(index);
            }
            interrupt::Request::Mask(_) => self.mask_interrupt(index),
            interrupt::Request::Unmask(_) => self.unmask_interrupt(index),
        }
        Ok(Reply { words: 0, next: Next::Best })
    }

    /// An interrupt ends.
    pub(crate) fn dismantle_interrupt(&mut self, index: InterruptIndex) {
        self.mask_interrupt(index);
        self.unbind_interrupt(index);
        self.finish(Mortal::Interrupt(index), 0, Ids::NOBODY, EndedObject::Interrupt);
        self.interrupts[index].end();
    }
}

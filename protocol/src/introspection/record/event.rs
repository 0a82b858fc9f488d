//! All kinds of events.

use super::{
    Exception, Fault, Interrupt, Map, Message, ObjectEnded, ObjectNamed, PagersSet, Record,
    RegistersSet, Resolve, Resume, ShutDown, TaskCreated, ThreadStarted, TimedOut, Unmap,
    UnresolvedFault, Whom, fields::Fields,
};

/// What is recorded of an event of one kind.
pub trait Recorded: Copy {
    /// Its kind.
    const KIND: Kind;

    /// As a record has it.
    fn fields(&self) -> Fields;

    /// What a record has; `None` if that has no meaning. What the event does not use is not looked at.
    fn of(fields: Fields) -> Option<Self>;
}

macro_rules! events {
    ($($(#[$documentation:meta])* $kind:ident($event:ident) = $number:literal,)+) => {
        /// The kinds of events. Their numbers are bits of
        /// [`TraceRing::enabled`](crate::introspection::TraceRing::enabled).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$documentation])* $kind = $number,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The kinds that are written unless the command line says otherwise: all but messages.
            pub const DEFAULT_ENABLED: u64 = ($(1 << $number)|+) & !(1 << Self::Message as u8);

            /// Reads the wire form.
            #[inline]
            pub const fn from_u8(value: u8) -> Option<Self> {
                Some(match value {
                    $($number => Self::$kind,)+
                    _ => return None,
                })
            }
        }

        /// Something that happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$documentation])* $kind($event),)+
        }

        impl Event {
            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)+
                }
            }

            /// The record of it, without a number.
            pub fn record(&self, time: u64, whom: Whom) -> Record {
                match self {
                    $(Self::$kind(event) => Record::new(time, whom, event),)+
                }
            }

            pub(super) fn of(kind: Kind, fields: Fields) -> Option<Self> {
                Some(match kind {
                    $(Kind::$kind => Self::$kind(<$event>::of(fields)?),)+
                })
            }
        }

        $(impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$kind(event)
            }
        })+
    };
}

events! {
    /// A thread faulted. The time is that of the kernel's entry.
    Fault(Fault) = 1,
    /// One flexpage was mapped or granted to the thread. If nobody receives because a task was given
    /// something by [`Map`](crate::operation::task::Map), there is no thread.
    Map(Map) = 2,
    /// The thread runs on after a fault or exception.
    Resume(Resume) = 3,
    /// Nobody resolved a fault or exception, and the thread is stopped.
    Unresolved(UnresolvedFault) = 4,
    /// A message went from the thread to another.
    Message(Message) = 5,
    /// The thread raised an exception that is not a page fault.
    Exception(Exception) = 6,
    /// A task was created.
    TaskCreated(TaskCreated) = 7,
    /// A thread was bound to a task and may start.
    ThreadStarted(ThreadStarted) = 8,
    /// The machine shuts down: the thread asked for it.
    ShutDown(ShutDown) = 9,
    /// One page was mapped for a fault, and its thread goes on: a map and a resume in one.
    Resolve(Resolve) = 10,
    /// One flexpage was unmapped: by request, or because another mapping took the place of an old one.
    /// The task is the one in whose terms it is, the thread the invoker.
    Unmap(Unmap) = 11,
    /// An object ended: its first capability was taken away. The task and thread are those of a task or
    /// thread that ended; of a thread the task that it ran in.
    ObjectEnded(ObjectEnded) = 12,
    /// The task or thread got a name, and a task its image.
    ObjectNamed(ObjectNamed) = 13,
    /// The thread got a pager and an exception handler.
    PagersSet(PagersSet) = 14,
    /// The thread was told that an interrupt has come.
    Interrupt(Interrupt) = 15,
    /// The thread goes on although what it has waited for has not come: its time was over.
    TimedOut(TimedOut) = 16,
    /// Somebody set registers of the thread while it was not running, or triggers an exception in it.
    RegistersSet(RegistersSet) = 17,
}

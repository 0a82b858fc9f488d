//! Reads what the kernel leaves in guest memory, and shows it to people and programs.
//!
//! From guest memory to the screen, each step in its own module:
//!
//! | module | step |
//! |---|---|
//! | [`memory`] | bytes of guest memory, whoever provides them |
//! | `ring` | the trace ring: copies records while the kernel writes them, counts lost ones |
//! | `span` | puts the records of one page fault together |
//! | `names`, [`symbols`], [`region`] | what tasks, instructions and addresses are called |
//! | `diagnosis`, `user_memory` | why a fault stayed unresolved |
//! | `order` | passes on what happened in the order in which it began |
//! | [`text`] | what was written by others, so that it can be seen |
//! | `observer` | runs these steps: an [`Observer`] turns guest memory into [`event::Event`]s |
//! | [`view`] | a [`Printer`] turns events into text, JSON or a table |
//!
//! Beside them, [`backtrace`] says where a kernel was that has panicked, [`inspect`] looks at the kernel's tables as they are at one moment, and [`paging`]
//! knows the page tables of both architectures.
//!
//! Nothing here knows KVM, and nothing that stands in guest memory is believed: each address, index
//! and length is checked, each loop has a bound.
#![forbid(unsafe_code)]

pub mod backtrace;
mod clock;
mod diagnosis;
pub mod event;
pub mod inspect;
pub mod memory;
mod names;
mod observer;
mod order;
pub mod paging;
pub mod region;
mod ring;
#[cfg(test)]
mod scenario;
mod span;
pub mod symbols;
#[cfg(test)]
mod testing;
pub mod text;
mod user_memory;
pub mod view;

pub use event::Event;
pub use memory::{GuestMemory, OutsideMemory};
pub use observer::Observer;
pub use ring::ObserveError;
pub use span::MAX_OPEN;
pub use symbols::Images;
pub use view::{Printer, Style};

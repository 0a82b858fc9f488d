//! The kernel on a model of the hardware.

mod after_ends;
mod algebra;
mod attacks_machine;
mod attacks_objects;

mod emptying;
mod ends;
mod exploration;
mod faults;
mod gates;
mod hostile;
mod interference;
mod interrupts;
mod lives;
mod mappings;
mod memory;
mod messages;
mod midway;
mod model;
mod objects;
mod ports;
mod precedence;
mod queue;
mod quick;
mod random;
mod registers;
mod replies;
mod restart;
mod soundness;
mod stretch;
mod tables;
mod time;
mod waiting;
mod windows;

pub use model::Bench;

//! The kernel on a model of the hardware.

mod after_ends;
mod algebra;

mod emptying;
mod ends;
mod exploration;
mod faults;
mod hostile;
mod interference;
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
mod waiting;

pub use model::Bench;

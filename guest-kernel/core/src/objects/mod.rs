//! Kernel objects: how they are made, and their operations.

pub mod dismantling;
pub mod factory;
pub mod gate;
pub mod interrupts;
pub mod invocation;
pub mod registers;
pub mod start;
pub mod task;
pub mod thread;

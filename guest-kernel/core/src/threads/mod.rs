//! Threads, who of them runs, and all that the kernel knows.

pub mod alarm;
pub mod gate;
pub mod interrupt;
pub mod kernel;
pub mod next;
pub mod queue;
pub mod ready;
pub mod state;
pub mod thread;
pub mod timing;
pub mod trace;
pub mod undertaking;

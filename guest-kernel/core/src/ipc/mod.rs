//! Messages between threads, and faults and exceptions as messages.

pub mod exception;
pub mod interrupt;
pub mod message;
pub mod news;
pub mod page_fault;
pub mod port_fault;
pub mod reply;
pub mod sigma0_fault;
pub mod timeout;
pub mod transfer;
pub mod unheld;
pub mod waiting;

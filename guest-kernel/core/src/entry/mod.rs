//! Into the kernel and out of it.

pub mod quick;
mod quick_end;
mod quick_reply;
pub mod system_call;

//! Into the kernel and out of it.

pub mod quick;
pub mod system_call;

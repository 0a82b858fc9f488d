//! Into the kernel and out of it.

pub mod system_call;

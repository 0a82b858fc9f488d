//! The kernel's own memory: frames, tables of objects, quotas, and what they are reached through.

pub mod chain;
pub mod factory;
pub mod frames;
pub mod index;
pub mod machine;
pub mod node;
pub mod utcb;

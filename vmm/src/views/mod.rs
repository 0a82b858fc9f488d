//! The verbs that look into a guest of another process.
//!
//! Each reads, computes and prints; what it finds out comes from `observe`, and what it reads from
//! comes from [`crate::attach`]. None of them stops the guest or writes to it.

mod args;
mod check;
mod ls;
mod tasks;
mod walk;

pub use args::{CheckArgs, ListArgs, ViewArgs, WalkArgs};
pub use check::check;
pub use ls::ls;
pub use tasks::tasks;
pub use walk::walk;

/// Version of the views' JSON.
const JSON_VERSION: u32 = 1;

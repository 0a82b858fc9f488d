//! The verbs that look into a guest of another process.
//!
//! Each reads, computes and prints; what it finds out comes from `observe`, and what it reads from
//! comes from [`crate::attach`]. None of them stops the guest or writes to it.

mod args;
mod check;
mod dot;
mod excerpt;
mod frame;
mod host_page;
mod look;
mod ls;
mod map;
mod second_level;
mod stream;
mod tasks;
mod walk;
mod walk_port;
mod words;

pub use args::{CheckArgs, FrameArgs, ListArgs, MapArgs, ViewArgs, WalkArgs, WhoArgs};
pub use check::check;
pub use frame::{frame, who};
pub use ls::ls;
pub use map::map;
pub use tasks::tasks;
pub use walk::walk;

/// Version of the views' JSON.
const JSON_VERSION: u32 = 1;

//! The verbs that look into a guest of another process.
//!
//! Each reads, computes and prints; what it finds out comes from `observe`, and what it reads from
//! comes from [`crate::attach`]. None of them stops or writes to the guest.

mod args;
mod ls;

pub use args::ListArgs;
pub use ls::ls;

//! Who maps what, from whom: spaces, capability tables and the mapping database. Knows neither threads nor
//! messages.

pub mod capability;
pub mod database;
pub mod derivation;
pub mod emptying;
pub mod item;
pub mod life;
pub mod map_pages;
pub mod mappings;
mod precedence;
pub mod progress;
mod reply;
pub mod sigma0;
pub mod space;
pub mod stretch;
pub mod tables;
pub mod task;
pub mod unmap;
pub mod walk;

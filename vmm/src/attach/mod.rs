//! How one `glass` looks into a guest that another one runs.
//!
//! | module | side |
//! |---|---|
//! | [`folder`] | where runs and viewers meet: a folder that is this user's alone |
//! | [`server`] | a run: it answers each viewer with one message |
//! | [`viewer`] | a viewer: it reads the guest's memory while the guest runs on |
//! | [`life`] | whether the run still goes on |
//! | [`statistics`] | reads what KVM counts |
//!
//! The message is one line of JSON, an [`Introduction`], with a descriptor of the file that is the
//! guest's RAM and those of KVM's statistics, if there are any. All of them can only be read. A run
//! does nothing for its viewers after that.

pub mod folder;
mod life;
pub mod server;
pub mod statistics;
pub mod viewer;

pub use viewer::Attached;

use crate::guest::Guest;
use machine::{Engine, Machine};
use serde::{Deserialize, Serialize};
use std::process;

/// Version of the message.
const VERSION: u32 = 1;

/// The most files that come with it: the RAM, and statistics of the machine and its processor.
const MOST_FILES: usize = 3;

/// The longest message that a viewer reads.
const LONGEST: usize = 1 << 16;

/// What a run tells its viewers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// [`VERSION`].
    pub v: u32,
    /// The process that runs the guest.
    pub pid: u32,
    /// `amd64` or `ia32`.
    pub architecture: String,
    /// `kvm` or `qemu`.
    pub engine: String,
    /// The scenario, unless only modules were given.
    pub scenario: Option<String>,
    /// Physical address of the kernel's introspection header, if the kernel has one.
    pub header: Option<u64>,
    /// Bytes of RAM. Physical address 0 is the first byte of the file.
    pub ram: u64,
    /// Ticks of the guest's time stamps in a second.
    pub ticks_per_second: u64,
    /// Names of the boot modules, in the order by which task records number them.
    pub images: Vec<String>,
}

impl Introduction {
    /// Of a machine that this process is about to start.
    pub fn new(guest: &Guest, engine: &Engine, machine: &Machine, header: Option<u64>) -> Self {
        let engine = match engine {
            Engine::Kvm(_) => "kvm",
            Engine::Qemu(_) => "qemu",
        };
        Self {
            v: VERSION,
            pid: process::id(),
            architecture: guest.architecture.to_string(),
            engine: engine.to_owned(),
            scenario: guest.scenario.clone(),
            header,
            ram: machine.memory().size(),
            ticks_per_second: machine.ticks_per_second(),
            images: guest.modules.iter().map(|module| module.name.clone()).collect(),
        }
    }
}

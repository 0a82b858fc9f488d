//! Takes from a process what it does not need any more, before it meets a guest.
//!
//! A guest's memory and what it prints are hostile input. Whoever breaks through that into the process
//! that reads it, shall find a process that can do nothing but what it has still to do:
//!
//! | module | what |
//! |---|---|
//! | [`calls`] | which system calls each kind of thread still makes |
//! | [`filter`] | seccomp: the host's kernel refuses all others |
//! | [`forbidden`] | the message on a call that nobody needs, and the end of the process |
//! | [`files`] | landlock: what may be opened, and who may be sent a signal |
//! | [`in_force`] | what of this the host has |
//!
//! Nothing of it can be undone, and all of it is handed down: threads and programs that are started
//! afterwards have it, too. So the order is: set up and start everything, then confine, then let the
//! guest run.
//!
//! A host that lacks a part goes without it. `glass doctor` says so.

mod calls;
mod files;
mod filter;
mod forbidden;
mod in_force;

pub use calls::Run;
pub use files::Files;
pub use in_force::{InForce, Landlock};

use std::io;
use thiserror::Error;

/// Why a process is not confined although its host can do it.
#[derive(Debug, Error)]
pub enum ConfineError {
    /// `prctl` refused.
    #[error("the host refuses to take the right to gain privileges: {0}")]
    Privileges(io::Error),
    /// Landlock refused.
    #[error("the host refuses to restrict the access to files: {0}")]
    Files(#[from] landlock::RulesetError),
    /// Seccomp refused.
    #[error("the host refuses to filter system calls: {0}")]
    Calls(#[from] seccompiler::Error),
    /// No handler for the message.
    #[error("forbidden system calls cannot be reported: {0}")]
    Report(io::Error),
}

/// No program that this thread, or one that it starts, executes has more rights than it: set-user-id
/// bits and file capabilities do not count any more.
pub fn no_new_privileges() -> Result<(), ConfineError> {
    rustix::thread::set_no_new_privs(true).map_err(|error| ConfineError::Privileges(error.into()))
}

/// Confines a run: all threads that the process has, which must be all that it will ever have. The
/// threads of its machine go on to [`processor`].
pub fn run(run: &Run<'_>) -> Result<(), ConfineError> {
    forbidden::report()?;
    filter::apply_to_all_threads(calls::of_a_run(run))
}

/// Confines the calling thread, which from now on does nothing but run a virtual processor by these
/// requests to KVM, and pass on what the guest prints.
pub fn processor(requests: &[u32]) -> Result<(), ConfineError> {
    forbidden::report()?;
    filter::apply(calls::of_a_processor(requests))
}

/// Confines the calling process, which has one thread, has attached to a machine, and from now on does
/// nothing but read from what it has open and print.
pub fn viewer() -> Result<(), ConfineError> {
    no_files()?;
    forbidden::report()?;
    filter::apply_to_all_threads(calls::of_a_viewer())
}

/// Takes the right to open files and to gain privileges.
pub fn no_files() -> Result<(), ConfineError> {
    no_new_privileges()?;
    Files::None.restrict()
}

/// Confines all threads of the calling process, which from now on does nothing but read the debug
/// information that it has in memory, and answer through a socket.
pub fn reader() -> Result<(), ConfineError> {
    forbidden::report()?;
    filter::apply_to_all_threads(calls::of_a_reader())
}

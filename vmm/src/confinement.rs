//! When runs and viewers give up what they do not need any more, and what users hear of it.
//!
//! What that is, is said in `confine`. A run does it in three steps:
//!
//! 1. [`files`], before it starts QEMU or a thread that stays, for both are to have that, too;
//! 2. [`run`], when every file, socket, thread and process that it will ever need is there;
//! 3. [`processor`], in the thread of KVM's processor, before the guest's first instruction.
//!
//! A viewer does it once, when it has attached: [`viewer`]; so do the process that starts readers of debug
//! information, [`clerk`], and these themselves: [`reader`].

use crate::{attach::folder, message::say};
use clap::Args;
use confine::{ConfineError, Files, Run};
use machine::{Engine, PROCESSOR_REQUESTS, Running};

/// Whether a process confines itself.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ConfinementArgs {
    /// Keep the right to open files and make any system call: for tools that look into glass itself
    #[arg(long)]
    pub unconfined: bool,
}

/// Restricts what a run and its QEMU may open. The run's RAM and KVM must be open, and its socket may
/// still be made.
pub fn files(args: ConfinementArgs, engine: &Engine) {
    let folder = folder::path();
    // The error comes again when the socket is made, and is reported there.
    let _ = folder::create(&folder);
    let files = match engine {
        Engine::Kvm(_) => Files::SocketsIn(&folder),
        Engine::Qemu(_) => Files::SocketsInAndReading(&folder),
    };
    enforce(args, || {
        confine::no_new_privileges()?;
        files.restrict()
    });
}

/// Filters the system calls of all threads of a run. It may kill these processes.
pub fn run(args: ConfinementArgs, engine: &Engine, running: &Running, has_terminal: bool) {
    let (children, line) = (running.child(), running.input());
    let run = Run { requests: requests(engine), children: children.as_slice(), line, has_terminal };
    enforce(args, || confine::run(&run));
}

/// Filters the system calls of the thread of a run's machine still more, if the processor is KVM's.
pub fn processor(args: ConfinementArgs, engine: &Engine) {
    if let Engine::Kvm(_) = engine {
        enforce(args, || confine::processor(requests(engine)));
    }
}

/// Confines a viewer that has everything open.
pub fn viewer(args: ConfinementArgs) {
    enforce(args, confine::viewer);
}

/// Confines the process that starts those that read debug information: they have it, too.
pub fn clerk() {
    enforce(ConfinementArgs::default(), || {
        confine::no_new_privileges()?;
        Files::Reading.restrict()
    });
}

/// Confines a process that has debug information in memory and reads it. `limit` sets its limits, so
/// low that no file can be opened after that, and none can be set after the rest.
pub fn reader<E>(limit: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    let args = ConfinementArgs::default();
    enforce(args, confine::no_files);
    limit()?;
    enforce(args, confine::reader);
    Ok(())
}

fn requests(engine: &Engine) -> &'static [u32] {
    match engine {
        Engine::Kvm(_) => &PROCESSOR_REQUESTS,
        Engine::Qemu(_) => &[],
    }
}

fn enforce(args: ConfinementArgs, measure: impl FnOnce() -> Result<(), ConfineError>) {
    if args.unconfined {
        return;
    }
    if let Err(error) = measure() {
        say(format_args!("this is not confined as it should be: {error}"));
    }
}

//! What all views of one machine begin with: the machine, its tables, and the task that is meant.

use super::ViewArgs;
use crate::{
    attach::Attached,
    message::say,
    screen::{self, Screen},
};
use anyhow::{Result, bail};
use observe::inspect::{Guest, Snapshot, Task};
use std::{io::StdoutLock, thread, time::Duration};

/// How often a guest that maps meanwhile is looked at anew.
const TRIES: u32 = 20;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A machine and what its kernel's tables said.
#[derive(Debug)]
pub struct Look {
    /// The machine.
    pub machine: Attached,
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// All its mappings.
    pub snapshot: Snapshot,
}

impl Look {
    /// Reads everything, at a moment at which the kernel does not map if there is one.
    pub fn new(args: &ViewArgs) -> Result<Self> {
        let machine = Attached::find(args.machine)?;
        let header = machine.header()?;
        let mut tries = 0;
        loop {
            let guest = Guest::open(&machine, header)?;
            let (tasks, snapshot) = (guest.tasks(), guest.snapshot());
            tries += 1;
            if snapshot.is_of_one_moment() || tries == TRIES {
                return Ok(Self { machine, tasks, snapshot });
            }
            thread::sleep(PAUSE);
        }
    }

    /// Where to show it. Says first if it is not of one moment.
    pub fn output(&self) -> Screen<StdoutLock<'static>> {
        if !self.snapshot.is_of_one_moment() {
            say(format_args!(
                "the guest maps and unmaps all the time: what is shown may not fit together"
            ));
        }
        screen::output()
    }

    /// The task of that name, or else of that number.
    pub fn task(&self, wanted: &str) -> Result<&Task> {
        find(&self.tasks, wanted)
    }
}

/// The task of that name, or else of that number.
pub fn find<'t>(tasks: &'t [Task], wanted: &str) -> Result<&'t Task> {
    let named: Vec<_> = tasks.iter().filter(|task| task.name == wanted).collect();
    let numbered = tasks.iter().find(|task| task.number.to_string() == wanted);
    match (&named[..], numbered) {
        ([task], _) => Ok(task),
        ([], Some(task)) => Ok(task),
        ([], None) if tasks.is_empty() => {
            bail!("there is no task '{wanted}': the kernel has not made any yet")
        }
        ([], None) => {
            let names: Vec<_> = tasks.iter().map(|task| task.name.as_str()).collect();
            bail!("there is no task '{wanted}': there are {}", names.join(", "))
        }
        (several, _) => {
            let numbers: Vec<_> = several.iter().map(|task| task.number.to_string()).collect();
            bail!(
                "several tasks are called '{wanted}': name one by its number, {}",
                numbers.join(", ")
            )
        }
    }
}

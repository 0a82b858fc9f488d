//! What all views of one machine begin with: the machine, its tables, and the task that is meant.

use super::ViewArgs;
use crate::{
    attach::Attached,
    confinement,
    message::say,
    screen::{self, Screen},
};
use anyhow::{Result, bail};
use observe::inspect::{Guest, Snapshot, Task};
use std::{
    io::{self, BufWriter, StdoutLock, Write},
    thread,
    time::Duration,
};

/// How often a guest that maps meanwhile is looked at anew.
const TRIES: u32 = 20;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Names that a message lists.
const MOST_NAMES: usize = 20;

/// Where views are shown.
pub type Output = Screen<BufWriter<StdoutLock<'static>>>;

/// A machine and what its kernel's tables said.
#[derive(Debug)]
pub struct Look<'m> {
    /// The machine.
    pub machine: &'m Attached,
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// All its mappings.
    pub snapshot: Snapshot<'m>,
}

impl<'m> Look<'m> {
    /// Finds everything, at a moment at which the kernel does not map if there is one. Nothing more
    /// can be opened after that.
    pub fn new(machine: &'m Attached, args: &ViewArgs) -> Result<Self> {
        confinement::viewer(args.confinement);
        let header = machine.header()?;
        let mut tries = 0;
        loop {
            let guest = Guest::open(machine, header)?;
            let (tasks, snapshot) = (guest.tasks(), guest.snapshot());
            tries += 1;
            if !snapshot.is_of_one_moment() && tries < TRIES {
                thread::sleep(PAUSE);
                continue;
            }
            if let Some(excess) = snapshot.excess() {
                bail!(
                    "this machine's tables make no sense: {}: {}; the rule is that {}; see `glass check`",
                    excess.path,
                    excess.evidence,
                    excess.rule.sentence()
                );
            }
            return Ok(Self { machine, tasks, snapshot });
        }
    }

    /// Shows what `write` writes. Says then if that is not of one moment.
    pub fn show(&self, write: impl FnOnce(&mut Output) -> io::Result<()>) -> Result<u8> {
        let mut out = screen::buffered_output();
        write(&mut out)?;
        out.flush()?;
        if !self.snapshot.is_of_one_moment() {
            say(format_args!(
                "the guest maps and unmaps all the time: what is shown may not fit together"
            ));
        }
        Ok(0)
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
            let names = tasks.iter().map(|task| task.name.clone());
            bail!("there is no task '{wanted}': there are {}", listed(names))
        }
        (several, _) => {
            let numbers = several.iter().map(|task| task.number.to_string());
            bail!(
                "several tasks are called '{wanted}': name one by its number, {}",
                listed(numbers)
            )
        }
    }
}

/// The first ones, and how many more there are.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let further = names.len().saturating_sub(MOST_NAMES);
    let first = names.take(MOST_NAMES).collect::<Vec<_>>().join(", ");
    match further {
        0 => first,
        _ => format!("{first} and {further} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn long_lists_are_cut_short() {
        let names = |count: usize| (0..count).map(|number| number.to_string());
        assert_eq!(listed(names(3)), "0, 1, 2");
        assert!(listed(names(20)).ends_with(", 18, 19"));
        assert!(listed(names(16384)).ends_with(", 18, 19 and 16364 more"));
    }
}

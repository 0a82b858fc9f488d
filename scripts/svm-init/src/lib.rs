//! What `xtask` and the first process of the emulated machine say to each other.
//!
//! `xtask` leaves a file of [`Job`]s, a line each, and names the first one to do on the kernel's
//! command line. What comes back over the serial port are [`Mark`]s and what the jobs print.
#![forbid(unsafe_code)]

use std::{fmt, str::FromStr};

/// Where the lists of jobs are.
pub const JOBS: &str = "/jobs";

/// Where the modules of the kernel are: they are loaded in the order of their names.
pub const MODULES: &str = "/modules";

/// Where the images of the guests are.
pub const GUESTS: &str = "/guest";

/// On the kernel's command line: which list of jobs to do.
pub const LIST: &str = "svm.jobs=";

/// On the kernel's command line: the number of the first job to do.
pub const FIRST: &str = "svm.first=";

/// On the kernel's command line: whether KVM uses nested page tables, 1 or 0.
pub const NESTED_PAGING: &str = "svm.npt=";

/// What every [`Mark`] begins with. No program prints it.
const SIGN: &str = "@@ ";

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The program and its arguments, none with a tab or a line break in it.
    pub command: Vec<String>,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.command.join("\t"))
    }
}

impl Job {
    /// Reads a line of a list.
    pub fn read(line: &str) -> Self {
        Self { command: line.split('\t').map(str::to_owned).collect() }
    }
}

/// Something that the machine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Its KVM can be used; of what kind it is.
    Up(String),
    /// Time passes. Comes every few seconds, whatever the jobs do.
    Alive,
    /// A job begins.
    Begin {
        /// Its number in the list.
        job: usize,
    },
    /// A job has ended.
    End {
        /// Its number in the list.
        job: usize,
        /// Its exit status, or 128 and the signal.
        status: i32,
    },
    /// The machine cannot do what it is for.
    Trouble(String),
    /// All jobs have ended.
    Done,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SIGN)?;
        match self {
            Self::Up(kind) => write!(f, "up {kind}"),
            Self::Alive => write!(f, "alive"),
            Self::Begin { job } => write!(f, "begin {job}"),
            Self::End { job, status } => write!(f, "end {job} {status}"),
            Self::Trouble(what) => write!(f, "trouble {what}"),
            Self::Done => write!(f, "done"),
        }
    }
}

/// A line that is no mark: a job printed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMark;

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(line: &str) -> Result<Self, NoMark> {
        let line = line.strip_prefix(SIGN).ok_or(NoMark)?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = |text: &str| text.parse().map_err(|_| NoMark);
        Ok(match word {
            "up" => Self::Up(rest.to_owned()),
            "alive" => Self::Alive,
            "begin" => Self::Begin { job: number(rest)? },
            "end" => {
                let (job, status) = rest.split_once(' ').ok_or(NoMark)?;
                let status = status.parse().map_err(|_| NoMark)?;
                Self::End { job: number(job)?, status }
            }
            "trouble" => Self::Trouble(rest.to_owned()),
            "done" => Self::Done,
            _ => return Err(NoMark),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, Mark, NoMark};

    #[test]
    fn marks_are_read_as_they_are_written() {
        for mark in [
            Mark::Up("6.1.0 npt=Y".to_owned()),
            Mark::Alive,
            Mark::Begin { job: 3 },
            Mark::End { job: 3, status: 139 },
            Mark::Trouble("no /dev/kvm".to_owned()),
            Mark::Done,
        ] {
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
        for line in ["", "done", "@@", "@@ begin", "@@ begin x", "@@ end 1", "@@ nothing 1"] {
            assert_eq!(line.parse::<Mark>(), Err(NoMark), "{line}");
        }
    }

    #[test]
    fn jobs_are_read_as_they_are_written() {
        let job = Job { command: ["/bin/glass", "run", "two words", ""].map(str::to_owned).into() };
        assert_eq!(Job::read(&job.to_string()), job);
    }
}

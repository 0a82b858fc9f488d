//! What the user says to the views.

use crate::{confinement::ConfinementArgs, units};
use clap::Args;
use protocol::{
    flexpage::IO_PORTS, introspection::mapping::Resource, object::CAPABILITY_TABLE_SIZE,
};
use std::{str::FromStr, time::Duration};
use thiserror::Error;

/// `glass ls`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub confinement: ConfinementArgs,
}

/// `glass tasks`, and what all views of one machine have in common.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// Process number of the machine (see `glass ls`) [default: the only one]
    #[arg(long, value_name = "PID")]
    pub machine: Option<u32>,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub confinement: ConfinementArgs,
}

/// `glass walk`.
#[derive(Debug, Args)]
pub struct WalkArgs {
    /// A task, by name or number, and what of it: an address (words:0x400000) or an I/O port
    /// (driver:port:0x3ff)
    #[arg(value_name = "TASK:WHAT")]
    pub holding: Holding,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `glass check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check again and again, every 500ms or as often as TIME says, until something is wrong or
    /// the machine ends
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "500ms",
        value_parser = units::timeout
    )]
    pub watch: Option<Duration>,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `glass map`.
#[derive(Debug, Args)]
pub struct MapArgs {
    /// A task, by name or number
    #[arg(value_name = "TASK")]
    pub task: String,
    /// A letter for each page: written, accessed, neither
    #[arg(short = 'x', long, conflicts_with_all = ["ports", "caps", "json"])]
    pub letters: bool,
    /// Its I/O ports instead of its memory
    #[arg(long, conflicts_with = "caps")]
    pub ports: bool,
    /// Its capabilities instead of its memory
    #[arg(long)]
    pub caps: bool,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `glass frame`.
#[derive(Debug, Args)]
pub struct FrameArgs {
    /// Number of a page frame of the guest: its physical address by 4096
    #[arg(value_name = "FRAME")]
    pub frame: FrameNumber,
    #[command(flatten)]
    pub tree: TreeArgs,
}

/// `glass who`.
#[derive(Debug, Args)]
pub struct WhoArgs {
    /// A task, by name or number, and what of it: an address (words:0x400000), an I/O port
    /// (driver:port:0x3ff) or a capability (words:cap:4)
    #[arg(value_name = "TASK:WHAT")]
    pub holding: Holding,
    #[command(flatten)]
    pub tree: TreeArgs,
}

/// What `glass frame` and `glass who` have in common.
#[derive(Debug, Args)]
pub struct TreeArgs {
    /// Graphviz' language instead of text: pipe it to `dot -Tsvg`
    #[arg(long, conflicts_with = "json")]
    pub dot: bool,
    /// Show what an unmap would take; nothing is unmapped
    #[arg(long, requires = "from")]
    pub unmap_dry_run: bool,
    /// The task, by name or number, that would unmap
    #[arg(long, value_name = "TASK", requires = "unmap_dry_run")]
    pub from: Option<String>,
    /// Its own mapping would go, too
    #[arg(long, requires = "unmap_dry_run")]
    pub own: bool,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// The number of a page frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameNumber(pub u64);

/// Not the number of a page frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write the number of a page frame, such as 0x1f3c or 7996")]
pub struct NotAFrame;

impl FromStr for FrameNumber {
    type Err = NotAFrame;

    fn from_str(text: &str) -> Result<Self, NotAFrame> {
        number(text).map(Self).ok_or(NotAFrame)
    }
}

/// A number in decimal, or in hexadecimal behind 0x.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // The library would take a sign.
    let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u64::from_str_radix(digits, radix).ok().filter(|_| is_number)
}

/// A task and something that it may have: a page, a port or a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Name or number.
    pub task: String,
    /// Of what kind it is.
    pub resource: Resource,
    /// Its address, port or index.
    pub at: u64,
}

/// Nothing that a task can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAHolding {
    /// Not of any of the forms.
    #[error(
        "write a task and a hexadecimal address, a port or a capability, such as words:0x400000, \
         driver:port:0x3ff or words:cap:4"
    )]
    Form,
    /// More than a processor has.
    #[error("there is no port {0:#x}: the last one is {last:#x}", last = IO_PORTS - 1)]
    Port(u64),
    /// More than a task has room for.
    #[error("there is no capability {0}: the last one is {last}", last = CAPABILITY_TABLE_SIZE - 1)]
    Capability(u64),
}

impl FromStr for Holding {
    type Err = NotAHolding;

    fn from_str(text: &str) -> Result<Self, NotAHolding> {
        let (before, last) = text.rsplit_once(':').ok_or(NotAHolding::Form)?;
        let kinds = [(":port", Resource::Ports), (":cap", Resource::Capability)];
        let found = kinds
            .iter()
            .find_map(|(suffix, resource)| Some((before.strip_suffix(suffix)?, *resource)));
        // Names of tasks may have colons in them.
        let (task, resource) = found.unwrap_or((before, Resource::Memory));
        let is_address = resource == Resource::Memory;
        let is_formed = !task.is_empty() && (!is_address || last.starts_with("0x"));
        let at = number(last).filter(|_| is_formed).ok_or(NotAHolding::Form)?;
        match resource {
            Resource::Ports if at >= IO_PORTS as u64 => Err(NotAHolding::Port(at)),
            Resource::Capability if at >= CAPABILITY_TABLE_SIZE as u64 => {
                Err(NotAHolding::Capability(at))
            }
            _ => Ok(Self { task: task.to_owned(), resource, at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_numbers_in_either_way() {
        assert_eq!("0x1f3c".parse(), Ok(FrameNumber(0x1f3c)));
        assert_eq!("7996".parse(), Ok(FrameNumber(0x1f3c)));
        for text in ["", "0x", "1f3c", "-1", "+1", "0x+1", "0x10000000000000000"] {
            assert_eq!(text.parse::<FrameNumber>(), Err(NotAFrame), "{text}");
        }
    }

    #[test]
    fn a_holding_is_of_one_of_three_kinds() {
        let holding =
            |task: &str, resource, at| Ok(Holding { task: task.to_owned(), resource, at });
        assert_eq!("words:0x400000".parse(), holding("words", Resource::Memory, 0x40_0000));
        assert_eq!("a:b:0xF".parse(), holding("a:b", Resource::Memory, 15));
        assert_eq!("words:port:0x3ff".parse(), holding("words", Resource::Ports, 0x3ff));
        assert_eq!("words:port:65535".parse(), holding("words", Resource::Ports, 0xffff));
        assert_eq!("a:b:cap:20".parse(), holding("a:b", Resource::Capability, 20));
        assert_eq!("w:cap:0xfff".parse(), holding("w", Resource::Capability, 0xfff));
        assert_eq!("w:port:0x10000".parse::<Holding>(), Err(NotAHolding::Port(0x1_0000)));
        assert_eq!("w:cap:4096".parse::<Holding>(), Err(NotAHolding::Capability(4096)));
        let nonsense = [
            "",
            "w",
            "w:",
            "w:400000",
            "w:0x",
            "w:0x+1",
            "w:0xg",
            "w:0x10000000000000000",
            ":0x1",
            "w:port",
            "w:port:",
            "w:port:0x",
            "w:port:-1",
            "w:port:ff",
            ":port:1",
            "w:cap:",
            "w:cap:+1",
            "w:cap:99999999999999999999",
            "w:caps:1",
            ":cap:1",
        ];
        for text in nonsense {
            assert_eq!(text.parse::<Holding>(), Err(NotAHolding::Form), "{text}");
        }
    }
}

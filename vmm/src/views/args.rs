//! What the user says to the views.

use clap::Args;
use std::str::FromStr;
use thiserror::Error;

/// `glass ls`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
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
}

/// `glass walk`.
#[derive(Debug, Args)]
pub struct WalkArgs {
    /// A task, by name or number, and an address in it
    #[arg(value_name = "TASK:ADDRESS")]
    pub place: Place,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `glass check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check again and again until something is wrong or the machine ends
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// A task and an address in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or number.
    pub task: String,
    /// The address.
    pub address: u64,
}

/// Not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write a task and a hexadecimal address, such as words:0x400000")]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        // Names of tasks may have colons in them.
        let (task, address) = text.rsplit_once(':').ok_or(NotAPlace)?;
        let digits = address.strip_prefix("0x").ok_or(NotAPlace)?;
        let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let address = u64::from_str_radix(digits, 16).map_err(|_| NotAPlace)?;
        if task.is_empty() || !is_number {
            return Err(NotAPlace);
        }
        Ok(Self { task: task.to_owned(), address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_task_and_an_address() {
        let place = |task: &str, address| Ok(Place { task: task.to_owned(), address });
        assert_eq!("words:0x400000".parse(), place("words", 0x40_0000));
        assert_eq!("a:b:0xF".parse(), place("a:b", 15));
        for text in ["", "words", "words:", "words:400000", "words:0x", ":0x1", "w:0x+1", "w:0xg"] {
            assert_eq!(text.parse::<Place>(), Err(NotAPlace), "{text}");
        }
        "w:0x10000000000000000".parse::<Place>().expect_err("more than 64 bits");
    }
}

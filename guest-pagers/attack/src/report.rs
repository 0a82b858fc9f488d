//! What came of a piece of code, in words: numbers in a row that all had the same outcome in one line.

use crate::laboratory::Outcome;
use runtime::println;

/// The last numbers in a row.
#[derive(Debug)]
pub struct Report {
    what: &'static str,
    row: Option<(usize, usize, Outcome)>,
}

impl Report {
    /// About `what`.
    pub const fn new(what: &'static str) -> Self {
        Self { what, row: None }
    }

    /// Notes the outcome of a number.
    pub fn note(&mut self, number: usize, outcome: Outcome) {
        match &mut self.row {
            Some((_, last, same)) if *same == outcome && *last + 1 == number => *last = number,
            _ => {
                self.print();
                self.row = Some((number, number, outcome));
            }
        }
    }

    fn print(&mut self) {
        if let Some((first, last, outcome)) = self.row.take() {
            println!("{} {first:#x} to {last:#x}: {outcome}", self.what);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.print();
    }
}

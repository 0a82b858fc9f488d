//! Views: events as text, JSON or a table.

mod block;
mod flat;
mod histogram;
mod json;
mod placement;
mod report;
mod summary;
#[cfg(test)]
mod tests;
mod words;

use crate::event::{Event, Span};
use std::io::{self, Write};
use summary::Summary;

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A readable block for each fault, and a report on each that stayed unresolved.
    Blocks,
    /// One line for each event.
    Flat,
    /// One JSON object a line for each event.
    Json,
    /// Nothing but a table at the end, and the reports.
    Summary,
    /// Nothing at all.
    Quiet,
}

/// Reports on unresolved faults that are kept until the end.
const MAX_REPORTS: usize = 16;

/// Shows events in one style. Each event is one write, so that an unbuffered output is fine.
#[derive(Debug)]
pub struct Printer<W> {
    style: Style,
    paint: Paint,
    out: W,
    /// Whether anything was shown yet.
    has_begun: bool,
    /// The text of one event, kept to reuse its memory.
    text: String,
    summary: Summary,
    /// Spans whose reports will end the trace.
    reports: Vec<Span>,
    /// Those for which there was no room.
    more_reports: usize,
}

impl<W: Write> Printer<W> {
    /// Shows events on `out`.
    pub fn new(style: Style, colour: bool, out: W) -> Self {
        Self {
            style,
            paint: Paint { colour },
            out,
            has_begun: false,
            text: String::new(),
            summary: Summary::default(),
            reports: Vec::new(),
            more_reports: 0,
        }
    }

    /// Shows an event.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.text.clear();
        match self.style {
            Style::Blocks => {
                if !std::mem::replace(&mut self.has_begun, true) {
                    self.text.push_str(block::HEADING);
                }
                block::event(&mut self.text, self.paint, event);
            }
            Style::Flat => flat::event(&mut self.text, event),
            Style::Json => json::event(&mut self.text, event),
            Style::Summary => self.summary.count(event),
            Style::Quiet => return Ok(()),
        }
        if matches!(self.style, Style::Blocks | Style::Summary) {
            self.keep_report(event);
        }
        self.out.write_all(self.text.as_bytes())
    }

    /// Shows what comes at the end; `lost` is the number of records that were lost.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn finish(&mut self, lost: u64) -> io::Result<()> {
        self.text.clear();
        match self.style {
            Style::Blocks | Style::Flat => words::lost(&mut self.text, lost),
            Style::Json => json::end(&mut self.text, lost),
            Style::Summary => self.summary.table(&mut self.text, lost),
            Style::Quiet => {}
        }
        for span in self.reports.drain(..) {
            report::report(&mut self.text, self.paint, &span);
        }
        words::more_reports(&mut self.text, std::mem::take(&mut self.more_reports));
        self.out.write_all(self.text.as_bytes())?;
        self.out.flush()
    }

    fn keep_report(&mut self, event: &Event) {
        let Event::Span(span) = event else { return };
        if span.diagnosis.is_none() {
            return;
        }
        if self.reports.len() < MAX_REPORTS {
            self.reports.push(Span::clone(span));
        } else {
            self.more_reports += 1;
        }
    }
}

/// Colours for terminals, or none.
#[derive(Clone, Copy, Debug)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn start(self, code: &'static str) -> &'static str {
        if self.colour { code } else { "" }
    }

    /// For what went wrong.
    fn bad(self) -> &'static str {
        self.start("\x1b[1;31m")
    }

    /// For what begins a block.
    fn strong(self) -> &'static str {
        self.start("\x1b[1m")
    }

    /// For what matters less.
    fn faint(self) -> &'static str {
        self.start("\x1b[2m")
    }

    /// Back to normal.
    fn end(self) -> &'static str {
        self.start("\x1b[0m")
    }
}

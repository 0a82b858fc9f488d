//! The default view: a block of lines for each fault.

use super::{
    Paint, placement,
    words::{self, Gate, Gone, Headline, Latency, Mapped, Own, Place, Sending, Unmapped, put},
};
use crate::event::{
    End, Event, Interrupt, Mapping, Naming, Nanoseconds, Pagers, Party, Registers, Span,
};
use protocol::introspection::{
    mapping::ObjectKind,
    record::{NamedObject, Unresolved},
};
use std::fmt::{self, Arguments, Display};

/// The first line of the trace.
pub(super) const HEADING: &str = "     time us  thread            event\n";

/// Width of the column with the names of threads.
const NAME_WIDTH: usize = 16;

pub(super) fn event(text: &mut String, paint: Paint, event: &Event) {
    let mut lines = Lines { text, paint, indent: 0 };
    match event {
        Event::Span(span) => self::span(&mut lines, span),
        Event::Map(mapping) => {
            lines.line(
                mapping.time,
                &mapping.to,
                format_args!("<- {} {}", mapping.from, Mapped(mapping)),
            );
            drawing(&mut lines, mapping);
        }
        Event::Unmap(unmap) => {
            lines.line(unmap.time, &unmap.by, format_args!("{}", Unmapped(unmap)));
        }
        Event::Message(message) => {
            lines.line(message.time, &message.from, format_args!("{}", Sending(message)));
        }
        Event::TaskCreated(creation) => {
            let task = &creation.what.task_name;
            lines.line(
                creation.time,
                task,
                format_args!("task {} created by {}", creation.what.task, creation.creator),
            );
        }
        Event::ThreadStarted(creation) => {
            let number = creation.what.thread;
            lines.line(
                creation.time,
                &creation.what,
                format_args!("thread {number} started by {}", creation.creator),
            );
        }
        Event::Named(naming) => self::naming(&mut lines, naming),
        Event::Interrupt(Interrupt { time, to, number, gate_label, pending, .. }) => {
            lines.line(
                *time,
                to,
                format_args!(
                    "interrupt {number} under label {gate_label:#x}, {pending} us after it came"
                ),
            );
        }
        Event::PagersSet(Pagers { time, who, pager, exception_handler, by }) => {
            let [pager, handler] = [pager, exception_handler].map(Gate);
            lines.line(
                *time,
                who,
                format_args!("pager {pager}, exception handler {handler}, set by {by}"),
            );
        }
        Event::RegistersSet(Registers { time, who, way, code, stack, flags, by }) => {
            let (what, place) = (words::registers_set(*way), Place(code));
            lines.line(
                *time,
                who,
                format_args!("{what} by {by}: ip={place} sp={stack:#x} flags={flags:#x}"),
            );
        }
        Event::Ended(ending) => {
            let (kind, number) = (words::object_kind(ending.kind), ending.number);
            let label = match ending.kind {
                ObjectKind::Gate => format!(" with label {:#x}", ending.label),
                _ => String::new(),
            };
            lines.line(
                ending.time,
                &Gone(ending),
                format_args!("{kind} {number}{label} ended by {}", ending.by),
            );
        }
        Event::TimedOut(timed) => {
            lines.line(timed.time, &timed.who, format_args!("{}", words::TimeOver(timed)));
        }
        Event::ShutDown(down) => {
            lines.line(down.time, &down.by, format_args!("shut down, status {}", down.status));
        }
        Event::Lost(lost) => {
            let (bad, end) = (paint.bad(), paint.end());
            lines.line(lost.time, &"-", format_args!("{bad}{} records lost{end}", lost.count));
        }
    }
}

fn naming(lines: &mut Lines<'_>, naming: &Naming) {
    let Naming { time, what, name, by, .. } = naming;
    match naming.object {
        NamedObject::Task { image } => {
            let image = image.map(|module| format!(", image in module {module},"));
            let (task, image) = (what.task, image.unwrap_or_default());
            let line = format_args!("task {task} named {name}{image} by {by}");
            lines.line(*time, &what.task_name, line);
        }
        NamedObject::Thread => {
            let thread = what.thread;
            lines.line(*time, what, format_args!("thread {thread} named {name} by {by}"));
        }
    }
}

fn span(lines: &mut Lines<'_>, span: &Span) {
    let (strong, end) = (lines.paint.strong(), lines.paint.end());
    lines.indent = span.depth * 2;
    let headline = Headline(span);
    match &span.code {
        Some(code) => {
            let place = Place(code);
            lines.line(span.time, &span.who, format_args!("{strong}{headline}{end} ip={place}"));
        }
        None => lines.line(span.time, &span.who, format_args!("{strong}{headline}{end}")),
    }
    lines.indent += 2;
    let resumed = if let End::Resumed(resumed) = &span.end { Some(resumed) } else { None };
    if let Some((resumed, stages)) = resumed.and_then(|resumed| Some((resumed, resumed.stages?))) {
        lines.more(stages.received, format_args!("-> {}", resumed.by));
        if span.maps.is_empty() {
            lines.more(stages.answered, format_args!("<- {} answers without a map", resumed.by));
        }
    }
    items(lines, span);
    ending(lines, span);
}

/// The items of the answer, each behind what was unmapped for it.
fn items(lines: &mut Lines<'_>, span: &Span) {
    let mut unmaps = span.unmaps.iter().peekable();
    let mut before = |lines: &mut Lines<'_>, time: Nanoseconds| {
        while let Some(unmap) = unmaps.next_if(|unmap| unmap.time <= time) {
            lines.more(unmap.time, format_args!("<- {} {}", unmap.by, Unmapped(unmap)));
        }
    };
    for mapping in &span.maps {
        before(lines, mapping.time);
        lines.more(mapping.time, format_args!("<- {} {}", mapping.from, Mapped(mapping)));
        drawing(lines, mapping);
    }
    before(lines, Nanoseconds(u64::MAX));
}

fn drawing(lines: &mut Lines<'_>, mapping: &Mapping) {
    for line in placement::lines(mapping).into_iter().flatten() {
        lines.more("", format_args!("   {line}"));
    }
}

fn ending(lines: &mut Lines<'_>, span: &Span) {
    let (bad, end) = (lines.paint.bad(), lines.paint.end());
    let gap = if span.complete { "" } else { " (incomplete: records lost)" };
    match &span.end {
        End::Resumed(resumed) => {
            lines.more(resumed.time, format_args!("= resumed{}{gap}", Latency(resumed)));
        }
        End::Unresolved { time, reason, answer } => {
            let phrase = words::unresolved(*reason, *answer);
            let who = asked(span, *reason);
            let own = Own(span);
            lines.more(*time, format_args!("{bad}= UNRESOLVED: {who} {phrase}{end}{own}{gap}"));
        }
        End::ThreadEnded { time } => {
            let (handler, own) = (Asked(&span.handler), Own(span));
            lines.more(*time, format_args!("= <thread ended> {handler}{own}{gap}"));
        }
        End::Open => {
            let (handler, own) = (Asked(&span.handler), Own(span));
            lines.more("-", format_args!("{bad}= <unresolved at end>{end} {handler}{own}{gap}"));
        }
        End::NotRecorded => lines.more("-", format_args!("= <end not recorded>{gap}")),
    }
}

/// Whom a phrase of [`words::unresolved`] is about.
pub(super) fn asked(span: &Span, reason: Unresolved) -> &Party {
    if reason == Unresolved::NoPager { &span.who } else { &span.handler }
}

/// Whom the kernel turned to, for a span without an end.
struct Asked<'a>(&'a Party);

impl Display for Asked<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_kernel() {
            return formatter.write_str("asked nobody");
        }
        write!(formatter, "asked {}", self.0)
    }
}

/// Lines in three columns: time, thread, event.
struct Lines<'a> {
    text: &'a mut String,
    paint: Paint,
    /// How far the event column is indented.
    indent: usize,
}

impl Lines<'_> {
    /// A line of its own.
    fn line(&mut self, time: Nanoseconds, who: &dyn Display, event: Arguments<'_>) {
        self.row(&time, who, event);
    }

    /// A line that belongs to the one above it.
    fn more(&mut self, time: impl Display, event: Arguments<'_>) {
        self.row(&time, &"", event);
    }

    fn row(&mut self, time: &dyn Display, who: &dyn Display, event: Arguments<'_>) {
        let (faint, end, indent) = (self.paint.faint(), self.paint.end(), self.indent);
        put!(self.text, "{faint}{time:>12}{end}  {who:<NAME_WIDTH$}  {:indent$}{event}\n", "");
    }
}

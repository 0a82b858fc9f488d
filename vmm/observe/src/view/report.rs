//! The report on a fault or exception that nobody resolved.

use super::{
    Paint, block,
    words::{self, Extent, Own, Place, exception, put},
};
use crate::event::{Cause, End, Nanoseconds, Span};
use crate::region::{Around, Region};
use protocol::fault::Access;

pub(super) fn report(text: &mut String, paint: Paint, span: &Span) {
    let Some(diagnosis) = &span.diagnosis else { return };
    let (bad, end) = (paint.bad(), paint.end());
    let what = match span.cause {
        Cause::Exception { vector, .. } => format!("unhandled exception: {}", exception(vector)),
        Cause::Fault { access, .. } if access.contains(Access::PORT) => {
            "unresolved port fault".to_owned()
        }
        Cause::Fault { .. } | Cause::Unresolved | Cause::Lost => "unresolved page fault".to_owned(),
    };
    put!(text, "{bad}glass: {}: {what}{end}\n", span.who);
    cause(text, span);
    if let Some(code) = &span.code {
        let unknown = if code.symbol.is_none() { " (no symbol)" } else { "" };
        put!(text, "  code     {}{unknown}\n", Place(code));
    }
    if let Some(caller) = &diagnosis.caller {
        put!(text, "  caller   {} (return address on the stack)\n", Place(caller));
    }
    answer(text, span);
    if let Some(around) = &diagnosis.around {
        regions(text, around);
    }
    if let Some(hint) = &diagnosis.hint {
        put!(text, "  hint     {hint}\n");
    }
}

fn cause(text: &mut String, span: &Span) {
    match span.cause {
        Cause::Fault { address, access, .. } if access.contains(Access::PORT) => {
            put!(text, "  access   port {address:#x}, which the task may not use");
        }
        Cause::Fault { address, access, area } => {
            let verb = match access.letter() {
                'X' => "execute",
                'W' => "write",
                _ => "read",
            };
            put!(text, "  access   {verb} at {address:#018x}");
            if let Some(area) = area {
                put!(text, " [{area}]");
            }
            let present = access.contains(Access::PRESENT);
            text.push_str(if present {
                ", page present: its rights do not suffice"
            } else {
                ", no page there"
            });
        }
        Cause::Exception { vector, error_code } => {
            put!(text, "  vector   {vector}, error code {error_code:#x}");
        }
        Cause::Unresolved | Cause::Lost => text.push_str("  access   unknown: its record was lost"),
    }
    text.push('\n');
}

/// Who was asked and what came of it.
fn answer(text: &mut String, span: &Span) {
    let role = if matches!(span.cause, Cause::Exception { .. }) { "handler" } else { "pager  " };
    match &span.end {
        End::Unresolved { time, reason, answer } => {
            let who = block::asked(span, *reason);
            put!(text, "  {role}  {who} {}{}", words::unresolved(*reason, *answer), Own(span));
            // Without the first record, `time` is the end itself.
            if span.complete || *time > span.time {
                let after = Nanoseconds(time.0.saturating_sub(span.time.0));
                put!(text, ", {after} us after the fault");
            }
        }
        _ if span.handler.is_kernel() => put!(text, "  {role}  none"),
        _ => put!(text, "  {role}  {} did not let the thread go on{}", span.handler, Own(span)),
    }
    text.push('\n');
}

fn regions(text: &mut String, around: &Around) {
    let name = |region: &Option<Region>| match region {
        Some(region) => Extent(region).to_string(),
        None => "-".to_owned(),
    };
    text.push_str("  mapped   ");
    match &around.inside {
        Some(inside) => put!(text, "here {}", Extent(inside)),
        None => text.push_str("nothing here"),
    }
    let (below, above) = (name(&around.below), name(&around.above));
    put!(text, "; below: {below}; above: {above}\n");
}

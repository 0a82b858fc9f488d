//! One line for each event, its fields separated by spaces.

use super::words::{self, Place, Sending, map_status, put};
use crate::event::{Cause, End, Event, Mapping, Span};
use protocol::{PAGE_ORDER, flexpage::Kind, introspection::record::MapStatus};

pub(super) fn event(text: &mut String, event: &Event) {
    match event {
        Event::Span(span) => self::span(text, span),
        Event::Map(mapping) => {
            put!(text, "{} {}", mapping.time, mapping.to);
            self::mapping(text, mapping);
            put!(text, " to={:#x} from {}", mapping.destination, mapping.from);
        }
        Event::Message(message) => {
            put!(text, "{} {} {}", message.time, message.from, Sending(message));
        }
        Event::TaskCreated(creation) => {
            let (time, name) = (creation.time, &creation.what.task_name);
            put!(text, "{time} {name} task-created by {}", creation.creator);
        }
        Event::ThreadStarted(creation) => {
            let (time, name) = (creation.time, &creation.what);
            put!(text, "{time} {name} thread-started by {}", creation.creator);
        }
        Event::ShutDown(down) => {
            put!(text, "{} {} shut-down status={}", down.time, down.by, down.status);
        }
        Event::Lost(lost) => put!(text, "{} - lost {}", lost.time, lost.count),
    }
    text.push('\n');
}

fn span(text: &mut String, span: &Span) {
    put!(text, "{} {} ", span.time, span.who);
    match &span.cause {
        Cause::Fault { address, access, area } => {
            put!(text, "{} {address:#x}", access.letter());
            if let Some(area) = area {
                put!(text, " [{area}]");
            }
        }
        Cause::Exception { vector, error_code } => {
            put!(text, "exception {vector} ({}) error={error_code:#x}", words::exception(*vector));
        }
        Cause::Unresolved => put!(text, "unresolved-fault {}", span.number),
        Cause::Lost => text.push('?'),
    }
    if let Some(code) = &span.code {
        put!(text, " ip={}", Place(code));
    }
    put!(text, " via {}", span.handler);
    for mapping in &span.maps {
        self::mapping(text, mapping);
    }
    match &span.end {
        End::Resumed(resumed) => match resumed.total {
            Some(total) => put!(text, " {total}us"),
            None => text.push_str(" resumed"),
        },
        End::Unresolved { reason, answer, .. } => {
            put!(text, " UNRESOLVED: {}", words::unresolved(*reason, *answer));
        }
        End::Open => text.push_str(" <unresolved at end>"),
        End::NotRecorded => text.push_str(" <end not recorded>"),
    }
    if let Some(outer) = span.serving {
        put!(text, " serving={outer}");
    }
    if !span.complete {
        text.push_str(" incomplete");
    }
}

/// ` map rw- 2^12 frame=0x1f3c`
fn mapping(text: &mut String, mapping: &Mapping) {
    let verb = if mapping.grant { "grant" } else { "map" };
    if mapping.status != Some(MapStatus::Done) {
        return put!(text, " {verb}-failed ({})", map_status(mapping.status));
    }
    put!(text, " {verb} {} 2^{}", words::rights(mapping.rights), mapping.order);
    match mapping.sent.kind() {
        Kind::Memory | Kind::Special => {
            put!(text, " frame={:#x}", mapping.physical >> PAGE_ORDER);
        }
        Kind::IoPorts => text.push_str(" ports"),
        Kind::Capability => text.push_str(" caps"),
    }
}

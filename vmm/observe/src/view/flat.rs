//! One line for each event, its fields separated by spaces.

use super::words::{self, Gate, Gone, Numbers, Place, Sending, map_status, put};
use crate::event::{
    Cause, End, Ending, Event, HandlersOwn, Interrupt, Mapping, Naming, Pagers, Registers, Span,
    TimedOut, Unmapping,
};
use protocol::{
    PAGE_ORDER,
    fault::Access,
    flexpage::{Kind, Rights},
    introspection::{
        mapping::ObjectKind,
        record::{MapStatus, NamedObject},
    },
};

pub(super) fn event(text: &mut String, event: &Event) {
    match event {
        Event::Span(span) => self::span(text, span),
        Event::Map(mapping) => {
            put!(text, "{} {}", mapping.time, mapping.to);
            self::mapping(text, mapping);
            put!(text, " to={:#x} from {}", mapping.destination, mapping.from);
        }
        Event::Unmap(unmap) => {
            put!(text, "{} {}", unmap.time, unmap.by);
            self::unmapping(text, unmap);
            put!(text, " of {}", unmap.of);
        }
        Event::Message(message) => {
            put!(text, "{} {} {}", message.time, message.from, Sending(message));
        }
        Event::Interrupt(Interrupt { time, to, number, gate_label, pending, told }) => {
            put!(text, "{time} {to} interrupt {number} label={gate_label:#x} told={told}");
            put!(text, " pending={pending}us");
        }
        Event::TaskCreated(creation) => {
            let (time, name) = (creation.time, &creation.what.task_name);
            put!(text, "{time} {name} task-created by {}", creation.creator);
        }
        Event::ThreadStarted(creation) => {
            let (time, name) = (creation.time, &creation.what);
            put!(text, "{time} {name} thread-started by {}", creation.creator);
        }
        Event::Named(naming) => {
            let Naming { time, what, name, by, .. } = naming;
            match naming.object {
                NamedObject::Task { image } => {
                    put!(text, "{time} {} task-named {name}", what.task_name);
                    if let Some(module) = image {
                        put!(text, " image={module}");
                    }
                }
                NamedObject::Thread => put!(text, "{time} {what} thread-named {name}"),
            }
            put!(text, " by {by}");
        }
        Event::PagersSet(Pagers { time, who, pager, exception_handler, by }) => {
            let [pager, handler] = [pager, exception_handler].map(Gate);
            put!(text, "{time} {who} pagers-set pager={pager} handler={handler} by {by}");
        }
        Event::RegistersSet(Registers { time, who, way, code, stack, flags, by }) => {
            let (way, place) = (words::registers_key(*way), Place(code));
            put!(
                text,
                "{time} {who} registers-set {way} ip={place} sp={stack:#x} flags={flags:#x}"
            );
            put!(text, " by {by}");
        }
        Event::Ended(ending) => {
            let Ending { time, number, label, by, .. } = ending;
            put!(text, "{time} {} {}-ended", Gone(ending), words::object_kind(ending.kind));
            match ending.kind {
                ObjectKind::Task | ObjectKind::Thread => {}
                ObjectKind::Gate => put!(text, " {number} label={label:#x}"),
                _ => put!(text, " {number}"),
            }
            put!(text, " by {by}");
        }
        Event::TimedOut(TimedOut { time, who, is_sending, partner, deadline }) => {
            let phase = if *is_sending { "send" } else { "receive" };
            put!(text, "{time} {who} timed-out phase={phase} deadline={deadline}us");
            if let Some(partner) = partner {
                put!(text, " for {partner}");
            }
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
        Cause::Fault { address, access, .. } if access.contains(Access::PORT) => {
            put!(text, "P {address:#x}");
        }
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
    span.unmaps.iter().for_each(|unmap| unmapping(text, unmap));
    span.maps.iter().for_each(|mapping| self::mapping(text, mapping));
    match &span.end {
        End::Resumed(resumed) => match resumed.total {
            Some(total) => put!(text, " {total}us"),
            None => text.push_str(" resumed"),
        },
        End::Unresolved { reason, answer, .. } => {
            put!(text, " UNRESOLVED: {}", words::unresolved(*reason, *answer));
        }
        End::ThreadEnded { .. } => text.push_str(" <thread ended>"),
        End::Open => text.push_str(" <unresolved at end>"),
        End::NotRecorded => text.push_str(" <end not recorded>"),
    }
    let HandlersOwn { waits, is_circle, failed } = words::handlers_own(span);
    for (number, party) in waits.iter().enumerate() {
        put!(text, "{}{party}", if number == 0 { " waits-for=" } else { "," });
    }
    text.push_str(if *is_circle { " circle" } else { "" });
    text.push_str(if *failed { " pager-failed" } else { "" });
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
    if mapping.status != MapStatus::Done {
        return put!(text, " {verb}-failed ({})", map_status(mapping.status));
    }
    let rights = words::rights(mapping.rights);
    match mapping.sent.kind() {
        Kind::Memory | Kind::Special => {
            let frame = mapping.physical >> PAGE_ORDER;
            put!(text, " {verb} {rights} 2^{} frame={frame:#x}", mapping.order);
        }
        kind @ (Kind::IoPorts | Kind::Capability) => {
            let numbers = Numbers(kind, mapping.destination, mapping.order.into());
            put!(text, " {verb} {rights} {numbers}");
        }
    }
}

/// ` unmap {0x01f3c000,2^12} own takes=rwx gone=2 reduced=0 accessed dirty`
fn unmapping(text: &mut String, unmap: &Unmapping) {
    let numbers = Numbers(unmap.flexpage.kind(), unmap.start(), unmap.order());
    put!(text, " {} {{{numbers}}}", words::unmap_verb(unmap));
    if unmap.own {
        text.push_str(" own");
    }
    // Without the right to read there is no mapping.
    let taken = if unmap.taken.contains(Rights::READ) { Rights::all() } else { unmap.taken };
    put!(text, " takes={} gone={}", words::rights(taken), unmap.removed);
    put!(text, " reduced={}", unmap.reduced);
    if unmap.accessed {
        text.push_str(" accessed");
    }
    if unmap.dirty {
        text.push_str(" dirty");
    }
}

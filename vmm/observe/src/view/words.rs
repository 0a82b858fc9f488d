//! Words and phrases that several views use.

use crate::{
    event::{
        Cause, End, Ending, Handler, HandlersOwn, Mapping, Message, Resumed, Span, TimedOut,
        Unmapping,
    },
    region::Region,
    symbols::Location,
};
use protocol::{
    PAGE_ORDER,
    error::{IpcError, IpcFailure, ObjectError},
    fault::Access,
    flexpage::{Flexpage, Kind, Rights},
    introspection::{
        mapping::ObjectKind,
        record::{MapStatus, SetBy, Unresolved},
    },
    message::MessageTag,
    object::label,
};
use std::fmt;

/// Adds formatted text. Writing to a string cannot fail.
macro_rules! put {
    ($text:expr, $($format:tt)*) => {{
        let _ = ::std::fmt::Write::write_fmt($text, format_args!($($format)*));
    }};
}
pub(super) use put;

/// `thread`
pub(super) fn object_kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Gate => "gate",
        ObjectKind::Thread => "thread",
        ObjectKind::Task => "task",
        ObjectKind::Factory => "factory",
        ObjectKind::Reply => "answer",
        ObjectKind::Interrupt => "interrupt",
        // The kernel's own never end.
        _ => "object",
    }
}

/// `slept until 12 us`, `waited for words until 12 us, in vain`.
pub(super) struct TimeOver<'a>(pub(super) &'a TimedOut);

impl fmt::Display for TimeOver<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimedOut { who, is_sending, partner, deadline, .. } = self.0;
        let what = match is_sending {
            true => "wanted to send to",
            false => "has waited for",
        };
        match partner {
            Some(partner) if partner.thread == who.thread => {
                write!(formatter, "has slept until {deadline} us")
            }
            Some(partner) => write!(formatter, "{what} {partner} until {deadline} us, in vain"),
            None => write!(formatter, "{what} anybody until {deadline} us, in vain"),
        }
    }
}

/// Who ended: `words`, or `-` for what has no name.
pub(super) struct Gone<'a>(pub(super) &'a Ending);

impl fmt::Display for Gone<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            ObjectKind::Task | ObjectKind::Thread => self.0.what.fmt(formatter),
            _ => formatter.pad("-"),
        }
    }
}

/// `root`, or `(cap 4, empty)` where there is no gate yet.
pub(super) struct Gate<'a>(pub(super) &'a Handler);

impl fmt::Display for Gate<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.gate {
            Some(gate) => gate.party.fmt(formatter),
            None => write!(formatter, "(cap {}, empty)", self.0.capability),
        }
    }
}

/// `rw-`
pub(super) fn rights(rights: Rights) -> String {
    rights.letters().map(char::from).iter().collect()
}

/// `0x00400123 words::fill+0x21 at words/src/main.rs:42`
pub(super) struct Place<'a>(pub(super) &'a Location);

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#010x}", self.0.address)?;
        let Some(symbol) = &self.0.symbol else { return Ok(()) };
        write!(formatter, " {symbol}")?;
        if let Some(inlined) = &symbol.inlined {
            write!(formatter, " in {inlined}")?;
        }
        match &symbol.source {
            Some(source) => write!(formatter, " at {source}"),
            None => Ok(()),
        }
    }
}

/// `text 0x00400000-0x00408fff r-x`
pub(super) struct Extent<'a>(pub(super) &'a Region);

impl fmt::Display for Extent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(area) = self.0.area {
            write!(formatter, "{area} ")?;
        }
        let (start, last) = (self.0.range.start, self.0.range.end.saturating_sub(1));
        write!(formatter, "{start:#010x}-{last:#010x} {}", rights(self.0.rights))
    }
}

/// `map {0x01f3c000,2^12,rw-} -> 0x10001000 frame 0x1f3c`
pub(super) struct Mapped<'a>(pub(super) &'a Mapping);

impl fmt::Display for Mapped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapping = self.0;
        let verb = if mapping.grant { "grant" } else { "map" };
        write!(formatter, "{verb} {}", Sent(mapping.sent))?;
        if mapping.status != MapStatus::Done {
            return write!(formatter, " failed: {}", map_status(mapping.status));
        }
        let (kind, order) = (mapping.sent.kind(), u32::from(mapping.order));
        if is_memory(kind) && order == mapping.sent.order() {
            write!(formatter, " -> {:#010x}", mapping.destination)?;
        } else {
            write!(formatter, " -> {}", Numbers(kind, mapping.destination, order))?;
        }
        if mapping.rights != mapping.sent.rights() {
            write!(formatter, ",{}", rights(mapping.rights))?;
        }
        if !is_memory(kind) {
            return Ok(());
        }
        write!(formatter, " frame {:#x}", mapping.physical >> PAGE_ORDER)
    }
}

/// `unmap {0x01f3c000,2^12} of words takes -w-: 2 mappings reduced; accessed, dirty`
pub(super) struct Unmapped<'a>(pub(super) &'a Unmapping);

impl fmt::Display for Unmapped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unmap = self.0;
        let numbers = Numbers(unmap.flexpage.kind(), unmap.start(), unmap.order());
        write!(formatter, "{} {{{numbers}}}", unmap_verb(unmap))?;
        if unmap.of.task != unmap.by.task {
            write!(formatter, " of {}", unmap.of)?;
        }
        if unmap.own && !unmap.replaced {
            formatter.write_str(" with own")?;
        }
        if unmap.taken.is_empty() {
            formatter.write_str(" takes nothing")?;
        } else if !unmap.taken.contains(Rights::READ) {
            write!(formatter, " takes {}", rights(unmap.taken))?;
        }
        match (unmap.removed, unmap.reduced) {
            (0, 0) if unmap.taken.is_empty() => {}
            (removed, 0) => write!(formatter, ": {}", Count(removed, "mapping gone"))?,
            (0, reduced) => write!(formatter, ": {}", Count(reduced, "mapping reduced"))?,
            (removed, reduced) => {
                write!(formatter, ": {}, {reduced} reduced", Count(removed, "mapping gone"))?;
            }
        }
        match (unmap.accessed, unmap.dirty) {
            (false, false) if unmap.taken.is_empty() => formatter.write_str("; not accessed"),
            (false, false) => Ok(()),
            (true, false) => formatter.write_str("; accessed"),
            (false, true) => formatter.write_str("; dirty"),
            (true, true) => formatter.write_str("; accessed, dirty"),
        }
    }
}

/// `2 mappings gone`
struct Count(u32, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        match (count, what.split_once(' ')) {
            (0, _) => write!(formatter, "no {what}"),
            (1, _) | (_, None) => write!(formatter, "{count} {what}"),
            (_, Some((noun, rest))) => write!(formatter, "{count} {noun}s {rest}"),
        }
    }
}

/// What to call it where it stands among other events.
pub(super) fn unmap_verb(unmap: &Unmapping) -> &'static str {
    if unmap.replaced { "replace" } else { "unmap" }
}

/// The kind of resource as programs read it.
pub(super) fn kind_key(kind: Kind) -> &'static str {
    match kind {
        Kind::Memory | Kind::Special => "memory",
        Kind::IoPorts => "ports",
        Kind::Capability => "capabilities",
    }
}

/// Whether a flexpage of this kind is about memory.
pub(super) fn is_memory(kind: Kind) -> bool {
    matches!(kind, Kind::Memory | Kind::Special)
}

/// `{0x01f3c000,2^12,rw-}`
pub(super) struct Sent(pub(super) Flexpage);

impl fmt::Display for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flexpage, kind) = (self.0, self.0.kind());
        if flexpage == Flexpage::NIL {
            return formatter.write_str("{nil}");
        }
        if flexpage.is_whole_space() {
            return formatter.write_str("{whole space}");
        }
        let numbers = Numbers(kind, flexpage.address() as u64, flexpage.order());
        write!(formatter, "{{{numbers},{}}}", rights(flexpage.rights()))
    }
}

/// `2^order` bytes, ports or capabilities from a number on: `0x01f3c000,2^12`, `ports 0x3f8-0x3ff`,
/// `cap 20`.
pub(super) struct Numbers(pub(super) Kind, pub(super) u64, pub(super) u32);

impl fmt::Display for Numbers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, first, order) = *self;
        let last = 1u64.checked_shl(order).and_then(|count| first.checked_add(count - 1));
        match (kind, last) {
            (Kind::Memory | Kind::Special, _) => write!(formatter, "{first:#010x},2^{order}"),
            (Kind::IoPorts, Some(last)) if last == first => write!(formatter, "port {first:#x}"),
            (Kind::IoPorts, Some(last)) => write!(formatter, "ports {first:#x}-{last:#x}"),
            (Kind::IoPorts, None) => write!(formatter, "ports {first:#x},2^{order}"),
            (Kind::Capability, Some(last)) if last == first => write!(formatter, "cap {first}"),
            (Kind::Capability, Some(last)) => write!(formatter, "caps {first}-{last}"),
            (Kind::Capability, None) => write!(formatter, "caps {first},2^{order}"),
        }
    }
}

pub(super) fn map_status(status: MapStatus) -> &'static str {
    match status {
        MapStatus::Done => "done",
        MapStatus::SourceEmpty => "the sender has nothing there",
        MapStatus::Overflow => "it does not fit the receive window",
        MapStatus::NoMemory => "no kernel memory",
        MapStatus::TooDeep => "too many mappings lie between it and its origin",
    }
}

/// What a label means where it is a request.
pub(super) fn protocol(message_label: isize) -> Option<&'static str> {
    Some(match message_label {
        label::PAGE_FAULT => "page fault",
        label::EXCEPTION => "exception",
        label::SIGMA0 => "memory request",
        label::PAGE_IN => "page in",
        label::EXIT => "exit",
        _ => return None,
    })
}

/// `message -> root exit (label -30), 1 word: 0x0`
pub(super) struct Sending<'a>(pub(super) &'a Message);

impl fmt::Display for Sending<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { to, tag, words, .. } = self.0;
        write!(formatter, "message -> {to} ")?;
        match protocol(tag.label()) {
            Some(name) => write!(formatter, "{name} (label {})", tag.label())?,
            None => write!(formatter, "label {}", tag.label())?,
        }
        let count = tag.words();
        if count > 0 {
            write!(formatter, ", {count} word{}:", if count == 1 { "" } else { "s" })?;
        }
        for word in words.iter().take(count) {
            write!(formatter, " {word:#x}")?;
        }
        formatter.write_str(if count > words.len() { " ..." } else { "" })?;
        match tag.items() {
            0 => Ok(()),
            1 => formatter.write_str(", 1 item"),
            items => write!(formatter, ", {items} items"),
        }
    }
}

/// Why a span stayed unresolved, in one phrase about its handler.
pub(super) fn unresolved(reason: Unresolved, answer: u64) -> String {
    match reason {
        Unresolved::Refused => format!("refused: {}", answer_label(answer)),
        Unresolved::NoPager => "has nobody to turn to".to_owned(),
        Unresolved::ReplyLost => "took the message and will never answer".to_owned(),
        Unresolved::NoProgress => "answers, but the access still faults".to_owned(),
        Unresolved::MapFailed => {
            format!("answered, but the map failed: {}", ipc_error(answer))
        }
        Unresolved::OutsideUserArea => "was not asked: not a user address".to_owned(),
    }
}

/// What was the matter with the handler, where that may be why there was no answer.
pub(super) fn handlers_own(span: &Span) -> &HandlersOwn {
    const NOTHING: &HandlersOwn =
        &HandlersOwn { waits: Vec::new(), is_circle: false, failed: false };
    match span.end {
        End::Resumed(_) | End::NotRecorded => NOTHING,
        End::Unresolved { reason, .. } if !is_silence(reason) => NOTHING,
        End::Unresolved { .. } | End::ThreadEnded { .. } | End::Open => &span.handlers_own,
    }
}

/// Whether a reason means that the handler gave no answer at all.
fn is_silence(reason: Unresolved) -> bool {
    matches!(reason, Unresolved::ReplyLost | Unresolved::NoPager)
}

/// `, which waits for b, which waits for a: a circle`
pub(super) struct Own<'a>(pub(super) &'a Span);

impl fmt::Display for Own<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HandlersOwn { waits, is_circle, failed } = handlers_own(self.0);
        let is_asked = !matches!(self.0.end, End::Unresolved { .. });
        for (number, party) in waits.iter().enumerate() {
            match number == 0 && !is_asked {
                true => write!(formatter, "; {} waits for {party}", self.0.handler)?,
                false => write!(formatter, ", which waits for {party}")?,
            }
        }
        formatter.write_str(if *is_circle { ": a circle" } else { "" })?;
        match failed {
            true => write!(formatter, "; {} has failed itself", self.0.handler),
            false => Ok(()),
        }
    }
}

/// The reason as programs read it.
pub(super) fn reason_key(reason: Unresolved) -> &'static str {
    match reason {
        Unresolved::Refused => "refused",
        Unresolved::NoPager => "no_pager",
        Unresolved::ReplyLost => "reply_lost",
        Unresolved::NoProgress => "no_progress",
        Unresolved::MapFailed => "map_failed",
        Unresolved::OutsideUserArea => "outside_user_area",
    }
}

/// `invalid argument (label -22)`
fn answer_label(tag: u64) -> String {
    let label = MessageTag(tag as usize).label();
    match ObjectError::from_label(label).map(object_error) {
        Some(error) => format!("{error} (label {label})"),
        None => format!("label {label}"),
    }
}

fn object_error(error: ObjectError) -> &'static str {
    match error {
        ObjectError::PermissionDenied => "permission denied",
        ObjectError::NoSuchCapability => "no such capability",
        ObjectError::NoMemory => "no memory",
        ObjectError::Busy => "busy",
        ObjectError::NoSuchObject => "no such object",
        ObjectError::InvalidArgument => "invalid argument",
        ObjectError::OutOfRange => "out of range",
        ObjectError::UnknownOperation => "unknown operation",
        ObjectError::BadProtocol => "bad protocol",
        ObjectError::TooDeep => "too many mappings lie between it and its origin",
        ObjectError::MessageTooShort => "message too short",
    }
}

fn ipc_error(word: u64) -> String {
    let Some(IpcFailure { error, item }) = IpcFailure::from_word(word as usize) else {
        return format!("IPC error {word:#x}");
    };
    let why = match error {
        IpcError::SendTimeout => "timeout before it was taken",
        IpcError::Timeout => "timeout",
        IpcError::NoPartner => "no partner",
        IpcError::Cancelled => "cancelled",
        IpcError::WindowOverflow => "it does not fit the receive window",
        IpcError::ReplyLost => "reply lost",
        IpcError::MapFailed => "no kernel memory",
        IpcError::InvalidArgument => "invalid argument",
        IpcError::TooDeep => "too many mappings lie between it and its origin",
    };
    match item {
        0 => why.to_owned(),
        item => format!("{why} (item {})", item + 1),
    }
}

/// What was done to a thread.
pub(super) fn registers_set(way: SetBy) -> &'static str {
    match way {
        SetBy::ExRegs => "sent elsewhere",
        SetBy::Trigger => "made to raise an exception",
        SetBy::Write => "registers set",
        SetBy::WriteFloatingPoint => "floating-point state set",
        SetBy::Answer => "registers set in the answer",
    }
}

/// The same as a word.
pub(super) fn registers_key(way: SetBy) -> &'static str {
    match way {
        SetBy::ExRegs => "ex-regs",
        SetBy::Trigger => "trigger",
        SetBy::Write => "write",
        SetBy::WriteFloatingPoint => "write-floating-point",
        SetBy::Answer => "answer",
    }
}

/// The processor's exceptions by number.
pub(super) fn exception(vector: u8) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack-segment fault",
        13 => "general protection",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point error",
        20 => "virtualization exception",
        21 => "control protection",
        0x30 => "system call",
        0x80 => "int 0x80",
        255 => "triggered",
        _ => "exception",
    }
}

/// `#PF W 0x10001000 [heap]`, `#GP port 0x3f8`, or what else began a span.
pub(super) struct Headline<'a>(pub(super) &'a Span);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.cause {
            Cause::Fault { address, access, .. } if access.contains(Access::PORT) => {
                write!(formatter, "#GP port {address:#x}")
            }
            Cause::Fault { address, access, area } => {
                write!(formatter, "#PF {} {address:#010x}", access.letter())?;
                area.map_or(Ok(()), |area| write!(formatter, " [{area}]"))
            }
            Cause::Exception { vector, error_code } => {
                write!(formatter, "#{vector} {} error {error_code:#x}", exception(*vector))
            }
            Cause::Unresolved => write!(formatter, "unresolved fault {}", self.0.number),
            Cause::Lost => formatter.write_str("(record of the fault lost)"),
        }
    }
}

/// ` after 3.895 us (0.253 to pager, 3.069 pager, 0.573 reply)`
pub(super) struct Latency<'a>(pub(super) &'a Resumed);

impl fmt::Display for Latency<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resumed { total, stages, by, .. } = self.0;
        if let Some(total) = total {
            write!(formatter, " after {total} us")?;
        }
        let Some(stages) = stages else {
            return if by.is_kernel() { formatter.write_str(" (kernel)") } else { Ok(()) };
        };
        formatter.write_str(" (")?;
        if let Some(to_pager) = stages.to_pager {
            write!(formatter, "{to_pager} to pager, ")?;
        }
        write!(formatter, "{} pager, {} reply)", stages.pager, stages.reply)
    }
}

/// The note on records that were lost, if any were.
pub(super) fn lost(text: &mut String, count: u64) {
    if count > 0 {
        put!(text, "lost {count} records: the guest wrote them faster than they were read\n");
    }
}

/// The note on reports for which there was no room, if any.
pub(super) fn more_reports(text: &mut String, count: usize) {
    if count > 0 {
        put!(text, "and {count} more unresolved\n");
    }
}

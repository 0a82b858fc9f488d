//! JSON Lines: one object an event. Keys and their meanings: `docs/trace-format.md`.
//!
//! Keys are only ever added; a change of a key's meaning changes [`VERSION`].

use super::words::{self, exception, is_memory, kind_key, reason_key, registers_key, rights};
use crate::{
    event::{
        Cause, Creation, Diagnosis, End, Ending, Event, Handler, HandlersOwn, Interrupt, Mapping,
        Message, Naming, Nanoseconds, Pagers, Party, Registers, Resumed, ShutDown, Span, TimedOut,
        Unmapping,
    },
    region::{Around, Region},
    symbols::Location,
};
use protocol::{
    fault::Access,
    introspection::{
        NOBODY,
        mapping::ObjectKind,
        record::{MapStatus, NamedObject},
    },
    message::MessageTag,
};
use serde::{Serialize, Serializer};

/// Value of the key `v`.
const VERSION: u32 = 1;

pub(super) fn event(text: &mut String, event: &Event) {
    match event {
        Event::Span(span) => line(text, kind_of(span), SpanBody::new(span)),
        Event::Map(mapping) => line(text, "map", MapEvent::new(mapping)),
        Event::Unmap(unmap) => line(text, "unmap", UnmapEvent::new(unmap)),
        Event::Message(message) => line(text, "message", MessageBody::new(message)),
        Event::Interrupt(interrupt) => line(text, "interrupt", InterruptBody::new(interrupt)),
        Event::TaskCreated(creation) => line(text, "task", CreationBody::new(creation, false)),
        Event::ThreadStarted(creation) => line(text, "thread", CreationBody::new(creation, true)),
        Event::Named(naming) => line(text, "named", NamingBody::new(naming)),
        Event::PagersSet(pagers) => line(text, "pagers", PagersBody::new(pagers)),
        Event::RegistersSet(set) => line(text, "registers", RegistersBody::new(set)),
        Event::Ended(ending) => line(text, "ended", EndingBody::new(ending)),
        Event::TimedOut(timed) => line(text, "timeout", TimedOutBody::new(timed)),
        Event::ShutDown(down) => line(text, "shutdown", ShutDownBody::new(down)),
        Event::Lost(lost) => {
            line(text, "lost", LostBody { t: Some(Time(lost.time)), count: lost.count });
        }
    }
}

/// The last line.
pub(super) fn end(text: &mut String, lost: u64) {
    line(text, "end", LostBody { t: None, count: lost });
}

fn line(text: &mut String, kind: &'static str, body: impl Serialize) {
    let line = Line { v: VERSION, k: kind, body };
    if let Ok(json) = serde_json::to_string(&line) {
        text.push_str(&json);
        text.push('\n');
    }
}

fn kind_of(span: &Span) -> &'static str {
    match span.cause {
        Cause::Fault { .. } => "fault",
        Cause::Exception { .. } => "exception",
        Cause::Unresolved | Cause::Lost => "resume",
    }
}

#[derive(Serialize)]
struct Line<T> {
    v: u32,
    k: &'static str,
    #[serde(flatten)]
    body: T,
}

/// A time as a number of nanoseconds.
#[derive(Clone, Copy)]
struct Time(Nanoseconds);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.0)
    }
}

/// A word as a string: JSON numbers are exact only up to 2^53.
#[derive(Clone, Copy)]
struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

#[derive(Serialize)]
struct Who<'a> {
    /// Nothing of a thread that is in no task.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<u16>,
}

impl<'a> Who<'a> {
    fn new(party: &'a Party) -> Self {
        let thread_id = number(party);
        Self { thread: thread_id.map(|_| &*party.name), thread_id, ..Self::task(party) }
    }

    fn task(party: &'a Party) -> Self {
        let has_task = party.task != NOBODY || party.is_kernel();
        Self {
            task: has_task.then_some(&*party.task_name),
            task_id: has_task.then_some(party.task),
            thread: None,
            thread_id: None,
        }
    }
}

/// A thread's number, unless it is the kernel or no thread at all.
fn number(party: &Party) -> Option<u16> {
    (party.thread != NOBODY).then_some(party.thread)
}

#[derive(Serialize)]
struct Place<'a> {
    ip: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inlined: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl<'a> Place<'a> {
    fn new(location: &'a Location) -> Self {
        let symbol = location.symbol.as_deref();
        Self {
            ip: Hex(location.address),
            symbol: symbol.map(ToString::to_string),
            inlined: symbol.and_then(|symbol| symbol.inlined.as_deref()),
            source: symbol.and_then(|symbol| symbol.source.as_ref()).map(ToString::to_string),
        }
    }
}

#[derive(Serialize)]
struct SpanBody<'a> {
    n: u64,
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    #[serde(flatten)]
    cause: CauseBody,
    #[serde(flatten)]
    code: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sp: Option<Hex>,
    pager: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pager_id: Option<u16>,
    maps: Vec<MapBody>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unmaps: Vec<UnmapBody<'a>>,
    #[serde(flatten)]
    end: EndBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serving: Option<u64>,
    depth: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pager_waits_for: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    circle: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pager_failed: Option<bool>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnosis: Option<DiagnosisBody<'a>>,
}

impl<'a> SpanBody<'a> {
    fn new(span: &'a Span) -> Self {
        let HandlersOwn { waits, is_circle, failed } = words::handlers_own(span);
        let names = || waits.iter().map(|party| &*party.name).collect();
        Self {
            n: span.number,
            t: Time(span.time),
            who: Who::new(&span.who),
            cause: CauseBody::new(&span.cause),
            code: span.code.as_ref().map(Place::new),
            sp: span.stack.map(Hex),
            pager: &span.handler.name,
            pager_id: number(&span.handler),
            maps: span.maps.iter().map(MapBody::new).collect(),
            unmaps: span.unmaps.iter().map(UnmapBody::new).collect(),
            end: EndBody::new(&span.end),
            serving: span.serving,
            depth: span.depth,
            pager_waits_for: (!waits.is_empty()).then(names),
            circle: is_circle.then_some(true),
            pager_failed: failed.then_some(true),
            complete: span.complete,
            diagnosis: span.diagnosis.as_ref().map(DiagnosisBody::new),
        }
    }
}

#[derive(Default, Serialize)]
struct CauseBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    va: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    present: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    area: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<Hex>,
}

impl CauseBody {
    fn new(cause: &Cause) -> Self {
        match cause {
            Cause::Fault { address, access, .. } if access.contains(Access::PORT) => {
                Self { port: Some(Hex(*address)), access: Some("port"), ..Self::default() }
            }
            Cause::Fault { address, access, area } => Self {
                va: Some(Hex(*address)),
                access: Some(match access.letter() {
                    'X' => "x",
                    'W' => "w",
                    _ => "r",
                }),
                present: Some(access.contains(Access::PRESENT)),
                area: area.map(|area| area.to_string()),
                ..Self::default()
            },
            Cause::Exception { vector, error_code } => Self {
                vector: Some(*vector),
                exception: Some(exception(*vector)),
                error_code: Some(Hex(*error_code)),
                ..Self::default()
            },
            Cause::Unresolved | Cause::Lost => Self::default(),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum EndBody<'a> {
    Resumed {
        end: Time,
        #[serde(skip_serializing_if = "Option::is_none")]
        total_ns: Option<Time>,
        by: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        by_id: Option<u16>,
        label: isize,
        #[serde(flatten)]
        stages: Option<StagesBody>,
    },
    Unresolved {
        end: Time,
        reason: &'static str,
        answer: Hex,
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<isize>,
        text: String,
    },
    Open,
    ThreadEnded {
        end: Time,
    },
    NotRecorded,
}

#[derive(Serialize)]
struct StagesBody {
    received: Time,
    answered: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_pager_ns: Option<Time>,
    pager_ns: Time,
    reply_ns: Time,
}

impl<'a> EndBody<'a> {
    fn new(end: &'a End) -> Self {
        use protocol::introspection::record::Unresolved as Reason;
        match end {
            End::Resumed(resumed) => Self::resumed(resumed),
            End::Unresolved { time, reason, answer } => Self::Unresolved {
                end: Time(*time),
                reason: reason_key(*reason),
                answer: Hex(*answer),
                label: (*reason == Reason::Refused).then(|| MessageTag(*answer as usize).label()),
                text: words::unresolved(*reason, *answer),
            },
            End::Open => Self::Open,
            End::ThreadEnded { time } => Self::ThreadEnded { end: Time(*time) },
            End::NotRecorded => Self::NotRecorded,
        }
    }

    fn resumed(resumed: &'a Resumed) -> Self {
        Self::Resumed {
            end: Time(resumed.time),
            total_ns: resumed.total.map(Time),
            by: &resumed.by.name,
            by_id: number(&resumed.by),
            label: resumed.tag.label(),
            stages: resumed.stages.map(|stages| StagesBody {
                received: Time(stages.received),
                answered: Time(stages.answered),
                to_pager_ns: stages.to_pager.map(Time),
                pager_ns: Time(stages.pager),
                reply_ns: Time(stages.reply),
            }),
        }
    }
}

#[derive(Serialize)]
struct MapBody {
    t: Time,
    op: &'static str,
    kind: &'static str,
    status: &'static str,
    to: Hex,
    order: u8,
    rights: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pfn: Option<Hex>,
    entries: u32,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_id: Option<u16>,
    source: Hex,
    window: u8,
    sent: Hex,
    sent_order: u32,
    sent_rights: String,
}

impl MapBody {
    fn new(mapping: &Mapping) -> Self {
        let kind = mapping.sent.kind();
        let is_done = mapping.status == MapStatus::Done;
        Self {
            t: Time(mapping.time),
            op: if mapping.grant { "grant" } else { "map" },
            kind: kind_key(kind),
            status: match mapping.status {
                MapStatus::Done => "done",
                MapStatus::SourceEmpty => "source_empty",
                MapStatus::Overflow => "overflow",
                MapStatus::NoMemory => "no_memory",
                MapStatus::TooDeep => "too_deep",
            },
            to: Hex(mapping.destination),
            order: mapping.order,
            rights: rights(mapping.rights),
            pfn: (is_memory(kind) && is_done)
                .then_some(Hex(mapping.physical >> protocol::PAGE_ORDER)),
            entries: mapping.entries,
            from: mapping.from.name.to_string(),
            from_id: number(&mapping.from),
            source: Hex(mapping.source),
            window: mapping.window,
            sent: Hex(mapping.sent.address() as u64),
            sent_order: mapping.sent.order(),
            sent_rights: rights(mapping.sent.rights()),
        }
    }
}

#[derive(Serialize)]
struct MapEvent<'a> {
    #[serde(flatten)]
    who: Who<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(flatten)]
    map: MapBody,
}

impl<'a> MapEvent<'a> {
    fn new(mapping: &'a Mapping) -> Self {
        let n = (mapping.fault != 0).then_some(mapping.fault);
        Self { who: Who::new(&mapping.to), n, map: MapBody::new(mapping) }
    }
}

#[derive(Serialize)]
struct UnmapBody<'a> {
    t: Time,
    #[serde(flatten)]
    of: Who<'a>,
    op: &'static str,
    kind: &'static str,
    start: Hex,
    order: u32,
    taken: String,
    own: bool,
    gone: u32,
    reduced: u32,
    accessed: bool,
    dirty: bool,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_id: Option<u16>,
}

impl<'a> UnmapBody<'a> {
    fn new(unmap: &'a Unmapping) -> Self {
        Self {
            t: Time(unmap.time),
            of: Who::task(&unmap.of),
            op: words::unmap_verb(unmap),
            kind: kind_key(unmap.flexpage.kind()),
            start: Hex(unmap.start()),
            order: unmap.order(),
            taken: rights(unmap.taken),
            own: unmap.own,
            gone: unmap.removed,
            reduced: unmap.reduced,
            accessed: unmap.accessed,
            dirty: unmap.dirty,
            by: &unmap.by.name,
            by_id: number(&unmap.by),
        }
    }
}

#[derive(Serialize)]
struct UnmapEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(flatten)]
    unmap: UnmapBody<'a>,
}

impl<'a> UnmapEvent<'a> {
    fn new(unmap: &'a Unmapping) -> Self {
        let n = (unmap.fault != 0).then_some(unmap.fault);
        Self { n, unmap: UnmapBody::new(unmap) }
    }
}

#[derive(Serialize)]
struct MessageBody<'a> {
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_id: Option<u16>,
    label: isize,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    gate: Hex,
    words: usize,
    items: usize,
    first_words: Vec<Hex>,
}

impl<'a> MessageBody<'a> {
    fn new(message: &'a Message) -> Self {
        let Message { time, from, to, tag, gate_label, words } = message;
        Self {
            t: Time(*time),
            who: Who::new(from),
            to: &to.name,
            to_id: number(to),
            label: tag.label(),
            protocol: words::protocol(tag.label()),
            gate: Hex(*gate_label),
            words: tag.words(),
            items: tag.items(),
            first_words: words.iter().take(tag.words()).copied().map(Hex).collect(),
        }
    }
}

#[derive(Serialize)]
struct InterruptBody<'a> {
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    number: u16,
    gate: Hex,
    pending_ns: Time,
    told: u32,
}

impl<'a> InterruptBody<'a> {
    fn new(interrupt: &'a Interrupt) -> Self {
        let Interrupt { time, to, number, gate_label, pending, told } = interrupt;
        Self {
            t: Time(*time),
            who: Who::new(to),
            number: *number,
            gate: Hex(*gate_label),
            pending_ns: Time(*pending),
            told: *told,
        }
    }
}

#[derive(Serialize)]
struct CreationBody<'a> {
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_id: Option<u16>,
}

impl<'a> CreationBody<'a> {
    fn new(creation: &'a Creation, is_thread: bool) -> Self {
        let Creation { time, what, creator } = creation;
        let who = if is_thread { Who::new(what) } else { Who::task(what) };
        Self { t: Time(*time), who, by: &creator.name, by_id: number(creator) }
    }
}

#[derive(Serialize)]
struct NamingBody<'a> {
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    kind: &'static str,
    generation: u32,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<u32>,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_id: Option<u16>,
}

impl<'a> NamingBody<'a> {
    fn new(naming: &'a Naming) -> Self {
        let Naming { time, what, object, generation, name, by } = naming;
        let (who, kind, image) = match *object {
            NamedObject::Task { image } => (Who::task(what), ObjectKind::Task, image),
            NamedObject::Thread => (Who::new(what), ObjectKind::Thread, None),
        };
        Self {
            t: Time(*time),
            who,
            kind: words::object_kind(kind),
            generation: *generation,
            name,
            image,
            by: &by.name,
            by_id: number(by),
        }
    }
}

#[derive(Serialize)]
struct PagersBody<'a> {
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    pager: HandlerBody<'a>,
    handler: HandlerBody<'a>,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_id: Option<u16>,
}

impl<'a> PagersBody<'a> {
    fn new(pagers: &'a Pagers) -> Self {
        let Pagers { time, who, pager, exception_handler, by } = pagers;
        Self {
            t: Time(*time),
            who: Who::new(who),
            pager: HandlerBody::new(pager),
            handler: HandlerBody::new(exception_handler),
            by: &by.name,
            by_id: number(by),
        }
    }
}

#[derive(Serialize)]
struct TimedOutBody<'a> {
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    phase: &'static str,
    deadline: u64,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    partner: Option<&'a str>,
    #[serde(rename = "for_id", skip_serializing_if = "Option::is_none")]
    partner_id: Option<u16>,
}

impl<'a> TimedOutBody<'a> {
    fn new(timed: &'a TimedOut) -> Self {
        let TimedOut { time, who, is_sending, partner, deadline } = timed;
        Self {
            t: Time(*time),
            who: Who::new(who),
            phase: if *is_sending { "send" } else { "receive" },
            deadline: *deadline,
            partner: partner.as_ref().map(|partner| &*partner.name),
            partner_id: partner.as_ref().and_then(number),
        }
    }
}

#[derive(Serialize)]
struct RegistersBody<'a> {
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    way: &'static str,
    #[serde(flatten)]
    code: Place<'a>,
    stack: Hex,
    flags: Hex,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_id: Option<u16>,
}

impl<'a> RegistersBody<'a> {
    fn new(set: &'a Registers) -> Self {
        let Registers { time, who, way, code, stack, flags, by } = set;
        Self {
            t: Time(*time),
            who: Who::new(who),
            way: registers_key(*way),
            code: Place::new(code),
            stack: Hex(*stack),
            flags: Hex(*flags),
            by: &by.name,
            by_id: number(by),
        }
    }
}

#[derive(Serialize)]
struct HandlerBody<'a> {
    capability: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<Hex>,
    #[serde(flatten)]
    who: Option<Who<'a>>,
}

impl<'a> HandlerBody<'a> {
    fn new(handler: &'a Handler) -> Self {
        let Handler { capability, gate } = handler;
        Self {
            capability: *capability,
            gate: gate.as_ref().map(|gate| Hex(gate.label)),
            who: gate.as_ref().map(|gate| Who::new(&gate.party)),
        }
    }
}

#[derive(Serialize)]
struct EndingBody<'a> {
    t: Time,
    kind: &'static str,
    number: u16,
    generation: u32,
    /// Of a task or thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<Hex>,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_id: Option<u16>,
}

impl<'a> EndingBody<'a> {
    fn new(ending: &'a Ending) -> Self {
        let Ending { time, kind, number, generation, what, label, by } = ending;
        let is_named = matches!(kind, ObjectKind::Task | ObjectKind::Thread);
        Self {
            t: Time(*time),
            kind: words::object_kind(*kind),
            number: *number,
            generation: *generation,
            name: is_named.then_some(&*what.name),
            label: (*kind == ObjectKind::Gate).then_some(Hex(*label)),
            by: &by.name,
            by_id: self::number(by),
        }
    }
}

#[derive(Serialize)]
struct ShutDownBody<'a> {
    t: Time,
    #[serde(flatten)]
    who: Who<'a>,
    status: u8,
}

impl<'a> ShutDownBody<'a> {
    fn new(down: &'a ShutDown) -> Self {
        Self { t: Time(down.time), who: Who::new(&down.by), status: down.status }
    }
}

#[derive(Serialize)]
struct LostBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<Time>,
    #[serde(rename = "lost")]
    count: u64,
}

#[derive(Serialize)]
struct DiagnosisBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Place<'a>>,
    #[serde(flatten)]
    around: Option<AroundBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl<'a> DiagnosisBody<'a> {
    fn new(diagnosis: &'a Diagnosis) -> Self {
        Self {
            caller: diagnosis.caller.as_ref().map(Place::new),
            around: diagnosis.around.as_ref().map(AroundBody::new),
            hint: diagnosis.hint.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct AroundBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    inside: Option<RegionBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<RegionBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    above: Option<RegionBody>,
}

impl AroundBody {
    fn new(around: &Around) -> Self {
        Self {
            inside: around.inside.as_ref().map(RegionBody::new),
            below: around.below.as_ref().map(RegionBody::new),
            above: around.above.as_ref().map(RegionBody::new),
        }
    }
}

#[derive(Serialize)]
struct RegionBody {
    start: Hex,
    end: Hex,
    rights: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    area: Option<String>,
}

impl RegionBody {
    fn new(region: &Region) -> Self {
        Self {
            start: Hex(region.range.start),
            end: Hex(region.range.end),
            rights: rights(region.rights),
            area: region.area.map(|area| area.to_string()),
        }
    }
}

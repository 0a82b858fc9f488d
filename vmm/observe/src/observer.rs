//! Follows a running guest: from records to events.

use crate::{
    clock::Clock,
    diagnosis::{self, Facts},
    event::{
        Cause, Creation, End, Ending, Event, Gate, Handler, Interrupt, Lost, Mapping, Message,
        Naming, Nanoseconds, Pagers, Registers, Resumed, ShutDown, Span, Stages, TimedOut,
        Unmapping,
    },
    memory::GuestMemory,
    names::{Names, Task, printable},
    order::Order,
    paging::Geometry,
    region::{Around, area_of},
    ring::{ObserveError, Read, RingReader},
    span::{self, Beginning, OpenSpans, Parties, RecordSpan},
    symbols::{Image, Images, Location},
    user_memory::read_word,
};
use protocol::{
    fault::Access,
    introspection::{
        Header, NOBODY,
        record::{self, EndedObject, Ids, Map, ObjectEnded, ObjectNamed, Traced, Unmap},
    },
};

/// How often address spaces are looked into: a guest whose faults all stay unresolved must not keep
/// the host busy with them.
const MOST_LOOKS: u32 = 64;

/// Reads a guest's trace while the guest runs.
#[derive(Debug)]
pub struct Observer<M> {
    memory: M,
    ring: RingReader,
    interpreter: Interpreter,
}

impl<M: GuestMemory> Observer<M> {
    /// Reads `memory`, where the kernel's note says that its header is at `header_address`.
    pub fn new(memory: M, header_address: u64, images: Images, ticks_per_second: u64) -> Self {
        let ring = RingReader::new(header_address);
        Self { memory, ring, interpreter: Interpreter::new(images, ticks_per_second) }
    }

    /// Passes on some of what happened since the last call, and says whether there is more. Before the
    /// kernel has set up its header, that is nothing.
    ///
    /// # Errors
    /// If the trace cannot be read at all; the next call would fail, too.
    pub fn poll(&mut self, sink: &mut dyn FnMut(&Event)) -> Result<bool, ObserveError> {
        let Some(header) = self.ring.header(&self.memory)? else { return Ok(false) };
        if !self.ring.has_news(header.trace) {
            self.interpreter.order.release_all(sink);
            return Ok(false);
        }
        let Self { memory, ring, interpreter } = self;
        interpreter.paging = Geometry::of_machine(header.machine);
        interpreter.names.refresh(&header);
        // What ends further on says who it was that the records before are about.
        let mut reads = Vec::new();
        let read = ring.step(memory, header.trace, &mut |read| reads.push(read));
        reads.iter().for_each(|read| interpreter.foresee(read));
        for read in reads {
            interpreter.take(memory, read);
            interpreter.order.release(sink);
        }
        read?;
        Ok(ring.has_news(header.trace))
    }

    /// Reads the rest, when the guest has stopped, and passes on also what is not complete. What there
    /// is no time for counts as lost.
    ///
    /// # Errors
    /// As [`Observer::poll`]; what was read before is passed on nevertheless.
    pub fn finish(
        &mut self,
        has_time: &mut dyn FnMut() -> bool,
        sink: &mut dyn FnMut(&Event),
    ) -> Result<(), ObserveError> {
        let mut result = Ok(true);
        while result == Ok(true) && has_time() {
            result = self.poll(sink);
        }
        let result = result.and_then(|_| self.skip());
        self.interpreter.close_all(&self.memory);
        self.interpreter.order.release_all(sink);
        result
    }

    /// Gives up what was not read yet.
    fn skip(&mut self) -> Result<(), ObserveError> {
        let Self { memory, ring, interpreter } = self;
        if let Some(header) = ring.header(memory)? {
            ring.skip(header.trace, &mut |read| interpreter.take(memory, read));
        }
        Ok(())
    }

    /// Records that were lost so far because the guest wrote faster than they were read.
    pub fn lost(&self) -> u64 {
        self.ring.lost()
    }

    /// Faults and exceptions that were passed on before their ends because more than
    /// [`MAX_OPEN`](crate::MAX_OPEN) were open at once.
    pub fn given_up(&self) -> u64 {
        self.interpreter.open.given_up()
    }

    /// The kernel's header, once it is valid.
    ///
    /// # Errors
    /// As [`Observer::poll`].
    pub fn header(&self) -> Result<Option<Header>, ObserveError> {
        self.ring.header(&self.memory)
    }

    /// The images that addresses are looked up in.
    pub fn images(&self) -> &Images {
        &self.interpreter.images
    }
}

/// What is known of the guest from the records so far.
#[derive(Debug)]
struct Interpreter {
    images: Images,
    names: Names,
    clock: Clock,
    /// How often page tables may still be looked through for regions.
    looks: u32,
    open: OpenSpans,
    order: Order,
    /// How the guest translates addresses; nothing before its kernel has said what it is.
    paging: Option<&'static Geometry>,
    /// Time stamp of the last record.
    now: u64,
}

impl Interpreter {
    fn new(images: Images, ticks_per_second: u64) -> Self {
        Self {
            images,
            names: Names::new(),
            clock: Clock::new(ticks_per_second),
            looks: MOST_LOOKS,
            open: OpenSpans::default(),
            order: Order::default(),
            paging: None,
            now: 0,
        }
    }

    fn take<M: GuestMemory>(&mut self, memory: &M, read: Read) {
        match read {
            Read::Record(traced) => {
                self.clock.start(traced.time);
                self.now = traced.time;
                self.record(memory, &traced);
            }
            Read::Lost { first, count } => {
                self.open.gap();
                self.names.gap();
                let lost = Lost { time: self.clock.time(self.now), count };
                self.order.enter(first + 1, Event::Lost(lost));
            }
        }
    }

    /// Looks at a record that others come before.
    fn foresee(&mut self, read: &Read) {
        match read {
            Read::Record(Traced { who, event, .. }) => match event {
                record::Event::ObjectEnded(ended) => self.names.foresee_end(ended),
                record::Event::ObjectNamed(named) => self.names.foresee_name(*who, named),
                _ => {}
            },
            Read::Lost { .. } => self.names.forget_foreseen(),
        }
    }

    fn record<M: GuestMemory>(&mut self, memory: &M, traced: &Traced) {
        use record::Event as Recorded;
        let Traced { sequence, time, who, .. } = *traced;
        let event = match traced.event {
            Recorded::Fault(fault) => {
                return self.begin(memory, traced.with(Beginning::Fault(fault)));
            }
            Recorded::Exception(exception) => {
                return self.begin(memory, traced.with(Beginning::Exception(exception)));
            }
            Recorded::Resume(resume) => {
                return self.end_span(memory, traced.with(span::Ending::Resume(resume)), None);
            }
            Recorded::Unresolved(fault) => {
                return self.end_span(memory, traced.with(span::Ending::Unresolved(fault)), None);
            }
            Recorded::Resolve(resolve) => {
                let (map, resume) = resolve.split(time);
                let end = traced.with(span::Ending::Resume(resume));
                let last = self.mapping(memory, &traced.with(map));
                return self.end_span(memory, end, Some(last));
            }
            Recorded::Map(map) => {
                let mapping = self.mapping(memory, &traced.with(map));
                let Some(mapping) = self.open.map(mapping) else { return };
                Event::Map(mapping)
            }
            Recorded::Unmap(unmap) => {
                let unmapping = self.unmapping(memory, &traced.with(unmap));
                let Some(unmapping) = self.open.unmap(unmapping) else { return };
                Event::Unmap(unmapping)
            }
            Recorded::Message(message) => {
                Event::Message(self.message(memory, &traced.with(message)))
            }
            Recorded::Interrupt(interrupt) => {
                let [told, came] = [time, interrupt.came].map(|time| self.clock.time(time));
                Event::Interrupt(Interrupt {
                    time: told,
                    to: self.names.party(memory, who),
                    number: interrupt.number,
                    gate_label: interrupt.gate_label,
                    pending: Nanoseconds(told.0.saturating_sub(came.0)),
                    told: interrupt.told,
                })
            }
            Recorded::TaskCreated(created) => {
                self.names.task_created(who.task());
                Event::TaskCreated(self.creation(memory, &traced.with(created.creator)))
            }
            Recorded::ThreadStarted(started) => {
                Event::ThreadStarted(self.creation(memory, &traced.with(started.creator)))
            }
            Recorded::ObjectNamed(named) => {
                self.names.object_named(who, &named);
                Event::Named(self.naming(memory, &traced.with(named)))
            }
            Recorded::PagersSet(set) => Event::PagersSet(Pagers {
                time: self.clock.time(time),
                who: self.names.party(memory, who),
                pager: self.handler(memory, set.pager),
                exception_handler: self.handler(memory, set.exception_handler),
                by: self.names.party(memory, set.by),
            }),
            Recorded::RegistersSet(set) => {
                let task = self.names.task(memory, who.task());
                Event::RegistersSet(Registers {
                    time: self.clock.time(time),
                    who: self.names.party(memory, who),
                    way: set.way,
                    code: self.locate(&task, set.instruction),
                    stack: set.stack,
                    flags: set.flags,
                    by: self.names.party(memory, set.by),
                })
            }
            Recorded::ObjectEnded(ended) => {
                if let EndedObject::Thread { .. } = ended.object
                    && let Some(span) = self.open.thread_ended(ended.number)
                {
                    let time = self.clock.time(time);
                    self.close(memory, span, &End::ThreadEnded { time });
                }
                let ending = self.ending(memory, &traced.with(ended));
                self.names.object_ended(&ended);
                Event::Ended(ending)
            }
            Recorded::TimedOut(timed) => Event::TimedOut(TimedOut {
                time: self.clock.time(time),
                who: self.names.party(memory, who),
                is_sending: timed.is_sending,
                partner: (timed.partner != Ids::NOBODY)
                    .then(|| self.names.party(memory, timed.partner)),
                deadline: timed.deadline,
            }),
            Recorded::ShutDown(down) => Event::ShutDown(ShutDown {
                time: self.clock.time(time),
                by: self.names.party(memory, who),
                status: down.status,
            }),
        };
        self.order.enter(sequence, event);
    }

    fn begin<M: GuestMemory>(&mut self, memory: &M, beginning: Traced<Beginning>) {
        self.order.reserve(beginning.sequence);
        let parties = self.parties(memory, beginning.who, beginning.event.handler());
        if let Some(unfinished) = self.open.begin(beginning, parties) {
            self.close(memory, unfinished, &End::NotRecorded);
        }
    }

    /// `last` is a map that is in the same record.
    fn end_span<M: GuestMemory>(
        &mut self,
        memory: &M,
        end: Traced<span::Ending>,
        last: Option<Mapping>,
    ) {
        let (mut span, older) = self.open.end(end);
        if let Some(unfinished) = older {
            self.close(memory, unfinished, &End::NotRecorded);
        }
        span.maps.extend(last);
        self.close(memory, span, &End::NotRecorded);
    }

    /// Those whom a span of `who` is about, as they are now.
    fn parties<M: GuestMemory>(&mut self, memory: &M, who: Ids, handler: Ids) -> Parties {
        Parties {
            who: self.names.party(memory, who),
            task: self.names.task(memory, who.task()),
            handler: self.names.party(memory, handler),
        }
    }

    /// Ends all spans that are still open: the trace ends here.
    fn close_all<M: GuestMemory>(&mut self, memory: &M) {
        for span in self.open.take_all() {
            self.close(memory, span, &End::Open);
        }
    }

    fn close<M: GuestMemory>(&mut self, memory: &M, records: RecordSpan, without_end: &End) {
        let position = records.position();
        let parties = match (&records.parties, records.end) {
            (Some(parties), _) => parties.clone(),
            (None, Some(end)) => self.parties(memory, end.who, end.event.handler()),
            (None, None) => self.parties(memory, Ids::NOBODY, Ids::NOBODY),
        };
        let task = parties.task.clone();
        let mut span = self.span(memory, records, parties, without_end);
        span.diagnosis = diagnosis::is_needed(&span).then(|| self.diagnose(memory, &span, &task));
        self.order.enter(position, Event::Span(Box::new(span)));
    }

    fn span<M: GuestMemory>(
        &mut self,
        memory: &M,
        records: RecordSpan,
        parties: Parties,
        without_end: &End,
    ) -> Span {
        let (begun, end) = (records.beginning, records.end);
        let time = begun.map(|begun| begun.time).or(end.map(|end| end.time)).unwrap_or(0);
        let instruction = match (begun, end.map(|end| end.event)) {
            (Some(begun), _) => Some(begun.event.instruction()),
            (None, Some(span::Ending::Unresolved(fault))) => Some(fault.instruction),
            (None, _) => None,
        };
        let Parties { who, task, handler } = parties;
        Span {
            number: records.number(),
            time: self.clock.time(time),
            cause: self.cause(&task, &records),
            code: instruction.map(|address| self.locate(&task, address)),
            stack: begun.map(|begun| begun.event.stack()),
            handler,
            end: end.map_or(without_end.clone(), |end| {
                self.end(memory, begun.map(|begun| begun.time), &end)
            }),
            serving: records.serving,
            depth: records.depth,
            handlers_own: records.handlers_own,
            complete: !records.has_gap,
            diagnosis: None,
            who,
            maps: records.maps,
            unmaps: records.unmaps,
        }
    }

    /// What the first known record of a span of a thread in `task` says about its cause.
    fn cause(&self, task: &Task, records: &RecordSpan) -> Cause {
        let end = records.end.map(|end| end.event);
        let (address, access) = match (records.beginning.map(|begun| begun.event), end) {
            (Some(Beginning::Fault(fault)), _) => (fault.address, fault.access),
            (Some(Beginning::Exception(exception)), _) => {
                let record::Exception { vector, error_code, .. } = exception;
                return Cause::Exception { vector, error_code };
            }
            (None, Some(span::Ending::Unresolved(fault))) => (fault.address, fault.access),
            _ if records.was_unresolved => return Cause::Unresolved,
            _ => return Cause::Lost,
        };
        let is_memory = !access.contains(Access::PORT);
        let area = if is_memory { area_of(self.image(task), address) } else { None };
        Cause::Fault { address, access, area }
    }

    fn end<M: GuestMemory>(
        &mut self,
        memory: &M,
        begun: Option<u64>,
        end: &Traced<span::Ending>,
    ) -> End {
        let time = self.clock.time(end.time);
        match end.event {
            span::Ending::Unresolved(fault) => {
                End::Unresolved { time, reason: fault.reason, answer: fault.answer }
            }
            span::Ending::Resume(resume) => End::Resumed(Resumed {
                time,
                by: self.names.party(memory, resume.by),
                tag: resume.tag,
                stages: self.stages(begun, &end.with(resume)),
                total: begun.map(|begun| self.clock.duration(begun, end.time)),
            }),
        }
    }

    /// The stages of a resume record, if a pager took part and the times make sense.
    fn stages(&self, begun: Option<u64>, end: &Traced<record::Resume>) -> Option<Stages> {
        let (received, answered) = (end.event.delivered, end.event.answered);
        let in_order =
            begun.unwrap_or(1) <= received && received <= answered && answered <= end.time;
        if end.event.by.task() == NOBODY || !in_order {
            return None;
        }
        Some(Stages {
            received: self.clock.time(received),
            answered: self.clock.time(answered),
            to_pager: begun.map(|begun| self.clock.duration(begun, received)),
            pager: self.clock.duration(received, answered),
            reply: self.clock.duration(answered, end.time),
        })
    }

    fn mapping<M: GuestMemory>(&mut self, memory: &M, traced: &Traced<Map>) -> Mapping {
        let map = &traced.event;
        Mapping {
            time: self.clock.time(traced.time),
            to: self.names.party(memory, traced.who),
            from: self.names.party(memory, map.sender),
            fault: map.fault,
            sent: map.sent,
            destination: map.destination.into(),
            source: map.source.into(),
            window: map.window,
            order: map.order,
            rights: map.rights,
            physical: map.physical,
            grant: map.grant,
            entries: map.entries,
            status: map.status,
        }
    }

    fn unmapping<M: GuestMemory>(&mut self, memory: &M, traced: &Traced<Unmap>) -> Unmapping {
        let unmap = &traced.event;
        Unmapping {
            time: self.clock.time(traced.time),
            of: self.names.party(memory, Ids::of_task(traced.who.task())),
            by: self.names.party(memory, unmap.by),
            fault: unmap.fault,
            flexpage: unmap.flexpage,
            taken: unmap.take,
            own: unmap.own,
            replaced: unmap.replaced,
            accessed: unmap.accessed,
            dirty: unmap.dirty,
            removed: unmap.removed,
            reduced: unmap.reduced,
        }
    }

    fn message<M: GuestMemory>(&mut self, memory: &M, traced: &Traced<record::Message>) -> Message {
        let record::Message { receiver, tag, gate_label, words } = traced.event;
        Message {
            time: self.clock.time(traced.time),
            from: self.names.party(memory, traced.who),
            to: self.names.party(memory, receiver),
            tag,
            gate_label,
            words,
        }
    }

    fn creation<M: GuestMemory>(&mut self, memory: &M, creator: &Traced<Ids>) -> Creation {
        Creation {
            time: self.clock.time(creator.time),
            what: self.names.party(memory, creator.who),
            creator: self.names.party(memory, creator.event),
        }
    }

    fn naming<M: GuestMemory>(&mut self, memory: &M, traced: &Traced<ObjectNamed>) -> Naming {
        let ObjectNamed { object, generation, by, name } = traced.event;
        Naming {
            time: self.clock.time(traced.time),
            what: self.names.party(memory, traced.who),
            object,
            generation,
            name: printable(&name).unwrap_or_default(),
            by: self.names.party(memory, by),
        }
    }

    fn handler<M: GuestMemory>(&mut self, memory: &M, handler: record::Handler) -> Handler {
        let record::Handler { capability, gate } = handler;
        let gate = gate.map(|record::Gate { label, thread }| Gate {
            label,
            party: self.names.party(memory, thread),
        });
        Handler { capability, gate }
    }

    fn ending<M: GuestMemory>(&mut self, memory: &M, traced: &Traced<ObjectEnded>) -> Ending {
        let ObjectEnded { object, number, generation, by } = traced.event;
        Ending {
            time: self.clock.time(traced.time),
            kind: object.kind(),
            number,
            generation,
            what: self.names.party(memory, traced.who),
            label: if let EndedObject::Gate { label } = object { label } else { 0 },
            by: self.names.party(memory, by),
        }
    }

    fn image(&self, task: &Task) -> Option<&Image> {
        self.images.module(task.image?)
    }

    fn locate(&self, task: &Task, address: u64) -> Location {
        let is_kernel = self.paging.is_some_and(|paging| paging.is_kernel(address));
        let image = if is_kernel { self.images.kernel() } else { self.image(task) };
        image.map_or(Location::unknown(address), |image| image.locate(address))
    }

    /// `task` is the span's. Where that one has ended, its page tables are no more.
    fn diagnose<M: GuestMemory>(
        &mut self,
        memory: &M,
        span: &Span,
        task: &Task,
    ) -> crate::event::Diagnosis {
        let page_table = self.names.task(memory, span.who.task).page_table;
        let page_table = if page_table == task.page_table { page_table } else { 0 };
        let image = task.image.and_then(|module| self.images.module(module));
        let return_address = span.stack.and_then(|stack| {
            let paging = self.paging?;
            read_word(memory, paging, page_table, stack)
        });
        let around = match (span.memory_address(), self.paging, self.looks.checked_sub(1)) {
            _ if page_table == 0 => None,
            (Some(address), Some(paging), Some(looks)) => {
                self.looks = looks;
                Some(Around::new(memory, paging, page_table, image, address))
            }
            _ => None,
        };
        diagnosis::diagnose(span, Facts { image, return_address, around })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Printer, Style,
        scenario::{
            KERNEL, ROOT, SIGMA0, WORDS, a_task, ended, events, fault, guest, images, message,
            name, named, nested_faults, null_jump, null_jump_at, others, owing, record, resume,
            revocations, unmap,
        },
        testing::{FakeGuest, HEADER, Random},
    };
    use protocol::{
        flexpage::Flexpage,
        introspection::record::{NamedObject, TaskCreated},
        layout::PROGRAM_BASE,
    };
    use std::io;
    use zerocopy::IntoBytes;

    fn spans(events: &[Event]) -> Vec<&Span> {
        let mut spans = Vec::new();
        for event in events {
            if let Event::Span(span) = event {
                spans.push(&**span);
            }
        }
        spans
    }

    /// Numbers of the spans, of those that they served, and how deep they stand.
    fn nesting(events: &[Event]) -> Vec<(u64, Option<u64>, usize)> {
        spans(events).iter().map(|span| (span.number, span.serving, span.depth)).collect()
    }

    #[test]
    fn faults_of_pagers_stand_below_the_fault_that_they_serve() {
        let nested = [(10, None, 0), (11, Some(10), 1), (12, Some(11), 2)];
        assert_eq!(nesting(&events(guest(64), nested_faults())), nested);
    }

    #[test]
    fn a_pagers_other_faults_are_not_taken_for_serving() {
        // The pager has not got the message yet: it works for nobody, for a caller that has no
        // fault, for one whose fault others are to resolve. By the times, it could have got it.
        let own = fault(135, ROOT, Access::WRITE, 0x5000, KERNEL, 3);
        for own in [own, owing(Ids::new(9, 9), own), owing(SIGMA0, own)] {
            let records = [
                fault(90, SIGMA0, Access::WRITE, 0x5000, KERNEL, 1),
                fault(100, WORDS, Access::WRITE, 0x1000_0000, ROOT, 2),
                own,
                resume([135, 135, 135], ROOT, KERNEL, 3),
                resume([130, 140, 150], WORDS, ROOT, 2),
                resume([0, 0, 160], SIGMA0, KERNEL, 1),
            ];
            assert_eq!(
                nesting(&events(guest(64), records)),
                [(1, None, 0), (2, None, 0), (3, None, 0)]
            );
        }
    }

    #[test]
    fn serving_does_not_depend_on_times() {
        let backwards = |traced: Traced| Traced { time: 20_000 - traced.time, ..traced };
        let records = nested_faults().into_iter().map(backwards);
        let nested = [(10, None, 0), (11, Some(10), 1), (12, Some(11), 2)];
        assert_eq!(nesting(&events(guest(64), records)), nested);
    }

    /// Four tasks with a thread each have had the same numbers; the last ones are alive. The records are
    /// read when all of that is over.
    fn successors() -> Vec<Traced> {
        let (task, whole) = (Ids::of_task(3), [1, 2, 3]);
        let lives = whole.into_iter().flat_map(|generation: u32| {
            let (time, number) = (u64::from(generation) * 1000, u64::from(generation));
            let called = a_task(&format!("number{generation}"));
            [
                fault(time, WORDS, Access::WRITE, 0x1000_0000, ROOT, number),
                ended(time + 200, WORDS, generation, EndedObject::Thread { name: name("") }),
                ended(time + 300, task, generation, called),
                record(time + 400, task, TaskCreated { creator: ROOT }),
            ]
        });
        let last = fault(9000, WORDS, Access::WRITE, 0x1000_0000, ROOT, 9);
        lives.chain([last]).collect()
    }

    #[test]
    fn records_are_of_whoever_had_the_number_then() {
        let guest = guest(64);
        guest.generations([3, 5], [4, 4]);
        let events = events(guest, successors());
        let found: Vec<_> = spans(&events)
            .iter()
            .map(|span| (span.who.to_string(), matches!(span.end, End::ThreadEnded { .. })))
            .collect();
        let wanted = [("number1", true), ("number2", true), ("number3", true), ("words", false)];
        assert_eq!(found, wanted.map(|(name, ended)| (name.to_owned(), ended)));
        // What an address means goes by the image that the task had.
        assert!(spans(&events).iter().all(|span| {
            let code = span.code.as_ref().and_then(|code| code.symbol.as_ref());
            code.is_some_and(|symbol| symbol.to_string().contains("words::fill"))
        }));
        let gone: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Ended(ending) => Some((ending.what.to_string(), ending.generation)),
                _ => None,
            })
            .collect();
        let wanted = (1..4).flat_map(|generation| {
            let name = format!("number{generation}");
            [(name.clone(), generation), (name, generation)]
        });
        assert_eq!(gone, wanted.collect::<Vec<_>>());
    }

    /// The tables are ahead of what is read, and the ends are not read yet.
    #[test]
    fn a_name_in_the_trace_is_that_of_whoever_had_the_number_then() {
        let guest = guest(64);
        guest.generations([3, 5], [2, 2]);
        let task = NamedObject::Task { image: Some(3) };
        let events = events(
            guest,
            [
                record(0, Ids::of_task(3), TaskCreated { creator: ROOT }),
                named(10, Ids::of_task(3), task, 1, "early"),
                named(20, WORDS, NamedObject::Thread, 1, "first"),
                fault(100, WORDS, Access::WRITE, 0x1000_0000, ROOT, 1),
                resume([110, 120, 130], WORDS, ROOT, 1),
            ],
        );
        let [span] = &spans(&events)[..] else { panic!("one span") };
        assert_eq!(span.who.to_string(), "early/first");
        let code = span.code.as_ref().and_then(|code| code.symbol.as_ref());
        assert!(code.is_some_and(|symbol| symbol.to_string().contains("words::fill")));
    }

    /// Nobody knows whose numbers they were then, but that is not said of somebody else.
    #[test]
    fn after_a_gap_the_next_end_says_who_it_was() {
        let guest = guest(4);
        guest.generations([3, 5], [4, 4]);
        let events = events(guest, successors());
        let names: Vec<_> = spans(&events).iter().map(|span| span.who.to_string()).collect();
        assert_eq!(names, ["words"]);
        assert!(events.iter().any(|event| matches!(
            event,
            Event::Ended(ending) if ending.what.to_string() == "number3"
        )));
    }

    #[test]
    fn a_pager_serves_also_what_it_does_not_resolve() {
        let mut records = null_jump();
        let own = fault(9100, ROOT, Access::WRITE, 0x5000, KERNEL, 14);
        records.insert(3, owing(WORDS, own));
        assert_eq!(nesting(&events(guest(64), records)), [(13, None, 0), (14, Some(13), 1)]);
    }

    /// A task is called one thing, then another. The tables know the last name when the first record is
    /// read.
    #[test]
    fn until_it_is_renamed_a_task_has_the_name_that_it_was_given() {
        let guest = guest(64);
        guest.task(3, "later", 4, guest.address_space());
        guest.generations([3, 5], [1, 1]);
        let (who, task) = (Ids::of_task(3), NamedObject::Task { image: Some(3) });
        let events = events(
            guest,
            [
                record(0, who, TaskCreated { creator: ROOT }),
                named(10, who, task, 1, "early"),
                fault(100, WORDS, Access::WRITE, 0x1000_0000, ROOT, 1),
                resume([110, 120, 130], WORDS, ROOT, 1),
                named(200, who, task, 1, "later"),
            ],
        );
        let [span] = &spans(&events)[..] else { panic!("one span") };
        assert_eq!(span.who.to_string(), "early");
        let json = crate::scenario::shown(Style::Json, false, &events[1..2], 0);
        assert!(json.contains(r#""task":"early""#), "{json}");
    }

    /// The end of its task comes before that of the thread, as the kernel has it; meanwhile another task
    /// may have the number.
    #[test]
    fn a_fault_whose_thread_ended_is_of_the_task_that_it_was_of() {
        let called = [false, true].map(|is_reused| {
            let guest = guest(64);
            guest.task(3, "successor", 4, guest.address_space());
            guest.generations([3, 5], [2, 2]);
            let (who, task) = (Ids::of_task(3), NamedObject::Task { image: Some(3) });
            let mut records = vec![
                record(0, who, TaskCreated { creator: ROOT }),
                named(10, who, task, 1, "early"),
                fault(100, WORDS, Access::WRITE, 0x1000_0000, ROOT, 1),
                ended(200, who, 1, a_task("early")),
            ];
            if is_reused {
                records.push(record(300, who, TaskCreated { creator: ROOT }));
                records.push(named(310, who, task, 2, "successor"));
            }
            records.push(ended(400, WORDS, 1, EndedObject::Thread { name: name("") }));
            let events = events(guest, records);
            let [span] = &spans(&events)[..] else { panic!("one span") };
            assert!(matches!(span.end, End::ThreadEnded { .. }));
            span.who.to_string()
        });
        assert_eq!(called, ["early", "early"]);
    }

    /// The pager that the kernel turned to ends while it serves; another task gets its numbers.
    #[test]
    fn a_faults_pager_is_the_one_that_was_asked() {
        let guest = guest(64);
        guest.task(7, "successor", 0, guest.address_space());
        guest.generations([7, 9], [2, 2]);
        let (pager, who) = (Ids::new(7, 9), Ids::of_task(7));
        let task = NamedObject::Task { image: None };
        let no_image = |text| EndedObject::Task { name: name(text), image: None };
        let events = events(
            guest,
            [
                record(0, who, TaskCreated { creator: ROOT }),
                named(10, who, task, 1, "pager"),
                fault(100, WORDS, Access::WRITE, 0x1000_0000, pager, 1),
                ended(200, who, 1, no_image("pager")),
                ended(210, pager, 1, EndedObject::Thread { name: name("") }),
                record(300, who, TaskCreated { creator: ROOT }),
                named(310, who, task, 2, "successor"),
                crate::scenario::unresolved(
                    400,
                    WORDS,
                    (protocol::introspection::record::Unresolved::ReplyLost, 0),
                    (Access::WRITE, 0x1000_0000, crate::scenario::CODE),
                    1,
                ),
            ],
        );
        let [span] = &spans(&events)[..] else { panic!("one span") };
        assert_eq!(span.handler.to_string(), "pager");
    }

    /// `control` names a gate to a thread that is in no task yet: the gate is there, with its label.
    #[test]
    fn a_pager_in_no_task_yet_is_no_empty_place() {
        let gate = record::Gate { label: 0x30, thread: Ids::new(NOBODY, 9) };
        let place = |gate| record::Handler { capability: 4, gate };
        let (pager, exception_handler) = (place(Some(gate)), place(None));
        let set = record::PagersSet { by: ROOT, pager, exception_handler };
        let events = events(guest(64), [record(0, WORDS, set)]);
        let json = crate::scenario::shown(Style::Json, false, &events, 0);
        let pager =
            r#""pager":{"capability":4,"gate":"0x30","thread":"thread9","thread_id":9},"handler""#;
        assert!(json.contains(pager), "{json}");
        let flat = crate::scenario::shown(Style::Flat, false, &events, 0);
        assert!(flat.contains("thread9") && flat.contains("(cap 4, empty)"), "{flat}");
    }

    #[test]
    fn a_thread_whose_task_ended_before_it_is_called_as_it_was() {
        let (second, gone) = (Ids::new(3, 6), |thread| Ids::new(NOBODY, thread));
        let unnamed = EndedObject::Thread { name: name("") };
        let events = events(
            guest(64),
            [
                message(0, WORDS),
                message(10, second),
                ended(100, Ids::of_task(3), 1, a_task("words")),
                ended(110, gone(5), 1, unnamed),
                ended(120, gone(6), 1, unnamed),
                // Another one with the number, which never had a task.
                ended(200, gone(6), 2, unnamed),
            ],
        );
        let called = events.iter().filter_map(|event| match event {
            Event::Ended(ending) => Some(ending.what.to_string()),
            _ => None,
        });
        let wanted = ["words", "words", "words/thread6", "thread6"];
        assert_eq!(called.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn stages_add_up_and_impossible_times_have_none() {
        let stages = |times| {
            let begin = fault(1000, WORDS, Access::WRITE, 0x1000_0000, ROOT, 1);
            let events = events(guest(64), [begin, resume(times, WORDS, ROOT, 1)]);
            let End::Resumed(resumed) = &spans(&events)[0].end else { panic!("resumed") };
            (resumed.total.unwrap().0, resumed.stages)
        };
        let (total, parts) = stages([1100, 1300, 1600]);
        let parts = parts.unwrap();
        assert_eq!((parts.to_pager.unwrap().0, parts.pager.0, parts.reply.0), (100, 200, 300));
        assert_eq!(total, 600);
        for impossible in [[900, 1300, 1600], [1100, 1050, 1600], [1100, 1700, 1600], [0, 0, 1600]]
        {
            assert_eq!(stages(impossible), (600, None));
        }
        assert_eq!(stages([1100, 1300, 500]), (0, None));
    }

    /// The stack holds a return address into the program; the page tables lead there.
    fn guest_with_stack(return_address: u64) -> FakeGuest {
        const TABLE: u64 = 0x8000;
        let guest = guest(64);
        guest.task(3, "words", 4, TABLE);
        // One table for all levels: every page of the first 2 MiB is the table itself, but one.
        guest.put(TABLE, &(TABLE | 7));
        guest.put(TABLE + 9 * 8, &(0xa000u64 | 7));
        guest.put(0xa000, &return_address);
        guest
    }

    fn caller(return_address: u64, instruction: u64) -> Option<Location> {
        let events = events(guest_with_stack(return_address), null_jump_at(instruction));
        spans(&events)[0].diagnosis.clone().unwrap().caller
    }

    #[test]
    fn the_caller_is_read_from_the_stack_if_the_code_was_left() {
        let base = PROGRAM_BASE as u64;
        let found = caller(base + 0x140, 0).unwrap();
        assert_eq!(found.address, base + 0x140);
        assert_eq!(found.symbol.unwrap().to_string(), "words::fill+0x40");
        // A return address just behind a function belongs to that function, not to the next one.
        assert_eq!(
            caller(base + 0x180, 0).unwrap().symbol.unwrap().to_string(),
            "words::fill+0x80"
        );
        assert_eq!(caller(base + 0x140, base + 0x100), None);
        assert_eq!(caller(base + 0x3000, 0), None);
        assert_eq!(caller(0, 0), None);
    }

    #[test]
    fn a_guest_without_end_of_unresolved_faults_is_looked_into_only_so_often() {
        let [_, _, fault, unresolved] = &null_jump()[..] else { panic!("four records") };
        let records = (0..MOST_LOOKS + 9).flat_map(|_| [*fault, *unresolved]);
        let events = events(guest(256), records);
        let looked = |span: &&&Span| span.diagnosis.as_ref().unwrap().around.is_some();
        assert_eq!(spans(&events).len(), MOST_LOOKS as usize + 9);
        assert_eq!(spans(&events).iter().filter(looked).count(), MOST_LOOKS as usize);
    }

    #[test]
    fn a_reader_that_comes_late_sees_no_wrong_spans() {
        // Only the last five records are left: the first fault's end, and no beginning.
        let events = events(guest(4), nested_faults());
        let seen = spans(&events);
        assert_eq!(seen.len(), 2);
        for span in seen {
            assert!(!span.complete && span.cause == Cause::Lost && span.code.is_none());
        }
        assert!(matches!(events[0], Event::Lost(Lost { count: 8, .. })));
        assert!(matches!(&events[1], Event::Map(mapping) if mapping.fault == 11));
    }

    #[test]
    fn what_there_is_no_time_for_is_lost_and_counted() {
        let guest = guest(1 << 12);
        (0..1 << 12).for_each(|_| guest.write(message(0, KERNEL)));
        let mut observer = Observer::new(guest, HEADER, images(), 0);
        let mut steps = 0;
        let mut has_time = || {
            steps += 1;
            steps <= 2
        };
        let (mut messages, mut lost) = (0, 0);
        let mut sink = |event: &Event| match event {
            Event::Message(_) => messages += 1,
            Event::Lost(gap) => lost += gap.count,
            other => panic!("{other:?}"),
        };
        observer.finish(&mut has_time, &mut sink).unwrap();
        assert!(messages > 0 && lost > 0, "{messages} {lost}");
        assert_eq!((messages + lost, observer.lost()), (1 << 12, lost));
    }

    #[test]
    fn faults_of_every_thread_that_there_can_be_are_shown_or_counted() {
        let faults = u64::from(u16::MAX);
        let fault = |number| {
            let who = Ids::new(WORDS.task(), number as u16);
            fault(number, who, Access::WRITE, 0x1000_0000, ROOT, number)
        };
        let unmap = Unmap { fault: faults, ..unmap(Flexpage::NIL, 0, 0) };
        let unmap = record(0, ROOT, unmap);
        let guest = guest(1 << 17);
        (1..=faults).for_each(|number| guest.write(fault(number)));
        (1..=faults).for_each(|_| guest.write(unmap));
        let mut observer = Observer::new(guest, HEADER, images(), 0);
        let (mut open, mut given_up) = (0, 0);
        let mut sink = |event: &Event| match event {
            Event::Span(span) if span.end == End::Open => open += 1,
            Event::Span(span) => given_up += u64::from(!span.complete),
            _ => {}
        };
        observer.finish(&mut || true, &mut sink).unwrap();
        assert!(open > 0 && given_up > open, "{open} {given_up}");
        assert_eq!((open + given_up, observer.given_up(), observer.lost()), (faults, given_up, 0));
    }

    /// Everything in guest memory is random, but for what it takes to get beyond the first check.
    #[test]
    fn hostile_memory_is_survived() {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let mut memory = vec![0; 0x2_0000];
            random.fill(&mut memory);
            let mut header = FakeGuest::new(8).header();
            header.trace.capacity = 256;
            let bits = random.below(40);
            header.trace.written = 256 + random.below(1 << bits);
            if seed % 3 == 0 {
                random.fill(header.tasks.as_mut_bytes());
                random.fill(header.threads.as_mut_bytes());
            }
            memory[HEADER as usize..][..size_of::<Header>()].copy_from_slice(header.as_bytes());
            let oldest = header.trace.written - 256;
            let sound = [nested_faults(), null_jump(), revocations(), others()].concat();
            for number in oldest..header.trace.written {
                let at = (header.trace.address + number % 256 * 64) as usize;
                let traced = sound[random.below(sound.len() as u64) as usize];
                // Few tasks and threads, so that records meet.
                let who = Ids::new(random.below(4) as u16, random.below(4) as u16);
                let (sequence, time) = (number + 1, random.next());
                let record = Traced { sequence, time, who, ..traced }.encode();
                let bytes = &mut memory[at..at + 64];
                bytes.copy_from_slice(record.as_bytes());
                // A few words of an event are something else.
                for _ in 0..random.below(3) {
                    bytes[24 + 8 * random.below(5) as usize] = random.next() as u8;
                }
            }
            let mut observer = Observer::new(memory, HEADER, images(), random.next());
            let mut printers = [Style::Blocks, Style::Flat, Style::Json, Style::Summary]
                .map(|style| Printer::new(style, true, io::sink()));
            let mut passed_on = 0;
            observer
                .finish(&mut || true, &mut |event| {
                    passed_on += 1;
                    printers.iter_mut().for_each(|printer| printer.event(event).unwrap());
                })
                .unwrap();
            assert!(passed_on > 100 && observer.lost() >= oldest);
            printers.iter_mut().for_each(|printer| printer.finish(observer.lost()).unwrap());
        }
    }

    #[test]
    fn random_headers_never_panic_or_hang() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut memory = vec![0; 0x4000];
            random.fill(&mut memory);
            let mut header = FakeGuest::new(8).header();
            random.fill(header.trace.as_mut_bytes());
            if seed % 2 == 0 {
                header.trace.capacity = 1 << random.below(30);
                header.trace.address = random.below(0x8000);
            }
            memory[HEADER as usize..][..size_of::<Header>()].copy_from_slice(header.as_bytes());
            let mut observer = Observer::new(memory, HEADER, Images::new(), 0);
            for _ in 0..3 {
                // Whether it is an error depends on the seed; that it returns is what counts.
                let _ = observer.poll(&mut |_| ());
            }
            let _ = observer.finish(&mut || true, &mut |_| ());
        }
    }
}

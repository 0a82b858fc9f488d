//! Follows a running guest: from records to events.

use crate::{
    clock::Clock,
    diagnosis::{self, Facts},
    event::{
        Cause, Creation, End, Ending, Event, Lost, Mapping, Message, Resumed, ShutDown, Span,
        Stages, Unmapping,
    },
    memory::GuestMemory,
    names::{Ended, Names},
    order::Order,
    paging::Geometry,
    region::{Around, area_of},
    ring::{ObserveError, Read, RingReader},
    span::{OpenSpans, RecordSpan},
    symbols::{Image, Images, Location},
    user_memory::read_word,
};
use protocol::{
    fault::Access,
    flexpage::{Flexpage, Rights},
    introspection::{
        Header, NOBODY,
        mapping::ObjectKind,
        record::{
            Kind, MapStatus, Record, UNMAP_ACCESSED, UNMAP_DIRTY, UNMAP_OWN, UNMAP_REPLACED,
            Unresolved, ids, split_asked, split_ids,
        },
    },
    message::MessageTag,
};

/// Bit of a map record's flags that marks a grant.
const GRANT_FLAG: u8 = 8;

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
            Read::Record(kind, record) => {
                self.clock.start(record.time);
                self.now = record.time;
                self.record(memory, kind, record);
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
            Read::Record(Kind::ObjectEnded, record) => self.names.foresee(&Ended::from(record)),
            Read::Record(..) => {}
            Read::Lost { .. } => self.names.forget_foreseen(),
        }
    }

    fn record<M: GuestMemory>(&mut self, memory: &M, kind: Kind, record: Record) {
        let event = match kind {
            Kind::Fault | Kind::Exception => {
                self.order.reserve(record.sequence);
                if let Some(unfinished) = self.open.begin(record) {
                    self.close(memory, &unfinished, &End::NotRecorded);
                }
                return;
            }
            Kind::Resume | Kind::Unresolved => {
                let (span, older) = self.open.end(record);
                if let Some(unfinished) = older {
                    self.close(memory, &unfinished, &End::NotRecorded);
                }
                return self.close(memory, &span, &End::NotRecorded);
            }
            Kind::Resolve => {
                let [map, resume] = record.split_resolve();
                let (mut span, older) = self.open.end(resume);
                if let Some(unfinished) = older {
                    self.close(memory, &unfinished, &End::NotRecorded);
                }
                span.maps.push(map);
                return self.close(memory, &span, &End::NotRecorded);
            }
            Kind::Map => {
                if self.open.map(record) {
                    return;
                }
                Event::Map(self.mapping(memory, &record))
            }
            Kind::Unmap => {
                if self.open.unmap(record) {
                    return;
                }
                Event::Unmap(self.unmapping(memory, &record))
            }
            Kind::Message => Event::Message(self.message(memory, &record)),
            Kind::TaskCreated => {
                self.names.task_created(record.task);
                Event::TaskCreated(self.creation(memory, &record))
            }
            Kind::ThreadStarted => Event::ThreadStarted(self.creation(memory, &record)),
            Kind::ObjectEnded => {
                let ended = Ended::from(&record);
                if let Some(number) = ended.thread()
                    && let Some(span) = self.open.thread_ended(number)
                {
                    let time = self.clock.time(record.time);
                    self.close(memory, &span, &End::ThreadEnded { time });
                }
                let ending = self.ending(memory, &record, &ended);
                self.names.object_ended(&ended);
                Event::Ended(ending)
            }
            Kind::ShutDown => Event::ShutDown(ShutDown {
                time: self.clock.time(record.time),
                by: self.names.party(memory, ids(record.task, record.thread)),
                status: record.a,
            }),
        };
        self.order.enter(record.sequence, event);
    }

    /// Ends all spans that are still open: the trace ends here.
    fn close_all<M: GuestMemory>(&mut self, memory: &M) {
        for span in self.open.take_all() {
            self.close(memory, &span, &End::Open);
        }
    }

    fn close<M: GuestMemory>(&mut self, memory: &M, records: &RecordSpan, without_end: &End) {
        let mut span = self.span(memory, records, without_end);
        span.diagnosis = diagnosis::is_needed(&span).then(|| self.diagnose(memory, &span));
        self.order.enter(records.position(), Event::Span(Box::new(span)));
    }

    fn span<M: GuestMemory>(
        &mut self,
        memory: &M,
        records: &RecordSpan,
        without_end: &End,
    ) -> Span {
        let first = records.beginning.or(records.end).unwrap_or_default();
        let who = self.names.party(memory, ids(first.task, first.thread));
        let is_resume = first.kind == Kind::Resume as u8;
        let handler_ids = if is_resume { first.e } else { split_asked(first.c).0 };
        let instruction = if is_resume { None } else { Some(first.b) };
        Span {
            number: records.number(),
            time: self.clock.time(first.time),
            cause: self.cause(memory, &first, records.was_unresolved),
            code: instruction.map(|address| self.locate(memory, who.task, address)),
            stack: records.beginning.map(|beginning| beginning.e),
            handler: self.names.party(memory, handler_ids),
            maps: records.maps.iter().map(|map| self.mapping(memory, map)).collect(),
            unmaps: records.unmaps.iter().map(|unmap| self.unmapping(memory, unmap)).collect(),
            end: records.end.map_or(without_end.clone(), |end| {
                self.end(memory, records.beginning.map(|beginning| beginning.time), &end)
            }),
            serving: records.serving,
            depth: records.depth,
            complete: !records.has_gap,
            diagnosis: None,
            who,
        }
    }

    /// What the first known record of a span says about its cause.
    fn cause<M: GuestMemory>(&mut self, memory: &M, first: &Record, was_unresolved: bool) -> Cause {
        let (address, access) = match Kind::from_u8(first.kind) {
            Some(Kind::Fault) => (first.a, first.flags),
            Some(Kind::Unresolved) => (first.a, first.order),
            Some(Kind::Exception) => {
                return Cause::Exception { vector: first.flags, error_code: first.a };
            }
            _ if was_unresolved => return Cause::Unresolved,
            _ => return Cause::Lost,
        };
        let access = Access::from_bits_truncate(access);
        let is_memory = !access.contains(Access::PORT);
        let image = self.image(memory, first.task);
        let area = if is_memory { area_of(image, address) } else { None };
        Cause::Fault { address, access, area }
    }

    fn end<M: GuestMemory>(&mut self, memory: &M, begun: Option<u64>, end: &Record) -> End {
        let time = self.clock.time(end.time);
        if end.kind == Kind::Unresolved as u8 {
            return End::Unresolved { time, reason: Unresolved::from_u8(end.flags), answer: end.e };
        }
        End::Resumed(Resumed {
            time,
            by: self.names.party(memory, end.e),
            tag: MessageTag(end.d as usize),
            stages: self.stages(begun, end),
            total: begun.map(|begun| self.clock.duration(begun, end.time)),
        })
    }

    /// The stages of a resume record, if a pager took part and the times make sense.
    fn stages(&self, begun: Option<u64>, end: &Record) -> Option<Stages> {
        let (received, answered) = (end.b, end.c);
        let in_order =
            begun.unwrap_or(1) <= received && received <= answered && answered <= end.time;
        if split_ids(end.e).0 == NOBODY || !in_order {
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

    fn mapping<M: GuestMemory>(&mut self, memory: &M, map: &Record) -> Mapping {
        Mapping {
            time: self.clock.time(map.time),
            to: self.names.party(memory, ids(map.task, map.thread)),
            from: self.names.party(memory, map.e >> 32),
            fault: map.d,
            sent: Flexpage(map.b as usize),
            destination: map.a & 0xffff_ffff,
            source: map.a >> 32,
            window: map.cpu,
            order: map.order,
            rights: Rights::from_bits_truncate(map.flags & 7),
            physical: map.c,
            grant: map.flags & GRANT_FLAG != 0,
            entries: map.e as u32,
            status: MapStatus::from_u8(map.flags >> 4),
        }
    }

    fn unmapping<M: GuestMemory>(&mut self, memory: &M, unmap: &Record) -> Unmapping {
        let has = |flag| unmap.flags & flag != 0;
        Unmapping {
            time: self.clock.time(unmap.time),
            of: self.names.party(memory, ids(unmap.task, NOBODY)),
            by: self.names.party(memory, unmap.e),
            fault: unmap.d,
            flexpage: Flexpage(unmap.b as usize),
            start: unmap.a,
            order: unmap.order,
            taken: Rights::from_bits_truncate(unmap.flags & 7),
            own: has(UNMAP_OWN),
            replaced: has(UNMAP_REPLACED),
            accessed: has(UNMAP_ACCESSED),
            dirty: has(UNMAP_DIRTY),
            removed: (unmap.c >> 32) as u32,
            reduced: unmap.c as u32,
        }
    }

    fn message<M: GuestMemory>(&mut self, memory: &M, record: &Record) -> Message {
        Message {
            time: self.clock.time(record.time),
            from: self.names.party(memory, ids(record.task, record.thread)),
            to: self.names.party(memory, record.a),
            tag: MessageTag(record.b as usize),
            gate_label: record.c,
            words: [record.d, record.e],
        }
    }

    fn creation<M: GuestMemory>(&mut self, memory: &M, record: &Record) -> Creation {
        Creation {
            time: self.clock.time(record.time),
            what: self.names.party(memory, ids(record.task, record.thread)),
            creator: self.names.party(memory, record.a),
        }
    }

    fn ending<M: GuestMemory>(&mut self, memory: &M, record: &Record, ended: &Ended) -> Ending {
        let Ended { kind, number, generation, .. } = *ended;
        let mut what = self.names.party(memory, ids(record.task, record.thread));
        if what.is_kernel() && ended.thread().is_some() {
            // Its task ended before.
            what.name = ended.name().unwrap_or_else(|| format!("thread{number}")).into();
        }
        Ending {
            time: self.clock.time(record.time),
            kind,
            number,
            generation,
            what,
            label: if kind == Some(ObjectKind::Gate) { record.e } else { 0 },
            by: self.names.party(memory, record.a),
        }
    }

    fn image<M: GuestMemory>(&mut self, memory: &M, task: u16) -> Option<&Image> {
        let module = self.names.task(memory, task).image?;
        self.images.module(module)
    }

    fn locate<M: GuestMemory>(&mut self, memory: &M, task: u16, address: u64) -> Location {
        let is_kernel = self.paging.is_some_and(|paging| paging.is_kernel(address));
        let image = if is_kernel { self.images.kernel() } else { self.image(memory, task) };
        image.map_or(Location::unknown(address), |image| image.locate(address))
    }

    fn diagnose<M: GuestMemory>(&mut self, memory: &M, span: &Span) -> crate::event::Diagnosis {
        let task = self.names.task(memory, span.who.task);
        let image = task.image.and_then(|module| self.images.module(module));
        let return_address = span.stack.and_then(|stack| {
            let paging = self.paging?;
            read_word(memory, paging, task.page_table, stack)
        });
        let around = match (span.memory_address(), self.paging, self.looks.checked_sub(1)) {
            _ if task.page_table == 0 => None,
            (Some(address), Some(paging), Some(looks)) => {
                self.looks = looks;
                Some(Around::new(memory, paging, task.page_table, image, address))
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
            KERNEL, ROOT, SIGMA0, WORDS, ended, events, fault, guest, images, nested_faults,
            null_jump, owing, record, resume,
        },
        testing::{FakeGuest, HEADER, Random},
    };
    use protocol::layout::PROGRAM_BASE;
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
        for own in [own, owing(ids(9, 9), own), owing(SIGMA0, own)] {
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
        let backwards = |record: Record| Record { time: 20_000 - record.time, ..record };
        let records = nested_faults().into_iter().map(backwards);
        let nested = [(10, None, 0), (11, Some(10), 1), (12, Some(11), 2)];
        assert_eq!(nesting(&events(guest(64), records)), nested);
    }

    /// Four tasks with a thread each have had the same numbers; the last ones are alive. The records are
    /// read when all of that is over.
    fn successors() -> Vec<Record> {
        let (task, whole) = (ids(3, NOBODY), [1, 2, 3]);
        let lives = whole.into_iter().flat_map(|generation: u32| {
            let (time, number) = (u64::from(generation) * 1000, u64::from(generation));
            let name = format!("number{generation}");
            [
                fault(time, WORDS, Access::WRITE, 0x1000_0000, ROOT, number),
                ended(ObjectKind::Thread, time + 200, WORDS, generation, ""),
                ended(ObjectKind::Task, time + 300, task, generation, &name),
                Record { a: ROOT, ..record(Kind::TaskCreated, time + 400, task) },
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
        let mut records = null_jump();
        records.iter_mut().skip(2).for_each(|record| record.b = instruction);
        let events = events(guest_with_stack(return_address), records);
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
        let message = Record { kind: Kind::Message as u8, ..Record::default() };
        (0..1 << 12).for_each(|_| guest.write(message));
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
        let fault = |number| Record {
            thread: number as u16,
            ..fault(number, WORDS, Access::WRITE, 0x1000_0000, ROOT, number)
        };
        let unmap = Record { kind: Kind::Unmap as u8, d: faults, ..Record::default() };
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
            for number in oldest..header.trace.written {
                let at = (header.trace.address + number % 256 * 64) as usize;
                memory[at..at + 8].copy_from_slice(&(number + 1).to_le_bytes());
                memory[at + 16] = random.below(13) as u8;
                // Few tasks and threads, so that records meet.
                memory[at + 20..at + 24].copy_from_slice(&[random.below(4) as u8, 0, 1, 0]);
                memory[at + 24] = random.below(4) as u8;
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

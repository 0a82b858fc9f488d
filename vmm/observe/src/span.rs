//! Puts the records of one fault or exception together.
//!
//! A thread has at most one at a time, so the open ones are filed under their threads; the number
//! that the kernel gave them tells whether a record belongs to the one that is open.
//!
//! A kernel may claim anything: no record takes longer the more spans are open, and only so many are.

use crate::{
    event::{HandlersOwn, Mapping, Party, Unmapping},
    names::Task,
};
use protocol::introspection::record::{Exception, Fault, Ids, Resume, Traced, UnresolvedFault};
use std::collections::{BTreeSet, HashMap};

/// Faults and exceptions that are open at once. Of more, the one with the lowest number is given up.
pub const MAX_OPEN: usize = 4096;

/// The most maps that a span keeps, and the most unmaps. A message carries at most 31 items.
const MAX_MAPS: usize = 64;

/// Deeper than pagers are ever stacked: a guest that claims more must not fill the screen.
const MAX_DEPTH: usize = 32;

/// What begins a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    Fault(Fault),
    Exception(Exception),
}

impl Beginning {
    /// The kernel's number for it.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Fault(fault) => fault.number,
            Self::Exception(exception) => exception.number,
        }
    }

    /// Whom the kernel turned to.
    pub(crate) fn handler(&self) -> Ids {
        match self {
            Self::Fault(fault) => fault.pager,
            Self::Exception(exception) => exception.handler,
        }
    }

    /// The thread that its thread owes an answer.
    fn owed(&self) -> u16 {
        match self {
            Self::Fault(fault) => fault.owed,
            Self::Exception(exception) => exception.owed,
        }
    }

    pub(crate) fn instruction(&self) -> u64 {
        match self {
            Self::Fault(fault) => fault.instruction,
            Self::Exception(exception) => exception.instruction,
        }
    }

    /// The stack pointer.
    pub(crate) fn stack(&self) -> u64 {
        match self {
            Self::Fault(fault) => fault.stack,
            Self::Exception(exception) => exception.stack,
        }
    }
}

/// What ends a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Resume(Resume),
    Unresolved(UnresolvedFault),
}

impl Ending {
    /// The kernel's number for the span.
    fn number(&self) -> u64 {
        match self {
            Self::Resume(resume) => resume.number,
            Self::Unresolved(fault) => fault.number,
        }
    }

    /// Whom the kernel turned to, as far as the end tells.
    pub(crate) fn handler(&self) -> Ids {
        match self {
            Self::Resume(resume) => resume.by,
            Self::Unresolved(fault) => fault.pager,
        }
    }
}

/// Whom a fault or exception is about, as that was when it was recorded: later others may have their
/// numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parties {
    /// Whose it is.
    pub(crate) who: Party,
    /// The task of that thread.
    pub(crate) task: Task,
    /// Whom the kernel turned to.
    pub(crate) handler: Party,
}

/// The records of one fault or exception, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordSpan {
    pub(crate) beginning: Option<Traced<Beginning>>,
    /// As of the beginning.
    pub(crate) parties: Option<Parties>,
    /// The maps with its number.
    pub(crate) maps: Vec<Mapping>,
    /// The unmaps with its number.
    pub(crate) unmaps: Vec<Unmapping>,
    pub(crate) end: Option<Traced<Ending>>,
    /// Whether the end belongs to a fault that had already ended as unresolved: the thread's
    /// exception handler lets it go on after all.
    pub(crate) was_unresolved: bool,
    /// Whether records were lost between beginning and end.
    pub(crate) has_gap: bool,
    /// What was the matter with the handler itself when it ended.
    pub(crate) handlers_own: HandlersOwn,
    /// Number of the open span that its thread served, as pager or handler, when this one began.
    pub(crate) serving: Option<u64>,
    /// How many such spans there are, one above the other.
    pub(crate) depth: usize,
}

/// The spans that have begun and not ended, by thread.
#[derive(Debug, Default)]
pub(crate) struct OpenSpans {
    by_thread: HashMap<u16, OpenSpan>,
    /// Their numbers, each with its thread.
    by_number: BTreeSet<(u64, u16)>,
    /// Number of the unresolved fault that each thread came to last.
    unresolved: HashMap<u16, u64>,
    /// How many gaps the trace has so far.
    gaps: u64,
    given_up: u64,
}

#[derive(Debug)]
struct OpenSpan {
    records: RecordSpan,
    /// How many gaps the trace had before.
    gaps_before: u64,
}

impl OpenSpans {
    /// Takes the record of a fault or exception. Returns a span that is open no more without its end:
    /// an older one of the same thread, or one that was given up.
    pub(crate) fn begin(
        &mut self,
        record: Traced<Beginning>,
        parties: Parties,
    ) -> Option<RecordSpan> {
        let thread = record.who.thread();
        let (beginning, parties) = (Some(record), Some(parties));
        let mut span = RecordSpan { beginning, parties, ..RecordSpan::default() };
        if let Some(served) = self.served(&record) {
            span.serving = Some(served.number());
            span.depth = MAX_DEPTH.min(served.depth + 1);
        }
        let closed = self.close(thread).or_else(|| self.make_room());
        self.by_number.insert((span.number(), thread));
        self.by_thread.insert(thread, OpenSpan { records: span, gaps_before: self.gaps });
        self.note_circle(thread);
        closed
    }

    /// The open span of the thread that the record's thread owes an answer, if it is the one that
    /// was asked. After a gap nobody knows.
    fn served(&self, record: &Traced<Beginning>) -> Option<&RecordSpan> {
        let open = self.by_thread.get(&record.event.owed())?;
        let is_known = open.gaps_before == self.gaps && !open.records.has_gap;
        let asked = open.records.beginning?.event.handler().thread();
        (is_known && asked == record.who.thread()).then_some(&open.records)
    }

    /// Takes out the open span of a thread.
    fn close(&mut self, thread: u16) -> Option<RecordSpan> {
        let handlers_own = self.handlers_own(thread);
        let OpenSpan { mut records, gaps_before } = self.by_thread.remove(&thread)?;
        self.by_number.remove(&(records.number(), thread));
        if !records.handlers_own.is_circle {
            records.handlers_own = handlers_own;
        }
        records.has_gap |= gaps_before != self.gaps;
        Some(records)
    }

    /// If the open span of a thread makes a circle of them, all in it are told: they may end one by one.
    fn note_circle(&mut self, thread: u16) {
        let own = self.handlers_own(thread);
        let Some(handler) = self.handler(thread).filter(|_| own.is_circle) else { return };
        let first = handler.thread;
        for member in own.waits.iter().map(|party| party.thread).chain([first]) {
            let handlers_own = self.handlers_own(member);
            if let Some(open) = self.by_thread.get_mut(&member) {
                open.records.handlers_own = handlers_own;
            }
        }
    }

    /// What is the matter with the one whom the kernel turned to for the open span of a thread.
    fn handlers_own(&self, thread: u16) -> HandlersOwn {
        let Some(handler) = self.handler(thread) else { return HandlersOwn::default() };
        let (mut known, mut waits, mut is_circle) = (vec![thread, handler.thread], vec![], false);
        while !is_circle
            && waits.len() < MAX_DEPTH
            && let Some(next) = known.last().and_then(|last| self.handler(*last))
        {
            is_circle = known.contains(&next.thread);
            known.push(next.thread);
            waits.push(next.clone());
        }
        let failed = self.unresolved.contains_key(&handler.thread);
        HandlersOwn { waits, is_circle, failed }
    }

    /// Whom the kernel turned to for the open span of a thread.
    fn handler(&self, thread: u16) -> Option<&Party> {
        let parties = self.by_thread.get(&thread)?.records.parties.as_ref()?;
        Some(&parties.handler).filter(|handler| !handler.is_kernel())
    }

    /// Gives a span up if there are as many as there may be.
    fn make_room(&mut self) -> Option<RecordSpan> {
        if self.by_thread.len() < MAX_OPEN {
            return None;
        }
        let (_, thread) = *self.by_number.first()?;
        let span = self.close(thread)?;
        self.given_up += 1;
        Some(RecordSpan { has_gap: true, ..span })
    }

    /// Spans that were given up so far because too many were open.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Files a map with the fault that it answers. Returns it if it belongs to no open span.
    pub(crate) fn map(&mut self, mapping: Mapping) -> Option<Mapping> {
        let (thread, fault) = (mapping.to.thread, mapping.fault);
        let open = self.by_thread.get_mut(&thread).map(|open| &mut open.records);
        let Some(span) = open.filter(|span| fault != 0 && span.number() == fault) else {
            return Some(mapping);
        };
        if span.maps.len() < MAX_MAPS {
            span.maps.push(mapping);
        } else {
            span.has_gap = true;
        }
        None
    }

    /// Files an unmap with the fault whose answer did it. Returns it if it belongs to no open span, or
    /// to one that has enough of them.
    pub(crate) fn unmap(&mut self, unmapping: Unmapping) -> Option<Unmapping> {
        let fault = unmapping.fault;
        let mut of_number = self.by_number.range((fault, 0)..=(fault, u16::MAX));
        let thread = of_number.next().filter(|_| fault != 0).map(|(_, thread)| thread);
        let open = thread.and_then(|thread| self.by_thread.get_mut(thread));
        let Some(open) = open.filter(|open| open.records.unmaps.len() < MAX_MAPS) else {
            return Some(unmapping);
        };
        open.records.unmaps.push(unmapping);
        None
    }

    /// Takes a record that ends a span, and returns that span; without its beginning if that is
    /// not known. The second one, if any, is an older span of the thread whose end was lost.
    pub(crate) fn end(&mut self, record: Traced<Ending>) -> (RecordSpan, Option<RecordSpan>) {
        let (thread, number) = (record.who.thread(), record.event.number());
        let was_unresolved = self.unresolved.remove(&thread) == Some(number);
        let (mut span, older) = match self.close(thread) {
            Some(span) if span.number() == number => (span, None),
            older => {
                let has_gap = !was_unresolved;
                (RecordSpan { was_unresolved, has_gap, ..RecordSpan::default() }, older)
            }
        };
        if let Ending::Unresolved(_) = record.event {
            self.unresolved.insert(thread, number);
        }
        span.end = Some(record);
        (span, older)
    }

    /// A thread is gone. Returns its open span, which ends with it.
    pub(crate) fn thread_ended(&mut self, thread: u16) -> Option<RecordSpan> {
        self.unresolved.remove(&thread);
        self.close(thread)
    }

    /// Records were lost: every open span may miss some.
    pub(crate) fn gap(&mut self) {
        self.gaps += 1;
    }

    /// Takes all open spans, in the order in which they began.
    pub(crate) fn take_all(&mut self) -> Vec<RecordSpan> {
        let threads: Vec<_> = self.by_thread.keys().copied().collect();
        // As long as all of them are open.
        let own: Vec<_> = threads.iter().map(|thread| self.handlers_own(*thread)).collect();
        let closed = threads.iter().zip(own).filter_map(|(thread, handlers_own)| {
            self.close(*thread).map(|span| RecordSpan { handlers_own, ..span })
        });
        let mut spans: Vec<_> = closed.collect();
        spans.sort_by_key(RecordSpan::position);
        spans
    }
}

impl RecordSpan {
    /// The kernel's number for it.
    pub(crate) fn number(&self) -> u64 {
        match (&self.beginning, &self.end) {
            (Some(beginning), _) => beginning.event.number(),
            (None, Some(end)) => end.event.number(),
            (None, None) => 0,
        }
    }

    /// Its place in the trace: the sequence of its first record.
    pub(crate) fn position(&self) -> u64 {
        let first = self.beginning.map(|beginning| beginning.sequence);
        first.or(self.end.map(|end| end.sequence)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Nanoseconds, scenario};
    use protocol::{
        fault::Access,
        flexpage::{Flexpage, Rights},
        introspection::{
            NOBODY,
            record::{Event, MapStatus, Unresolved},
        },
    };

    const PAGER: u16 = 2;

    fn thread(thread: u16) -> Ids {
        Ids::new(0, thread)
    }

    fn begin(sequence: u64, who: u16, pager: u16, owed: u16, number: u64) -> Traced<Beginning> {
        let fault = scenario::fault(0, thread(who), Access::empty(), 0, thread(pager), number);
        let Event::Fault(fault) = fault.event else { panic!("a fault") };
        let event = Beginning::Fault(Fault { owed, ..fault });
        Traced { sequence, time: 0, who: thread(who), event }
    }

    /// A fault that the pager of all is asked to resolve.
    fn begun(sequence: u64, who: u16, number: u64) -> Traced<Beginning> {
        begin(sequence, who, PAGER, NOBODY, number)
    }

    fn party(thread: u16) -> Party {
        Party { task: 0, thread, task_name: "".into(), name: "".into() }
    }

    fn mapped(time: u64, who: u16, number: u64) -> Mapping {
        Mapping {
            time: Nanoseconds(time),
            to: party(who),
            from: party(PAGER),
            fault: number,
            sent: Flexpage::NIL,
            destination: 0,
            source: 0,
            window: 0,
            order: 0,
            rights: Rights::empty(),
            physical: 0,
            grant: false,
            entries: 1,
            status: MapStatus::Done,
        }
    }

    fn unmapped(time: u64, who: u16, number: u64) -> Unmapping {
        Unmapping {
            time: Nanoseconds(time),
            of: party(who),
            by: party(who),
            fault: number,
            flexpage: Flexpage::NIL,
            taken: Rights::all(),
            own: false,
            replaced: true,
            accessed: false,
            dirty: false,
            removed: 1,
            reduced: 0,
        }
    }

    impl OpenSpans {
        fn take(&mut self, record: Traced<Beginning>) -> Option<RecordSpan> {
            let (who, handler) = (party(record.who.thread()), party(PAGER));
            self.begin(record, Parties { who, task: Task::default(), handler })
        }

        fn maps(&mut self, mapping: Mapping) -> bool {
            self.map(mapping).is_none()
        }

        fn unmaps(&mut self, unmapping: Unmapping) -> bool {
            self.unmap(unmapping).is_none()
        }
    }

    fn resumed(sequence: u64, who: u16, number: u64) -> Traced<Ending> {
        let resume = scenario::resume([0; 3], thread(who), thread(PAGER), number);
        let Event::Resume(resume) = resume.event else { panic!("a resume") };
        Traced { sequence, time: 0, who: thread(who), event: Ending::Resume(resume) }
    }

    fn unresolved(sequence: u64, who: u16, number: u64) -> Traced<Ending> {
        let (why, access) = ((Unresolved::Refused, 0), (Access::empty(), 0, 0));
        let fault = scenario::unresolved(0, thread(who), why, access, number);
        let Event::Unresolved(fault) = fault.event else { panic!("an unresolved fault") };
        Traced { sequence, time: 0, who: thread(who), event: Ending::Unresolved(fault) }
    }

    /// A fault of the pager of all others, which owes `owed` an answer and is paged by that thread.
    fn pagers_own(sequence: u64, number: u64, owed: u16) -> Traced<Beginning> {
        begin(sequence, PAGER, owed, owed, number)
    }

    fn serving(open: &mut OpenSpans, record: Traced<Beginning>) -> (Option<u64>, usize) {
        open.take(record);
        let span = &open.by_thread[&record.who.thread()].records;
        (span.serving, span.depth)
    }

    #[test]
    fn who_owes_a_faulting_thread_an_answer_serves_its_fault() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        assert_eq!(serving(&mut open, pagers_own(2, 11, 5)), (Some(10), 1));
        open.end(resumed(3, PAGER, 11));
        assert_eq!(serving(&mut open, pagers_own(4, 12, 6)), (None, 0), "6 has not faulted");
        assert_eq!(serving(&mut open, pagers_own(5, 13, NOBODY)), (None, 0));
        let stranger = Traced { who: thread(7), ..pagers_own(6, 14, 5) };
        assert_eq!(serving(&mut open, stranger), (None, 0), "it is not the pager of 5");
        open.end(resumed(7, 5, 10));
        assert_eq!(serving(&mut open, pagers_own(8, 15, 5)), (None, 0), "5 runs");
    }

    fn waits(own: &HandlersOwn) -> Vec<u16> {
        own.waits.iter().map(|party| party.thread).collect()
    }

    impl OpenSpans {
        fn asks(&mut self, sequence: u64, who: u16, handler: u16) {
            let record = begin(sequence, who, handler, NOBODY, sequence);
            let (who, handler) = (party(who), party(handler));
            self.begin(record, Parties { who, task: Task::default(), handler });
        }
    }

    #[test]
    fn whom_a_handler_waits_for_itself_is_followed_to_its_end_or_round_a_circle() {
        let mut open = OpenSpans::default();
        for (sequence, who, handler) in [(1, 5, 6), (2, 6, 7), (3, 7, 8)] {
            open.asks(sequence, who, handler);
        }
        let own = open.handlers_own(5);
        assert_eq!((waits(&own), own.is_circle, own.failed), (vec![7, 8], false, false));
        open.asks(4, 8, 6);
        let own = open.handlers_own(5);
        assert_eq!((waits(&own), own.is_circle), (vec![7, 8, 6], true), "a circle further up");
        // All are closed, but each as if the others still waited.
        let closed: Vec<_> = open.take_all().iter().map(|span| waits(&span.handlers_own)).collect();
        assert_eq!(closed, [vec![7, 8, 6], vec![8, 6], vec![6, 7], vec![7, 8]]);
        // Who pages itself.
        open.asks(5, 9, 9);
        let own = open.thread_ended(9).expect("it is open").handlers_own;
        assert_eq!((waits(&own), own.is_circle), (vec![9], true));
    }

    #[test]
    fn a_handler_that_has_failed_itself_is_known() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        open.take(pagers_own(2, 11, 5));
        open.end(unresolved(3, PAGER, 11));
        let (span, _) = open.end(unresolved(4, 5, 10));
        assert!(span.handlers_own.failed && span.handlers_own.waits.is_empty());
        open.take(begun(5, 6, 12));
        open.end(resumed(6, PAGER, 11));
        assert!(!open.handlers_own(6).failed, "it goes on");
    }

    #[test]
    fn after_a_gap_nobody_knows_what_a_pager_serves() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        open.gap();
        assert_eq!(serving(&mut open, pagers_own(9, 11, 5)), (None, 0));
    }

    #[test]
    fn two_threads_that_claim_to_serve_each_other_do_not_nest_for_ever() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        for number in 11..1000 {
            open.take(pagers_own(number, number, 5));
            let (_, depth) = serving(&mut open, begin(number, 5, PAGER, PAGER, number));
            assert!(depth <= MAX_DEPTH);
        }
    }

    #[test]
    fn nested_faults_of_a_pager_stay_apart() {
        let mut open = OpenSpans::default();
        let (outer, inner) = (begun(1, 5, 10), begun(2, 2, 11));
        assert_eq!(open.take(outer), None);
        assert_eq!(open.take(inner), None);
        let inner_map = mapped(3, 2, 11);
        let outer_map = mapped(5, 5, 10);
        assert!(open.maps(inner_map.clone()));
        let (span, older) = open.end(resumed(4, 2, 11));
        assert_eq!((span.beginning, span.maps, older), (Some(inner), vec![inner_map], None));
        assert!(open.maps(outer_map.clone()));
        let (span, _) = open.end(resumed(6, 5, 10));
        assert_eq!((span.position(), span.number(), span.has_gap), (1, 10, false));
        assert_eq!(span.maps, [outer_map]);
        assert_eq!(open.take_all(), []);
    }

    #[test]
    fn maps_of_other_faults_are_not_taken() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        assert!(!open.maps(mapped(2, 5, 9)));
        assert!(!open.maps(mapped(3, 5, 0)));
        assert!(!open.maps(mapped(4, 6, 10)));
    }

    #[test]
    fn unmaps_belong_to_the_fault_whoever_they_name() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        // The thread of an unmap is the invoker.
        let replaced = unmapped(2, 2, 10);
        assert!(open.unmaps(replaced.clone()));
        assert!(!open.unmaps(unmapped(3, 5, 0)));
        assert!(!open.unmaps(unmapped(4, 5, 11)));
        for _ in 1..MAX_MAPS {
            assert!(open.unmaps(replaced.clone()));
        }
        assert!(!open.unmaps(replaced));
        let (span, _) = open.end(resumed(5, 5, 10));
        assert_eq!((span.unmaps.len(), span.has_gap), (MAX_MAPS, false));
    }

    #[test]
    fn a_lost_end_does_not_mix_two_faults() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        open.gap();
        let second = begun(9, 5, 12);
        let first = open.take(second).unwrap();
        assert_eq!((first.number(), first.end, first.has_gap), (10, None, true));
        let (span, _) = open.end(resumed(10, 5, 12));
        assert_eq!((span.beginning, span.has_gap), (Some(second), false));
    }

    #[test]
    fn a_lost_beginning_is_not_replaced_by_another_one() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        open.gap();
        let end = unresolved(8, 5, 12);
        let (span, older) = open.end(end);
        assert_eq!((span.beginning, span.end, span.has_gap), (None, Some(end), true));
        assert_eq!((span.number(), span.position()), (12, 8));
        assert_eq!(older.map(|older| older.number()), Some(10));
    }

    #[test]
    fn a_thread_may_go_on_after_an_unresolved_fault() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        let (span, _) = open.end(unresolved(2, 5, 10));
        assert!(!span.was_unresolved && span.beginning.is_some());
        let (again, older) = open.end(resumed(3, 5, 10));
        assert!(again.was_unresolved && !again.has_gap && older.is_none());
        let (unknown, _) = open.end(resumed(4, 5, 10));
        assert!(!unknown.was_unresolved && unknown.has_gap);
    }

    #[test]
    fn endless_maps_are_bounded() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        for sequence in 2..1000 {
            assert!(open.maps(mapped(sequence, 5, 10)));
        }
        let [span] = &open.take_all()[..] else { panic!("one span") };
        assert_eq!((span.maps.len(), span.has_gap), (MAX_MAPS, true));
    }

    /// A kernel that lets every thread there can be fault, and then unmaps for one of them.
    #[test]
    fn of_endless_open_faults_the_oldest_are_given_up_and_counted() {
        let mut open = OpenSpans::default();
        let mut given_up = Vec::new();
        for number in 1..=u64::from(u16::MAX) {
            given_up.extend(open.take(begun(number, number as u16, number)));
            assert!(open.by_thread.len() <= MAX_OPEN);
        }
        assert_eq!(given_up.len() as u64, open.given_up());
        assert!((1..).zip(&given_up).all(|(number, span)| span.number() == number && span.has_gap));
        let newest = u64::from(u16::MAX);
        for _ in 0..MAX_MAPS {
            assert!(open.unmaps(unmapped(newest + 1, 2, newest)));
        }
        assert!(!open.unmaps(unmapped(newest + 1, 2, 1)), "it was given up");
        let rest = open.take_all();
        assert_eq!((rest.len(), rest.last().unwrap().unmaps.len()), (MAX_OPEN, MAX_MAPS));
        assert!(open.by_number.is_empty());
    }

    #[test]
    fn a_number_that_two_threads_have_is_that_of_the_first() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 6, 10));
        open.take(begun(2, 5, 10));
        assert!(open.unmaps(unmapped(3, 2, 10)));
        let (span, _) = open.end(resumed(4, 5, 10));
        assert_eq!(span.unmaps.len(), 1);
        assert!(open.unmaps(unmapped(5, 2, 10)));
        assert_eq!(open.take_all()[0].unmaps.len(), 1);
    }

    #[test]
    fn a_gap_is_one_of_every_open_span_and_of_none_that_begins_behind_it() {
        let mut open = OpenSpans::default();
        open.take(begun(1, 5, 10));
        open.gap();
        open.take(begun(3, 6, 11));
        let gaps: Vec<_> = open.take_all().iter().map(|span| span.has_gap).collect();
        assert_eq!(gaps, [true, false]);
    }
}

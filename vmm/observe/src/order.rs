//! Passes events on in the order in which they began.
//!
//! A fault is known when it ends, and a pager's own faults end before the fault that it serves. So
//! whatever happens while a span is open waits for it: then times only go forward, and the served
//! fault stands before the faults that serving it took. A span that stays open holds the others
//! back only until the caller finds nothing new in the trace ([`Order::release_all`]) or too many
//! wait.

use crate::event::{End, Event, Span};
use std::collections::{BTreeMap, VecDeque};

/// Events that may wait for an open span.
const MAX_WAITING: usize = 8192;

/// Slots that are looked through for the faults of a pager.
const MAX_SERVED: usize = 1024;

/// Spans whose depth is remembered for those that they caused.
const DEPTHS: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Order {
    /// By place in the trace; `None` for a span that is open.
    slots: BTreeMap<u64, Option<Event>>,
    /// How many slots hold an event.
    waiting: usize,
    /// Numbers and depths of the spans that were passed on last.
    depths: VecDeque<(u64, usize)>,
}

impl Order {
    /// Keeps the place of a span that has begun.
    pub(crate) fn reserve(&mut self, position: u64) {
        self.slots.insert(position, None);
    }

    /// Enters an event that is complete.
    pub(crate) fn enter(&mut self, position: u64, event: Event) {
        if let Event::Span(span) = &event {
            self.mark_served(position, span);
        }
        if !matches!(self.slots.insert(position, Some(event)), Some(Some(_))) {
            self.waiting += 1;
        }
    }

    /// Tells the waiting spans of the pager's thread that they happened while it served `outer`.
    fn mark_served(&mut self, position: u64, outer: &Span) {
        let End::Resumed(resumed) = &outer.end else { return };
        let Some(stages) = resumed.stages else { return };
        for slot in self.slots.range_mut(position..).take(MAX_SERVED) {
            let (_, Some(Event::Span(inner))) = slot else { continue };
            let while_serving = (stages.received..=stages.answered).contains(&inner.time);
            if inner.who.thread == resumed.by.thread && while_serving {
                inner.serving.get_or_insert(outer.number);
            }
        }
    }

    /// Passes on what waits for nothing.
    pub(crate) fn release(&mut self, sink: &mut dyn FnMut(&Event)) {
        while let Some(first) = self.slots.first_entry() {
            if first.get().is_none() {
                break;
            }
            if let Some(event) = first.remove() {
                self.waiting -= 1;
                self.pass_on(event, sink);
            }
        }
        if self.waiting > MAX_WAITING {
            self.release_all(sink);
        }
    }

    /// Passes on everything but the open spans themselves.
    pub(crate) fn release_all(&mut self, sink: &mut dyn FnMut(&Event)) {
        if self.waiting == 0 {
            return;
        }
        self.waiting = 0;
        let slots = std::mem::take(&mut self.slots);
        for (position, slot) in slots {
            match slot {
                Some(event) => self.pass_on(event, sink),
                None => self.reserve(position),
            }
        }
    }

    fn pass_on(&mut self, mut event: Event, sink: &mut dyn FnMut(&Event)) {
        if let Event::Span(span) = &mut event {
            let outer = self.depths.iter().find(|(number, _)| Some(*number) == span.serving);
            span.depth = outer.map_or(0, |(_, depth)| depth + 1);
            self.depths.push_front((span.number, span.depth));
            self.depths.truncate(DEPTHS);
        }
        sink(&event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Lost, Nanoseconds};

    fn event(number: u64) -> Event {
        Event::Lost(Lost { time: Nanoseconds(number), count: number })
    }

    fn drain(order: &mut Order, all: bool) -> Vec<u64> {
        let mut seen = Vec::new();
        let mut sink = |event: &Event| {
            if let Event::Lost(lost) = event {
                seen.push(lost.count);
            }
        };
        if all {
            order.release_all(&mut sink)
        } else {
            order.release(&mut sink)
        }
        seen
    }

    #[test]
    fn what_happens_meanwhile_waits_for_an_open_span() {
        let mut order = Order::default();
        order.enter(1, event(1));
        order.reserve(2);
        order.enter(3, event(3));
        assert_eq!(drain(&mut order, false), [1]);
        order.enter(2, event(2));
        assert_eq!(drain(&mut order, false), [2, 3]);
    }

    #[test]
    fn an_idle_guest_holds_nothing_back() {
        let mut order = Order::default();
        order.reserve(2);
        order.enter(3, event(3));
        assert_eq!(drain(&mut order, false), [0; 0]);
        assert_eq!(drain(&mut order, true), [3]);
        order.enter(2, event(2));
        assert_eq!(drain(&mut order, false), [2]);
    }

    #[test]
    fn not_too_much_waits() {
        let mut order = Order::default();
        order.reserve(1);
        let mut seen = 0;
        for position in 2..100_000 {
            order.enter(position, event(position));
            order.release(&mut |_| seen += 1);
            assert!(order.slots.len() <= MAX_WAITING + 2);
        }
        assert!(seen > 80_000);
    }
}

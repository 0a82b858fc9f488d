//! Passes events on in the order in which they began.
//!
//! A fault is known when it ends, and a pager's own faults end before the fault that it serves. So
//! whatever happens while a span is open waits for it: then the served fault stands before the
//! faults that serving it took. A span that stays open holds the others back only until the caller
//! finds nothing new in the trace ([`Order::release_all`]) or too many wait.

use crate::event::Event;
use std::collections::BTreeMap;

/// Events that may wait for an open span, each map and unmap of a span counted as one more.
const MAX_WAITING: usize = 8192;

#[derive(Debug, Default)]
pub(crate) struct Order {
    /// By place in the trace; `None` for a span that is open.
    slots: BTreeMap<u64, Option<Event>>,
    /// The sizes of all events.
    waiting: usize,
}

impl Order {
    /// Keeps the place of a span that has begun.
    pub(crate) fn reserve(&mut self, position: u64) {
        self.slots.insert(position, None);
    }

    /// Enters an event that is complete.
    pub(crate) fn enter(&mut self, position: u64, event: Event) {
        self.waiting += size(&event);
        if let Some(Some(replaced)) = self.slots.insert(position, Some(event)) {
            self.waiting -= size(&replaced);
        }
    }

    /// Passes on what waits for nothing.
    pub(crate) fn release(&mut self, sink: &mut dyn FnMut(&Event)) {
        while let Some(first) = self.slots.first_entry() {
            if first.get().is_none() {
                break;
            }
            if let Some(event) = first.remove() {
                self.waiting -= size(&event);
                sink(&event);
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
                Some(event) => sink(&event),
                None => self.reserve(position),
            }
        }
    }
}

/// What [`MAX_WAITING`] counts.
fn size(event: &Event) -> usize {
    match event {
        Event::Span(span) => 1 + span.maps.len() + span.unmaps.len(),
        _ => 1,
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

//! Alarms: at which time which thread is to be looked at. A binary heap, so that the next one is found at once
//! and all else takes as many steps as the heap is deep. Each thread has one alarm at most.
//!
//! An alarm is never late, but may be early: it stays when its thread waits no longer, or is to wait longer.
//! Whoever looks when it is due finds out ([`Alarms::first`]), and removes it or sets it anew.

use crate::memory::{
    index::{TableIndex, ThreadIndex},
    machine::Memory,
};
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// A place of the heap.
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
#[repr(C)]
pub struct Alarm {
    /// When, in microseconds of the kernel clock.
    due: u64,
    /// The number of the thread.
    thread: u16,
}

/// Of a thread, where its alarm is.
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct AlarmPlace {
    /// The place in the heap plus 1, or 0 if there is none.
    number: u16,
}

/// The alarms of all threads.
#[derive(Debug)]
pub struct Alarms<M: Memory> {
    /// Room for as many as there can be threads, of which the first `count` are alarms.
    heap: M::Storage<Alarm>,
    /// By the number of the thread.
    places: M::Storage<AlarmPlace>,
    count: u16,
}

#[cfg(test)]
impl<M: Memory<Storage<Alarm>: Clone, Storage<AlarmPlace>: Clone>> Clone for Alarms<M> {
    fn clone(&self) -> Self {
        Self { heap: self.heap.clone(), places: self.places.clone(), count: self.count }
    }
}

impl<M: Memory> Alarms<M> {
    /// No alarm. Both tables have a default object for each thread that there can be.
    pub fn new(heap: M::Storage<Alarm>, places: M::Storage<AlarmPlace>) -> Self {
        Self { heap, places, count: 0 }
    }

    /// The next alarm: when it is due, and whose it is.
    #[inline]
    pub fn first(&self) -> Option<(u64, ThreadIndex)> {
        let Alarm { due, thread } = *self.heap.first()?;
        (self.count != 0).then_some((due, ThreadIndex::from_position(thread)))
    }

    /// Whether a thread has an alarm that is due then or before.
    #[inline(always)]
    pub fn covers(&self, thread: ThreadIndex, due: u64) -> bool {
        let place = usize::from(self.places[usize::from(thread.position())].number);
        // There is nothing at the place before the first one.
        self.heap.get(place.wrapping_sub(1)).is_some_and(|alarm| alarm.due <= due)
    }

    /// A thread has an alarm that is due then, or before.
    pub fn set(&mut self, thread: ThreadIndex, due: u64) {
        let place = usize::from(self.places[usize::from(thread.position())].number);
        let alarm = Alarm { due, thread: thread.position() };
        match place.checked_sub(1) {
            Some(place) if self.heap[place].due <= due => {}
            Some(place) => self.raise(place, alarm),
            None => {
                self.count += 1;
                self.raise(usize::from(self.count) - 1, alarm);
            }
        }
    }

    /// The first alarm is due later.
    pub fn postpone_first(&mut self, due: u64) {
        self.lower(Alarm { due, ..self.heap[0] });
    }

    /// The first alarm is gone.
    pub fn remove_first(&mut self) {
        let Some((_, thread)) = self.first() else { return };
        self.places[usize::from(thread.position())].number = 0;
        self.count -= 1;
        if self.count != 0 {
            self.lower(self.heap[usize::from(self.count)]);
        }
    }

    /// Puts an alarm where it belongs, at this place or above.
    fn raise(&mut self, mut place: usize, alarm: Alarm) {
        while place != 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].due <= alarm.due {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, alarm);
    }

    /// Puts an alarm where it belongs, if the first place is free.
    fn lower(&mut self, alarm: Alarm) {
        let (mut place, count) = (0, usize::from(self.count));
        loop {
            let mut child = 2 * place + 1;
            if child + 1 < count && self.heap[child + 1].due < self.heap[child].due {
                child += 1;
            }
            if child >= count || self.heap[child].due >= alarm.due {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, alarm);
    }

    fn put(&mut self, place: usize, alarm: Alarm) {
        self.heap[place] = alarm;
        self.places[usize::from(alarm.thread)].number = place as u16 + 1;
    }

    /// All alarms, in the order of the heap.
    #[cfg(test)]
    pub fn all(&self) -> Vec<(u64, ThreadIndex)> {
        let alarms = self.heap.iter().take(self.count.into());
        alarms.map(|alarm| (alarm.due, ThreadIndex::from_position(alarm.thread))).collect()
    }

    /// What is wrong with the heap, if anything is.
    #[cfg(test)]
    pub fn defect(&self) -> Option<String> {
        let count = usize::from(self.count);
        for (place, alarm) in self.heap.iter().enumerate().take(count) {
            let parent = self.heap[place.saturating_sub(1) / 2];
            if parent.due > alarm.due {
                return Some(format!("{alarm:?} at {place} is below {parent:?}"));
            }
            if usize::from(self.places[usize::from(alarm.thread)].number) != place + 1 {
                return Some(format!("{alarm:?} is not known to be at {place}"));
            }
        }
        let known = self.places.iter().filter(|place| place.number != 0).count();
        (known != count).then(|| format!("{known} places of {count} alarms"))
    }
}

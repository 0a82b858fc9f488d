//! Records and events are the same, whatever is in them.

use super::*;
use crate::{
    fault::Access,
    flexpage::{Flexpage, Rights, WHOLE_SPACE_ORDER},
    introspection::NOBODY,
    message::MessageTag,
};

/// A small generator of pseudo-random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Any word; often one of the ends of what there is.
    fn word(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => u64::MAX,
            _ => self.next(),
        }
    }

    fn half(&mut self) -> u32 {
        self.word() as u32
    }

    fn bool(&mut self) -> bool {
        self.below(2) == 0
    }

    fn ids(&mut self) -> Ids {
        Ids::new(self.word() as u16, self.word() as u16)
    }

    fn rights(&mut self) -> Rights {
        Rights::from_bits_truncate(self.next() as u8)
    }

    fn access(&mut self) -> Access {
        Access::from_bits_truncate(self.next() as u8)
    }

    fn flexpage(&mut self) -> Flexpage {
        Flexpage(self.word() as usize)
    }

    fn tag(&mut self) -> MessageTag {
        MessageTag(self.word() as usize)
    }

    fn name(&mut self) -> Name {
        let bytes: Name = core::array::from_fn(|_| self.next() as u8);
        crate::boot::pad_name(crate::boot::trim_name(&bytes))
    }

    fn image(&mut self) -> Option<u32> {
        self.bool().then(|| self.half())
    }

    fn handler(&mut self) -> Handler {
        let (capability, label, thread) = (self.word() as u16, self.word(), self.ids());
        let gate = (thread != Ids::NOBODY).then_some(Gate { label, thread });
        Handler { capability, gate }
    }

    fn event(&mut self, kind: Kind) -> Event {
        match kind {
            Kind::Fault => Fault {
                access: self.access(),
                address: self.word(),
                instruction: self.word(),
                pager: self.ids(),
                owed: self.word() as u16,
                number: self.word(),
                stack: self.word(),
            }
            .into(),
            Kind::Map => Map {
                status: MapStatus::from_u8(self.below(5) as u8).unwrap(),
                grant: self.bool(),
                rights: self.rights(),
                order: self.word() as u8,
                window: self.word() as u8,
                destination: self.half(),
                source: self.half(),
                sent: self.flexpage(),
                physical: self.word(),
                fault: self.word(),
                sender: self.ids(),
                entries: self.half(),
            }
            .into(),
            Kind::Resume => Resume {
                number: self.word(),
                delivered: self.word(),
                answered: self.word(),
                tag: self.tag(),
                by: self.ids(),
            }
            .into(),
            Kind::Unresolved => UnresolvedFault {
                reason: Unresolved::from_u8(1 + self.below(6) as u8).unwrap(),
                access: self.access(),
                address: self.word(),
                instruction: self.word(),
                pager: self.ids(),
                number: self.word(),
                answer: self.word(),
            }
            .into(),
            Kind::Message => Message {
                receiver: self.ids(),
                tag: self.tag(),
                gate_label: self.word(),
                words: [self.word(), self.word()],
            }
            .into(),
            Kind::Exception => Exception {
                vector: self.word() as u8,
                error_code: self.word(),
                instruction: self.word(),
                handler: self.ids(),
                owed: self.word() as u16,
                number: self.word(),
                stack: self.word(),
            }
            .into(),
            Kind::TaskCreated => TaskCreated { creator: self.ids() }.into(),
            Kind::ThreadStarted => ThreadStarted { creator: self.ids() }.into(),
            Kind::ShutDown => ShutDown { status: self.word() as u8 }.into(),
            Kind::Resolve => Resolve {
                rights: self.rights(),
                delivered: self.word(),
                sent: Flexpage(self.half() as usize),
                destination: self.half(),
                physical: self.word(),
                number: self.word(),
                by: self.ids(),
                answer_ticks: self.half(),
            }
            .into(),
            Kind::Unmap => Unmap {
                flexpage: self.flexpage(),
                take: self.rights(),
                own: self.bool(),
                accessed: self.bool(),
                dirty: self.bool(),
                replaced: self.bool(),
                removed: self.half(),
                reduced: self.half(),
                fault: self.word(),
                by: self.ids(),
            }
            .into(),
            Kind::ObjectEnded => {
                let object = match self.below(6) {
                    0 => EndedObject::Gate { label: self.word() },
                    1 => EndedObject::Thread { name: self.name() },
                    2 => EndedObject::Task { name: self.name(), image: self.image() },
                    3 => EndedObject::Factory,
                    4 => EndedObject::Interrupt,
                    _ => EndedObject::Reply,
                };
                let (number, generation) = (self.word() as u16, self.half());
                ObjectEnded { object, number, generation, by: self.ids() }.into()
            }
            Kind::ObjectNamed => {
                let object = if self.bool() {
                    NamedObject::Task { image: self.image() }
                } else {
                    NamedObject::Thread
                };
                let (generation, by) = (self.half(), self.ids());
                ObjectNamed { object, generation, by, name: self.name() }.into()
            }
            Kind::Interrupt => Interrupt {
                number: self.word() as u16,
                gate_label: self.word(),
                came: self.word(),
                told: self.half(),
            }
            .into(),
            Kind::TimedOut => {
                TimedOut { is_sending: self.bool(), partner: self.ids(), deadline: self.word() }
                    .into()
            }
            Kind::PagersSet => PagersSet {
                by: self.ids(),
                pager: self.handler(),
                exception_handler: self.handler(),
            }
            .into(),
            Kind::RegistersSet => {
                let ways = [
                    SetBy::ExRegs,
                    SetBy::Trigger,
                    SetBy::Write,
                    SetBy::WriteFloatingPoint,
                    SetBy::Answer,
                ];
                RegistersSet {
                    way: ways[self.below(ways.len() as u64) as usize],
                    by: self.ids(),
                    instruction: self.word(),
                    stack: self.word(),
                    flags: self.word(),
                }
                .into()
            }
        }
    }
}

#[test]
fn every_event_comes_back() {
    let mut random = Random(1);
    for kind in Kind::ALL {
        for _ in 0..10_000 {
            let event = random.event(*kind);
            assert_eq!(event.kind(), *kind);
            let traced =
                Traced { sequence: random.word(), time: random.word(), who: random.ids(), event };
            let record = traced.encode();
            assert_eq!(record.kind(), Some(*kind));
            assert_eq!(record.decode(), Ok(traced), "{record:x?}");
        }
    }
}

/// Whatever lies in memory: it is an event, and then the very bytes that are written of that; or an error.
#[test]
fn any_bytes_are_an_event_written_so_or_none() {
    let mut random = Random(2);
    let (mut read, mut refused) = ([0; 32], 0);
    for round in 0..400_000 {
        let kind = Kind::ALL[round % Kind::ALL.len()];
        let mut bytes = [0; 64];
        if round % 4 == 0 {
            bytes.fill_with(|| random.next() as u8);
            bytes[16] = kind as u8;
        } else {
            // One that is written, but for a byte.
            let who = random.ids();
            let record = random.event(kind).record(random.word(), who.into());
            bytes.copy_from_slice(record.as_bytes());
            bytes[random.below(64) as usize] = random.next() as u8;
        }
        let record = Record::read_from_bytes(&bytes).unwrap();
        match record.decode() {
            Ok(traced) => {
                assert_eq!(traced.encode().as_bytes(), bytes);
                read[traced.event.kind() as usize] += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(Kind::ALL.iter().all(|kind| read[*kind as usize] > 1000), "{read:?}");
    assert!(refused > 100_000, "{refused}");
}

#[test]
fn what_has_no_meaning_is_refused() {
    let written = |event: Event| event.record(7, Ids::new(3, 4).into());
    let mut map = written(Random(3).event(Kind::Map));
    map.head |= 0xf0 << 8;
    assert_eq!(map.decode(), Err(Malformed::Event(Kind::Map)));
    let mut created = written(Random(3).event(Kind::TaskCreated));
    created.words[3] = 1;
    assert_eq!(created.decode(), Err(Malformed::Event(Kind::TaskCreated)));
    assert_eq!(Record::default().decode(), Err(Malformed::Kind(0)));
}

#[test]
fn every_kind_but_messages_is_enabled() {
    for value in 0..=u8::MAX {
        let enabled = value < 64 && Kind::DEFAULT_ENABLED >> value & 1 == 1;
        let expected = Kind::from_u8(value).is_some_and(|kind| kind != Kind::Message);
        assert_eq!(enabled, expected, "kind {value}");
    }
}

#[test]
fn a_resolve_is_a_map_and_a_resume() {
    let by = Ids::new(1, 2);
    let resolve = Resolve {
        rights: Rights::READ_WRITE,
        delivered: 900,
        sent: Flexpage(0x0200_0316),
        destination: 0x1234_5000,
        physical: 0x200_0000,
        number: 77,
        by,
        answer_ticks: 40,
    };
    let map = Map {
        status: MapStatus::Done,
        grant: false,
        rights: Rights::READ_WRITE,
        order: 12,
        window: WHOLE_SPACE_ORDER as u8,
        destination: 0x1234_5000,
        source: 0x0200_0000,
        sent: Flexpage(0x0200_0316),
        physical: 0x200_0000,
        fault: 77,
        sender: by,
        entries: 1,
    };
    let tag = MessageTag::new(0, 0, 1);
    let resume = Resume { number: 77, delivered: 900, answered: 960, tag, by };
    assert_eq!(resolve.split(1000), (map, resume));
}

/// The layout that docs/trace-format.md gives, in bytes.
#[test]
fn a_record_is_these_bytes() {
    let fault = Fault {
        access: Access::WRITE | Access::PRESENT,
        address: 0x1111,
        instruction: 0x2222,
        pager: Ids::new(1, 2),
        owed: NOBODY,
        number: 0x3333,
        stack: 0x4444,
    };
    let who = Ids::new(5, 6);
    let traced = Traced { sequence: 8, time: 9, who, event: fault.into() };
    let words: [u64; 8] =
        [8, 9, 0x0006_0005_0000_0301, 0x1111, 0x2222, 0xffff_0001_0002, 0x3333, 0x4444];
    assert_eq!(traced.encode().as_bytes(), words.map(u64::to_le_bytes).as_flattened());
}

#[test]
fn ids_come_apart() {
    let ids = Ids::new(7, NOBODY);
    assert_eq!((ids.task(), ids.thread()), (7, NOBODY));
    assert_eq!(Ids::of_task(7), ids);
    assert_eq!(Ids::from_bits(ids.bits()), ids);
    assert_eq!(Whom::from(ids).ids(), ids);
}

/// docs/trace-format.md says what is looked at.
#[test]
fn what_no_kernel_can_have_written_is_no_event() {
    let who = Ids::new(3, 5);
    let empty = Handler { capability: 4, gate: None };
    let nobodys = Handler { gate: Some(Gate { label: 7, thread: Ids::NOBODY }), ..empty };
    let name = *b"words\0evil\0\0\0\0\0\0";
    let object = NamedObject::Thread;
    let ended = EndedObject::Task { name, image: None };
    let impossible: [(&str, Event); 3] = [
        (
            "a label of a gate that is not there",
            PagersSet { by: who, pager: nobodys, exception_handler: empty }.into(),
        ),
        (
            "bytes behind the end of a name",
            ObjectNamed { object, generation: 1, by: who, name }.into(),
        ),
        (
            "the same where it ends",
            ObjectEnded { object: ended, number: 3, generation: 1, by: who }.into(),
        ),
    ];
    for (what, event) in impossible {
        let decoded = event.record(0, who.into()).decode();
        assert_eq!(decoded, Err(Malformed::Event(event.kind())), "{what}");
    }
}

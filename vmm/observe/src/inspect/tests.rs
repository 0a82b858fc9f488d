//! Guests made by hand: sound ones, broken ones, and noise.

use super::{
    check::{Report, Rule},
    made::{
        APP, At, BITMAP, FACTORIES, FIRST_FREE, HEADER, IMAGE_END, INFO_PAGE, INTERRUPTS, Made,
        OTHER, POOL, RAM_END, ROOT, SIGMA0, STRIDE, SUPERPAGE, TASKS, TEXT, THREADS, WINDOW,
        capability, page, port, superpage, thread,
    },
    *,
};
use crate::{
    memory::read_value,
    paging::{AMD64, End, Geometry, IA32},
    testing::Random,
};
use protocol::{
    flexpage::{KERNEL_PORTS, Rights},
    introspection::mapping::{
        CapabilitySlot, FactoryRecord, InterruptRecord, LifeRecord, LifeState, MAX_DEPTH,
        MappingNode, ObjectKind, Place, Resource,
    },
    layout::{KERNEL_INFO_PAGE, MAPPABLE_START, UTCB_AREA},
    object::CapabilityIndex,
};
use std::convert::Infallible;

const BOTH: [&Geometry; 2] = [&AMD64, &IA32];

impl Made {
    #[track_caller]
    fn expect_violation(&self, rule: Rule, path: &str, evidence: &str) {
        let report = self.guest().check();
        let found = report.violations.iter().any(|violation| {
            violation.rule == rule
                && violation.path.contains(path)
                && violation.evidence.contains(evidence)
        });
        assert!(found, "{rule:?} {path} {evidence} is not in {:#?}", report.violations);
    }
}

#[test]
fn tasks_and_threads_are_found() {
    let mut made = Made::new(&AMD64);
    made.put(THREADS + 3 * STRIDE, &thread(5, APP, b"worker"));
    let tasks = made.guest().tasks();
    let names: Vec<_> = tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["sigma0", "root", "app", "other"]);
    assert_eq!((tasks[0].page_table, tasks[2].image), (FIRST_FREE, Some(1)));
    let [first, worker] = &tasks[2].threads[..] else { panic!("{tasks:?}") };
    assert_eq!((first.state, first.name.as_deref()), (Some(ThreadState::Ready), None));
    assert_eq!((worker.number, worker.name.as_deref()), (3, Some("worker")));
    assert_eq!((worker.state, worker.partner), (Some(ThreadState::PageFault), None));
}

#[test]
fn sound_guests_are_clean_and_every_rule_was_applied() {
    for geometry in BOTH {
        let report = Made::database(geometry).guest().check();
        assert!(report.is_clean(), "{:#?}", report.violations);
        assert!(report.is_of_one_moment);
        for rule in Rule::ALL {
            let is_everywhere = rule != Rule::KernelArea;
            assert_eq!(report.count(rule) > 0, is_everywhere, "{rule:?}");
        }
        // Memory: 3 * 3 + 2 + 3 + 2 pages; 17 ports; 17 capabilities.
        let kernel_pages = 2 * 4;
        assert_eq!(report.count(Rule::Pages), 16 + kernel_pages);
        assert_eq!(report.count(Rule::Nodes), 16 + kernel_pages + 17 + 17);
        // Those of memory, ports and objects that are derived from nothing.
        assert_eq!(report.count(Rule::Roots), 4 + 8 + 13);
        assert_eq!(report.count(Rule::Derived), 12 + 9 + 4);
    }
}

#[test]
fn every_broken_promise_about_pages_is_found_on_both_architectures() {
    let info = KERNEL_INFO_PAGE as u64;
    let utcb = UTCB_AREA as u64;
    for geometry in BOTH {
        for (address, value, rule, evidence) in [
            (WINDOW, (IMAGE_END - 0x1000) | 5, Rule::Pages, "the kernel's memory"),
            (WINDOW, (POOL.end - 0x1000) | 5, Rule::Pages, "the kernel's memory"),
            (WINDOW, FIRST_FREE | 5, Rule::Pages, "a page table"),
            (utcb + 0x1000, FIRST_FREE | 7, Rule::Pages, "a page table"),
            (utcb + 0x1000, TASKS | 7, Rule::Pages, "the kernel's records"),
            (utcb + 0x1000, FACTORIES | 7, Rule::Pages, "the kernel's records"),
            (WINDOW, RAM_END | 5, Rule::Pages, "what is not RAM"),
            (WINDOW, 0x100_0000 | 1, Rule::Bits, "lacks the user bit"),
            (WINDOW, 0x100_0000 | 0x805, Rule::Bits, "0x800"),
            (WINDOW, INFO_PAGE | 5, Rule::Pages, "the kernel's memory"),
            (WINDOW, 0x100_0000 | 5, Rule::Nodes, "has no node"),
            (info, INFO_PAGE | 7, Rule::KernelInfo, "can write"),
            (info, 0x20_0000 | 5, Rule::KernelInfo, "but another task's is"),
            (info, 0, Rule::KernelInfo, "not present in the table"),
        ] {
            let mut made = Made::new(geometry);
            made.force(page(APP, address), value);
            made.expect_violation(rule, &format!("app:{address:#x}"), evidence);
        }
        // A task that ends loses its pages before the rest of it.
        let mut made = Made::database(geometry);
        made.force(page(APP, info), 0);
        made.change_life(ObjectKind::Task, APP, |life| {
            (life.state, life.root) = (LifeState::Dying as u16, 0);
        });
        assert!(made.guest().check().is_clean());
        let mut made = Made::new(geometry);
        made.force(page(SIGMA0, info), 0x10_0005);
        made.expect_violation(Rule::KernelInfo, "sigma0:0xbffe0000", "no kernel info page");
        let mut made = Made::new(geometry);
        let walk = made.guest().walk(&made.guest().tasks()[usize::from(OTHER)], utcb);
        let End::Page(others) = walk.end else { panic!("{walk:?}") };
        made.force(page(APP, utcb + 0x1000), others.physical | 7);
        made.expect_violation(Rule::Pages, "other:0xbfff0000", "another page's UTCBs");
    }
}

#[test]
fn pages_below_the_first_that_can_be_mapped_are_found() {
    let first = MAPPABLE_START as u64;
    for geometry in BOTH {
        let mut made = Made::database(geometry);
        made.map(page(APP, TEXT), page(OTHER, first), Rights::READ);
        let report = made.guest().check();
        assert!(report.is_clean(), "{:#?}", report.violations);
        for address in [0, 0x1000, first - 0x1000] {
            let mut made = Made::database(geometry);
            made.map(page(APP, TEXT), page(OTHER, address), Rights::READ);
            let path = format!("other:{address:#x} table[");
            made.expect_violation(Rule::Addresses, &path, "nothing is mapped below 0x110000");
        }
        let mut made = Made::database(geometry);
        made.map(superpage(ROOT, SUPERPAGE), superpage(OTHER, 0), Rights::READ);
        made.expect_violation(Rule::Addresses, "other:0x0 directory[", "below 0x110000");
    }
}

/// Of a sound guest whose app has a port and uses it: the processor must not be told more.
#[test]
fn every_port_that_is_open_without_reason_is_found() {
    for geometry in BOTH {
        let broken = |change: &dyn Fn(&mut Made)| {
            let mut made = Made::database(geometry);
            change(&mut made);
            made
        };
        let expect = |change: &dyn Fn(&mut Made), path: &str, evidence: &str| {
            broken(change).expect_violation(Rule::Ports, path, evidence);
        };
        // Ports that sigma0 and the root task have, but the app has not; and the last one of all.
        for port in (0x3f9..0x400).chain([0x3f7, u16::MAX]) {
            let path = format!("app: port {port:#x}");
            let open = |made: &mut Made| {
                made.flip_port(port);
                made.change_ports(|cache| cache.words[7] = port / 64);
            };
            expect(&open, &path, "the task does not have it");
        }
        for port in KERNEL_PORTS {
            let path = format!("app: port {port:#x}");
            expect(&|made| made.flip_port(port), &path, "allows it, but the kernel keeps it");
        }
        for port in (0..=u16::MAX).step_by(509) {
            let path = format!("app: port {port:#x}");
            expect(&|made| made.flip_port(port), &path, "the processor's bitmap allows it, but");
        }
        expect(&|made| made.flip_port(0x1000), "app: port 0x1000", "in word 0x40, none of the 8");
        expect(
            &|made| {
                let (entry, _) = made.slot(port(APP, 0x3f8));
                made.put_entry(entry, made.page_entry(0x3f8 << 12, Rights::READ, false));
            },
            "app: port 0x3f8",
            "only r--",
        );
        // The bits of one task while it is another's turn.
        expect(&|made| made.run_with_ports(ROOT), "segment", "applies to root, but is that of app");
        expect(
            &|made| made.change_ports(|cache| cache.owner = OTHER),
            "other: port 0x3f8",
            "the task does not have it",
        );
        expect(
            &|made| made.change_ports(|cache| cache.owner = NOBODY),
            "port 0x3f8",
            "is for no task",
        );
        expect(
            &|made| made.change_ports(|cache| cache.bitmap += 8),
            "segment",
            "it has a bitmap of ports at 0x2068, but the kernel's is at 0x2070",
        );
        expect(
            &|made| made.change_ports(|cache| cache.bitmap = POOL.start - 0x8000),
            "segment",
            "is not in the kernel's memory",
        );
        expect(
            &|made| made.change_ports(|cache| cache.task_state = u64::MAX),
            "segment",
            "it cannot be found: 2 bytes at physical address 0xffffffffffffffff",
        );
        let made = broken(&|made| {
            made.root(port(SIGMA0, 0x20), 0x20 << 12, Rights::READ_WRITE);
        });
        made.expect_violation(Rule::Ports, "sigma0: port 0x20", "which the kernel keeps");
    }
}

/// What the processor does not know does no harm, nor what it does not go by.
#[test]
fn ports_that_are_closed_are_sound() {
    for geometry in BOTH {
        let mut made = Made::database(geometry);
        made.flip_port(0x3f8);
        assert!(made.guest().check().is_clean());
        // A switch to another task makes the bitmap invalid; the bits stay.
        let mut made = Made::database(geometry);
        made.change_ports(|cache| cache.task_state_size = 0x68);
        made.run_with_ports(OTHER);
        let report = made.guest().check();
        assert!(report.is_clean(), "{:#?}", report.violations);
    }
}

/// The kernel changes the bitmap while it is read: it is read again.
#[test]
fn the_bitmap_is_of_one_moment() {
    let made = Made::database(&AMD64);
    let reads = std::cell::Cell::new(0);
    let changing = Changing { made: &made, reads: &reads };
    let snapshot = Guest::open(&changing, HEADER).unwrap().snapshot();
    let ports = snapshot.ports.as_ref().unwrap();
    assert!(reads.get() > 2 && !ports.is_open(0x80) && ports.is_open(0x3f8));
}

/// A guest whose bitmap has a bit more in the first readings.
struct Changing<'t> {
    made: &'t Made,
    reads: &'t std::cell::Cell<u32>,
}

impl GuestMemory for Changing<'_> {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        self.made.memory.read(address, bytes)?;
        if address == BITMAP {
            self.reads.set(self.reads.get() + 1);
            if self.reads.get() < 2 {
                bytes[0x10] ^= 1;
            }
        }
        Ok(())
    }
}

#[test]
fn tables_must_be_the_kernels_and_used_once() {
    for geometry in BOTH {
        for (value, evidence) in
            [(0x100_0000, "no frame of the pool"), (FIRST_FREE, "a page table elsewhere")]
        {
            let mut made = Made::new(geometry);
            made.force(superpage(APP, WINDOW), value | 7);
            made.expect_violation(Rule::Tables, "app:0x10000000 table", evidence);
        }
        let mut made = Made::new(geometry);
        let mut record = made.record(APP);
        record.capability_table[1] = record.capability_table[0] + 0x1000;
        made.put(TASKS + u64::from(APP) * STRIDE, &record);
        let path = "app: capability table from 0x400";
        made.expect_violation(Rule::Tables, path, "which is a companion elsewhere");
        record.capability_table[1] = POOL.end - 0x1000;
        made.put(TASKS + u64::from(APP) * STRIDE, &record);
        made.expect_violation(Rule::Tables, path, "its companion: at 0x1c0000, no frame");
    }
}

#[test]
fn a_superpage_that_reaches_into_the_pool_is_found() {
    for geometry in BOTH {
        let mut made = Made::new(geometry);
        made.force(superpage(APP, WINDOW), 0x87);
        made.expect_violation(Rule::Pages, "app:0x10000000 directory[", "the kernel's memory");
    }
}

#[test]
fn the_kernels_area_is_closed_to_user_code() {
    for (geometry, index, level) in [(&AMD64, 1, 0), (&AMD64, 3, 1), (&IA32, 768, 0)] {
        let mut made = Made::new(geometry);
        let walk = made.guest().walk(&made.guest().tasks()[0], UTCB_AREA as u64);
        let table = walk.steps[level].entry_address & !0xfff;
        made.put_entry(table + index * geometry.entry_size, 0x3);
        assert!(made.guest().check().is_clean());
        assert_eq!(made.guest().check().count(Rule::KernelArea), 1);
        made.put_entry(table + index * geometry.entry_size, 0x7);
        made.expect_violation(Rule::KernelArea, "sigma0:0x", "the user bit");
    }
}

#[test]
fn records_are_checked() {
    let broken = |change: &dyn Fn(&mut ThreadRecord)| {
        let mut record = thread(2, APP, b"x");
        change(&mut record);
        let mut made = Made::new(&AMD64);
        made.put(THREADS + STRIDE, &record);
        made
    };
    broken(&|record| record.state = 99).expect_violation(Rule::Records, "thread 1", "state is 99");
    broken(&|record| record.task = 7).expect_violation(Rule::Records, "thread 1", "task 7");
    broken(&|record| record.priority = 256).expect_violation(Rule::Records, "thread 1", "256");
    broken(&|record| record.name[9] = 1).expect_violation(Rule::Records, "thread 1", "name");
    let waits = |record: &mut ThreadRecord| (record.state, record.partner) = (4, 500);
    broken(&waits).expect_violation(Rule::Records, "thread 1", "thread 500");
    // One whose task has ended runs nowhere, and is stopped.
    broken(&|record| record.task = NOBODY).expect_violation(
        Rule::Records,
        "thread 1",
        "task 65535",
    );
    let mut made = Made::new(&AMD64);
    made.change_gate(1, |record| record.thread = 500);
    made.expect_violation(Rule::Records, "gate 1", "thread 500");
    let mut made = Made::new(&AMD64);
    made.put(TASKS, &7u32);
    made.expect_violation(Rule::Records, "task 0", "state is 7");
    let mut made = Made::new(&AMD64);
    made.change_factory(1, |record| record.parent = 1);
    made.expect_violation(Rule::Records, "factory 1 (app, other)", "not older");
    let mut header: Header = read_value(&made.memory, HEADER).unwrap();
    header.threads.count = u64::MAX;
    made.put(HEADER, &header);
    made.expect_violation(Rule::Records, "table of threads", "no table in the pool");
}

#[test]
fn an_interrupt_is_bound_to_a_gate_or_to_nothing() {
    let broken = |record: InterruptRecord, evidence: &str| {
        let mut made = Made::new(&AMD64);
        made.put(INTERRUPTS + STRIDE, &record);
        made.expect_violation(Rule::Records, "interrupt 1", evidence);
    };
    let sound = InterruptRecord { state: 1, gate: NOBODY, flags: 0, generation: 1, told: 0 };
    broken(InterruptRecord { gate: 500, ..sound }, "gate 500, which does not exist");
    broken(InterruptRecord { flags: 8, ..sound }, "flags are 0x8");
    broken(InterruptRecord { state: 9, ..sound }, "state is 9");
    broken(InterruptRecord { state: 0, flags: 1, ..sound }, "there is no object of it");
    // It is there, and nobody has its first capability.
    let mut made = Made::new(&AMD64);
    made.put(INTERRUPTS + STRIDE, &sound);
    made.expect_violation(Rule::Lives, "interrupt 1", "its life is in state 0");
}

/// A capability outlives its object.
#[test]
fn capabilities_for_what_is_gone_are_found() {
    let of_gone = |change: &dyn Fn(&mut Made)| {
        let mut made = Made::new(&AMD64);
        change(&mut made);
        let report = made.guest().check();
        let is_found = report.violations.iter().any(|violation| {
            violation.rule == Rule::Nodes
                && violation.evidence.ends_with("is for an object that does not exist")
        });
        assert!(is_found, "{:#?}", report.violations);
    };
    of_gone(&|made| made.put(THREADS + u64::from(APP) * STRIDE, &0u32));
    of_gone(&|made| made.change_factory(0, |record| record.state = 0));
    of_gone(&|made| made.change_gate(1, |record| record.state = 0));
}

/// Objects that live too long, or not long enough.
#[test]
fn an_object_lives_as_long_as_its_first_capability() {
    let life = |kind, number, change: &dyn Fn(&mut LifeRecord)| {
        let mut made = Made::new(&AMD64);
        made.change_life(kind, number, |life| change(life));
        made
    };
    for (kind, number, path) in [
        (ObjectKind::Task, APP, "task 2"),
        (ObjectKind::Thread, OTHER, "thread 3"),
        (ObjectKind::Factory, 1, "factory 1"),
        (ObjectKind::Gate, 1, "gate 1"),
    ] {
        for root in [0, 1, u32::MAX] {
            let made = life(kind, number, &|life| life.root = root);
            made.expect_violation(Rule::Lives, path, "which is not for it");
        }
        let other = Made::new(&AMD64).node_at(capability(ROOT, CapabilityIndex::TASK.0));
        let made = life(kind, number, &|life| life.root = other);
        made.expect_violation(Rule::Lives, path, "which is not for it");
        let made = life(kind, number, &|life| life.state = LifeState::None as u16);
        made.expect_violation(Rule::Lives, path, "it is there");
        life(kind, number, &|life| life.state = 77).expect_violation(Rule::Lives, path, "state 77");
        // What is about to be taken apart has none.
        let report = life(kind, number, &|life| {
            (life.state, life.root) = (LifeState::Dying as u16, 0);
        });
        assert!(report.guest().check().is_clean());
        let unheld = life(kind, number, &|life| life.state = LifeState::Unheld as u16);
        match kind {
            ObjectKind::Gate => assert!(unheld.guest().check().is_clean()),
            _ => unheld.expect_violation(Rule::Lives, path, "it is no gate"),
        }
    }
    let gone = life(ObjectKind::Task, 5, &|life| life.state = LifeState::Living as u16);
    gone.expect_violation(Rule::Lives, "task 5", "it is gone");
}

/// Memory that is nobody's, somebody's twice, or free and not empty.
#[test]
fn every_frame_of_the_kernel_is_accounted_for() {
    const PAIR: u64 = 0x2000;
    for geometry in BOTH {
        // Two pairs came back.
        let returned = |change: &dyn Fn(&mut Made, [u64; 2])| {
            let mut made = Made::database(geometry);
            let pairs = [made.next, made.next + PAIR];
            made.next += 2 * PAIR;
            made.put(pairs[0], &pairs[1]);
            made.change_header(|header| {
                (header.pool_fresh, header.pool_free) = (header.pool_fresh + 2 * PAIR, pairs[0]);
            });
            change(&mut made, pairs);
            made
        };
        let report = returned(&|_, _| ()).guest().check();
        assert!(report.is_clean(), "{:#?}", report.violations);
        let of_pair = |pair: u64| format!("frames at {pair:#x}");
        let header = |change: &dyn Fn(&mut Header)| {
            returned(&|made, _| made.change_header(|header| change(header)))
        };
        let pairs = [returned(&|_, _| ()).next - 2 * PAIR, returned(&|_, _| ()).next - PAIR];
        let (first, second) = (of_pair(pairs[0]), of_pair(pairs[1]));
        let lost = "nobody has them";
        header(&|header| header.pool_free += PAIR).expect_violation(Rule::Memory, &first, lost);
        header(&|header| header.pool_free = 0).expect_violation(Rule::Memory, &second, lost);
        returned(&|made, [first, _]| made.put(first, &0u64)).expect_violation(
            Rule::Memory,
            &second,
            lost,
        );
        header(&|header| header.pool_fresh += PAIR).expect_violation(
            Rule::Memory,
            &of_pair(pairs[1] + PAIR),
            lost,
        );
        for offset in [8, 0x800, 0x1ff8] {
            returned(&|made, [_, second]| made.put(second + offset, &1u8)).expect_violation(
                Rule::Memory,
                &second,
                "not zero",
            );
        }
        returned(&|made, [first, second]| made.put(second, &first)).expect_violation(
            Rule::Memory,
            &first,
            "twice",
        );
        let owned = returned(&|made, [_, second]| made.put(second, &FIRST_FREE));
        owned.expect_violation(Rule::Memory, &of_pair(FIRST_FREE), "somebody has them");
        for nowhere in [POOL.start, pairs[1] + PAIR, 0x123, u64::MAX] {
            let made = returned(&|made, [_, second]| made.put(second, &nowhere));
            made.expect_violation(Rule::Memory, &of_pair(nowhere), "no pair of the pool");
        }
        let made = header(&|header| header.pool_fresh -= 3 * PAIR);
        made.expect_violation(Rule::Memory, &of_pair(pairs[0] - PAIR), "were not given out");
        header(&|header| header.pool_used += PAIR).expect_violation(Rule::Memory, "pool", "but");
        for change in [
            &(|header: &mut Header| header.pool_fresh += 1) as &dyn Fn(&mut Header),
            &|header| header.pool_pairs = POOL.start - PAIR,
            &|header| header.pool_fresh = !(PAIR - 1),
        ] {
            header(change).expect_violation(Rule::Memory, "pool", "no pairs of frames");
        }
    }
}

/// A page that is mapped on and on.
#[test]
fn a_mapping_that_is_too_deep_is_found() {
    for geometry in BOTH {
        let mut made = Made::database(geometry);
        let at = |depth: u16| page(OTHER, TEXT + u64::from(depth) * 0x1000);
        // The app's page has depth 2.
        made.map(page(APP, TEXT), at(3), Rights::READ);
        for depth in 4..=MAX_DEPTH {
            made.map(at(depth - 1), at(depth), Rights::READ);
        }
        let report = made.guest().check();
        assert!(report.is_clean(), "{:#?}", report.violations);
        let node = made.map(at(MAX_DEPTH), at(MAX_DEPTH + 1), Rights::READ);
        let evidence = "its depth is 256, more than 255";
        made.expect_violation(Rule::DepthLimit, &format!("node {node:#x}"), evidence);
    }
}

/// Breaks a sound database in one way after the other.
#[test]
fn every_broken_promise_about_nodes_is_found() {
    for geometry in BOTH {
        let broken = |change: &dyn Fn(&mut Made)| {
            let mut made = Made::database(geometry);
            change(&mut made);
            made
        };
        let node = |made: &mut Made| made.node_at(page(APP, TEXT));
        let made = broken(&|made| {
            let (_, companion) = made.slot(page(APP, TEXT));
            made.put(companion, &0u32);
        });
        made.expect_violation(Rule::Nodes, "app:0x400000 table[", "has no node");
        made.expect_violation(
            Rule::Nodes,
            "node 0x",
            "leads to page 0x400 of app, which has another",
        );
        let made = broken(&|made| {
            let (_, companion) = made.slot(page(APP, TEXT));
            made.put(companion, &0x7fff_ffffu32);
        });
        made.expect_violation(Rule::Nodes, "app:0x400000 table[", "not in the kernel's pool");
        made.expect_violation(Rule::Tables, "frame of node 0x7fffffff", "no frame of the pool");
        let made = broken(&|made| {
            let (other, (_, companion)) =
                (made.node_at(page(APP, WINDOW)), made.slot(page(APP, TEXT)));
            made.put(companion, &other);
        });
        made.expect_violation(Rule::Nodes, "app:0x400000 table[", "leads to page 0x10000 of app");
        let made = broken(&|made| {
            let (_, companion) = made.slot(page(APP, WINDOW + 0x1000));
            made.put(companion, &5u32);
        });
        made.expect_violation(Rule::Nodes, "app:0x10001000 table[1]", "names node 0x5");
        let made = broken(&|made| {
            let (_, companion) = made.slot(page(APP, UTCB_AREA as u64));
            made.put(companion, &5u32);
        });
        made.expect_violation(
            Rule::Nodes,
            "app:0xbfff0000 table[",
            "is the kernel's, but has node",
        );
        type Change = &'static dyn Fn(&mut MappingNode);
        let changes: [(Rule, &str, Change); 10] = [
            (Rule::Nodes, "of other", &|node| node.task = OTHER),
            (Rule::Nodes, "of nobody", &|node| node.task = NOBODY),
            (Rule::Nodes, "page 0x401", &|node| node.place.0 += 1),
            (Rule::Nodes, "superpage 0x400", &|node| node.place.0 |= 1 << 20),
            (Rule::Depths, "its depth is 3, but that of", &|node| node.depth += 1),
            (Rule::Depths, "but it does not begin its list", &|node| node.depth = 0),
            (Rule::Lists, "but it names 0x0", &|node| node.previous = 0),
            (Rule::Lists, "but it names 0x7777777", &|node| node.previous = 0x777_7777),
            (Rule::Lists, "is not in the kernel's pool", &|node| node.next = 0x777_7777),
            (Rule::Lists, "in no list that has a beginning", &|node| node.next = 0),
        ];
        for (rule, evidence, change) in changes {
            let made = broken(&|made| {
                let node = node(made);
                made.change_node(node, change);
            });
            made.expect_violation(rule, "", evidence);
        }
        // A circle without a beginning, and one that a list runs into.
        let made = broken(&|made| {
            let root = made.node_at(page(SIGMA0, 0x100_0000));
            made.change_node(root, |root| root.previous = root.next);
        });
        made.expect_violation(Rule::Lists, "node 0x", "no list that has a beginning");
        let made = broken(&|made| {
            let (first, node) = (made.node_at(page(SIGMA0, 0x100_0000)), node(made));
            made.change_node(node, |node| node.next = first);
        });
        made.expect_violation(Rule::Lists, "node 0x", "two lists come to it");
    }
}

#[test]
fn every_broken_promise_about_derivation_is_found() {
    for geometry in BOTH {
        let forced = |at: At, physical, rights| {
            let mut made = Made::database(geometry);
            let value = made.page_entry(physical, rights, at.place.is_superpage());
            made.force(at, value);
            made
        };
        let all = Rights::all();
        let made = forced(page(OTHER, WINDOW), 0x100_0000, Rights::READ_WRITE);
        made.expect_violation(Rule::Rights, "other:0x10000000", "rw-, but 0x");
        made.expect_violation(
            Rule::Rights,
            "other:0x10000000",
            "of app:0x400000 table[0] only r-x",
        );
        let made = forced(page(OTHER, WINDOW), 0x100_1000, Rights::READ);
        made.expect_violation(Rule::Derived, "other:0x10000000", "of something else than 0x");
        // A superpage whose page was mapped on.
        let elsewhere = SUPERPAGE + 0x40_0000;
        let made = forced(superpage(ROOT, SUPERPAGE), elsewhere, all);
        made.expect_violation(Rule::Derived, "root:0x800000 directory[", "of sigma0:0x800000");
        made.expect_violation(Rule::Derived, "other:0x10007000", "of root:0x800000");
        let made = forced(page(SIGMA0, 0x100_1000), 0x100_0000, all);
        made.expect_violation(Rule::Roots, "node 0x", "not 1:1");
        let made = forced(port(ROOT, 0x3f8), 0x3f9 << 12, Rights::READ_WRITE);
        made.expect_violation(Rule::Nodes, "root: port 0x3f8", "is port 0x3f9");
        made.expect_violation(Rule::Derived, "root: port 0x3f8", "of sigma0: port 0x3f8");

        let mut made = Made::database(geometry);
        made.root(page(APP, WINDOW + 0x2000), 0x100_5000, all);
        made.expect_violation(
            Rule::Roots,
            "node 0x",
            "app:0x10002000 table[2] is derived from nothing",
        );
        let with_slot = |at: At, slot: CapabilitySlot| {
            let mut made = Made::database(geometry);
            let (entry, _) = made.slot(at);
            made.put(entry, &slot);
            made
        };
        let made = with_slot(capability(ROOT, 20), CapabilitySlot::new(ObjectKind::Gate, 3, 1));
        made.expect_violation(Rule::Rights, "app: capability 4", "allows r--, but");
        let made = with_slot(capability(APP, 4), CapabilitySlot::new(ObjectKind::Gate, 4, 0));
        made.expect_violation(Rule::Derived, "app: capability 4", "of root: capability 20");
        let made = with_slot(capability(APP, 2), CapabilitySlot::new(ObjectKind::Thread, 7, 9));
        made.expect_violation(
            Rule::Nodes,
            "app: capability 2",
            "is for an object that does not exist",
        );
        let made = with_slot(capability(APP, 4), CapabilitySlot(0x63));
        made.expect_violation(
            Rule::Nodes,
            "app: capability 4",
            "0x63 is for an object that does not exist",
        );
        let mut made = Made::database(geometry);
        let second = CapabilitySlot::new(ObjectKind::Thread, 1, APP).0;
        made.root(capability(ROOT, 30), second.into(), all);
        made.expect_violation(Rule::Roots, "node 0x", "its object has another tree");
    }
}

#[test]
fn free_lists_and_quotas_are_checked() {
    for geometry in BOTH {
        let changed = |change: &dyn Fn(&mut FactoryRecord)| {
            let mut made = Made::database(geometry);
            made.change_factory(1, change);
            made
        };
        let path = "factory 1 (app, other)";
        let (rule, free) = (Rule::Quotas, Rule::FreeNodes);
        changed(&|record| record.used = record.limit + 1).expect_violation(
            rule,
            path,
            "it has spent",
        );
        changed(&|record| record.used -= 0xc000).expect_violation(rule, path, "in frames of nodes");
        changed(&|record| record.nodes += 1).expect_violation(rule, path, "not all of some pairs");
        let more_nodes = |record: &mut FactoryRecord| {
            (record.nodes, record.used) = (record.nodes + 511, record.used + 0x2000);
        };
        changed(&more_nodes).expect_violation(rule, path, "it has 1022 nodes, but");
        changed(&|record| record.limit *= 2).expect_violation(rule, "factory 0 (sigma0, root)", "");
        changed(&|record| record.free_nodes += 1).expect_violation(rule, path, "are free");
        changed(&|record| record.free_nodes = 1).expect_violation(
            free,
            path,
            "node 0x1, which is not",
        );
        let mut made = Made::database(geometry);
        let used = made.node_at(page(SIGMA0, 0x100_0000));
        made.change_factory(1, |record| record.free_nodes = used);
        made.expect_violation(free, &format!("node {used:#x}"), "it is in use");
        let mut made = Made::database(geometry);
        let first = made.change_factory(0, |record| record.free_nodes);
        made.change_factory(1, |record| record.free_nodes = first);
        made.expect_violation(free, path, "which is in a list already");
        made.change_node(first, |node| node.next = u32::MAX);
        made.expect_violation(free, "factory 0 (sigma0, root)", "which is in a list already");
    }
}

#[test]
fn only_what_is_seen_twice_is_reported() {
    let mut made = Made::new(&IA32);
    made.force(page(APP, TEXT + 0x2000), 0x5);
    made.force(page(APP, TEXT + 0x3000), 0x5);
    let first = made.guest().check();
    // Meanwhile the guest repairs one and uses the other.
    made.force(page(APP, TEXT + 0x2000), 0);
    made.force(page(APP, TEXT + 0x3000), 0x25);
    let confirmed = first.confirmed_by(&made.guest().check());
    let paths: Vec<_> =
        confirmed.violations.iter().map(|found| (found.rule, &found.path)).collect();
    let path = &"app:0x403000 table[3]".to_owned();
    assert_eq!(paths, [(Rule::Pages, path), (Rule::Nodes, path)]);
}

/// While an unmap is interrupted, its thread's bookmark stands in the list.
#[test]
fn bookmarks_are_passed_over_unless_they_are_nobodys() {
    for geometry in BOTH {
        let mut made = Made::database(geometry);
        let (root, bookmark) = (made.node_at(page(ROOT, 0x100_0000)), made.bookmark(ROOT));
        let next = made.node(root).next;
        made.change_node(root, |root| root.next = bookmark);
        made.change_node(next, |next| next.previous = bookmark);
        made.change_node(bookmark, |node| {
            (node.previous, node.next, node.depth) = (root, next, u16::MAX);
            (node.task, node.place) = (NOBODY, Place::new(Resource::Bookmark, 1, false));
        });
        let report = made.guest().check();
        assert!(report.is_clean(), "{:#?}", report.violations);
        made.change_node(bookmark, |node| node.place.0 ^= 1);
        let path = format!("node {bookmark:#x}");
        made.expect_violation(Rule::Lists, &path, "the bookmark of thread 0, which has another");
    }
}

/// The kernel maps something while the tables are read: sums are not judged then.
#[test]
fn sums_are_of_one_moment_or_not_judged() {
    let guest = crate::testing::FakeGuest::new(4);
    let made = Made::database(&AMD64);
    assert!(made.guest().check().is_of_one_moment);
    let message = crate::scenario::message(0, crate::scenario::ROOT);
    guest.while_reading(move |guest| guest.write(message));
    let report = Guest::open(&guest, crate::testing::HEADER).unwrap().check();
    assert!(!report.is_of_one_moment);
    assert_eq!(report.count(Rule::Quotas), 0);
}

/// What the views are made of, on both architectures.
#[test]
fn ranges_and_trees_show_what_was_made() {
    for geometry in BOTH {
        let made = Made::database(geometry);
        let snapshot = made.snapshot();
        let ranges = |task, resource| -> Vec<_> {
            let ranges = snapshot.ranges(task, resource);
            let row = |range: Range| (range.first, range.count, range.rights, range.source);
            ranges.iter().map(row).collect()
        };
        let (rw, rx, all) = (Rights::READ_WRITE, Rights::READ_EXECUTE, Rights::all());
        let whole = 1 << (geometry.levels[geometry.levels.len() - 2].shift - 12);
        let page = |address: u64| address >> 12;
        let info = page(KERNEL_INFO_PAGE as u64);
        let utcb = page(UTCB_AREA as u64);
        let kernels = [(info, 1, Rights::READ, Source::Kernel), (utcb, 1, rw, Source::Kernel)];
        let app = [
            (page(TEXT), 3, rx, Source::Map(ROOT)),
            (page(SUPERPAGE), whole, rw, Source::Map(ROOT)),
            (page(WINDOW), 1, Rights::READ, Source::Map(OTHER)),
        ];
        assert_eq!(ranges(APP, Resource::Memory), [&app[..], &kernels].concat());
        // Side by side, but with other rights or from elsewhere.
        let other = [
            (page(WINDOW), 1, Rights::READ, Source::Map(APP)),
            (page(WINDOW) + 1, 1, rx, Source::Map(APP)),
            (page(WINDOW) + 7, 1, rw, Source::Grant(ROOT)),
        ];
        assert_eq!(ranges(OTHER, Resource::Memory), [&other[..], &kernels].concat());
        assert_eq!(ranges(SIGMA0, Resource::Ports), [(0x3f8, 8, rw, Source::Root)]);
        assert_eq!(ranges(APP, Resource::Ports), [(0x3f8, 1, rw, Source::Map(ROOT))]);
        assert_eq!(ranges(ROOT, Resource::Capability)[0], (1, 5, all, Source::Root));
        assert_eq!(snapshot.pager_of(APP), Some(ROOT));
        assert_eq!(snapshot.pager_of(SIGMA0), None);

        let part = page(SUPERPAGE) + 3;
        let trees = trees_of(&snapshot, Unit::Frame(part));
        let [(tree, _)] = &trees[..] else { panic!("{trees:?}") };
        let branches: Vec<_> = tree
            .iter()
            .map(|branch| {
                let Branch { mapping, parent, depth, is_granted, .. } = *branch;
                (mapping.task, mapping.address(), parent, depth, is_granted)
            })
            .collect();
        let expected = [
            (SIGMA0, SUPERPAGE, None, 0, false),
            (ROOT, SUPERPAGE, Some(0), 1, false),
            (OTHER, WINDOW + 0x7000, Some(1), 2, true),
            (APP, WINDOW, Some(2), 3, false),
            (APP, SUPERPAGE, Some(1), 2, false),
        ];
        assert_eq!(branches, expected);
        let (another, left_out) = &trees_of(&snapshot, Unit::Frame(part + 1))[0];
        assert_eq!((another.len(), *left_out), (3, 2));
        assert_eq!(trees_of(&snapshot, Unit::Frame(0x7)), []);
        let at = |number| snapshot.unit_at(APP, Resource::Memory, number).map(|(unit, _)| unit);
        assert_eq!((at(page(SUPERPAGE) + 3), at(0)), (Some(Unit::Frame(part)), None));

        let takes = |task, frame, own| took(&snapshot, task, Unit::Frame(frame), own);
        // Of the page: that of "other" and what it gave. A derived superpage goes as a whole.
        assert_eq!(takes(ROOT, part, false), (1, 3, 2));
        assert_eq!(takes(ROOT, part + 1, false), (1, 1, 1));
        // The superpage goes as a whole, and so does all below it.
        assert_eq!(takes(ROOT, part + 1, true), (1, 4, 3));
        assert_eq!(takes(SIGMA0, part, true), (1, 4, 3));
        assert_eq!(takes(OTHER, part, false), (1, 1, 1));
        assert_eq!(takes(APP, part, true), (2, 2, 1));
        assert_eq!(takes(ROOT, page(0x100_0000), false), (1, 3, 2));
        assert_eq!(takes(OTHER, page(0x100_0000), true), (2, 2, 1));
        assert_eq!(takes(OTHER, 0x7, true), (0, 0, 0));
    }
}

/// The trees of something, each with the number of its other mappings.
fn trees_of(snapshot: &Snapshot<'_>, unit: Unit) -> Vec<(Vec<Branch>, usize)> {
    let (mut trees, mut tree) = (Vec::new(), Vec::new());
    let Ok(totals) = snapshot.tell_trees(unit, None, |step| {
        match step {
            TreeStep::Branch(branch) => tree.push(branch),
            TreeStep::End { left_out } => trees.push((std::mem::take(&mut tree), left_out)),
        }
        Ok::<_, Infallible>(())
    });
    assert!(tree.is_empty());
    let branches = trees.iter().map(|(tree, _)| tree.len()).sum();
    assert_eq!((totals.trees, totals.branches), (trees.len(), branches));
    trees
}

/// How many mappings an unmap would be about, how many it would take, and of how many tasks.
fn took(snapshot: &Snapshot<'_>, task: u16, unit: Unit, own: bool) -> (usize, usize, usize) {
    let unmapping = snapshot.totals(unit, Some(Unmap { task, own })).unmapping;
    (unmapping.of, unmapping.taken, unmapping.tasks.len())
}

#[test]
fn ports_and_objects_have_trees_like_pages() {
    for geometry in BOTH {
        let made = Made::database(geometry);
        let snapshot = made.snapshot();
        let places = |unit| -> Vec<_> {
            let [(tree, left_out)] = &trees_of(&snapshot, unit)[..] else { panic!("{unit:?}") };
            assert_eq!(*left_out, 0);
            let branch = |found: &Branch| (found.mapping.task, found.mapping.number(), found.depth);
            tree.iter().map(branch).collect()
        };
        let first = Unit::Port(0x3f8);
        assert_eq!(places(first), [(SIGMA0, 0x3f8, 0), (ROOT, 0x3f8, 1), (APP, 0x3f8, 2)]);
        assert_eq!(places(Unit::Port(0x3ff)), [(SIGMA0, 0x3ff, 0), (ROOT, 0x3ff, 1)]);
        assert_eq!(trees_of(&snapshot, Unit::Port(0x400)), []);
        let at = |number| snapshot.unit_at(APP, Resource::Ports, number).map(|(unit, _)| unit);
        assert_eq!((at(0x3f8), at(0x3f9)), (Some(first), None));
        assert_eq!(took(&snapshot, ROOT, first, false), (1, 1, 1));
        assert_eq!(took(&snapshot, ROOT, first, true), (1, 2, 2));
        assert_eq!(took(&snapshot, SIGMA0, first, true), (1, 2, 2));
        assert_eq!(took(&snapshot, OTHER, first, true), (0, 0, 0));

        // The gate to the root task: of the same index as a task and a thread.
        let (gate, mapping) = snapshot.unit_at(OTHER, Resource::Capability, 4).unwrap();
        assert_eq!((mapping.task, mapping.number()), (OTHER, 4));
        let others_rights = Unit::Object(CapabilitySlot::new(ObjectKind::Gate, 1, 1));
        for unit in [gate, others_rights] {
            assert_eq!(places(unit), [(ROOT, 20, 0), (OTHER, 4, 1), (APP, 4, 1)]);
        }
        assert_eq!(took(&snapshot, ROOT, gate, false), (1, 2, 2));
        assert_eq!(took(&snapshot, APP, gate, false), (1, 0, 0));
        assert_eq!(snapshot.unit_at(OTHER, Resource::Capability, 3), None);
    }
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let mut made = Made::new(&AMD64);
    let valid: Header = read_value(&made.memory, HEADER).unwrap();
    let error = |made: &Made| Guest::open(&made.memory, HEADER).unwrap_err();
    made.put(HEADER, &Header { magic: 0, ..valid });
    assert_eq!(error(&made), InspectError::NotReady);
    made.put(HEADER, &Header { version: 9, ..valid });
    assert_eq!(error(&made), InspectError::Version(9));
    made.put(HEADER, &Header { machine: 40, ..valid });
    assert_eq!(error(&made), InspectError::Machine(40));
    assert!(matches!(Guest::open(&made.memory, u64::MAX), Err(InspectError::Header(_))));
}

/// Looks at everything there is to see; each of these must end without a panic.
fn look_everywhere(memory: &dyn GuestMemory, random: &mut Random) -> Option<Report> {
    let guest = Guest::open(memory, HEADER).ok()?;
    for task in guest.tasks() {
        let walk = guest.walk(&task, random.next() >> random.below(64));
        assert!(walk.steps.len() <= guest.geometry().levels.len());
        assert!(!matches!(walk.end, End::Page(page) if page.order < 12));
        let walk = guest.walk_port(&task, random.next() as u16);
        assert!(walk.is_none_or(|walk| walk.steps.len() <= 2));
    }
    look_at_database(&guest.snapshot(), random);
    Some(guest.check())
}

fn look_at_database(snapshot: &Snapshot<'_>, random: &mut Random) {
    for task in 0..6 {
        for resource in [Resource::Memory, Resource::Ports, Resource::Capability] {
            let ranges = snapshot.ranges(task, resource);
            for range in ranges.iter() {
                assert!(range.accessed().max(range.dirty()) <= range.mappings());
                assert!(range.count >= range.mappings() as u64);
            }
            for (mapping, _) in ranges.mappings() {
                assert!(!snapshot.path(&mapping).is_empty());
                if let Target::Object(slot) = mapping.target {
                    snapshot.gate(slot).map(|gate| snapshot.thread_name(gate.thread));
                }
            }
        }
        snapshot.pager_of(task);
        for resource in [Resource::Memory, Resource::Ports, Resource::Capability] {
            let number = random.next() >> random.below(64);
            let found = snapshot.unit_at(task, resource, number);
            assert!(found.is_none_or(|(unit, mapping)| mapping.covers(unit)));
        }
    }
    let frames = [0x1000, 0x1001, 0x803, random.below(1 << 20), random.next()].map(Unit::Frame);
    let ports = [0x3f8, random.below(1 << 16), random.next()].map(Unit::Port);
    let objects = [0x102, random.next() as u32].map(|slot| Unit::Object(CapabilitySlot(slot)));
    for unit in frames.into_iter().chain(ports).chain(objects) {
        for (tree, _) in trees_of(snapshot, unit) {
            let is_before = |(at, branch): (usize, &Branch)| branch.parent.is_none_or(|p| p < at);
            assert!(tree.iter().enumerate().all(is_before));
        }
        let (_, taken, _) = took(snapshot, random.below(4) as u16, unit, random.below(2) == 0);
        assert!(taken <= snapshot.mappings().count());
    }
}

#[test]
fn flipped_words_are_reported_or_harmless() {
    let mut random = Random::new(3);
    for geometry in BOTH {
        let sound = Made::database(geometry);
        let mut reported = 0;
        for _ in 0..300 {
            let mut memory = sound.memory.clone();
            for _ in 0..=random.below(4) {
                let place = [HEADER, POOL.start][random.below(2) as usize];
                let size = [size_of::<Header>() as u64, sound.next - POOL.start]
                    [usize::from(place != HEADER)];
                let address = (place + random.below(size) / 8 * 8) as usize;
                let word = random.next() >> random.below(64);
                memory[address..address + 8].copy_from_slice(&word.to_le_bytes());
            }
            let report = look_everywhere(&memory, &mut random);
            reported += usize::from(report.is_none_or(|report| !report.is_clean()));
        }
        assert!(reported > 150, "{reported}");
    }
}

/// Bits of every node, and of every entry of pages, ports and capabilities, but those that the
/// processor sets, what a slot has beyond its rights, and the marks of grants and of interrupted
/// walks.
#[test]
fn every_flipped_bit_of_a_sound_database_is_reported() {
    for geometry in BOTH {
        let (mut made, sound) = (Made::database(geometry), Made::database(geometry));
        let snapshot = sound.snapshot();
        let marks = 1 << 21 | 1 << 24;
        let mut places = Vec::new();
        for mapping in snapshot.mappings().filter(|mapping| mapping.node != 0) {
            let node = u64::from(mapping.node) * 16;
            for offset in 0..4 {
                let kept = if offset == 2 { marks } else { 0 };
                places.push((node + offset * 4, !kept));
            }
            match mapping.place.resource() {
                Resource::Capability => places.push((mapping.entry_address, !0xf800_u32)),
                _ => places.push((mapping.entry_address, !0x60)),
            }
        }
        let mut seen = 0;
        for (address, mask) in places {
            // Another third of the bits in each word: all would take long.
            let this_time = |bit: &u32| (u64::from(*bit) + address / 4) % 3 == 0;
            for bit in (0..32).filter(|bit| mask >> bit & 1 == 1).filter(this_time) {
                let flip = |made: &mut Made| {
                    let word: u32 = read_value(&made.memory, address).unwrap();
                    made.put(address, &(word ^ 1 << bit));
                };
                flip(&mut made);
                let is_clean = made.guest().check().is_clean();
                flip(&mut made);
                seen += u32::from(!is_clean);
                let may_be = makes_another(geometry, &snapshot, address, bit);
                assert!(!is_clean || may_be, "{} {address:#x} bit {bit}", geometry.name);
            }
        }
        assert!(seen > 2000, "{seen}");
    }
}

/// Whether a flip makes another mapping that might be sound: one with other rights, the first
/// capability of another object, or one derived from its parent's forebears.
fn makes_another(geometry: &Geometry, snapshot: &Snapshot<'_>, address: u64, bit: u32) -> bool {
    let node = snapshot.node((address / 16) as u32);
    let is_depth = address % 16 == 12 && bit >= 16;
    if let Some(node) = node.filter(|_| is_depth) {
        return (1..node.depth).contains(&(node.depth ^ 1 << (bit - 16)));
    }
    let mapping = snapshot.mappings().find(|mapping| mapping.entry_address == address);
    mapping.is_some_and(|mapping| match mapping.place.resource() {
        Resource::Capability => {
            (8..11).contains(&bit) || snapshot.origin(&mapping).is_some_and(|origin| origin.is_root)
        }
        _ => bit == 1 || bit == 9 && geometry.name == "ia32",
    })
}

#[test]
fn noise_is_read_to_an_end() {
    let mut random = Random::new(5);
    for geometry in BOTH {
        let mut made = Made::new(geometry);
        let header: Header = read_value(&made.memory, HEADER).unwrap();
        for _ in 0..8 {
            random.fill(&mut made.memory);
            // Without a header that can be read nothing would be looked at.
            let tables = Table { address: 0x2000, stride: random.below(9), count: u64::MAX };
            made.put(HEADER, &Header { tasks: tables, threads: tables, ..header });
            let report = look_everywhere(&made.memory, &mut random).unwrap();
            assert!(!report.is_clean());
        }
    }
}

/// Noise only where tables and nodes are: records lead there.
#[test]
fn noise_in_tables_is_read_to_an_end() {
    let mut random = Random::new(6);
    for geometry in BOTH {
        let sound = Made::database(geometry);
        for round in 0..24 {
            let mut memory = sound.memory.clone();
            let mut frame = FIRST_FREE;
            while frame < sound.next {
                // Small numbers lead to nodes and tables rather than out of memory.
                for word in memory[frame as usize..][..4096].chunks_mut(4) {
                    if random.below(8) < round / 3 {
                        let index = random.below(POOL.end / 16) as u32;
                        word.copy_from_slice(&index.to_le_bytes());
                    }
                }
                frame += 0x1000 * (1 + random.below(4));
            }
            look_everywhere(&memory, &mut random).unwrap();
        }
    }
}

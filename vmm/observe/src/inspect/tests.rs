//! Guests made by hand: sound ones, broken ones, and noise.

use super::{
    check::{Report, Rule},
    *,
};
use crate::{
    paging::{AMD64, End, IA32},
    testing::Random,
};
use protocol::{
    boot::pad_name,
    introspection::NAME_LENGTH,
    kip::{KIP_MAGIC, KernelInfoPage, PhysicalRange},
    layout::{KERNEL_INFO_PAGE, UTCB_AREA},
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

const HEADER: u64 = 0x1000;
const POOL: PhysicalRange = PhysicalRange { start: 0x10_0000, end: 0x14_0000 };
const IMAGE_END: u64 = 0x8000;
const RAM_END: u64 = 0x40_0000;
const TASKS: u64 = POOL.start;
const THREADS: u64 = POOL.start + 0x1000;
const INFO_PAGE: u64 = POOL.start + 0x2000;
const FIRST_FREE: u64 = POOL.start + 0x3000;
const STRIDE: u64 = 96;

/// Memory with a kernel of one task, "app", that has an info page, a UTCB and two pages.
struct Made {
    memory: Vec<u8>,
    geometry: &'static Geometry,
    next: u64,
}

impl Made {
    fn new(geometry: &'static Geometry) -> Self {
        let memory = vec![0; RAM_END as usize];
        let mut made = Self { memory, geometry, next: FIRST_FREE };
        let mut header = Header::new_zeroed();
        (header.magic, header.version) = (HEADER_MAGIC, HEADER_VERSION);
        header.machine = geometry.machine;
        header.tasks = Table { address: TASKS, stride: STRIDE, count: 1 };
        header.threads = Table { address: THREADS, stride: STRIDE, count: 2 };
        (header.pool_start, header.pool_end) = (POOL.start, POOL.end);
        made.put(HEADER, &header);
        let mut info = KernelInfoPage::new_zeroed();
        (info.magic, info.ram_end) = (KIP_MAGIC, RAM_END);
        info.reserved[..2].copy_from_slice(&[PhysicalRange { start: 0, end: IMAGE_END }, POOL]);
        made.put(INFO_PAGE, &info);
        let page_table = made.frame();
        let mut task = TaskRecord::new_zeroed();
        (task.state, task.page_table, task.image) = (1, page_table, 3);
        task.name = pad_name(b"app");
        made.put(TASKS, &task);
        for (number, state, name) in [(0, 2, &b""[..]), (1, 5, b"worker")] {
            made.put(THREADS + number * STRIDE, &thread(state, 0, name));
        }
        made.map(KERNEL_INFO_PAGE as u64, INFO_PAGE | 5);
        let utcb = made.frame();
        made.map(UTCB_AREA as u64, utcb | 7);
        made.map(0x40_0000, 0x20_0000 | 5);
        made.map(0x40_1000, 0x20_1000 | 7);
        made
    }

    fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, address: u64, value: &T) {
        let bytes = value.as_bytes();
        self.memory[address as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn frame(&mut self) -> u64 {
        self.next += 0x1000;
        self.next - 0x1000
    }

    fn guest(&self) -> Guest<'_, Vec<u8>> {
        Guest::open(&self.memory, HEADER).unwrap()
    }

    fn walk(&self, address: u64) -> Walk {
        let guest = self.guest();
        guest.walk(&guest.tasks()[0], address)
    }

    /// Puts an entry of the level with that index for an address, with tables on the way to it.
    fn enter(&mut self, address: u64, level: usize, value: u64) {
        for above in 0..level {
            let step = self.walk(address).steps[above];
            if !step.entry.is_present() {
                let table = self.frame();
                self.put_entry(step.entry_address, table | 7);
            }
        }
        self.put_entry(self.walk(address).steps[level].entry_address, value);
    }

    fn put_entry(&mut self, address: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.put(address, &bytes[..self.geometry.entry_size as usize]);
    }

    fn map(&mut self, address: u64, value: u64) {
        self.enter(address, self.geometry.levels.len() - 1, value);
    }

    #[track_caller]
    fn expect_violation(&self, rule: Rule, path: &str, evidence: &str) {
        let report = self.guest().check();
        let found = report.violations.iter().any(|violation| {
            violation.rule == rule
                && violation.path.contains(path)
                && violation.evidence.contains(evidence)
        });
        assert!(found, "{:#?}", report.violations);
    }
}

fn thread(state: u32, task: u16, name: &[u8]) -> ThreadRecord {
    let mut record = ThreadRecord::new_zeroed();
    (record.state, record.task, record.priority) = (state, task, 100);
    record.name = pad_name::<NAME_LENGTH>(name);
    record
}

#[test]
fn tasks_and_threads_are_found() {
    let tasks = Made::new(&AMD64).guest().tasks();
    let [task] = &tasks[..] else { panic!("{tasks:?}") };
    assert_eq!((task.name.as_str(), task.image, task.page_table), ("app", Some(2), FIRST_FREE));
    let [first, worker] = &task.threads[..] else { panic!("{task:?}") };
    assert_eq!((first.state, first.name.as_deref()), (Some(ThreadState::Ready), None));
    assert_eq!((worker.number, worker.name.as_deref()), (1, Some("worker")));
    assert_eq!((worker.state, worker.partner), (Some(ThreadState::PageFault), Some(0)));
}

#[test]
fn sound_guests_are_clean() {
    for (geometry, tables) in [(&AMD64, 6), (&IA32, 3)] {
        let made = Made::new(geometry);
        let report = made.guest().check();
        assert!(report.is_clean(), "{:#?}", report.violations);
        assert_eq!((report.count(Rule::Tables), report.count(Rule::Pages)), (tables, 4));
        assert_eq!(made.walk(0x40_1abc).physical(), Some(0x20_1abc));
    }
}

#[test]
fn every_broken_promise_about_pages_is_found_on_both_architectures() {
    for geometry in [&AMD64, &IA32] {
        for (address, value, rule, evidence) in [
            (0x40_2000, (IMAGE_END - 0x1000) | 5, Rule::Pages, "the kernel's memory"),
            (0x40_2000, (POOL.end - 0x1000) | 5, Rule::Pages, "the kernel's memory"),
            (0x40_2000, FIRST_FREE | 5, Rule::Pages, "a page table"),
            (UTCB_AREA as u64 + 0x1000, FIRST_FREE | 7, Rule::Pages, "a page table"),
            (UTCB_AREA as u64 + 0x1000, TASKS | 7, Rule::Pages, "the kernel's records"),
            (0x40_2000, RAM_END | 5, Rule::Pages, "not RAM"),
            (0x40_2000, 0x20_0000 | 1, Rule::Bits, "lacks the user bit"),
            (0x40_2000, 0x20_0000 | 0x805, Rule::Bits, "0x800"),
            (0x40_2000, INFO_PAGE | 7, Rule::Pages, "the kernel's memory"),
            (KERNEL_INFO_PAGE as u64, INFO_PAGE | 7, Rule::KernelInfo, "can write"),
            (KERNEL_INFO_PAGE as u64, 0x20_0000 | 5, Rule::KernelInfo, "no kernel info page"),
            (KERNEL_INFO_PAGE as u64, 0, Rule::KernelInfo, "not present in the table"),
        ] {
            let mut made = Made::new(geometry);
            made.map(address, value);
            made.expect_violation(rule, &format!("app:{address:#x}"), evidence);
        }
    }
}

#[test]
fn tables_must_be_the_kernels_and_used_once() {
    for geometry in [&AMD64, &IA32] {
        let directory = geometry.levels.len() - 2;
        let mut made = Made::new(geometry);
        made.enter(0x1000_0000, directory, 0x20_0000 | 7);
        made.expect_violation(Rule::Tables, "app:0x10000000 table", "no frame of the pool");
        let mut made = Made::new(geometry);
        made.enter(0x1000_0000, directory, FIRST_FREE | 7);
        made.expect_violation(Rule::Tables, "app:0x10000000 table", "a table elsewhere");
    }
}

#[test]
fn a_superpage_that_reaches_into_the_pool_is_found() {
    for geometry in [&AMD64, &IA32] {
        let mut made = Made::new(geometry);
        made.enter(0x1000_0000, geometry.levels.len() - 2, 0x87);
        made.expect_violation(Rule::Pages, "app:0x10000000 directory[", "the kernel's memory");
    }
}

#[test]
fn the_kernels_area_is_closed_to_user_code() {
    for (geometry, address) in [(&AMD64, 1 << 39), (&AMD64, 3 << 30), (&IA32, 3 << 30)] {
        let mut made = Made::new(geometry);
        let level = usize::from(geometry == &AMD64 && address == 3 << 30);
        made.enter(address, level, 0x83 & !0x80);
        assert!(made.guest().check().is_clean());
        made.enter(address, level, 0x87 & !0x80);
        made.expect_violation(Rule::KernelArea, &format!("app:{address:#x}"), "the user bit");
    }
}

#[test]
fn records_are_checked() {
    let broken = |change: &dyn Fn(&mut ThreadRecord)| {
        let mut record = thread(2, 0, b"x");
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
    let mut made = Made::new(&AMD64);
    made.put(TASKS, &7u32);
    made.expect_violation(Rule::Records, "task 0", "state is 7");
    let mut header: Header = read_value(&made.memory, HEADER).unwrap();
    header.threads.count = u64::MAX;
    made.put(HEADER, &header);
    made.expect_violation(Rule::Records, "table of threads", "no table in the pool");
}

#[test]
fn only_what_is_seen_twice_is_reported() {
    let mut made = Made::new(&IA32);
    made.map(0x40_2000, 0x5);
    made.map(0x40_3000, 0x5);
    let first = made.guest().check();
    // Meanwhile the guest repairs one and uses the other.
    made.map(0x40_2000, 0);
    made.map(0x40_3000, 0x25);
    let confirmed = first.confirmed_by(&made.guest().check());
    let paths: Vec<_> = confirmed.violations.iter().map(|violation| &violation.path).collect();
    assert_eq!(paths, ["app:0x403000 table[3]"]);
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
fn look_everywhere(memory: &Vec<u8>, random: &mut Random) -> Option<Report> {
    let guest = Guest::open(memory, HEADER).ok()?;
    for task in guest.tasks() {
        let walk = guest.walk(&task, random.next() >> random.below(64));
        assert!(walk.steps.len() <= guest.geometry().levels.len());
        assert!(!matches!(walk.end, End::Page(page) if page.order < 12));
    }
    Some(guest.check())
}

#[test]
fn flipped_words_are_reported_or_harmless() {
    let mut random = Random::new(3);
    for geometry in [&AMD64, &IA32] {
        let sound = Made::new(geometry);
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
        assert!(reported > 100, "{reported}");
    }
}

#[test]
fn noise_is_read_to_an_end() {
    let mut random = Random::new(5);
    for geometry in [&AMD64, &IA32] {
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

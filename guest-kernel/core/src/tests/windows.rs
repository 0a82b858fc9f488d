//! Receive windows: what arrives does so inside of them, whatever a sender tries.

use super::{Bench, random::Random};
use crate::{
    arch::{TABLE_ENTRIES, TABLE_ORDER},
    mapping::{capability::Object, space::DirectoryEntry},
    memory::index::{TableIndex, TaskIndex, ThreadIndex},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::{IpcError, IpcFailure},
    flexpage::{Flexpage, IO_PORTS, Kind, Rights},
    layout::{KERNEL_INFO_PAGE, USER_END},
    message::{MapItem, MessageTag},
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
    syscall::Operation,
    utcb::RECEIVE_WINDOWS,
};
use std::collections::BTreeSet;

const RECEIVER: u16 = 1;
/// Where the sender has pages, and the frames in them.
const PAGES: Word = 0x1000_0000;
const FRAMES: Word = 0x300_0000;
/// What it has of each kind: so many.
const ORDER: u32 = 4;
/// Which ports, and which capabilities.
const PORTS: Word = 0x100;
const CAPABILITIES: Word = 0x40;

/// A thread that has something of each kind runs, and the root task waits for a message.
fn scene() -> (Bench, u16) {
    let mut bench = Bench::new();
    for _ in 0..2 {
        bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
    }
    let sender = bench.spawn(RECEIVER, 10);
    let task = bench.task_of(sender);
    let pages = Flexpage::memory(FRAMES, PAGE_ORDER + ORDER, Rights::all());
    let ports = Flexpage::io_ports(PORTS, ORDER);
    for item in [MapItem::map(PAGES, pages), MapItem::map(0, ports)] {
        bench.map_item(TaskIndex::SIGMA0, task, item, Flexpage::WHOLE_SPACE);
    }
    for number in 0..1 << ORDER {
        bench.give(task, CapabilityIndex(CAPABILITIES + number), Object::Console);
    }
    assert_eq!(bench.current(), sender);
    (bench, sender)
}

fn windows(bench: &mut Bench) -> &mut [Word] {
    &mut bench.kernel.utcb(ThreadIndex::from_position(RECEIVER)).buffer[..RECEIVE_WINDOWS]
}

/// What a task has: pages, ports and capabilities.
fn belongings(bench: &mut Bench, task: TaskIndex) -> BTreeSet<(u8, Word)> {
    let mut found = BTreeSet::new();
    for base in (0..USER_END >> TABLE_ORDER).map(|slot| slot << TABLE_ORDER) {
        if matches!(bench.directory(task, base), DirectoryEntry::Empty) {
            continue;
        }
        let all = (0..TABLE_ENTRIES).map(|page| base + page * PAGE_SIZE);
        let own = all.filter(|address| !(KERNEL_INFO_PAGE..USER_END).contains(address));
        for address in own {
            if bench.page(task, address).is_present() {
                found.insert((Kind::Memory as u8, address));
            }
        }
    }
    for word in 0..IO_PORTS / 64 {
        let usable = bench.kernel.usable_ports(task, (word * 64) as u16);
        found.extend(
            (0..64)
                .filter(|port| usable >> port & 1 != 0)
                .map(|port| (Kind::IoPorts as u8, word * 64 + port)),
        );
    }
    for index in 0..CAPABILITY_TABLE_SIZE {
        if bench.slot(task, index as u32).is_some() {
            found.insert((Kind::Capability as u8, index));
        }
    }
    found
}

/// Whether one of the windows covers it, by what the interface says and not by how the kernel finds it.
fn is_inside(windows: &[Word], (kind, number): (u8, Word)) -> bool {
    windows.iter().map(|window| Flexpage(*window)).any(|window| {
        let shift = if kind == Kind::Memory as u8 { 0 } else { PAGE_ORDER };
        let area = match kind {
            _ if window.kind() as u8 != kind && !window.is_whole_space() => None,
            kind if kind == Kind::Memory as u8 => window.memory_area(),
            kind if kind == Kind::IoPorts as u8 => window.port_area(),
            _ => window.capability_area(),
        };
        area.is_some_and(|area| {
            let place = (number << shift) as u64;
            let start = area.base() as u64;
            (start..start + (1 << area.order())).contains(&place)
        })
    })
}

fn send(bench: &mut Bench, sender: u16, items: &[MapItem]) {
    let words: Vec<Word> = items.iter().flat_map(|item| item.to_words()).collect();
    bench.message(sender)[..words.len()].copy_from_slice(&words);
    bench.call(Operation::SEND, CapabilityIndex::PARENT, MessageTag::new(3, 0, items.len()));
}

fn of_each_kind() -> [MapItem; 3] {
    [
        MapItem::map(0, Flexpage::memory(PAGES, PAGE_ORDER, Rights::READ)),
        MapItem::map(0, Flexpage::io_ports(PORTS, 0)),
        MapItem::map(0, Flexpage::capabilities(CAPABILITIES, 0, Rights::READ)),
    ]
}

/// In whatever registers they stand, and in whatever order the items come.
#[test]
fn there_can_be_a_window_for_each_kind() {
    let to = [
        Flexpage::memory(0x2000_0000, PAGE_ORDER, Rights::all()),
        Flexpage::io_ports(PORTS, 0),
        Flexpage::capabilities(0x200, 0, Rights::all()),
    ];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (places, order) in orders.iter().flat_map(|places| orders.map(|order| (places, order))) {
        let (mut bench, sender) = scene();
        let task = bench.task_of(RECEIVER);
        let before = belongings(&mut bench, task);
        for (register, kind) in places.iter().enumerate() {
            windows(&mut bench)[register] = to[*kind].0;
        }
        send(&mut bench, sender, &order.map(|kind| of_each_kind()[kind]));
        let after = belongings(&mut bench, task);
        let wanted = [
            (Kind::Memory as u8, 0x2000_0000),
            (Kind::IoPorts as u8, PORTS),
            (Kind::Capability as u8, 0x200),
        ];
        let arrived: Vec<_> = after.difference(&before).copied().collect();
        assert_eq!(arrived, wanted, "{places:?} {order:?}");
        for (number, kind) in order.into_iter().enumerate() {
            let [base, flexpage] = [0, 1].map(|word| bench.message(RECEIVER)[2 * number + word]);
            let told = MapItem::from_words([base, flexpage]).expect("an item").flexpage;
            let (_, place) = wanted[kind];
            assert_eq!((told.kind() as u8, told.address()), (wanted[kind].0, place));
        }
    }
}

/// What came before it has arrived, and nothing behind it.
#[test]
fn a_sender_learns_which_item_did_not_fit() {
    for number in 0..3_u8 {
        let (mut bench, sender) = scene();
        let task = bench.task_of(RECEIVER);
        let before = belongings(&mut bench, task);
        // There is no window for what the item in question is of.
        let all = [
            Flexpage::memory(0x2000_0000, PAGE_ORDER, Rights::all()),
            Flexpage::io_ports(PORTS, 0),
            Flexpage::capabilities(0x200, 0, Rights::all()),
        ];
        for (register, window) in all.into_iter().enumerate() {
            let is_missing = register == usize::from(number);
            windows(&mut bench)[register] = if is_missing { 0 } else { window.0 };
        }
        send(&mut bench, sender, &of_each_kind());
        assert!(bench.result(sender).0.is_ipc_error());
        let failure = IpcFailure { error: IpcError::WindowOverflow, item: number };
        assert_eq!(IpcFailure::from_word(bench.error(sender)), Some(failure));
        let after = belongings(&mut bench, task);
        assert_eq!(after.difference(&before).count(), usize::from(number));
    }
}

/// Any windows and any items, of which some make sense.
#[test]
fn nothing_arrives_outside_the_windows() {
    let mut random = Random::new(4);
    let fresh = scene();
    let (mut arrived, mut refused) = ([0; 4], 0);
    for _ in 0..3000 {
        let (mut bench, sender) = (fresh.0.clone(), fresh.1);
        let mut below = |bound: u64| (random.next() % bound) as Word;
        let any = |below: &mut dyn FnMut(u64) -> Word, mine: bool| {
            let order = below(6) as u32;
            let rights = Rights::from_bits_truncate(below(8) as u8);
            let number = below(40);
            let flexpage = match below(8) {
                0 | 1 => {
                    let base = if mine { PAGES } else { 0x2000_0000 };
                    Flexpage::memory(base + number * PAGE_SIZE, PAGE_ORDER + order, rights)
                }
                2 | 3 => Flexpage::ports(PORTS + number, order, rights),
                4 | 5 => {
                    let base = if mine { CAPABILITIES } else { 0x200 };
                    Flexpage::capabilities(base + number, order, rights)
                }
                6 => Flexpage(below(u64::MAX)),
                _ => Flexpage::NIL,
            };
            if below(32) == 0 { Flexpage::WHOLE_SPACE } else { flexpage }
        };
        let open = [0; RECEIVE_WINDOWS].map(|_| any(&mut below, false).0);
        windows(&mut bench).copy_from_slice(&open);
        let items = [0; 4].map(|_| {
            let send_base = below(64) << PAGE_ORDER | if below(4) == 0 { PAGES } else { 0 };
            MapItem { send_base, grant: below(4) == 0, flexpage: any(&mut below, true) }
        });
        bench.kernel.mappings.machine.is_restless = below(2) == 0;
        let task = bench.task_of(RECEIVER);
        let before = belongings(&mut bench, task);
        send(&mut bench, sender, &items[..1 + below(4)]);
        while bench.current() == RECEIVER && bench.thread(RECEIVER).undertaking.is_some() {
            bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        }
        refused += u32::from(bench.result(sender).0.is_ipc_error());
        let after = belongings(&mut bench, task);
        for belonging in after.difference(&before) {
            assert!(is_inside(&open, *belonging), "{belonging:x?} through {open:x?}, {items:x?}");
            arrived[usize::from(belonging.0)] += 1;
        }
    }
    let [_, memory, ports, capabilities] = arrived;
    let all = [memory, ports, capabilities, refused];
    assert!(all.iter().all(|count| *count > 100), "too little happened: {all:?}");
}

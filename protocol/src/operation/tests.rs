use super::*;
use crate::{
    flexpage::{Flexpage, Rights},
    message::MapItem,
    object::CapabilityIndex,
    registers::{FLOATING_POINT_WORDS, ThreadRegisters},
};

const SLOT: CapabilityIndex = CapabilityIndex(16);

/// Every operation comes back, and without its last word it is too short.
macro_rules! comes_back {
    ($object:ident, $($request:ident($operation:expr)),* $(,)?) => {$({
        let operation = $operation;
        let words = operation.encode();
        let expected = $object::Request::$request(operation);
        assert_eq!($object::Request::decode(&words), Ok(expected));
        let short = $object::Request::decode(&words[..words.len() - 1]);
        assert_eq!(short, Err(ObjectError::MessageTooShort));
    })*};
}

#[test]
fn operations_come_back() {
    let item = MapItem::grant(0x5000, Flexpage(0x1337));
    let utcb_area = Flexpage(0xbfff_0c07);
    comes_back!(
        task,
        Map(task::Map { item }),
        Unmap(task::Unmap { take: Rights::WRITE, own_too: false, flexpages: 0 }),
        Unmap(task::Unmap { take: Rights::all(), own_too: true, flexpages: 60 }),
    );
    comes_back!(
        thread,
        Control(thread::Control {
            pager: CapabilityIndex(1),
            exception_handler: CapabilityIndex(2),
            task: CapabilityIndex(3),
            utcb: 4,
        }),
        ExRegs(thread::ExRegs { instruction: 1, stack: thread::ExRegs::KEEP }),
        ReadRegisters(thread::ReadRegisters),
        WriteRegisters(thread::WriteRegisters {
            registers: ThreadRegisters::from_words(core::array::from_fn(|word| word)),
        }),
        ReadFloatingPoint(thread::ReadFloatingPoint(
            thread::FloatingPointPiece::new(8, 56).unwrap()
        )),
        WriteFloatingPoint(thread::WriteFloatingPoint(
            thread::FloatingPointPiece::new(0, 60).unwrap()
        )),
        ExRegsWith(thread::ExRegsWith {
            pointers: thread::ExRegs { instruction: 1, stack: 2 },
            flags: thread::ExRegsFlags::all(),
        }),
        Modify(thread::Modify::default()),
        Modify(thread::Modify {
            pager: Some(SLOT),
            exception_handler: Some(CapabilityIndex::NIL),
            foreign: Some(true),
        }),
    );
    comes_back!(
        factory,
        CreateTask(factory::CreateTask { slot: SLOT, utcb_area }),
        CreateThread(factory::CreateThread { slot: SLOT }),
        CreateGate(factory::CreateGate { slot: SLOT, label: 7, receiver: CapabilityIndex(2) }),
        CreateFactory(factory::CreateFactory { slot: SLOT, limit: 1 << 20 }),
    );
    comes_back!(interrupts, Create(interrupts::Create { slot: SLOT, interrupt: 31 }));
    comes_back!(
        interrupt,
        Bind(interrupt::Bind { gate: SLOT }),
        Unbind(interrupt::Unbind),
        Mask(interrupt::Mask),
        Unmask(interrupt::Unmask),
    );
    comes_back!(console, Write(console::Write { length: console::Write::MAX_BYTES }));
    comes_back!(
        scheduler,
        SetPriority(scheduler::SetPriority { thread: SLOT, priority: 255 }),
        Yield(scheduler::Yield),
    );
    comes_back!(
        debugger,
        SetName(debugger::SetName { object: SLOT, image: None, length: 3 }),
        SetName(debugger::SetName { object: SLOT, image: Some(5), length: 16 }),
        Null(debugger::Null),
    );
    comes_back!(platform, ShutDown(platform::ShutDown { status: 127 }));
}

#[test]
fn a_new_object_s_slot_is_in_every_request() {
    for number in 1..=4 {
        let request = factory::Request::decode(&[number, SLOT.0, 0, 0]).unwrap();
        assert_eq!(request.slot(), SLOT);
    }
}

#[test]
fn what_no_operation_says_is_refused() {
    let unmap = task::Unmap::NUMBER;
    for (words, error) in [
        ([0, 0, 0], ObjectError::UnknownOperation),
        ([task::Map::NUMBER, 0, 0], ObjectError::InvalidArgument),
        ([unmap, 0, task::Unmap::MAX_FLEXPAGES + 1], ObjectError::OutOfRange),
    ] {
        assert_eq!(task::Request::decode(&words), Err(error));
    }
    let priority = [scheduler::SetPriority::NUMBER, 2, 256];
    assert_eq!(scheduler::Request::decode(&priority), Err(ObjectError::OutOfRange));
    let status = [platform::ShutDown::NUMBER, 128];
    assert_eq!(platform::Request::decode(&status), Err(ObjectError::OutOfRange));
    let length = [console::Write::NUMBER, console::Write::MAX_BYTES + 1];
    assert_eq!(console::Request::decode(&length), Err(ObjectError::MessageTooShort));
}

/// No words are a panic, and what is read says again what it was read from, but for bits that mean nothing.
#[test]
fn any_words_can_be_read() {
    let values = [0, 1, 2, 8, 255, 256, Word::MAX >> 1, Word::MAX];
    let mut words = [0; 5];
    for number in 0..values.len().pow(4) {
        for register in 1..5 {
            words[register] = values[number / values.len().pow(register as u32 - 1) % values.len()];
        }
        for operation in 0..6 {
            words[0] = operation;
            if let Ok(task::Request::Unmap(unmap)) = task::Request::decode(&words) {
                let again = task::Request::decode(&unmap.encode());
                assert_eq!(again, Ok(task::Request::Unmap(unmap)));
            }
            if let Ok(thread::Request::Control(control)) = thread::Request::decode(&words) {
                assert_eq!(control.encode(), words);
            }
            let _ = (factory::Request::decode(&words), debugger::Request::decode(&words));
            let _ = (scheduler::Request::decode(&words), console::Request::decode(&words));
            let _ = platform::Request::decode(&words);
        }
    }
}

#[test]
fn a_piece_of_the_floating_point_state_is_there_and_fits_a_message() {
    let piece = thread::FloatingPointPiece::new;
    let all = FLOATING_POINT_WORDS;
    assert!(piece(all - 1, 1).is_some() && piece(all, 0).is_some() && piece(4, 60).is_some());
    for (first, count) in [(all, 1), (all - 1, 2), (0, 61), (Word::MAX, 2), (2, Word::MAX)] {
        assert_eq!(piece(first, count), None, "{count} from {first} on");
    }
    let modify = [thread::Modify::NUMBER, 0, 0, 2];
    assert_eq!(thread::Request::decode(&modify), Err(ObjectError::InvalidArgument));
    let flags = [thread::ExRegsWith::NUMBER, 0, 0, 4];
    assert_eq!(thread::Request::decode(&flags), Err(ObjectError::InvalidArgument));
}

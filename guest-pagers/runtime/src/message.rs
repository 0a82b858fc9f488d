//! The message registers and the receive window of this thread, in its UTCB.
//!
//! Whatever sends a message in between (printing does) overwrites the registers: read what came
//! first, write what goes last.

use crate::{
    arch,
    share::{Item, may_arrive},
};
use core::{ptr, time::Duration};
use protocol::{
    Word,
    error::{IpcError, IpcFailure},
    flexpage::Flexpage,
    message::{MapItem, MessageTag},
    syscall::{Timeout, set_time_in},
    utcb::{BUFFER_REGISTERS, MESSAGE_REGISTERS, RECEIVE_WINDOWS, Utcb},
};

/// Message register `index`.
///
/// # Panics
/// If there is no such register: there are [`MESSAGE_REGISTERS`].
#[inline(always)]
pub fn get(index: usize) -> Word {
    assert!(index < MESSAGE_REGISTERS);
    // SAFETY: the kernel maps this thread's UTCB for as long as it lives, only this thread and the
    // kernel on its behalf touch it, and no reference to it exists. The index is inside.
    unsafe { ptr::addr_of!((*arch::utcb()).message[index]).read() }
}

/// Sets message register `index`.
///
/// # Panics
/// As [`get`].
#[inline(always)]
pub fn set(index: usize, value: Word) {
    assert!(index < MESSAGE_REGISTERS);
    // SAFETY: as in `get`.
    unsafe { ptr::addr_of_mut!((*arch::utcb()).message[index]).write(value) }
}

/// Message registers from `first` on.
#[inline(always)]
pub fn read<const N: usize>(first: usize) -> [Word; N] {
    core::array::from_fn(|index| get(first + index))
}

/// Sets message registers from `first` on.
#[inline(always)]
pub fn write<const N: usize>(first: usize, words: [Word; N]) {
    for (index, word) in words.into_iter().enumerate() {
        set(first + index, word);
    }
}

/// Puts bytes into message registers from `first` on, as many as fit; says how many they are.
pub fn write_bytes(first: usize, bytes: &[u8]) -> usize {
    assert!(first <= MESSAGE_REGISTERS);
    let length = bytes.len().min((MESSAGE_REGISTERS - first) * size_of::<Word>());
    let utcb: *mut Utcb = arch::utcb();
    // SAFETY: as in `get`; `length` bytes from register `first` on are inside. Both processors are
    // little-endian, so that bytes in memory are bytes packed into words.
    unsafe {
        let to = ptr::addr_of_mut!((*utcb).message).cast::<Word>().add(first).cast::<u8>();
        ptr::copy_nonoverlapping(bytes.as_ptr(), to, length);
    }
    length
}

/// The item that starts in register `first`. In a received message it says where the item arrived
/// (`send_base`) and what arrived.
#[inline]
pub fn item(first: usize) -> Option<MapItem> {
    MapItem::from_words(read(first))
}

/// The items of a received message with this tag.
pub fn items(tag: MessageTag) -> impl Iterator<Item = MapItem> {
    (0..tag.items()).filter_map(move |number| item(tag.words() + 2 * number))
}

/// Puts items into message registers from `first` on.
///
/// # Panics
/// If there are more than fit.
#[inline]
pub(crate) fn write_items(first: usize, items: &[Item]) {
    for (number, item) in items.iter().enumerate() {
        write(first + 2 * number, item.to_words());
    }
}

/// Makes a call whose answer may bring something: what it brings arrives in `window`. Nothing else
/// may arrive there later.
///
/// # Panics
/// As [`set_receive_window`].
#[inline]
pub fn accept<T>(window: Flexpage, call: impl FnOnce() -> T) -> T {
    set_receive_window(window);
    let answer = call();
    set_receive_window(Flexpage::NIL);
    answer
}

/// The same with a window for each kind: an item arrives in the first one of its kind, or not at all.
///
/// # Panics
/// As [`set_receive_window`].
pub fn accept_each<T>(windows: [Flexpage; RECEIVE_WINDOWS], call: impl FnOnce() -> T) -> T {
    for (register, window) in windows.into_iter().enumerate() {
        assert!(may_arrive(window), "a receive window is not open memory: {window:?}");
        // SAFETY: just seen.
        unsafe { set_window(register, window) }
    }
    let answer = call();
    for register in 0..RECEIVE_WINDOWS {
        // SAFETY: nothing arrives there.
        unsafe { set_window(register, Flexpage::NIL) }
    }
    answer
}

/// Sets what this thread accepts from messages: nothing after it started, [`Flexpage::NIL`].
///
/// # Panics
/// If something else of this program may be there ([`may_arrive`]).
#[inline]
pub fn set_receive_window(window: Flexpage) {
    assert!(may_arrive(window), "the receive window is not open memory: {window:?}");
    // SAFETY: just seen.
    unsafe { set_any_receive_window(window) }
}

/// Sets what this thread accepts, wherever that is.
///
/// # Safety
/// No reference of this program leads to where something arrives.
#[inline]
pub unsafe fn set_any_receive_window(window: Flexpage) {
    // SAFETY: the caller's.
    unsafe { set_window(0, window) }
}

/// Sets one of the windows.
///
/// # Safety
/// As [`set_any_receive_window`].
pub unsafe fn set_window(register: usize, window: Flexpage) {
    // SAFETY: as in `get`.
    unsafe { ptr::addr_of_mut!((*arch::utcb()).buffer[register]).write(window.0) }
}

/// Notes a time of the kernel clock for the timeout that is returned, of the system call that follows.
pub fn set_deadline(time: Duration) -> Timeout {
    let mut buffer = [0; BUFFER_REGISTERS];
    let time = u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
    set_time_in(&mut buffer[Timeout::LAST..], time);
    for (number, word) in buffer.iter().enumerate().skip(Timeout::LAST) {
        // SAFETY: as in `get`; the registers hold no receive window.
        unsafe { ptr::addr_of_mut!((*arch::utcb()).buffer[number]).write(*word) }
    }
    Timeout::UNTIL_LAST
}

/// Why the last IPC failed.
#[cold]
pub fn last_error() -> IpcError {
    last_failure().error
}

/// Why the last IPC failed, and at which item.
#[cold]
pub fn last_failure() -> IpcFailure {
    // SAFETY: as in `get`.
    let word = unsafe { ptr::addr_of!((*arch::utcb()).error).read() };
    IpcFailure::from_word(word).unwrap_or(IpcError::InvalidArgument.into())
}

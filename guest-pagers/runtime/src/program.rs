//! What an ordinary program is told when it starts, and how it ends.

use crate::{
    arch,
    capability::{PARENT, PLATFORM},
    ipc,
    memory::non_zero_size,
    share::{Item, Shareable, Volatile},
};
use core::{iter, ptr, slice, str};
use protocol::{
    PAGE_SIZE, Word,
    boot::trim_name,
    flexpage::{Flexpage, Rights},
    layout::{FILES_BASE, FILES_END, HEAP_BASE, PAGER_AREA, PROGRAM_BASE, PROGRAM_INFO},
    program::{FileArea, ProgramInfo},
};
use zerocopy::{FromBytes, IntoBytes};

/// A file of the manifest. Its bytes come in when they are touched.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// Its contents.
    pub bytes: &'static [u8],
}

/// The arguments, as one string.
pub fn arguments() -> &'static str {
    let info = info();
    info.arguments
        .get(..info.arguments_length as usize)
        .and_then(|bytes| str::from_utf8(bytes).ok())
        .unwrap_or("")
}

/// The files that this program can see.
pub fn files() -> impl Iterator<Item = File> {
    let info = info();
    info.files.iter().take(info.file_count as usize).map(file)
}

/// Ends this program. 0 is success; what does not fit 0 to 127 counts as 1.
pub fn exit(status: i32) -> ! {
    let status = u8::try_from(status).ok().filter(|status| *status < 128).unwrap_or(1);
    // The root task ends the machine; who has no platform tells its parent.
    let _ = PLATFORM.shut_down(status);
    if PARENT.exit(status.into()).is_err() {
        arch::stop();
    }
    loop {
        // Nothing is left to do but wait. Who calls now is told that no answer will come.
        let _ = ipc::wait();
    }
}

/// What this program's own pager offers it from [`PAGER_AREA`] on, as `length` plain values. They
/// come in when they are touched, and others may change them.
///
/// # Panics
/// If the area is not that large.
pub fn pager_area<T: FromBytes + IntoBytes>(length: usize) -> &'static [Volatile<T>] {
    let size = length.checked_mul(const { non_zero_size::<T>() });
    assert!(size.is_some_and(|size| size <= HEAP_BASE - PAGER_AREA), "the area is not that large");
    // SAFETY: the area is page-aligned, below the heap and above the program, and open: only cells lead
    // there.
    unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(PAGER_AREA), length) }
}

unsafe extern "C" {
    /// Where this program's image ends: the linker's.
    static __image_end: u8;
}

/// This program's own image, for a task that is to run the same code: items that map it, to read and to
/// execute, to where it is. The contents of variables are what they are now.
pub fn image() -> impl Iterator<Item = Item> {
    let end = ptr::addr_of!(__image_end).addr().next_multiple_of(PAGE_SIZE);
    let mut next = PROGRAM_BASE;
    iter::from_fn(move || {
        let order = next.trailing_zeros().min(end.checked_sub(next)?.checked_ilog2()?);
        let start = next;
        next += 1 << order;
        for address in (start..next).step_by(PAGE_SIZE) {
            let byte = ptr::with_exposed_provenance::<u8>(address);
            // SAFETY: the image is there, page by page as it is touched; the byte itself is not used.
            unsafe { byte.read_volatile() };
        }
        let piece = Flexpage::memory(start, order, Rights::READ_EXECUTE);
        Some(Item::map(start, Shareable::new(piece)?))
    })
}

fn info() -> &'static ProgramInfo {
    // SAFETY: by contract every ordinary program finds this page here, read-only; it comes in when
    // it is touched, and any bytes make a valid value.
    unsafe { &*ptr::with_exposed_provenance(PROGRAM_INFO) }
}

fn file(area: &'static FileArea) -> File {
    let (address, length) = (area.address as Word, area.length as usize);
    let is_inside = (FILES_BASE..=FILES_END).contains(&address) && length <= FILES_END - address;
    assert!(is_inside, "this program's parent says that it has a file at {address:#x}");
    // SAFETY: the area for files is read-only and for nothing else; any bytes are valid.
    let bytes = unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address), length) };
    File { name: str::from_utf8(trim_name(&area.name)).unwrap_or("?"), bytes }
}

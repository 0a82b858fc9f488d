//! What becomes of a system call that no filter allows: a message that names it, and the end.

use crate::ConfineError;
use std::{
    fmt::{self, Write},
    sync::Once,
};
use syscalls::Sysno;
use vmm_sys_util::signal::register_signal_handler;

/// What shells say of a process that SIGSYS ended.
const STATUS: i32 = 128 + libc::SIGSYS;

/// The lengths of a thread's name and of a message, in bytes.
const NAME: usize = 16;
const MESSAGE: usize = 256;

/// What the kernel tells of a system call that a filter refused: the head of `siginfo_t` and its
/// member `_sigsys`, which the C library's binding lacks.
#[repr(C)]
struct Refused {
    signal: i32,
    error: i32,
    code: i32,
    padding: i32,
    instruction: usize,
    call: i32,
    architecture: u32,
}

/// The `code` of a signal that a filter raised, and nobody else can send: SYS_SECCOMP.
const BY_A_FILTER: i32 = 1;

/// From now on forbidden calls end this process with a message.
pub fn report() -> Result<(), ConfineError> {
    static ONCE: Once = Once::new();
    let mut registered = Ok(());
    ONCE.call_once(|| registered = register_signal_handler(libc::SIGSYS, end));
    registered.map_err(|error| ConfineError::Report(error.into()))
}

/// Runs in the thread that made the call. All that it calls may be called in a signal handler, and
/// every filter allows it.
extern "C" fn end(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler that was registered with SA_SIGINFO, as this one was, a whole
    // `siginfo_t`, which is larger than this beginning of it and as aligned. Any bits are valid.
    let refused = unsafe { &*info.cast_const().cast::<Refused>() };
    let mut message = Message::default();
    // Writing into a message cannot fail; it is cut off.
    let _ = match refused.code {
        BY_A_FILTER => message.describe(refused.call),
        _ => writeln!(message, "glass: ended by SIGSYS"),
    };
    let text = message.text();
    // SAFETY: the text is readable memory of that length. Nothing can be done about a message that
    // nobody can be told.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    // SAFETY: this never returns; whatever was going on in this process does not matter any more.
    unsafe { libc::_exit(STATUS) };
}

/// Text without a heap.
struct Message {
    bytes: [u8; MESSAGE],
    length: usize,
}

impl Default for Message {
    fn default() -> Self {
        Self { bytes: [0; MESSAGE], length: 0 }
    }
}

impl Message {
    fn describe(&mut self, call: i32) -> fmt::Result {
        let name = usize::try_from(call).ok().and_then(Sysno::new).map_or("", |call| call.name());
        let mut thread = [0_u8; NAME];
        // SAFETY: the kernel writes at most 16 bytes there, which is what there is.
        unsafe { libc::prctl(libc::PR_GET_NAME, thread.as_mut_ptr()) };
        let length = thread.iter().position(|byte| *byte == 0).unwrap_or(NAME);
        let thread = str::from_utf8(&thread[..length]).unwrap_or("?");
        writeln!(
            self,
            "glass: forbidden system call {name} ({call}) in thread {thread}: either glass is at fault \
             or somebody broke into it; --unconfined allows all calls"
        )
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn a_message_names_the_call_and_is_cut_off_at_its_end() {
        let mut message = Message::default();
        message.describe(Sysno::openat.id()).unwrap();
        let text = str::from_utf8(message.text()).unwrap();
        assert!(text.starts_with("glass: forbidden system call openat (257) in thread "), "{text}");
        assert!(text.ends_with("--unconfined allows all calls\n"), "{text}");
        write!(message, "{:1000}", "").unwrap();
        assert_eq!(message.text().len(), MESSAGE);
        let mut unknown = Message::default();
        unknown.describe(-1).unwrap();
        assert!(unknown.text().starts_with(b"glass: forbidden system call  (-1) in thread "));
    }

    /// `include/uapi/asm-generic/siginfo.h` of Linux, on 64-bit words.
    #[test]
    fn what_the_kernel_tells_lies_where_it_is_read() {
        assert_eq!((offset_of!(Refused, code), offset_of!(Refused, call)), (8, 24));
        assert!(size_of::<Refused>() <= size_of::<libc::siginfo_t>());
    }
}

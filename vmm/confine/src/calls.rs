//! Which system calls are still made once everything is set up.
//!
//! They are those of this program and those that its libraries make for it: Rust's standard library with
//! the GNU C library or with musl, of which the versions differ.

use crate::filter::{
    Condition::{Has, Is, Lacks},
    Rules,
};
use std::{os::fd::RawFd, process};
use syscalls::Sysno;

/// What a run has.
#[derive(Clone, Copy, Debug)]
pub struct Run<'r> {
    /// Numbers of KVM's requests that its processor makes.
    pub requests: &'r [u32],
    /// The processes that it may kill.
    pub children: &'r [u32],
    /// The descriptor to which what comes in is passed on, if that is one.
    pub line: Option<RawFd>,
    /// Whether standard input is a terminal, whose settings are put back.
    pub has_terminal: bool,
}

/// Of `include/uapi/asm-generic/ioctls.h`: `_IOW('T', 0x2B, struct termios2)`.
const TCSETS2: u32 = 0x402c_542b;

/// What a file is opened with for more than to be read.
const TO_WRITE: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE) as u32
    & !(libc::O_DIRECTORY as u32);

/// Whatever a thread does: wait, take and give back memory, handle signals, end.
fn of_any_thread() -> Rules {
    with_output(with_signals_of_musl(Rules::default()))
        // Waiting, and time where the kernel's own page does not tell it.
        .allow(&[
            Sysno::futex,
            Sysno::sched_yield,
            Sysno::restart_syscall,
            Sysno::clock_gettime,
            Sysno::gettimeofday,
            Sysno::clock_nanosleep,
            Sysno::nanosleep,
        ])
        // Memory. None of it can be executed.
        .allow(&[Sysno::brk, Sysno::munmap, Sysno::mremap, Sysno::madvise])
        .allow_if(Sysno::mprotect, &[Lacks(2, libc::PROT_EXEC as u32)])
        .allow_if(
            Sysno::mmap,
            &[Lacks(2, libc::PROT_EXEC as u32), Has(3, libc::MAP_ANONYMOUS as u32)],
        )
        // Some C libraries name what they take.
        .allow_if(Sysno::prctl, &[Is(0, libc::PR_SET_VMA as u32)])
        // Signals that have come, and those that a process sends itself: to interrupt a thread, or
        // because it aborts.
        .allow(&[
            Sysno::rt_sigreturn,
            Sysno::rt_sigprocmask,
            Sysno::rt_sigaction,
            Sysno::sigaltstack,
            Sysno::getpid,
            Sysno::gettid,
        ])
        .allow_if(Sysno::tgkill, &[Is(0, process::id())])
        // The name of the thread in the last words, and the end.
        .allow_if(Sysno::prctl, &[Is(0, libc::PR_GET_NAME as u32)])
        .allow(&[Sysno::close, Sysno::exit, Sysno::exit_group])
        // A build with debug assertions makes sure that what it closes is open.
        .allow_if(Sysno::fcntl, &[Is(1, libc::F_GETFD as u32)])
        // The seeds of hash tables.
        .allow(&[Sysno::getrandom])
        // The number of processors goes into the layout of memory.
        .allow(&[Sysno::sched_getaffinity])
        // The C library asks the host how memory is best given back, and lives without an answer; so
        // does a panic, which looks for the source of its backtrace.
        .refuse_if(Sysno::open, &[Lacks(1, TO_WRITE)])
        .refuse_if(Sysno::openat, &[Lacks(2, TO_WRITE)])
        .refuse(&[Sysno::getcwd, Sysno::readlink, Sysno::readlinkat])
        .refuse(&[Sysno::statx, Sysno::newfstatat, Sysno::stat])
}

/// A thread that runs a virtual processor.
pub fn of_a_processor(requests: &[u32]) -> Rules {
    with_news_of_signals(with_requests(of_any_thread(), requests))
}

/// Any thread of a run: the processor's, too.
pub fn of_a_run(run: &Run<'_>) -> Rules {
    let rules = with_news_of_signals(with_requests(of_any_thread(), run.requests))
        // A thread that has only just been started introduces itself.
        .allow(&[Sysno::set_robust_list, Sysno::rseq])
        .allow_if(Sysno::prctl, &[Is(0, libc::PR_SET_NAME as u32)])
        // The processor's thread gives up still more.
        .allow_if(Sysno::prctl, &[Is(0, libc::PR_SET_NO_NEW_PRIVS as u32)])
        .allow_if(Sysno::seccomp, &[Is(0, libc::SECCOMP_SET_MODE_FILTER)])
        // Viewers come, news of signals, and answers about source lines.
        .allow(&[
            Sysno::accept4,
            Sysno::sendmsg,
            Sysno::recvfrom,
            Sysno::read,
            Sysno::poll,
            Sysno::ppoll,
        ])
        // The socket's file is removed. Landlock sees to it that no other is.
        .allow(&[Sysno::unlink, Sysno::unlinkat])
        // QEMU ends, and what it said is read.
        .allow(&[Sysno::wait4, Sysno::waitid, Sysno::pread64]);
    let kill = |rules: Rules, child: &u32| rules.allow_if(Sysno::kill, &[Is(0, *child)]);
    let rules = run.children.iter().fold(with_patience(rules), kill);
    with_terminal(with_line(rules, run.line), run.has_terminal)
}

/// The thread of a viewer: it reads what it has open.
pub fn of_a_viewer() -> Rules {
    of_any_thread().allow(&[
        Sysno::read,
        Sysno::pread64,
        Sysno::lseek,
        Sysno::fstat,
        Sysno::poll,
        Sysno::ppoll,
    ])
}

/// A process that reads the debug information of an image that it has in memory: questions come and
/// answers go through the socket that it has.
pub fn of_a_reader() -> Rules {
    let rules = with_patience(with_news_of_signals(of_any_thread()));
    rules.allow(&[Sysno::read, Sysno::recvfrom])
}

/// How long a thread waits for what comes through a socket.
fn with_patience(rules: Rules) -> Rules {
    [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO].into_iter().fold(rules, |rules, option| {
        let conditions = [Is(1, libc::SOL_SOCKET as u32), Is(2, option as u32)];
        rules.allow_if(Sysno::setsockopt, &conditions)
    })
}

/// Whichever thread a signal interrupts tells the one that waits for signals: through a pair of sockets,
/// which need no address.
fn with_news_of_signals(rules: Rules) -> Rules {
    rules.allow_if(Sysno::sendto, &[Is(5, 0)])
}

/// Text, on standard output and standard error. What standard input is may be writable, too.
fn with_output(rules: Rules) -> Rules {
    [libc::STDOUT_FILENO, libc::STDERR_FILENO].into_iter().fold(rules, |rules, descriptor| {
        let conditions = [Is(0, descriptor as u32)];
        rules.allow_if(Sysno::write, &conditions).allow_if(Sysno::writev, &conditions)
    })
}

/// What comes in goes to the guest.
fn with_line(rules: Rules, line: Option<RawFd>) -> Rules {
    match line {
        Some(line) => rules.allow_if(Sysno::write, &[Is(0, line as u32)]),
        None => rules,
    }
}

/// The settings that the terminal had before, by either of two requests, if it belongs to this run's group.
fn with_terminal(rules: Rules, has_terminal: bool) -> Rules {
    if !has_terminal {
        return rules;
    }
    // The GNU C library asks for a group in one way, others in the other.
    let rules = rules.allow(&[Sysno::getpgrp]).allow_if(Sysno::getpgid, &[Is(0, 0)]);
    [libc::TIOCGPGRP as u32, libc::TCSETS as u32, TCSETS2].iter().fold(rules, |rules, request| {
        let conditions = [Is(0, libc::STDIN_FILENO as u32), Is(1, *request)];
        rules.allow_if(Sysno::ioctl, &conditions)
    })
}

/// musl has another call than the GNU C library to send a signal to a thread of its own.
fn with_signals_of_musl(rules: Rules) -> Rules {
    if cfg!(target_env = "musl") {
        let signals = [libc::SIGABRT, libc::SIGRTMIN()];
        signals
            .into_iter()
            .fold(rules, |rules, signal| rules.allow_if(Sysno::tkill, &[Is(1, signal as u32)]))
    } else {
        rules
    }
}

fn with_requests(rules: Rules, requests: &[u32]) -> Rules {
    requests.iter().fold(rules, |rules, request| rules.allow_if(Sysno::ioctl, &[Is(1, *request)]))
}

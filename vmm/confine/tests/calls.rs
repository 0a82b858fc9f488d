//! Real filters, real calls: those that are not needed any more end the process with their name, the
//! others go on.

mod common;

use common::{elsewhere, is_elsewhere};
use confine::{Run, no_new_privileges, processor, run, viewer};
use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    io::{self, Write},
    panic,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use syscalls::Sysno;

/// A request to KVM: KVM_RUN.
const REQUEST: u32 = 0xae80;

/// Ways to files, programs, other processes, the network, more rights and more of the kernel, each
/// with arguments with which it would do nothing if it were allowed.
const CLOSED: [Sysno; 55] = [
    Sysno::openat2,
    Sysno::creat,
    Sysno::rename,
    Sysno::renameat2,
    Sysno::link,
    Sysno::linkat,
    Sysno::symlink,
    Sysno::mkdir,
    Sysno::rmdir,
    Sysno::chmod,
    Sysno::chown,
    Sysno::truncate,
    Sysno::ftruncate,
    Sysno::fallocate,
    Sysno::chdir,
    Sysno::chroot,
    Sysno::mount,
    Sysno::umount2,
    Sysno::pivot_root,
    Sysno::open_by_handle_at,
    Sysno::inotify_init1,
    Sysno::memfd_create,
    Sysno::socket,
    Sysno::socketpair,
    Sysno::connect,
    Sysno::bind,
    Sysno::listen,
    Sysno::execve,
    Sysno::execveat,
    Sysno::fork,
    Sysno::vfork,
    Sysno::clone,
    Sysno::clone3,
    Sysno::unshare,
    Sysno::setns,
    Sysno::process_vm_readv,
    Sysno::process_vm_writev,
    Sysno::process_madvise,
    Sysno::kcmp,
    Sysno::pidfd_open,
    Sysno::pidfd_getfd,
    Sysno::pidfd_send_signal,
    Sysno::rt_sigqueueinfo,
    Sysno::setuid,
    Sysno::setpgid,
    Sysno::setrlimit,
    Sysno::prlimit64,
    Sysno::capset,
    Sysno::bpf,
    Sysno::perf_event_open,
    Sysno::userfaultfd,
    Sysno::io_uring_setup,
    Sysno::keyctl,
    Sysno::init_module,
    Sysno::pwrite64,
];

/// Those that are closed for some of their arguments.
fn half_closed() -> Vec<(Sysno, [usize; 6])> {
    let execute = (libc::PROT_READ | libc::PROT_EXEC) as usize;
    let read = libc::PROT_READ as usize;
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let somebody = std::os::unix::process::parent_id() as usize;
    vec![
        (Sysno::open, [0, libc::O_WRONLY as usize, 0, 0, 0, 0]),
        (Sysno::openat, [0, 0, libc::O_RDWR as usize, 0, 0, 0]),
        (Sysno::openat, [0, 0, libc::O_CREAT as usize, 0, 0, 0]),
        (Sysno::openat, [0, 0, libc::O_TMPFILE as usize, 0, 0, 0]),
        (Sysno::mmap, [0, 4096, execute, private, usize::MAX, 0]),
        (Sysno::mmap, [0, 4096, read, libc::MAP_SHARED as usize, usize::MAX, 0]),
        (Sysno::mprotect, [0, 0, execute, 0, 0, 0]),
        // Nothing, to standard input: a terminal or a file can be open there to be written.
        (Sysno::write, [0, 0, 0, 0, 0, 0]),
        (Sysno::writev, [0, 0, 0, 0, 0, 0]),
        // Descriptors that are not open.
        (Sysno::write, [1000, 0, 0, 0, 0, 0]),
        (Sysno::writev, [1000, 0, 0, 0, 0, 0]),
        (Sysno::fcntl, [1000, libc::F_SETFL as usize, 0, 0, 0, 0]),
        (Sysno::ioctl, [1000, libc::TIOCSTI as usize, 0, 0, 0, 0]),
        (Sysno::ioctl, [1000, REQUEST as usize + 1, 0, 0, 0, 0]),
        (Sysno::sendto, [1000, 0, 0, 0, 0, 16]),
        // No signal: only the question whether there could be one.
        (Sysno::kill, [somebody, 0, 0, 0, 0, 0]),
        (Sysno::tgkill, [somebody, somebody, 0, 0, 0, 0]),
        (Sysno::tkill, [somebody, 0, 0, 0, 0, 0]),
        (Sysno::ptrace, [libc::PTRACE_ATTACH as usize, 0, 0, 0, 0, 0]),
        (Sysno::prctl, [libc::PR_SET_DUMPABLE as usize, 1, 0, 0, 0, 0]),
        (Sysno::prctl, [libc::PR_SET_PDEATHSIG as usize, 0, 0, 0, 0, 0]),
    ]
}

fn call(call: Sysno, arguments: [usize; 6]) {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: no call in the lists above does anything to this process' memory with these arguments,
    // most of them zero, beyond what ends with it.
    unsafe { libc::syscall(call.id().into(), a, b, c, d, e, f) };
}

fn closed() -> impl Iterator<Item = (Sysno, [usize; 6])> {
    CLOSED.into_iter().map(|call| (call, [0; 6])).chain(half_closed())
}

/// Each call, by one who has confined himself.
fn all_are_closed(confine: fn()) {
    for (number, (forbidden, arguments)) in closed().enumerate() {
        elsewhere(&number.to_string(), || {
            confine();
            call(forbidden, arguments);
        })
        .expect_forbidden(forbidden.name());
    }
}

/// A run without anything.
const NOTHING: Run<'_> = Run { requests: &[], children: &[], line: None, has_terminal: false };

fn as_run() {
    no_new_privileges().unwrap();
    run(&Run { requests: &[REQUEST], ..NOTHING }).unwrap();
}

fn as_processor() {
    as_run();
    processor(&[REQUEST]).unwrap();
}

fn as_viewer() {
    viewer().unwrap();
}

const CONFINED: [(&str, fn()); 3] =
    [("run", as_run), ("processor", as_processor), ("viewer", as_viewer)];

/// Writes to its own line, and nowhere else.
#[test]
fn a_run_writes_only_to_the_line_that_it_has() {
    const LINE: i32 = 7;
    let confine = || {
        no_new_privileges().unwrap();
        run(&Run { line: Some(LINE), ..NOTHING }).unwrap();
    };
    elsewhere("line", || {
        confine();
        call(Sysno::write, [LINE as usize, 0, 0, 0, 0, 0]);
    })
    .expect_end();
    elsewhere("another", || {
        confine();
        call(Sysno::write, [LINE as usize + 1, 0, 0, 0, 0, 0]);
    })
    .expect_forbidden("write");
}

/// Sets its terminal, and asks only whose it is.
#[test]
fn a_run_only_puts_its_terminal_back() {
    let confine = |has_terminal| {
        no_new_privileges().unwrap();
        run(&Run { has_terminal, ..NOTHING }).unwrap();
    };
    let set = |descriptor| call(Sysno::ioctl, [descriptor, libc::TCSETS as usize, 0, 0, 0, 0]);
    elsewhere("terminal", || {
        confine(true);
        set(0);
    })
    .expect_end();
    elsewhere("whose", || {
        confine(true);
        call(Sysno::ioctl, [0, libc::TIOCGPGRP as usize, 0, 0, 0, 0]);
    })
    .expect_end();
    elsewhere("none", || {
        confine(false);
        set(0);
    })
    .expect_forbidden("ioctl");
    elsewhere("other", || {
        confine(true);
        set(1);
    })
    .expect_forbidden("ioctl");
    elsewhere("typing", || {
        confine(true);
        // As if somebody had typed something.
        call(Sysno::ioctl, [0, libc::TIOCSTI as usize, 0, 0, 0, 0]);
    })
    .expect_forbidden("ioctl");
}

#[test]
fn a_run_can_do_nothing_else() {
    all_are_closed(as_run);
}

#[test]
fn a_processor_can_do_nothing_else() {
    all_are_closed(as_processor);
}

#[test]
fn a_viewer_can_do_nothing_else() {
    all_are_closed(as_viewer);
}

/// What only other threads of a run do.
#[test]
fn a_processor_can_do_less_than_its_run() {
    for other in [
        Sysno::accept4,
        Sysno::sendmsg,
        Sysno::recvfrom,
        Sysno::read,
        Sysno::pread64,
        Sysno::unlink,
        Sysno::wait4,
        Sysno::seccomp,
    ] {
        // A descriptor that is not open, and no name.
        let arguments = [1000, 0, 0, 0, 0, 0];
        elsewhere(other.name(), || {
            as_processor();
            call(other, arguments);
        })
        .expect_forbidden(other.name());
    }
}

/// The filter is for all threads, whoever called for it.
#[test]
fn threads_that_run_already_are_confined_too() {
    elsewhere("", || {
        let (confined, is_confined) = mpsc::channel();
        let other = thread::spawn(move || {
            is_confined.recv().unwrap();
            call(Sysno::socket, [0; 6]);
        });
        as_run();
        confined.send(()).unwrap();
        other.join().unwrap();
    })
    .expect_forbidden("socket");
}

/// Without a filter the same calls fail or do nothing: what ends a process above is the filter.
#[test]
fn without_confinement_they_end_nothing() {
    for (number, (other, arguments)) in closed().enumerate() {
        // These work without arguments.
        if ![Sysno::fork, Sysno::vfork, Sysno::clone].contains(&other) {
            elsewhere(&number.to_string(), || call(other, arguments)).expect_end();
        }
    }
}

/// What Rust's library does in threads that wait, take memory, print and end.
#[expect(clippy::disallowed_methods, reason = "what is written is what is tested")]
fn live() {
    let mut numbers = HashMap::new();
    for number in 0..100_000_usize {
        numbers.insert(number, vec![0_u8; number % 1000]);
    }
    drop(numbers);
    // Larger than what allocators keep for themselves.
    drop(vec![1_u8; 64 << 20]);
    thread::sleep(Duration::from_millis(1));
    println!("still here");
    io::stderr().write_all(b"still here\n").unwrap();
}

#[test]
fn what_threads_need_to_live_and_to_end_is_open() {
    elsewhere("run", || {
        let (confined, is_confined) = mpsc::channel();
        let other = thread::spawn(move || {
            is_confined.recv().unwrap();
            processor(&[REQUEST]).unwrap();
            live();
        });
        as_run();
        confined.send(()).unwrap();
        other.join().unwrap();
        live();
    })
    .expect_end();
    elsewhere("viewer", || {
        as_viewer();
        live();
    })
    .expect_end();
}

/// The C library and panics try, and live without.
#[test]
fn files_cannot_be_opened_or_examined_and_who_tries_hears_it() {
    for (case, confine) in CONFINED {
        elsewhere(case, || {
            confine();
            for denied in [
                File::open("/proc/self/status").unwrap_err(),
                fs::metadata("/etc").unwrap_err(),
                fs::read_dir("/etc").unwrap_err(),
                env::current_dir().unwrap_err(),
                fs::read_link("/proc/self/exe").unwrap_err(),
            ] {
                assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
            }
        })
        .expect_end();
    }
}

/// A fault of ours must be seen as what it is.
#[test]
fn a_panic_is_reported_as_one() {
    for (case, confine) in CONFINED {
        let ended = elsewhere(case, || {
            confine();
            panic::catch_unwind(|| panic!("on purpose")).unwrap_err();
        });
        assert!(is_elsewhere() || ended.said.contains("on purpose"), "{ended:?}");
        ended.expect_end();
    }
}

#[test]
fn requests_that_are_named_are_open() {
    elsewhere("", || {
        as_processor();
        call(Sysno::ioctl, [1000, REQUEST as usize, 0, 0, 0, 0]);
    })
    .expect_end();
}

/// QEMU is ended, and nobody else.
#[test]
fn a_run_can_end_its_child() {
    let child = || -> Child {
        Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().expect("sleep can be started")
    };
    let confine = |child: &Child| run(&Run { children: &[child.id()], ..NOTHING }).unwrap();
    elsewhere("its child", || {
        let mut child = child();
        confine(&child);
        child.kill().unwrap();
        child.wait().unwrap();
    })
    .expect_end();
    elsewhere("another process", || {
        let other = std::os::unix::process::parent_id() as usize;
        let mut child = child();
        confine(&child);
        child.kill().unwrap();
        child.wait().unwrap();
        call(Sysno::kill, [other, 0, 0, 0, 0, 0]);
    })
    .expect_forbidden("kill");
}

/// Somebody else can send the signal, too.
#[test]
fn a_signal_that_no_filter_raised_names_no_call() {
    let ended = elsewhere("", || {
        as_run();
        call(
            Sysno::tgkill,
            [std::process::id() as usize, this_thread(), libc::SIGSYS as usize, 0, 0, 0],
        );
    });
    assert!(!ended.said.contains("forbidden"), "{ended:?}");
}

fn this_thread() -> usize {
    // SAFETY: this call has no arguments and always succeeds.
    unsafe { libc::gettid() as usize }
}

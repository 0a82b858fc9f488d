//! What QEMU is told.

use super::Qemu;
use crate::layout::EXIT_PORT;
use std::os::fd::RawFd;

/// What QEMU may not do in its sandbox, a filter of system calls that it installs itself: start
/// programs or threads with more rights, set priorities and limits, make calls that no program needs.
pub const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Descriptors that QEMU inherits. It opens them by their names in `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors {
    pub ram: RawFd,
    pub kernel: RawFd,
    pub bundle: RawFd,
}

impl Descriptors {
    pub fn all(self) -> [RawFd; 3] {
        [self.ram, self.kernel, self.bundle]
    }
}

/// The arguments for a guest with `ram` bytes of RAM whose console is standard output.
pub fn arguments(
    qemu: &Qemu,
    ram: u64,
    descriptors: Descriptors,
    command_line: &str,
) -> Vec<String> {
    let path = |descriptor: RawFd| format!("/proc/self/fd/{descriptor}");
    // -cpu max: all that the emulation can do. -no-reboot: a triple fault ends the machine.
    let fixed = "-no-user-config -nodefaults -display none -no-reboot -accel tcg -cpu max";
    let mut arguments: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    add("-machine", format!("{},memory-backend=ram", qemu.machine()));
    add("-m", format!("{ram}B"));
    let memory = path(descriptors.ram);
    add("-object", format!("memory-backend-file,id=ram,size={ram}B,mem-path={memory},share=on"));
    // signal=off: QEMU leaves terminals and signals alone.
    add("-chardev", "stdio,id=console,signal=off".to_owned());
    add("-serial", "chardev:console".to_owned());
    add("-device", format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1"));
    add("-kernel", path(descriptors.kernel));
    add("-initrd", path(descriptors.bundle));
    add("-append", command_line.to_owned());
    if qemu.has_sandbox {
        add("-sandbox", SANDBOX.to_owned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Board, OLDEST},
        *,
    };

    #[test]
    fn all_that_the_guest_needs_is_said() {
        let descriptors = Descriptors { ram: 7, kernel: 8, bundle: 9 };
        for (board, has_sandbox) in Board::ALL.into_iter().zip([true, false]) {
            let qemu = Qemu { program: "qemu".into(), version: OLDEST, board, has_sandbox };
            let arguments = arguments(&qemu, 64 << 20, descriptors, "trace=all x,y=z");
            let machine = format!("{},memory-backend=ram", board.name());
            for pair in [
                ["-accel", "tcg"],
                ["-machine", &machine],
                ["-m", "67108864B"],
                [
                    "-object",
                    "memory-backend-file,id=ram,size=67108864B,mem-path=/proc/self/fd/7,share=on",
                ],
                ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"],
                ["-kernel", "/proc/self/fd/8"],
                ["-initrd", "/proc/self/fd/9"],
                ["-append", "trace=all x,y=z"],
            ] {
                assert!(arguments.windows(2).any(|found| found == pair), "{arguments:?}");
            }
            let is_in_sandbox = arguments.windows(2).any(|found| found == ["-sandbox", SANDBOX]);
            assert_eq!(is_in_sandbox, has_sandbox);
        }
        assert_eq!(descriptors.all(), [7, 8, 9]);
    }
}

//! Accesses of several bytes to ports of which a program may not use all, or that no device has.

mod common;

use common::{Program, Ran, Target};

/// `mov dx, port; mov eax, 0`
fn select(port: u16) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0x66, 0xba, low, high, 0xb8, 0, 0, 0, 0]
}

const READ_BYTE: &[u8] = &[0xec]; // in al, dx
const WRITE_BYTES: [(u16, &[u8]); 3] = [(1, &[0xee]), (2, &[0x66, 0xef]), (4, &[0xef])]; // out dx, ...
const UNDEFINED: [u8; 2] = [0x0f, 0x0b]; // ud2

/// Runs a program that begins with these ports, reads the first ones one by one, then writes.
fn write(target: Target, ports: &str, touched: &[u16], port: u16, instruction: &[u8]) -> Ran {
    let touch = touched.iter().flat_map(|port| [&select(*port)[..], READ_BYTE].concat());
    let mut code: Vec<u8> = touch.collect();
    code.extend(select(port));
    code.extend(instruction);
    code.extend(UNDEFINED);
    let program = Program::new(&code).file(target);
    let module = format!("{},kind=program,name=p,ports={ports}", program.path().display());
    target.run(&["--flat", "--module", &module])
}

const TARGETS: [Target; 3] = [Target::AMD64_ON_KVM, Target::AMD64_ON_QEMU, Target::IA32_ON_QEMU];

/// The port that ends the machine is nobody's, whatever an access begins with.
#[test]
fn no_access_reaches_the_port_that_ends_the_machine_under_kvm_and_qemu() {
    for target in TARGETS {
        for (width, instruction) in WRITE_BYTES {
            for port in 0xf4 - (width - 1)..=0xf4 {
                let others = (port..port + width).filter(|port| *port != 0xf4);
                let touched: Vec<u16> = others.collect();
                let ports = "0xf0-0xf3,ports=0xf5-0xf8";
                let ran = write(target, ports, &touched, port, instruction).expect_status(1);
                let refused = format!("p P {port:#x} ");
                let line = ran.stderr.lines().find(|line| {
                    line.contains(&refused)
                        && line.contains("UNRESOLVED: refused: permission denied")
                });
                assert!(line.is_some(), "{width} bytes at {port:#x} on {target:?}: {ran:?}");
                assert!(ran.stderr.ends_with("shut-down status=1\n"), "{ran:?}");
            }
        }
    }
}

/// Bytes of one access of which the first are the serial port's and the others nobody's.
#[test]
fn an_access_past_the_end_of_the_serial_port_has_a_clear_outcome_under_kvm_and_qemu() {
    for target in TARGETS {
        for (port, instruction) in [(0x3ff, WRITE_BYTES[1].1), (0x3fd, WRITE_BYTES[2].1)] {
            let touched: Vec<u16> = (port..port + 4).collect();
            let ran = write(target, "0x3f8-0x402", &touched, port, instruction).expect_status(1);
            // The program goes on to the next instruction, or QEMU itself has ended.
            let went_on = ran.stderr.contains("p exception 6 (invalid opcode)");
            let said = ran.stderr.lines().filter(|line| line.starts_with("glass: "));
            let said: Vec<_> = said.collect();
            if !went_on {
                assert!(target != Target::AMD64_ON_KVM, "{ran:?}");
                assert!(
                    said.len() == 1 && said[0].contains("QEMU's serial port cannot"),
                    "{ran:?}"
                );
            } else {
                assert_eq!(said.len(), 0, "{ran:?}");
            }
        }
    }
}

//! What others wrote reaches nobody's terminal but as text to be seen.

mod common;

use common::{
    Code, Machine, Ran, Target, attach, file, finish, glass, introduce, lines, listen,
    run_without_kvm, runtime_folder, within,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::{
    fs::{self, File},
    io::Read,
    os::unix::ffi::OsStrExt,
    process::{Command, Stdio},
    thread,
};

/// Clears the screen, sets a title, goes up a line, turns the text around, breaks the line.
const EVIL: &str = "a\u{1b}[2J\u{9b}1A\u{202e}b\u{2028}\u{200b}\r\nglass: c\x7f";

/// How it is shown.
const SHOWN: &str = "a\\u001b[2J\\u009b1A\\u202eb\\u2028\\u200b\\u000d\\u000aglass: c\\u007f";

/// Fails unless all output can be seen, but for line breaks.
#[track_caller]
fn is_harmless(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        let bad = text.chars().find(|c| *c != '\n' && !observe::text::is_plain(*c));
        assert_eq!(bad, None, "{ran:?}");
    }
}

#[track_caller]
fn shows(ran: &Ran, what: &str) {
    is_harmless(ran);
    assert!(ran.stdout.contains(what) || ran.stderr.contains(what), "no {what} in {ran:?}");
}

#[test]
fn words_of_the_command_line_come_back_as_text() {
    for arguments in [
        &["run", EVIL][..],
        &["run", "--memory", EVIL],
        &["run", "--module", &format!("x,kind={EVIL}")],
        &["run", "--module", &format!("/no/{EVIL}")],
        &["run", "--kernel", &format!("/no/{EVIL}")],
        &["run", "--file", &format!("/no/{EVIL}")],
        &["run", "--qemu", &format!("/no/{EVIL}")],
        &["run", "--kvm", &format!("/no/{EVIL}")],
        &["run", &format!("/no/{EVIL}.toml")],
        &["run", &format!("--{EVIL}")],
        &["bundle", "-o", &format!("/proc/{EVIL}")],
        &[EVIL],
    ] {
        let ran = run_without_kvm(arguments);
        assert!(matches!(ran.status, Some(1 | 2)), "{ran:?}");
        shows(&ran, SHOWN);
    }
    let ran = run_without_kvm(&[std::ffi::OsStr::from_bytes(b"a\xff\x1b")]);
    shows(&ran, "a\\xff\\u001b");
}

#[test]
fn scenarios_are_quoted_as_text() {
    // TOML reads JSON's strings, but wants one escape more.
    let evil = serde_json::to_string(EVIL).expect("a string").replace('\x7f', "\\u007f");
    let scenario = |rest: &str| format!("name = {evil}\nsummary = 'X.'\n{rest}");
    for text in [
        scenario(&format!("{evil} = 1")),
        scenario(&format!("[[program]]\nimage = {evil}")),
        scenario(&format!("[[program]]\nimage = 'words'\nname = {evil}\nquota = 'x'")),
        scenario("[[program]]\nimage = 'words'\npager = 'x'\nname = 'a\u{202e}'"),
    ] {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
        fs::write(file.path(), &text).expect("room for it");
        let ran = run_without_kvm(&["run", file.path().to_str().expect("a plain name")]);
        assert!(matches!(ran.status, Some(1 | 2)), "{ran:?}");
        shows(&ran, "\\u202e");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

/// An image with other bytes in the place of some.
fn patched(image: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut image = image.to_vec();
    let places: Vec<_> =
        (0..image.len()).filter(|place| image[*place..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{from:?} is not there");
    places.iter().for_each(|place| image[*place..][..from.len()].copy_from_slice(to));
    image
}

#[test]
fn symbols_sources_and_names_of_tasks_are_shown_as_text() {
    let target = Target::AMD64_ON_KVM;
    let image = fs::read(target.image("broken")).expect("the image");
    let image = patched(&image, b"\0_start\0", b"\0_\x1b[7mX\0");
    let image = patched(&image, b"console.rs\0", b"\x1b]0;\n12.rs\0");
    let image = file(&image);
    let module = format!("{},name=\u{1b}[8m\u{202e}me", image.path().display());
    for style in [&[][..], &["--flat"], &["-c"], &["--color", "never"]] {
        let ran = target.run(&[style, &["--module", &module]].concat());
        shows(&ran, "\\u001b[8m\\u202eme");
        if style != ["-c"] {
            shows(&ran, "_\\u001b[7mX+0x");
            shows(&ran, "\\u001b]0;\\u000a12.rs:");
        }
    }
    let ran = target.run(&["--json", "--module", &module]);
    is_harmless(&ran);
    let faults = ran.events_of("fault");
    let shown = |fault: &serde_json::Value| fault.to_string().contains("_\\\\u001b[7mX");
    assert!(faults.iter().any(shown), "{faults:?}");
    // Colours of ours pass.
    let coloured = target.run(&["--color", "always", "--module", &module]);
    assert!(coloured.stderr.contains("\u{1b}[1;31m"), "{coloured:?}");
    assert!(!coloured.stderr.contains("\u{1b}[8m") && !coloured.stderr.contains("\u{1b}[7m"));
}

#[test]
fn views_show_names_as_text() {
    let target = Target::AMD64_ON_KVM;
    let image = target.image("lazy-squares").display().to_string();
    let machine = Machine::run(target, &["--module", &format!("{image},name={}", &EVIL[..7])]);
    machine.wait_until_idle(&SHOWN[..SHOWN.find("1A").expect("it is there")]);
    let name = &SHOWN[..SHOWN.find("1A").expect("it is there")];
    for view in [
        &["tasks"][..],
        &["tasks", "--json"],
        &["map", name],
        &["walk", &format!("{name}:0x400000")],
        &["who", &format!("{name}:0x400000")],
        &["who", &format!("{name}:0x400000"), "--dot"],
        &["who", &format!("{name}:0x400000"), "--json"],
        &["check"],
    ] {
        let ran = machine.view(view).expect_status(0);
        is_harmless(&ran);
        assert!(view == ["check"] || ran.stdout.contains("a\\"), "{ran:?}");
    }
    shows(&machine.view(&["map", EVIL]), SHOWN);
}

#[test]
fn what_a_machine_says_of_itself_is_shown_as_text() {
    // A real machine's memory under false names, so that all views get as far as showing them.
    let machine = Machine::start(Target::AMD64_ON_KVM);
    let (mut introduction, ram) = attach(&machine);
    introduction["pid"] = 1.into();
    for key in ["architecture", "engine", "scenario"] {
        introduction[key] = EVIL.into();
    }
    introduction["images"] = vec![EVIL; 4].into();
    let folder = runtime_folder();
    let listener = listen(&folder, 1);
    let views: [&[&str]; 8] = [
        &["ls"],
        &["ls", "--json"],
        &["tasks"],
        &["tasks", "--json"],
        &["check"],
        &["map", "first"],
        &["walk", "first:0x400000"],
        &["walk", "first:0x400000", "--json"],
    ];
    let peer = thread::spawn(move || {
        for _ in views {
            introduce(&listener.accept().expect("a viewer").0, &introduction, &ram);
        }
    });
    for view in views {
        let ran = finish(within(&folder).args(view).output().expect("glass starts"));
        match view {
            ["ls"] | ["check"] => shows(&ran, SHOWN),
            // The escapes are JSON's.
            ["ls", ..] => assert_eq!(lines(&ran)[0]["scenario"], EVIL),
            _ => is_harmless(&ran),
        }
    }
    peer.join().expect("all views have asked");
}

/// A kernel that prints these bytes and ends the machine with status 0.
fn printing(bytes: &[u8]) -> Vec<u8> {
    let mut code = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    code.extend(bytes.iter().flat_map(|byte| [0xb0, *byte, 0xee])); // mov al, byte; out dx, al
    code.extend([0xb0, 0x00, 0xe6, 0xf4]); // mov al, 0; out 0xf4, al
    code
}

const PRINTED: &[u8] = b"a\x1b[2J\tb\r\nc\rd\x07\xc3\xa4\xff\xe2\x80\xae\n\0end";

fn console(kernel: &std::path::Path, options: &[&str]) -> Command {
    common::require_kvm();
    let mut command = glass();
    command.args(["run", "words", "--quiet", "--engine", "kvm", "--timeout", "60s", "--kernel"]);
    command.arg(kernel).args(options).stderr(Stdio::null());
    command
}

/// What a terminal is told by a command that has it as its standard output.
fn on_a_terminal(mut command: Command) -> Vec<u8> {
    let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&control).and_then(|()| unlockpt(&control)).expect("a terminal of our own");
    let name = ptsname(&control, Vec::new()).expect("it has a name");
    let path = std::ffi::OsStr::from_bytes(name.as_bytes());
    let terminal = File::options().read(true).write(true).open(path).expect("it can be opened");
    let mut child = command.stdout(terminal).spawn().expect("glass can be started");
    // The command holds the other end.
    drop(command);
    let mut told = Vec::new();
    // At its end a terminal is an error, not an end of file.
    let _ = File::from(control).read_to_end(&mut told);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    told
}

#[test]
fn the_console_is_shown_on_terminals_and_passed_on_elsewhere() {
    let code = printing(PRINTED);
    let kernel = Code::new(&code).kernel();
    let piped = console(kernel.path(), &[]).output().expect("glass can be started");
    assert_eq!(piped.stdout, PRINTED);
    // The terminal itself makes the carriage returns.
    let shown = "a\\u001b[2J\tb\r\nc\\u000dd\\u0007ä\\xff\\u202e\r\n\\u0000end";
    let told = on_a_terminal(console(kernel.path(), &[]));
    assert_eq!(String::from_utf8_lossy(&told), shown);
    let raw = on_a_terminal(console(kernel.path(), &["--raw"]));
    let made = |byte: &u8| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] };
    assert_eq!(raw, PRINTED.iter().flat_map(made).collect::<Vec<_>>());
}

/// QEMU quotes what it is given.
#[test]
fn what_qemu_says_is_passed_on_as_text() {
    let script = file(
        b"#!/bin/sh\ncase \"$1\" in --version) echo 'QEMU emulator version 7.2.0';; \
          -machine) echo 'pc PC';; *) printf 'bad\\033[2J\\nglass: fine\\n' >&2; exit 1;; esac\n",
    );
    let path = script.into_temp_path();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let ran = run_without_kvm(&["run", "words", "--qemu", path.to_str().expect("a plain name")]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    shows(&ran, "bad\\u001b[2J; glass: fine");
}

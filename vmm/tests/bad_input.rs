//! Bad input: one clear message, a status that tells failure, no panic.

mod common;

use common::{Program, Ran, Segment, Target, file, run_without_kvm};
use std::{
    fs,
    process::{Command, Stdio},
};

#[track_caller]
fn fails_with(ran: &Ran, parts: &[&str]) {
    assert!(matches!(ran.status, Some(1 | 2)), "{ran:?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "no '{part}' in:\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "nothing on standard output");
}

fn with_kernel(contents: &[u8]) -> Ran {
    let file = file(contents);
    Target::AMD64_ON_KVM.run(&["words", "--kernel", file.path().to_str().expect("a plain name")])
}

#[test]
fn unknown_scenarios_list_the_known_ones() {
    let ran = run_without_kvm(&["run", "nonsense"]);
    fails_with(&ran, &["nonsense", "broken", "squares", "words"]);
}

#[test]
fn the_scenarios_are_listed_with_a_sentence_each() {
    let ran = run_without_kvm(&["run", "--list"]);
    assert_eq!(ran.status, Some(0));
    for name in ["bench", "broken", "revoke-tree", "squares", "unmap", "words"] {
        let line = ran.stdout.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.ends_with('.')), "{}", ran.stdout);
    }
}

#[test]
fn devices_that_are_missing_forbidden_or_something_else() {
    fails_with(
        &run_without_kvm(&["run", "--kvm", "/dev/no-such-device"]),
        &["/dev/no-such-device"],
    );
    fails_with(&run_without_kvm(&["run", "--kvm", "/dev/null"]), &["/dev/null"]);
}

#[test]
fn files_that_cannot_be_read() {
    fails_with(
        &Target::AMD64_ON_KVM.run(&["words", "--file", "/no/such/file"]),
        &["/no/such/file", "No such file"],
    );
    fails_with(&Target::AMD64_ON_KVM.run(&["words", "--file", "/"]), &["cannot read /"]);
    fails_with(&Target::AMD64_ON_KVM.run(&["--module", "/no/such/module"]), &["/no/such/module"]);
    fails_with(&Target::AMD64_ON_KVM.run(&["--kernel", "/no/such/kernel"]), &["/no/such/kernel"]);
}

/// What has no end is not read until the host has no memory any more.
#[test]
fn files_without_an_end() {
    let huge = common::file(b"");
    huge.as_file().set_len(1 << 40).expect("a file with nothing in it");
    let huge = huge.path().to_str().expect("a plain name");
    let scenario = common::file(
        b"name = 'x'\nsummary = 'x'\n[[program]]\nimage = '/dev/zero'\nname = 'zero'\n",
    );
    let named = scenario.path().with_extension("toml");
    std::fs::copy(scenario.path(), &named).expect("a scenario");
    let named_text = named.to_str().expect("a plain name");
    let arguments: [&[&str]; 5] = [
        &["words", "--file", "/dev/zero"],
        &["--module", "/dev/zero"],
        &["--kernel", "/dev/zero"],
        &["/dev/../dev/zero"],
        &[named_text],
    ];
    for arguments in arguments {
        let ran = run_without_kvm(&[&["run"], arguments].concat());
        fails_with(&ran, &["/dev/", "zero: it does not end within 256 MiB"]);
    }
    std::fs::remove_file(&named).expect("it is there");
    let ran = run_without_kvm(&["run", "words", "--file", huge]);
    fails_with(&ran, &["it has 1024 GiB, more than any guest's memory"]);
}

#[test]
fn kernels_that_are_none() {
    fails_with(&with_kernel(b""), &["ELF"]);
    fails_with(&with_kernel(b"#!/bin/sh\n"), &["not an ELF file"]);
    let kernel = fs::read(Target::AMD64_ON_KVM.image("kernel")).expect("the kernel");
    fails_with(&with_kernel(&kernel[..40]), &[]);
    fails_with(&with_kernel(&kernel[..5000]), &["truncated"]);
    let mut arm = kernel.clone();
    arm[18] = 183;
    fails_with(&with_kernel(&arm), &["machine"]);
    // A program of the guest is an ELF file for this machine, but nobody can boot it.
    fails_with(
        &with_kernel(&fs::read(Target::AMD64_ON_KVM.image("words")).expect("words")),
        &["PVH"],
    );
}

#[test]
fn memory_out_of_range() {
    for (memory, parts) in [
        ("8M", ["16 MiB"]),
        ("4G", ["3 GiB"]),
        ("0", ["memory"]),
        ("many", ["256M"]),
        ("99999999999999999999G", ["memory"]),
    ] {
        fails_with(&run_without_kvm(&["run", "--memory", memory]), &parts);
    }
}

#[test]
fn a_module_that_is_larger_than_memory() {
    let large = file(&[]);
    large.as_file().set_len(64 << 20).expect("a sparse file");
    let path = large.path().to_str().expect("a plain name");
    fails_with(
        &Target::AMD64_ON_KVM.run(&["words", "--memory", "32M", "--file", path]),
        &["32 MiB"],
    );
}

#[test]
fn a_broken_program_is_refused_with_its_name() {
    let mut program = fs::read(Target::AMD64_ON_KVM.image("words")).expect("words");
    // Program headers far outside the file.
    program[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    let program = file(&program);
    let module = format!("{},name=twisted,kind=program", program.path().display());
    let ran = Target::AMD64_ON_KVM.run(&["--quiet", "--module", &module]);
    assert!(matches!(ran.status, Some(1..=126)), "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("twisted"), "{said}");
}

/// Segments that the root task would not page: nothing is booted.
#[test]
fn odd_segments_are_refused_before_kvm_or_qemu_runs() {
    let odd = |segment: Segment| {
        let segments = vec![Segment::TEXT, segment];
        Program { segments, ..Program::new(&[0x0f, 0x0b]) }
    };
    let (text, data) = (Segment::TEXT, Segment::DATA);
    let many = (0..8).map(|page| Segment { address: data.address + page * 0x1000, ..data });
    for target in [Target::AMD64_ON_KVM, Target::AMD64_ON_QEMU, Target::IA32_ON_QEMU] {
        for (program, part) in [
            (odd(Segment { flags: 0, ..data }), "its program header 1 makes no sense"),
            (odd(Segment { memory_size: 0x10, ..data }), "its program header 1 makes no sense"),
            (
                odd(Segment { address: 0x1000, ..data }),
                "the segment at 0x1000 does not lie between",
            ),
            (odd(Segment { address: 0x800_0000, ..data }), "the segment at 0x8000000 does not lie"),
            (odd(Segment { offset: 0x2001, ..data }), "is not congruent"),
            (odd(Segment { address: text.address, ..data }), "share the page at 0x400000"),
            (
                Program { segments: [text].into_iter().chain(many.clone()).collect(), ..odd(data) },
                "it has 9 segments to load: a program has at most 8",
            ),
        ] {
            let program = program.file(target);
            let module = format!("{},name=odd,kind=program", program.path().display());
            let ran = target.run(&["--module", &module]);
            fails_with(&ran, &["cannot run module 'odd': ", part]);
            assert_eq!(ran.stderr.lines().count(), 1, "nothing was booted: {ran:?}");
        }
        // Without what is odd about it, it runs.
        let program = odd(data).file(target);
        let module = format!("{},name=even,kind=program", program.path().display());
        let ran = target.run(&["--flat", "--module", &module]);
        assert!(ran.stderr.contains("even exception 6"), "{ran:?}");
    }
}

/// Runs `glass` where files may have at most so many times 512 bytes.
fn with_small_files(blocks: u32, arguments: &[&str], output: Stdio) -> Ran {
    let mut command = Command::new("/bin/sh");
    let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_glass")]).args(arguments).stdout(output);
    common::finish(command.output().expect("a shell"))
}

#[test]
fn memory_for_kvm_or_qemu_and_output_larger_than_files_may_be() {
    for engine in ["kvm", "qemu"] {
        let run = ["run", "words", "--engine", engine, "--timeout", "60s"];
        let ran = with_small_files(1000, &run, Stdio::piped());
        fails_with(&ran, &["the guest's 256 MiB of memory are a file", "ulimit -f", "--memory"]);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
    let output = tempfile::tempfile().expect("a file");
    let ran = with_small_files(0, &["list"], Stdio::from(output));
    fails_with(&ran, &["File too large"]);
}

#[test]
fn a_full_disk_ends_the_run_with_a_message() {
    common::require_kvm();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = common::glass()
        .args(["run", "words", "--quiet", "--timeout", "60s"])
        .stdout(Stdio::from(full))
        .output()
        .expect("glass can be started");
    let ran = common::finish(output);
    fails_with(&ran, &["No space left"]);
}

/// As `glass run words | true`: the program that reads the pipe has gone.
#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = common::Target::AMD64_ON_KVM.start(&["words"]);
    drop(child.stdout.take());
    drop(child.stderr.take());
    let status = child.wait().expect("glass ends");
    assert_eq!(status.code(), Some(141));
}

#[test]
fn errors_that_nobody_reads_keep_their_status() {
    for (arguments, status) in [(&["run", "nothing"][..], 1), (&["list"], 141), (&["doctor"], 141)]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let stdout = writer.try_clone().expect("the same pipe");
        let mut command = common::glass();
        let ended = command.args(arguments).stdout(stdout).stderr(writer).status();
        assert_eq!(ended.expect("glass can be started").code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn images_of_the_other_architecture() {
    let [amd64, ia32] = [Target::AMD64_ON_QEMU, Target::IA32_ON_QEMU];
    for (target, other) in [(amd64, ia32), (ia32, amd64)] {
        let parts = [format!("is for {}", other.arch), format!("--arch {}", other.arch)];
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let path = |name| other.image(name).to_str().expect("a plain name").to_owned();
        fails_with(&target.run(&["words", "--kernel", &path("kernel")]), &parts);
        fails_with(&target.run(&["--module", &path("words")]), &parts);
    }
}

#[test]
fn more_memory_than_ia32_maps() {
    fails_with(&Target::IA32.run(&["words", "--memory", "2G"]), &["960 MiB"]);
}

#[test]
fn no_qemu() {
    for (path, part) in [("/no/such/qemu", "/no/such/qemu"), ("/bin/true", "/bin/true")] {
        let ran = Target::AMD64_ON_QEMU.run(&["words", "--qemu", path]);
        fails_with(&ran, &[part]);
    }
    let output = common::glass()
        .args(["run", "words", "--engine", "qemu"])
        .env("PATH", "")
        .output()
        .expect("glass can be started");
    fails_with(&common::finish(output), &["not installed", "qemu-system-x86"]);
}

/// A program that is named as QEMU and never answers, or never stops.
#[test]
fn a_qemu_that_does_not_answer_as_one() {
    let answers = [
        ("exec sleep 1000", "does not answer: asked --version"),
        ("exec yes 'QEMU emulator version 7.2'", "neither the machine microvm nor pc"),
        ("exec yes", "does not answer --version with one"),
    ];
    for (line, part) in answers {
        let script = common::file(format!("#!/bin/sh\n{line}\n").as_bytes()).into_temp_path();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("ours");
        let path = script.to_str().expect("a plain name");
        fails_with(&run_without_kvm(&["run", "words", "--qemu", path]), &[part]);
    }
}

/// Where KVM refuses ia32, it says so with the way out; where it does not, the guest runs.
#[test]
fn ia32_under_kvm_runs_or_says_why_not() {
    common::require_kvm();
    let options = ["run", "words", "--quiet", "--arch", "ia32", "--engine", "kvm"];
    let ran = run_without_kvm(&options);
    if ran.status != Some(0) {
        fails_with(&ran, &["32-bit paging", "--engine qemu"]);
    }
}

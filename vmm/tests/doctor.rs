//! `glass doctor` says what is, not what should be.

mod common;

use common::{require_kvm, run_without_kvm};
use serde_json::Value;

#[test]
fn a_host_with_kvm_is_found_able() {
    require_kvm();
    let ran = run_without_kvm(&["doctor"]).expect_status(0);
    let parts = ["/dev/kvm", "version 12", "long mode", "32-bit paging", "ring 0", "FSGSBASE"];
    for part in parts.into_iter().chain(["huge pages", "backend", "confinement", "verdict"]) {
        assert!(ran.stdout.contains(part), "no '{part}' in:\n{}", ran.stdout);
    }
    let json = run_without_kvm(&["doctor", "--json"]).expect_status(0);
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert!(report.is_object(), "{report}");
    assert!(report["confinement"]["seccomp"].is_boolean(), "{report}");
}

/// Who interprets ring 0 is slower than QEMU, and a run says which it takes.
#[test]
fn a_run_takes_what_the_doctor_found_quickest() {
    require_kvm();
    let report = run_without_kvm(&["doctor", "--json"]).stdout;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let ran = run_without_kvm(&["run", "words", "--quiet", "--timeout", "60s"]).expect_status(0);
    let said = ran.stderr.as_str();
    let is_native = report["kvm"]["native_ring0"]["works"] == true;
    let runs_on = |engine: &str| report["guests"]["amd64"][engine]["works"] == true;
    match (runs_on("kvm"), is_native, runs_on("qemu")) {
        (true, true, _) => assert_eq!(said, "", "{report}"),
        (true, false, false) => assert!(said.contains("this runs under KVM, which interprets")),
        (true, false, true) => assert!(said.contains("under QEMU: the KVM here interprets ring 0")),
        (false, ..) => assert!(said.contains("this runs under QEMU: "), "{said}"),
    }
    // What arrives in ring 0 as the manual says is run by the processor.
    assert_eq!(is_native, report["kvm"]["syscall"] == "ring0", "{report}");
}

#[test]
fn a_missing_device_is_named_with_the_way_out() {
    let ran = run_without_kvm(&["doctor", "--kvm", "/dev/no-such-device"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("/dev/no-such-device"), "{}", ran.stdout);
}

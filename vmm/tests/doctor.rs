//! `glass doctor` says what is, not what should be.

mod common;

use common::{require_kvm, run_without_kvm};
use serde_json::Value;

#[test]
fn a_host_with_kvm_is_found_able() {
    require_kvm();
    let ran = run_without_kvm(&["doctor"]).expect_status(0);
    for part in [
        "/dev/kvm",
        "version 12",
        "long mode",
        "32-bit paging",
        "huge pages",
        "backend",
        "confinement",
    ] {
        assert!(ran.stdout.contains(part), "no '{part}' in:\n{}", ran.stdout);
    }
    let json = run_without_kvm(&["doctor", "--json"]).expect_status(0);
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert!(report.is_object(), "{report}");
    assert!(report["confinement"]["seccomp"].is_boolean(), "{report}");
}

#[test]
fn a_missing_device_is_named_with_the_way_out() {
    let ran = run_without_kvm(&["doctor", "--kvm", "/dev/no-such-device"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("/dev/no-such-device"), "{}", ran.stdout);
}

//! `glass check`: proves from outside what the kernel promises, while the guest runs.

use super::{CheckArgs, JSON_VERSION};
use crate::attach::Attached;
use anyhow::Result;
use observe::inspect::{
    Guest, InspectError,
    check::{Report, Rule},
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

/// Between two passes, so that what changes at the moment of the first one is settled.
const SETTLE: Duration = Duration::from_millis(20);

/// Between two checks of `--watch`.
const PAUSE: Duration = Duration::from_millis(500);

/// Checks once, or until something is wrong. The status is 1 then.
pub fn check(args: &CheckArgs) -> Result<u8> {
    let machine = Attached::find(args.view.machine)?;
    let header = machine.header()?;
    let mut out = io::stdout().lock();
    loop {
        let report = examine(&machine, header)?;
        if args.view.json {
            writeln!(out, "{}", report_json(&machine, &report))?;
        } else {
            show(&mut out, &machine, &report)?;
        }
        if !report.is_clean() {
            return Ok(1);
        }
        if !args.watch {
            return Ok(0);
        }
        thread::sleep(PAUSE);
        if !machine.runs() {
            return Ok(0);
        }
    }
}

/// What two passes agree on.
fn examine(machine: &Attached, header: u64) -> Result<Report, InspectError> {
    let first = Guest::open(machine, header)?.check();
    if first.is_clean() {
        return Ok(first);
    }
    thread::sleep(SETTLE);
    Ok(first.confirmed_by(&Guest::open(machine, header)?.check()))
}

fn show(out: &mut impl Write, machine: &Attached, report: &Report) -> io::Result<()> {
    let introduction = &machine.introduction;
    writeln!(out, "machine {}, {}", introduction.pid, introduction.architecture)?;
    for rule in Rule::ALL {
        let broken = report.violations.iter().any(|violation| violation.rule == rule);
        let verdict = if broken { "BAD" } else { "ok" };
        let (count, unit) = (report.count(rule), rule.unit());
        writeln!(out, "  {verdict:<4} {count:>8} {unit:<8} {}", rule.sentence())?;
    }
    for violation in &report.violations {
        writeln!(out, "violation: {}: {}", violation.path, violation.evidence)?;
    }
    if report.more > 0 {
        writeln!(out, "and {} more", report.more)?;
    }
    Ok(())
}

fn report_json(machine: &Attached, report: &Report) -> Value {
    let checked = |rule: Rule| json!({ "rule": rule.sentence(), "count": report.count(rule), "unit": rule.unit() });
    let violations: Vec<_> = report
        .violations
        .iter()
        .map(|found| {
            json!({
                "rule": found.rule.sentence(),
                "path": found.path,
                "evidence": found.evidence,
            })
        })
        .collect();
    json!({
        "v": JSON_VERSION,
        "pid": machine.introduction.pid,
        "ok": report.is_clean(),
        "checked": Rule::ALL.map(checked),
        "violations": violations,
        "more": report.more,
    })
}

//! `glass check`: proves from outside what the kernel promises, while the guest runs.

use super::{CheckArgs, JSON_VERSION};
use crate::{attach::Attached, screen};
use anyhow::{Result, bail};
use observe::inspect::{
    Guest, InspectError,
    check::{Report, Rule, Violation},
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

/// Between two passes, so that what changes at the moment of the first one is settled.
const SETTLE: Duration = Duration::from_millis(20);

/// As many passes must find a violation. A guest that maps and unmaps the same page all the time
/// shows it half done in one pass out of two, but hardly in all of these.
const PASSES: u32 = 25;

/// How often sums are tried at a moment at which the kernel does not map.
const TRIES: u32 = 10;

/// Checks once, or until something is wrong. The status is 1 then.
pub fn check(args: &CheckArgs) -> Result<u8> {
    let machine = Attached::find(args.view.machine)?;
    let header = machine.header()?;
    let mut out = screen::output();
    loop {
        let report = examine(&machine, header)?;
        // What a machine was doing when it ended stays half done.
        if !report.is_clean() && !machine.runs() {
            match args.watch {
                Some(_) => return Ok(0),
                None => bail!("the machine ended while it was checked: nothing can be said of it"),
            }
        }
        if args.view.json {
            writeln!(out, "{}", report_json(&machine, &report))?;
        } else {
            show(&mut out, &machine, &report)?;
        }
        if !report.is_clean() {
            return Ok(1);
        }
        let Some(interval) = args.watch else { return Ok(0) };
        thread::sleep(interval);
        if !machine.runs() {
            return Ok(0);
        }
    }
}

/// What all passes agree on.
fn examine(machine: &Attached, header: u64) -> Result<Report, InspectError> {
    let pass = || Ok(Guest::open(machine, header)?.check());
    let at_one_moment = || {
        let mut report: Report = pass()?;
        for _ in 1..TRIES {
            if report.is_of_one_moment {
                break;
            }
            report = pass()?;
        }
        Ok(report)
    };
    let mut report = at_one_moment()?;
    for _ in 1..PASSES {
        if report.is_clean() {
            break;
        }
        thread::sleep(SETTLE);
        let is_sum = |found: &Violation| found.rule == Rule::Quotas;
        let has_sums = report.violations.iter().any(is_sum);
        report = report.confirmed_by(&if has_sums { at_one_moment()? } else { pass()? });
    }
    Ok(report)
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
    if !report.is_of_one_moment {
        writeln!(out, "the guest maps and unmaps all the time: quotas could not be added up")?;
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
        "of_one_moment": report.is_of_one_moment,
        "checked": Rule::ALL.map(checked),
        "violations": violations,
        "more": report.more,
    })
}

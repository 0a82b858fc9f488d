//! What the guest program `bench` prints: one line of JSON, in ticks of the time stamp counter.

use anyhow::{Context, Result};
use serde_json::Value;

/// Ticks that each operation took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestReport {
    /// A loop of a known number of instructions, its set-up and the reading of the counter.
    pub known_loop: u64,
    /// A system call that does nothing.
    pub null_syscall: u64,
    /// A call to another task and its answer, no message words.
    pub ipc_call: u64,
    /// The same with four message words each way.
    pub ipc_call_4_words: u64,
    /// Touching a page that a pager in another task maps.
    pub page_fault: u64,
}

impl GuestReport {
    /// Finds the report in what the guest printed.
    pub fn find(console: &str) -> Result<Self> {
        let line = console.lines().rev().find(|line| line.starts_with('{'));
        let line = line.with_context(|| {
            format!("the guest program `bench` printed no report, but:\n{console}")
        })?;
        let report: Value = serde_json::from_str(line).with_context(|| {
            format!("the report of the guest program `bench` is no JSON: {line}")
        })?;
        let ticks = |value: &Value, key: &str| {
            value.as_u64().with_context(|| format!("the guest's report lacks `{key}`: {line}"))
        };
        let median = |key: &str| ticks(&report[key]["median"], key);
        Ok(Self {
            known_loop: ticks(&report["known_loop"], "known_loop")?,
            null_syscall: median("null_syscall")?,
            ipc_call: median("ipc_call")?,
            ipc_call_4_words: median("ipc_call_4_words")?,
            page_fault: median("page_fault")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::GuestReport;

    const LINE: &str = r#"{"known_loop":2000003,"null_syscall":{"median":99},"ipc_call":{"median":400},"ipc_call_4_words":{"median":410},"page_fault":{"median":900}}"#;

    #[test]
    fn the_report_is_found_among_other_output() {
        let report = GuestReport::find(&format!("hello\r\n{LINE}\r\nbye\n")).expect("a report");
        assert_eq!((report.known_loop, report.null_syscall), (2_000_003, 99));
        assert_eq!((report.ipc_call, report.ipc_call_4_words, report.page_fault), (400, 410, 900));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |console: &str| GuestReport::find(console).expect_err("no report").to_string();
        assert!(error("panic: out of memory").contains("out of memory"));
        assert!(error(&LINE.replace("page_fault", "other")).contains("lacks `page_fault`"));
    }
}

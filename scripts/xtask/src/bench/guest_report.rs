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
    /// The same with a limit to the time that it may take.
    pub ipc_call_within: u64,
    /// The same with four message words each way.
    pub ipc_call_4_words: u64,
    /// The same without words, where the answer is set aside before it is given.
    pub ipc_call_later: u64,
    /// Touching a page that a pager in another task maps.
    pub page_fault: u64,
    /// A call that maps a page to the other task, and its answer.
    pub ipc_call_map: u64,
    /// Taking back a page that one other task has.
    pub unmap_1: u64,
    /// Touching 512 pages that a pager maps by one flexpage at the first of them.
    pub map_512_one_item: u64,
    /// Touching 512 pages that a pager maps one by one.
    pub map_512_faults: u64,
    /// Touching 512 pages that are there.
    pub touch_512: u64,
    /// Taking back a page that is mapped nowhere else.
    pub revoke_0: u64,
    /// Making a thread and ending it.
    pub thread_cycle: u64,
    /// Making a task with a thread and three mappings, which sends a message, and ending it.
    pub task_cycle: u64,
    /// Setting the pointers of a thread of another task, which waits.
    pub ex_regs: u64,
    /// An exception that a handler in another task lets go on.
    pub exception: u64,
    /// Taking back as many mappings of a page as [`REVOKED`] says.
    pub revoke: [u64; REVOKED.len()],
}

/// Mappings that are taken back at once.
pub const REVOKED: [u64; 5] = [1, 10, 100, 1000, 10_000];

impl GuestReport {
    /// What mapping a page adds to a call.
    pub fn map_1(&self) -> u64 {
        self.ipc_call_map.saturating_sub(self.ipc_call)
    }

    /// What it adds to a call that there is a limit to its time.
    pub fn timeout(&self) -> u64 {
        self.ipc_call_within.saturating_sub(self.ipc_call)
    }

    /// What it adds to a call that its answer is set aside and given later.
    pub fn reply_later(&self) -> u64 {
        self.ipc_call_later.saturating_sub(self.ipc_call)
    }

    /// What each of 512 pages takes that come by one flexpage, without touching it.
    pub fn page_of_item(&self) -> f64 {
        self.map_512_one_item.saturating_sub(self.touch_512) as f64 / 512.0
    }

    /// What each mapping takes that is taken back, without what an unmap takes in any case.
    pub fn revoke_each(&self) -> [f64; REVOKED.len()] {
        std::array::from_fn(|case| {
            self.revoke[case].saturating_sub(self.revoke_0) as f64 / REVOKED[case] as f64
        })
    }

    /// The same where the counter advances by `ticks` with each instruction.
    pub fn divided(self, ticks: u64) -> Self {
        Self {
            known_loop: self.known_loop / ticks,
            null_syscall: self.null_syscall / ticks,
            ipc_call: self.ipc_call / ticks,
            ipc_call_within: self.ipc_call_within / ticks,
            ipc_call_4_words: self.ipc_call_4_words / ticks,
            ipc_call_later: self.ipc_call_later / ticks,
            page_fault: self.page_fault / ticks,
            ipc_call_map: self.ipc_call_map / ticks,
            unmap_1: self.unmap_1 / ticks,
            map_512_one_item: self.map_512_one_item / ticks,
            map_512_faults: self.map_512_faults / ticks,
            touch_512: self.touch_512 / ticks,
            revoke_0: self.revoke_0 / ticks,
            thread_cycle: self.thread_cycle / ticks,
            task_cycle: self.task_cycle / ticks,
            ex_regs: self.ex_regs / ticks,
            exception: self.exception / ticks,
            revoke: self.revoke.map(|revoke| revoke / ticks),
        }
    }

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
            ipc_call_within: median("ipc_call_within")?,
            ipc_call_4_words: median("ipc_call_4_words")?,
            ipc_call_later: median("ipc_call_later")?,
            page_fault: median("page_fault")?,
            ipc_call_map: median("ipc_call_map")?,
            unmap_1: median("unmap_1")?,
            map_512_one_item: median("map_512_one_item")?,
            map_512_faults: median("map_512_faults")?,
            touch_512: median("touch_512")?,
            revoke_0: median("revoke_0")?,
            thread_cycle: median("thread_cycle")?,
            task_cycle: median("task_cycle")?,
            ex_regs: median("ex_regs")?,
            exception: median("exception")?,
            revoke: revoke(median)?,
        })
    }
}

fn revoke(median: impl Fn(&str) -> Result<u64>) -> Result<[u64; REVOKED.len()]> {
    let mut found = [0; REVOKED.len()];
    for (found, count) in found.iter_mut().zip(REVOKED) {
        *found = median(&format!("revoke_{count}"))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::GuestReport;

    const LINE: &str = r#"{"known_loop":2000003,"null_syscall":{"median":99},"ipc_call":{"median":400},"ipc_call_within":{"median":435},"ipc_call_4_words":{"median":410},"ipc_call_later":{"median":620},"page_fault":{"median":900},"ipc_call_map":{"median":650},"unmap_1":{"median":300},"map_512_one_item":{"median":27648},"map_512_faults":{"median":460800},"touch_512":{"median":2048},"revoke_0":{"median":100},"thread_cycle":{"median":1400},"task_cycle":{"median":19000},"ex_regs":{"median":310},"exception":{"median":910},"revoke_1":{"median":150},"revoke_10":{"median":610},"revoke_100":{"median":5200},"revoke_1000":{"median":52100},"revoke_10000":{"median":520100}}"#;

    #[test]
    fn the_report_is_found_among_other_output() {
        let report = GuestReport::find(&format!("hello\r\n{LINE}\r\nbye\n")).expect("a report");
        assert_eq!((report.known_loop, report.null_syscall), (2_000_003, 99));
        assert_eq!((report.ipc_call, report.ipc_call_4_words, report.page_fault), (400, 410, 900));
        assert_eq!((report.map_1(), report.unmap_1, report.page_of_item()), (250, 300, 50.0));
        assert_eq!((report.reply_later(), report.timeout()), (220, 35));
        assert_eq!((report.map_512_faults, report.touch_512), (460_800, 2048));
        assert_eq!((report.thread_cycle, report.task_cycle), (1400, 19_000));
        assert_eq!((report.ex_regs, report.exception), (310, 910));
        assert_eq!(report.revoke_each(), [50.0, 51.0, 51.0, 52.0, 52.0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |console: &str| GuestReport::find(console).expect_err("no report").to_string();
        assert!(error("panic: out of memory").contains("out of memory"));
        assert!(error(&LINE.replace("page_fault", "other")).contains("lacks `page_fault`"));
        assert!(error(&LINE.replace("revoke_100\"", "other\"")).contains("lacks `revoke_100`"));
    }
}

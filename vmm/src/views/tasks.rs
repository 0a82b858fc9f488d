//! `glass tasks`: the tasks of a machine and what their threads do.

use super::{JSON_VERSION, ViewArgs};
use crate::attach::Attached;
use anyhow::Result;
use observe::inspect::{Guest, Task, Thread};
use protocol::introspection::ThreadState;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{self, Write},
};

/// Shows them, a line for each thread.
pub fn tasks(args: &ViewArgs) -> Result<u8> {
    let machine = Attached::find(args.machine)?;
    let tasks = Guest::open(&machine, machine.header()?)?.tasks();
    let names = thread_names(&tasks);
    let mut out = io::stdout().lock();
    if args.json {
        for task in &tasks {
            writeln!(out, "{}", task_json(machine.introduction.pid, task, &names))?;
        }
        return Ok(0);
    }
    writeln!(out, "task  name             page table  thread  priority  state")?;
    for task in &tasks {
        let mut left = format!("{:>4}  {:<16} {:#010x}", task.number, task.name, task.page_table);
        if task.threads.is_empty() {
            writeln!(out, "{left}  (no thread)")?;
        }
        for thread in &task.threads {
            let Thread { number, priority, .. } = thread;
            let state = describe(thread, &names);
            writeln!(out, "{left}  {number:>6}  {priority:>8}  {state}")?;
            left = " ".repeat(left.chars().count());
        }
    }
    Ok(0)
}

/// Each thread under its task's name, with its own behind it.
fn thread_names(tasks: &[Task]) -> HashMap<u16, String> {
    let name = |task: &Task, thread: &Thread| match &thread.name {
        Some(own) => format!("{}/{own}", task.name),
        None => task.name.clone(),
    };
    tasks
        .iter()
        .flat_map(|task| task.threads.iter().map(move |thread| (thread.number, name(task, thread))))
        .collect()
}

fn describe(thread: &Thread, names: &HashMap<u16, String>) -> String {
    let partner = thread.partner.and_then(|partner| names.get(&partner));
    let whom = partner.map_or("somebody", String::as_str);
    let state = match thread.state {
        None => "in no known state".to_owned(),
        Some(ThreadState::Unused) => "unused".to_owned(),
        Some(ThreadState::Inactive) => "has not run yet".to_owned(),
        Some(ThreadState::Ready) => "ready".to_owned(),
        Some(ThreadState::Sending) => format!("waits to send to {whom}"),
        Some(ThreadState::Receiving) if thread.partner.is_none() => {
            "waits for a message".to_owned()
        }
        Some(ThreadState::Receiving) => format!("waits for a message of {whom}"),
        Some(ThreadState::PageFault) => format!("page fault, at its pager {whom}"),
        Some(ThreadState::PortFault) => format!("port fault, at its pager {whom}"),
        Some(ThreadState::Exception) => format!("exception, at its handler {whom}"),
        Some(ThreadState::Stopped) => "stopped for good".to_owned(),
    };
    match &thread.name {
        Some(name) => format!("{name}: {state}"),
        None => state,
    }
}

fn state_word(state: Option<ThreadState>) -> &'static str {
    match state {
        None => "unknown",
        Some(ThreadState::Unused) => "unused",
        Some(ThreadState::Inactive) => "inactive",
        Some(ThreadState::Ready) => "ready",
        Some(ThreadState::Sending) => "sending",
        Some(ThreadState::Receiving) => "receiving",
        Some(ThreadState::PageFault) => "page_fault",
        Some(ThreadState::PortFault) => "port_fault",
        Some(ThreadState::Exception) => "exception",
        Some(ThreadState::Stopped) => "stopped",
    }
}

fn task_json(pid: u32, task: &Task, names: &HashMap<u16, String>) -> Value {
    let thread = |thread: &Thread| {
        json!({
            "number": thread.number,
            "name": names.get(&thread.number),
            "state": state_word(thread.state),
            "priority": thread.priority,
            "partner": thread.partner,
            "partner_name": thread.partner.and_then(|partner| names.get(&partner)),
        })
    };
    json!({
        "v": JSON_VERSION,
        "pid": pid,
        "number": task.number,
        "name": task.name,
        "page_table": format!("{:#x}", task.page_table),
        "image": task.image,
        "threads": task.threads.iter().map(thread).collect::<Vec<_>>(),
    })
}

//! `glass tasks`: the tasks of a machine and what their threads do.

use super::{
    JSON_VERSION, ViewArgs,
    look::{Look, Output},
};
use crate::attach::Attached;
use anyhow::Result;
use machine::human;
use observe::inspect::{Task, Thread};
use protocol::introspection::{ThreadState, mapping::Resource};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{self, Write},
};

/// Shows them, a line for each thread.
pub fn tasks(args: &ViewArgs) -> Result<u8> {
    let machine = Attached::find(args.machine)?;
    let look = Look::new(&machine, args)?;
    let names = thread_names(&look);
    look.show(|out| match args.json {
        true => look
            .tasks
            .iter()
            .try_for_each(|task| writeln!(out, "{}", task_json(&look, task, &names))),
        false => show(out, &look, &names),
    })
}

fn show(out: &mut Output, look: &Look<'_>, names: &HashMap<u16, String>) -> io::Result<()> {
    writeln!(
        out,
        "task  name                mapped  kernel memory        thread  priority  pager       state"
    )?;
    for task in &look.tasks {
        let (mapped, memory) = (human(mapped(look, task)), kernel_memory(look, task));
        let mut left = format!("{:>4}  {:<14}  {mapped:>10}  {memory:<19}", task.number, task.name);
        if task.threads.is_empty() {
            writeln!(out, "{left}  (no thread)")?;
        }
        for thread in &task.threads {
            let Thread { number, priority, .. } = thread;
            let pager = look.snapshot.pager_of(*number).and_then(|pager| names.get(&pager));
            let pager = pager.map_or("-", String::as_str);
            let state = describe(look, thread, names);
            writeln!(out, "{left}  {number:>6}  {priority:>8}  {pager:<10}  {state}")?;
            left = " ".repeat(left.chars().count());
        }
    }
    Ok(())
}

/// Bytes of memory that a task has mapped, counted once for each page of its own.
fn mapped(look: &Look<'_>, task: &Task) -> u64 {
    let mappings = look.snapshot.mappings_of(task.number, Resource::Memory);
    mappings.map(|mapping| 1 << mapping.order).sum()
}

/// What the factory that pays for a task has spent.
fn kernel_memory(look: &Look<'_>, task: &Task) -> String {
    let number = look.snapshot.factory_of(task.number);
    match number.and_then(|number| Some((number, look.snapshot.factory(number)?))) {
        Some((number, factory)) => {
            let (used, limit) = (factory.used.div_ceil(1024), factory.limit / 1024);
            format!("{used} of {limit}K ({number})")
        }
        None => "unknown".to_owned(),
    }
}

/// Each thread under its task's name, with its own behind it.
fn thread_names(look: &Look<'_>) -> HashMap<u16, String> {
    let threads = look.tasks.iter().flat_map(|task| &task.threads);
    threads.map(|thread| (thread.number, look.snapshot.thread_name(thread.number))).collect()
}

fn describe(look: &Look<'_>, thread: &Thread, names: &HashMap<u16, String>) -> String {
    if thread.waits_for_reply {
        return with_name(thread, with_deadline(thread, describe_reply(look, thread)));
    }
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
        Some(ThreadState::Receiving) if thread.partner == Some(thread.number) => {
            "sleeps".to_owned()
        }
        Some(ThreadState::Receiving) => format!("waits for a message of {whom}"),
        Some(ThreadState::PageFault) => format!("page fault, at its pager {whom}"),
        Some(ThreadState::PortFault) => format!("port fault, at its pager {whom}"),
        Some(ThreadState::Exception) => format!("exception, at its handler {whom}"),
        Some(ThreadState::Stopped) => "stopped for good".to_owned(),
    };
    with_name(thread, with_deadline(thread, state))
}

/// What a thread does, with until when.
fn with_deadline(thread: &Thread, state: String) -> String {
    match thread.deadline {
        Some(deadline) => format!("{state}, until {}", seconds(deadline)),
        None => state,
    }
}

/// A time of the kernel clock.
fn seconds(microseconds: u64) -> String {
    format!("{}.{:06} s", microseconds / 1_000_000, microseconds % 1_000_000)
}

fn with_name(thread: &Thread, state: String) -> String {
    match &thread.name {
        Some(name) => format!("{name}: {state}"),
        None => state,
    }
}

/// What a thread does whose answer was set aside, and who has that.
fn describe_reply(look: &Look<'_>, thread: &Thread) -> String {
    let what = match thread.state {
        Some(ThreadState::PageFault) => "page fault",
        Some(ThreadState::PortFault) => "port fault",
        Some(ThreadState::Exception) => "exception",
        _ => "call",
    };
    match look.snapshot.holder_of_reply(thread.number) {
        Some(reply) => {
            let holder = look.snapshot.task_name(reply.task);
            format!(
                "{what}, waits for the reply that {holder} has as capability {}",
                reply.number()
            )
        }
        None => format!("{what}, waits for a reply that nobody has any more"),
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

fn task_json(look: &Look<'_>, task: &Task, names: &HashMap<u16, String>) -> Value {
    let snapshot = &look.snapshot;
    let thread = |thread: &Thread| {
        let pager = snapshot.pager_of(thread.number);
        let reply = snapshot.holder_of_reply(thread.number).filter(|_| thread.waits_for_reply);
        let reply = reply.map(|reply| {
            json!({
                "holder": reply.task,
                "holder_name": snapshot.task_name(reply.task),
                "capability": reply.number(),
            })
        });
        json!({
            "number": thread.number,
            "name": names.get(&thread.number),
            "state": state_word(thread.state),
            "priority": thread.priority,
            "deadline": thread.deadline,
            "pager": pager,
            "pager_name": pager.and_then(|pager| names.get(&pager)),
            "partner": thread.partner,
            "partner_name": thread.partner.and_then(|partner| names.get(&partner)),
            "reply": reply,
        })
    };
    let number = snapshot.factory_of(task.number);
    let factory = number.and_then(|number| snapshot.factory(number));
    json!({
        "v": JSON_VERSION,
        "pid": look.machine.introduction.pid,
        "number": task.number,
        "name": task.name,
        "page_table": format!("{:#x}", task.page_table),
        "image": task.image,
        "pages": mapped(look, task) / protocol::PAGE_SIZE as u64,
        "factory": number,
        "kernel_memory_used": factory.map(|factory| factory.used),
        "kernel_memory_limit": factory.map(|factory| factory.limit),
        "threads": task.threads.iter().map(thread).collect::<Vec<_>>(),
    })
}

//! `glass walk`: the way of one address through the page tables.

use super::{JSON_VERSION, WalkArgs};
use crate::attach::Attached;
use anyhow::{Result, bail};
use machine::human;
use observe::{
    inspect::{Guest, Task},
    paging::{End, Execute, Geometry, Page, Step, Walk},
};
use protocol::flexpage::Rights;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Shows each level, and what the processor makes of them.
pub fn walk(args: &WalkArgs) -> Result<u8> {
    let machine = Attached::find(args.view.machine)?;
    let guest = Guest::open(&machine, machine.header()?)?;
    let tasks = guest.tasks();
    let task = find(&tasks, &args.place.task)?;
    let walk = guest.walk(task, args.place.address);
    let mut out = io::stdout().lock();
    if args.view.json {
        let pid = machine.introduction.pid;
        writeln!(out, "{}", walk_json(pid, task, guest.geometry(), &walk))?;
    } else {
        show(&mut out, task, guest.geometry(), &walk)?;
    }
    Ok(0)
}

/// The task of that name, or else of that number.
fn find<'t>(tasks: &'t [Task], wanted: &str) -> Result<&'t Task> {
    let named: Vec<_> = tasks.iter().filter(|task| task.name == wanted).collect();
    let numbered = tasks.iter().find(|task| task.number.to_string() == wanted);
    match (&named[..], numbered) {
        ([task], _) => Ok(task),
        ([], Some(task)) => Ok(task),
        ([], None) => {
            let names: Vec<_> = tasks.iter().map(|task| task.name.as_str()).collect();
            bail!("there is no task '{wanted}': there are {}", names.join(", "))
        }
        (several, _) => {
            let numbers: Vec<_> = several.iter().map(|task| task.number.to_string()).collect();
            bail!(
                "several tasks are called '{wanted}': name one by its number, {}",
                numbers.join(", ")
            )
        }
    }
}

fn show(out: &mut impl Write, task: &Task, geometry: &Geometry, walk: &Walk) -> io::Result<()> {
    let Geometry { name, entry_size, .. } = geometry;
    let (task_name, address) = (&task.name, walk.address);
    writeln!(out, "{task_name}:{address:#x} on {name}, entries of {entry_size} bytes")?;
    writeln!(out, "  level      index  entry at    value               flags")?;
    for Step { index, entry_address, entry } in &walk.steps {
        let (level, value) = (entry.level.name, entry.value);
        let flags = if entry.is_present() { entry.flags().join(" ") } else { "-".to_owned() };
        let spine = if entry.level.is_spine { " (spine)" } else { "" };
        writeln!(
            out,
            "  {level:<9}  {index:>5}  {entry_address:#010x}  {value:#018x}  {flags}{spine}"
        )?;
    }
    match walk.end {
        End::Page(page) => show_page(out, geometry, walk, page),
        _ => writeln!(out, "  ends       {}", end(walk).unwrap_or_default()),
    }
}

fn show_page(out: &mut impl Write, geometry: &Geometry, walk: &Walk, page: Page) -> io::Result<()> {
    let Page { physical, order, rights, .. } = page;
    let (size, frame) = (human(1 << order), physical >> protocol::PAGE_ORDER);
    let byte = walk.physical().unwrap_or(physical);
    writeln!(out, "  page       {size} at guest frame {frame:#x}")?;
    writeln!(out, "  byte       guest-physical {byte:#x}; the same offset in the host's RAM file")?;
    write!(out, "  rights     {}", letters(rights))?;
    let is_unenforced = !rights.contains(Rights::EXECUTE) && page.is_executable;
    match geometry.execute {
        Execute::Noted(_) if is_unenforced => writeln!(
            out,
            ", as asked for; but the processor cannot withhold execute: here it is {}",
            letters(rights | Rights::EXECUTE)
        )?,
        Execute::Noted(_) => writeln!(out, ", as asked for; the x is bit 9, the kernel's own")?,
        Execute::Withheld(_) => writeln!(out)?,
    }
    if !page.is_user {
        writeln!(out, "  user       no: not every level lets user code through")?;
    }
    Ok(())
}

/// Why there is no page.
fn end(walk: &Walk) -> Option<String> {
    match walk.end {
        End::Page(_) => None,
        End::Absent(level) => Some(format!("nothing there: not present in the {}", level.name)),
        End::Malformed(level) => {
            Some(format!("malformed: a superpage in the {}, which can have none", level.name))
        }
        End::Outside(level, outside) => {
            Some(format!("the {} is not in RAM: {outside}", level.name))
        }
        End::NoAddress => Some("the processor has no such address".to_owned()),
    }
}

fn letters(rights: Rights) -> String {
    [(Rights::READ, 'r'), (Rights::WRITE, 'w'), (Rights::EXECUTE, 'x')]
        .map(|(right, letter)| if rights.contains(right) { letter } else { '-' })
        .into_iter()
        .collect()
}

fn walk_json(pid: u32, task: &Task, geometry: &Geometry, walk: &Walk) -> Value {
    let hex = |number: u64| format!("{number:#x}");
    let level = |step: &Step| {
        json!({
            "level": step.entry.level.name,
            "spine": step.entry.level.is_spine,
            "index": step.index,
            "entry_at": hex(step.entry_address),
            "value": hex(step.entry.value),
            "flags": step.entry.flags(),
        })
    };
    let page = match walk.end {
        End::Page(page) => json!({
            "size": 1u64 << page.order,
            "frame": hex(page.physical >> protocol::PAGE_ORDER),
            "physical": walk.physical().map(hex),
            "ram_offset": walk.physical().map(hex),
            "rights": letters(page.rights),
            "user": page.is_user,
            "writable": page.is_writable,
            "executable": page.is_executable,
        }),
        _ => Value::Null,
    };
    json!({
        "v": JSON_VERSION,
        "pid": pid,
        "arch": geometry.name,
        "task": task.number,
        "name": task.name,
        "address": hex(walk.address),
        "levels": walk.steps.iter().map(level).collect::<Vec<_>>(),
        "page": page,
        "ends": end(walk),
    })
}

//! `glass walk`: the way of one address through the page tables, or of a port through its tables.

use super::{
    JSON_VERSION, WalkArgs,
    args::Holding,
    host_page::{HostPage, Process},
    look::Look,
    second_level,
    walk_port::WalkedPort,
    words::{hex, letters, mapping_json, source_json, source_words},
};
use crate::attach::{Attached, statistics::Statistic};
use anyhow::{Result, bail};
use machine::{
    host::{Host, SecondLevel},
    human,
};
use observe::{
    inspect::{Guest, Mapping, Origin, Snapshot, Task},
    paging::{End, Execute, Geometry, Page, Step, Walk},
};
use protocol::{PAGE_ORDER, flexpage::Rights, introspection::mapping::Resource};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Shows each level; then, of memory, what the processor, the mapping database and the host say of
/// the page, and of a port whether the processor was told of it.
pub fn walk(args: &WalkArgs) -> Result<u8> {
    let Holding { task, resource, at } = &args.holding;
    if *resource == Resource::Capability {
        bail!(
            "a capability is one entry of one table, there is nothing to walk: \
             `glass who {task}:cap:{at}` shows whose it is"
        );
    }
    let machine = Attached::find(args.view.machine)?;
    let second_level = Host::here().second_level();
    let processes = Process::all_of(&machine);
    let look = Look::new(&machine, &args.view)?;
    let guest = Guest::open(&machine, machine.header()?)?;
    let (task, geometry) = (look.task(task)?, guest.geometry());
    if *resource == Resource::Ports {
        let port = *at as u16;
        let walk = guest.walk_port(task, port);
        let walked = WalkedPort { look: &look, task, geometry, port, walk };
        return look.show(|out| match args.view.json {
            true => writeln!(out, "{}", walked.json()),
            false => walked.text(out),
        });
    }
    let walk = guest.walk(task, *at);
    let host = walk.physical().map(|physical| HostPage::find(processes, &machine, physical));
    let walked = Walked { look: &look, task, geometry, walk, host, second_level };
    look.show(|out| match args.view.json {
        true => writeln!(out, "{}", walked.json()),
        false => walked.text(out),
    })
}

/// KVM's statistics that are about its own page tables, the second dimension.
const TABLES: [&str; 8] = [
    "pages_4k",
    "pages_2m",
    "pages_1g",
    "mmu_pte_write",
    "pf_taken",
    "pf_fixed",
    "pf_guest",
    "tlb_flush",
];

/// What there is to show.
struct Walked<'l> {
    look: &'l Look<'l>,
    task: &'l Task,
    geometry: &'static Geometry,
    walk: Walk,
    host: Option<io::Result<HostPage>>,
    /// What KVM's own page tables are.
    second_level: Option<SecondLevel>,
}

impl Walked<'_> {
    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        show(out, self.task, self.geometry, &self.walk)?;
        if let Some(mapping) = self.mapping() {
            writeln!(out, "  node       {}", node_words(&self.look.snapshot, &mapping))?;
        }
        match &self.host {
            None => return Ok(()),
            Some(Err(error)) => writeln!(out, "  host       unknown: {error}")?,
            Some(Ok(page)) => {
                for (what, line) in page.lines() {
                    writeln!(out, "  {what:<9}  {line}")?;
                }
            }
        }
        let statistics = self.look.machine.statistics();
        match self.engine() {
            "kvm" => {
                writeln!(
                    out,
                    "  KVM        {}",
                    second_level::sentence(self.second_level, &statistics)
                )?;
                writeln!(out, "             {}", Self::statistics(&statistics))
            }
            engine => writeln!(out, "  KVM        takes no part: the engine is {engine}"),
        }
    }

    fn engine(&self) -> &str {
        &self.look.machine.introduction.engine
    }

    /// What KVM says of its own tables, of the whole machine.
    fn statistics(counted: &[Statistic]) -> String {
        let of_tables = counted.iter().filter(|counted| TABLES.contains(&counted.name.as_str()));
        let words: Vec<_> =
            of_tables.map(|counted| format!("{} {}", counted.name, counted.value)).collect();
        match &words[..] {
            [] => "this host's KVM offers no statistics".to_owned(),
            _ => format!("of the whole machine: {}", words.join(", ")),
        }
    }

    fn mapping(&self) -> Option<Mapping> {
        let page = self.walk.address >> PAGE_ORDER;
        self.look.snapshot.mapping_at(self.task.number, Resource::Memory, page)
    }

    fn json(&self) -> Value {
        let snapshot = &self.look.snapshot;
        let pid = self.look.machine.introduction.pid;
        let mut json = walk_json(pid, self.task, self.geometry, &self.walk);
        json["node"] = self.mapping().map_or(Value::Null, |mapping| node_json(snapshot, &mapping));
        let host = self.host.as_ref().and_then(|host| host.as_ref().ok());
        json["host"] = host.map_or(Value::Null, HostPage::json);
        let statistics = self.look.machine.statistics();
        let is_kvm = self.engine() == "kvm";
        json["second_level"] =
            if is_kvm { second_level::json(self.second_level, &statistics) } else { Value::Null };
        json["kvm"] = match statistics[..] {
            [] => Value::Null,
            _ => statistics.into_iter().map(|found| (found.name, json!(found.value))).collect(),
        };
        json
    }
}

/// A mapping's node, and what it was derived from.
pub(super) fn node_words(snapshot: &Snapshot, mapping: &Mapping) -> String {
    let source = source_words(snapshot, snapshot.source(mapping));
    match snapshot.origin(mapping) {
        Some(Origin { parent: Some(parent), .. }) => {
            let (node, parent) = (mapping.node, snapshot.path(&parent));
            format!("{node:#x}: from {source}, derived from {parent}")
        }
        Some(_) => format!("{:#x}: {source}", mapping.node),
        None => format!("none: {source}"),
    }
}

/// The same as [`node_words`].
pub(super) fn node_json(snapshot: &Snapshot, mapping: &Mapping) -> Value {
    let parent = snapshot.origin(mapping).and_then(|origin| origin.parent);
    json!({
        "index": hex(mapping.node.into()),
        "from": source_json(snapshot, snapshot.source(mapping)),
        "parent": parent.map(|parent| mapping_json(snapshot, &parent)),
    })
}

fn show(out: &mut impl Write, task: &Task, geometry: &Geometry, walk: &Walk) -> io::Result<()> {
    let Geometry { name, entry_size, .. } = geometry;
    let (task_name, address) = (&task.name, walk.address);
    writeln!(out, "{task_name}:{address:#x} on {name}, entries of {entry_size} bytes")?;
    show_steps(out, walk)?;
    match walk.end {
        End::Page(page) => show_page(out, geometry, walk, page),
        _ => writeln!(out, "  ends       {}", end(walk).unwrap_or_default()),
    }
}

/// The entries on the way.
pub(super) fn show_steps(out: &mut impl Write, walk: &Walk) -> io::Result<()> {
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
    Ok(())
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
pub(super) fn end(walk: &Walk) -> Option<String> {
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

/// The same as [`show_steps`].
pub(super) fn levels_json(walk: &Walk) -> Value {
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
    walk.steps.iter().map(level).collect()
}

fn walk_json(pid: u32, task: &Task, geometry: &Geometry, walk: &Walk) -> Value {
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
        "levels": levels_json(walk),
        "page": page,
        "ends": end(walk),
    })
}

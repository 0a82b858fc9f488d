//! `glass map`: what a task has, merged like pmap's lines.

use super::{
    JSON_VERSION,
    args::MapArgs,
    look::Look,
    words::{counted, hex, letters, object_words, short, source_json, source_words},
};
use anyhow::Result;
use machine::human;
use observe::inspect::{Mapping, Range, Snapshot, Target, Task};
use protocol::{PAGE_ORDER, PAGE_SIZE, flexpage::Rights, introspection::mapping::Resource};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Pages on a line of `-x`.
const LETTERS: u64 = 64;

/// Shows a task's memory, or its ports, or its capabilities.
pub fn map(args: &MapArgs) -> Result<u8> {
    let look = Look::new(&args.view)?;
    let task = look.task(&args.task)?;
    let snapshot = &look.snapshot;
    let mut out = look.output();
    let resource = match () {
        () if args.ports => Resource::Ports,
        () if args.caps => Resource::Capability,
        () => Resource::Memory,
    };
    if args.view.json {
        let json = map_json(&look, task, resource);
        writeln!(out, "{json}")?;
        return Ok(0);
    }
    match resource {
        Resource::Ports => show_ports(&mut out, snapshot, task)?,
        Resource::Capability => show_capabilities(&mut out, snapshot, task)?,
        _ => show_memory(&mut out, snapshot, task, args.letters)?,
    }
    Ok(0)
}

fn show_memory(
    out: &mut impl Write,
    snapshot: &Snapshot,
    task: &Task,
    letters: bool,
) -> io::Result<()> {
    let ranges = snapshot.ranges(task.number, Resource::Memory);
    let pages: u64 = ranges.iter().map(Range::count).sum();
    let (name, size) = (&task.name, human(pages * PAGE_SIZE as u64));
    writeln!(out, "task {name} ({}): {size} in {}", task.number, counted(ranges.len(), "range"))?;
    if letters {
        return show_letters(out, snapshot, task);
    }
    writeln!(out, "address range                size  pages      rights  accessed  dirty  from")?;
    for range in &ranges {
        let (start, bytes) = (range.first() << PAGE_ORDER, range.count() << PAGE_ORDER);
        let pages = format!("{}x{}", range.mappings.len(), short(1 << range.order));
        writeln!(
            out,
            "{start:#010x}-{:#010x}  {:>7}  {pages:<9}  {:<6}  {:>8}  {:>5}  {}",
            start + (bytes - 1),
            short(bytes),
            self::letters(range.rights),
            range.accessed(),
            range.dirty(),
            source_words(snapshot, range.source),
        )?;
    }
    Ok(())
}

/// A letter for each page, or superpage, in lines that begin on a multiple of their size.
fn show_letters(out: &mut impl Write, snapshot: &Snapshot, task: &Task) -> io::Result<()> {
    writeln!(
        out,
        "D written, A accessed, - neither; small letters and = without the right to write; . nothing"
    )?;
    let mappings = snapshot.mappings_of(task.number, Resource::Memory);
    let line_of =
        |mapping: &Mapping| (mapping.order, mapping.number() / (LETTERS * mapping.count()));
    for line in mappings.chunk_by(|left, right| line_of(left) == line_of(right)) {
        let Some(first) = line.first() else { continue };
        let (order, number) = line_of(first);
        let mut letters = vec!['.'; LETTERS as usize];
        for mapping in line {
            let position = mapping.number() / mapping.count() % LETTERS;
            letters[position as usize] = letter(mapping);
        }
        let groups: Vec<String> = letters.chunks(16).map(|group| group.iter().collect()).collect();
        let (start, size) = ((number * LETTERS) << order, short(1 << order));
        writeln!(out, "{start:#010x} {size:>3}  {}", groups.join(" "))?;
    }
    Ok(())
}

fn letter(mapping: &Mapping) -> char {
    let letter = match (mapping.is_dirty, mapping.is_accessed) {
        (true, _) => 'D',
        (false, true) => 'A',
        (false, false) => '-',
    };
    match (mapping.rights.contains(Rights::WRITE), letter) {
        (true, letter) => letter,
        (false, '-') => '=',
        (false, letter) => letter.to_ascii_lowercase(),
    }
}

fn show_ports(out: &mut impl Write, snapshot: &Snapshot, task: &Task) -> io::Result<()> {
    let ranges = snapshot.ranges(task.number, Resource::Ports);
    let ports: u64 = ranges.iter().map(Range::count).sum();
    let count = counted(ports as usize, "I/O port");
    writeln!(out, "task {} ({}): {count}", task.name, task.number)?;
    if ranges.is_empty() {
        return Ok(());
    }
    writeln!(out, "ports          count  rights  from")?;
    for range in &ranges {
        let (first, count) = (range.first(), range.count());
        let ports = format!("{first:#06x}-{:#06x}", first + (count - 1));
        let (rights, source) = (letters(range.rights), source_words(snapshot, range.source));
        writeln!(out, "{ports}  {count:>5}  {rights:<6}  {source}")?;
    }
    Ok(())
}

fn show_capabilities(out: &mut impl Write, snapshot: &Snapshot, task: &Task) -> io::Result<()> {
    let mappings = snapshot.mappings_of(task.number, Resource::Capability);
    writeln!(out, "task {} ({}): {} capabilities", task.name, task.number, mappings.len())?;
    writeln!(out, "index  rights  from                  object")?;
    for mapping in mappings {
        let Target::Object(slot) = mapping.target else { continue };
        let source = source_words(snapshot, snapshot.source(mapping));
        let object = object_words(snapshot, slot);
        let (index, rights) = (mapping.number(), letters(mapping.rights));
        writeln!(out, "{index:>5}  {rights:<6}  {source:<20}  {object}")?;
    }
    Ok(())
}

fn map_json(look: &Look, task: &Task, resource: Resource) -> Value {
    let snapshot = &look.snapshot;
    let ranges = snapshot.ranges(task.number, resource);
    let rows: Vec<Value> = match resource {
        Resource::Memory => ranges.iter().map(|range| memory_json(snapshot, range)).collect(),
        Resource::Ports => ranges.iter().map(|range| ports_json(snapshot, range)).collect(),
        _ => snapshot
            .mappings_of(task.number, resource)
            .iter()
            .map(|mapping| capability_json(snapshot, mapping))
            .collect(),
    };
    let kind = match resource {
        Resource::Memory => "memory",
        Resource::Ports => "ports",
        _ => "capabilities",
    };
    json!({
        "v": JSON_VERSION,
        "pid": look.machine.introduction.pid,
        "task": task.number,
        "name": task.name,
        kind: rows,
    })
}

fn memory_json(snapshot: &Snapshot, range: &Range<'_>) -> Value {
    json!({
        "address": hex(range.first() << PAGE_ORDER),
        "size": range.count() << PAGE_ORDER,
        "page_size": 1u64 << range.order,
        "mappings": range.mappings.len(),
        "rights": letters(range.rights),
        "accessed": range.accessed(),
        "dirty": range.dirty(),
        "letters": range.mappings.iter().map(letter).collect::<String>(),
        "from": source_json(snapshot, range.source),
    })
}

fn ports_json(snapshot: &Snapshot, range: &Range<'_>) -> Value {
    json!({
        "first": hex(range.first()),
        "count": range.count(),
        "rights": letters(range.rights),
        "from": source_json(snapshot, range.source),
    })
}

fn capability_json(snapshot: &Snapshot, mapping: &Mapping) -> Value {
    let object = match mapping.target {
        Target::Object(slot) => object_words(snapshot, slot),
        _ => String::new(),
    };
    json!({
        "index": mapping.number(),
        "rights": letters(mapping.rights),
        "object": object,
        "from": source_json(snapshot, snapshot.source(mapping)),
    })
}

//! `glass map`: what a task has, merged like pmap's lines.

use super::{
    JSON_VERSION,
    args::MapArgs,
    look::{Look, Output},
    stream::Stream,
    words::{counted, hex, letters, object_words, short, source_json, source_words},
};
use crate::attach::Attached;
use anyhow::Result;
use machine::human;
use observe::inspect::{Mapping, Noted, Range, Ranges, Snapshot, Source, Target, Task};
use protocol::{PAGE_ORDER, PAGE_SIZE, flexpage::Rights, introspection::mapping::Resource};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Pages on a line of `-x`.
const LETTERS: u64 = 64;

/// Shows a task's memory, or its ports, or its capabilities.
pub fn map(args: &MapArgs) -> Result<u8> {
    let machine = Attached::find(args.view.machine)?;
    let look = Look::new(&machine, &args.view)?;
    let task = look.task(&args.task)?;
    let resource = match () {
        () if args.ports => Resource::Ports,
        () if args.caps => Resource::Capability,
        () => Resource::Memory,
    };
    let had = Had { look: &look, task, ranges: look.snapshot.ranges(task.number, resource) };
    look.show(|out| match resource {
        _ if args.view.json => had.json(out, resource),
        Resource::Ports => had.ports(out),
        Resource::Capability => had.capabilities(out),
        _ if args.letters => had.letters(out),
        _ => had.memory(out),
    })
}

/// What a task has of one kind.
struct Had<'l> {
    look: &'l Look<'l>,
    task: &'l Task,
    ranges: Ranges<'l>,
}

impl Had<'_> {
    fn introduction(&self, out: &mut Output) -> io::Result<()> {
        let (mut pages, mut ranges) = (0, 0);
        for range in self.ranges.iter() {
            (pages, ranges) = (pages + range.count, ranges + 1);
        }
        let (name, size) = (&self.task.name, human(pages * PAGE_SIZE as u64));
        let number = self.task.number;
        writeln!(out, "task {name} ({number}): {size} in {}", counted(ranges, "range"))
    }

    fn memory(&self, out: &mut Output) -> io::Result<()> {
        self.introduction(out)?;
        writeln!(
            out,
            "address range                size  pages      rights  accessed  dirty  from"
        )?;
        for range in self.ranges.iter() {
            let (start, bytes) = (range.first << PAGE_ORDER, range.count << PAGE_ORDER);
            let pages = format!("{}x{}", range.mappings(), short(1 << range.order));
            writeln!(
                out,
                "{start:#010x}-{:#010x}  {:>7}  {pages:<9}  {:<6}  {:>8}  {:>5}  {}",
                start + (bytes - 1),
                short(bytes),
                letters(range.rights),
                range.accessed(),
                range.dirty(),
                source_words(&self.look.snapshot, range.source),
            )?;
        }
        Ok(())
    }

    /// A letter for each page, or superpage, in lines that begin on a multiple of their size.
    fn letters(&self, out: &mut Output) -> io::Result<()> {
        self.introduction(out)?;
        writeln!(
            out,
            "D written, A accessed, - neither; small letters and = without the right to write; . nothing"
        )?;
        let mut mappings = self.ranges.mappings().map(|(mapping, _)| mapping).peekable();
        while let Some(first) = mappings.peek() {
            let line = line_of(first);
            let mut letters = ['.'; LETTERS as usize];
            while let Some(mapping) = mappings.next_if(|mapping| line_of(mapping) == line) {
                let position = mapping.number() / mapping.count() % LETTERS;
                letters[position as usize] = letter(mapping.rights, mapping.noted());
            }
            let groups: Vec<String> =
                letters.chunks(16).map(|group| group.iter().collect()).collect();
            let (order, number) = line;
            let (start, size) = ((number * LETTERS) << order, short(1 << order));
            writeln!(out, "{start:#010x} {size:>3}  {}", groups.join(" "))?;
        }
        Ok(())
    }

    fn ports(&self, out: &mut Output) -> io::Result<()> {
        let ports: u64 = self.ranges.iter().map(|range| range.count).sum();
        let count = counted(ports as usize, "I/O port");
        writeln!(out, "task {} ({}): {count}", self.task.name, self.task.number)?;
        if ports == 0 {
            return Ok(());
        }
        writeln!(out, "ports          count  rights  from")?;
        for Range { first, count, rights, source, .. } in self.ranges.iter() {
            let ports = format!("{first:#06x}-{:#06x}", first + (count - 1));
            let (rights, source) = (letters(rights), source_words(&self.look.snapshot, source));
            writeln!(out, "{ports}  {count:>5}  {rights:<6}  {source}")?;
        }
        Ok(())
    }

    fn capabilities(&self, out: &mut Output) -> io::Result<()> {
        let (snapshot, count) = (&self.look.snapshot, self.ranges.mappings().count());
        writeln!(out, "task {} ({}): {count} capabilities", self.task.name, self.task.number)?;
        writeln!(out, "index  rights  from                  object")?;
        for (mapping, source) in self.ranges.mappings() {
            let Target::Object(slot) = mapping.target else { continue };
            let source = source_words(snapshot, source);
            let object = object_words(snapshot, slot);
            let (index, rights) = (mapping.number(), letters(mapping.rights));
            writeln!(out, "{index:>5}  {rights:<6}  {source:<20}  {object}")?;
        }
        Ok(())
    }

    fn json(&self, out: &mut Output, resource: Resource) -> io::Result<()> {
        let snapshot = &self.look.snapshot;
        let head = json!({
            "v": JSON_VERSION,
            "pid": self.look.machine.introduction.pid,
            "task": self.task.number,
            "name": self.task.name,
        });
        let mut stream = Stream::new(out);
        match resource {
            Resource::Memory => {
                stream.open(&head, "memory")?;
                for range in self.ranges.iter() {
                    stream.item(&memory_json(snapshot, &range))?;
                }
            }
            Resource::Ports => {
                stream.open(&head, "ports")?;
                for range in self.ranges.iter() {
                    stream.item(&ports_json(snapshot, &range))?;
                }
            }
            _ => {
                stream.open(&head, "capabilities")?;
                for (mapping, source) in self.ranges.mappings() {
                    stream.item(&capability_json(snapshot, &mapping, source))?;
                }
            }
        }
        stream.close(&json!({}))?;
        writeln!(out)
    }
}

/// The line of letters that a mapping stands in.
fn line_of(mapping: &Mapping) -> (u32, u64) {
    (mapping.order, mapping.number() / (LETTERS * mapping.count()))
}

fn letter(rights: Rights, noted: Noted) -> char {
    let letter = match (noted.is_dirty, noted.is_accessed) {
        (true, _) => 'D',
        (false, true) => 'A',
        (false, false) => '-',
    };
    match (rights.contains(Rights::WRITE), letter) {
        (true, letter) => letter,
        (false, '-') => '=',
        (false, letter) => letter.to_ascii_lowercase(),
    }
}

fn memory_json(snapshot: &Snapshot<'_>, range: &Range) -> Value {
    let letters_of = |noted: &Noted| letter(range.rights, *noted);
    json!({
        "address": hex(range.first << PAGE_ORDER),
        "size": range.count << PAGE_ORDER,
        "page_size": 1u64 << range.order,
        "mappings": range.mappings(),
        "rights": letters(range.rights),
        "accessed": range.accessed(),
        "dirty": range.dirty(),
        "letters": range.noted.iter().map(letters_of).collect::<String>(),
        "from": source_json(snapshot, range.source),
    })
}

fn ports_json(snapshot: &Snapshot<'_>, range: &Range) -> Value {
    json!({
        "first": hex(range.first),
        "count": range.count,
        "rights": letters(range.rights),
        "from": source_json(snapshot, range.source),
    })
}

fn capability_json(snapshot: &Snapshot<'_>, mapping: &Mapping, source: Source) -> Value {
    let object = match mapping.target {
        Target::Object(slot) => object_words(snapshot, slot),
        _ => String::new(),
    };
    json!({
        "index": mapping.number(),
        "rights": letters(mapping.rights),
        "object": object,
        "from": source_json(snapshot, source),
    })
}

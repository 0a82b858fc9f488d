//! What to say of a guest that did not end by itself.

use crate::{follow::Ram, guest::Guest, source_lines::SourceLines};
use machine::{CpuState, Crash, Memory};
use observe::{
    Observer, Printer, Style,
    backtrace::{MOST_FRAMES, Processor, backtrace},
    inspect,
    symbols::{Image, Location},
    text::shown_bytes,
};
use protocol::introspection::{Header, TaskRecord, ThreadState, last_words::LastWords};
use std::{collections::VecDeque, iter, sync::Arc};

/// Finds out where a processor was.
#[derive(Debug)]
pub struct Locator<'a> {
    /// What was booted, with its symbols.
    pub guest: &'a Guest,
    /// Where source lines are looked up.
    pub source_lines: Arc<SourceLines>,
    /// The guest's RAM.
    pub memory: Memory,
    /// Where the kernel's introspection header is.
    pub header: Option<u64>,
    /// Rate of the guest's time stamps.
    pub ticks_per_second: u64,
}

impl Locator<'_> {
    /// `kernel: main+0x12 (src/main.rs:7)`
    pub fn place(&self, cpu: &CpuState) -> String {
        let address = cpu.instruction_pointer();
        let images = self.guest.images(self.source_lines.clone());
        let image = if cpu.in_kernel() {
            images.kernel()
        } else {
            self.task_image(cpu.page_table()).and_then(|module| images.module(module))
        };
        let Some(image) = image else { return format!("{address:#x}") };
        described(image, &image.locate(address))
    }

    /// The boot module of the task that has this page table.
    fn task_image(&self, page_table: u64) -> Option<u32> {
        let header: Header = self.memory.read_plain(self.header?).ok()?;
        let tasks = header.tasks;
        let address = |index: u64| tasks.address.checked_add(index.checked_mul(tasks.stride)?);
        // The guest wrote the count: it is not believed.
        (0..tasks.count.min(u64::from(u16::MAX)))
            .map_while(|index| self.memory.read_plain::<TaskRecord>(address(index)?).ok())
            .find(|task| task.state != 0 && task.page_table == page_table)
            .and_then(|task| task.image.checked_sub(1))
    }
}

/// `0x401012 words`main+0x12 (src/main.rs:7)`
fn described(image: &Image, Location { address, symbol }: &Location) -> String {
    let name = image.name();
    let Some(symbol) = symbol else { return format!("{address:#x} ({name}, no symbol)") };
    match &symbol.source {
        Some(source) => format!("{address:#x} {name}`{symbol} ({source})"),
        None => format!("{address:#x} {name}`{symbol}"),
    }
}

/// How many of the last events are shown of a crash, and of a kernel that has panicked.
const LAST_EVENTS: usize = 5;
const LAST_EVENTS_OF_PANIC: usize = 32;

/// What the guest's memory tells where the processor's registers do not: who ran, and what happened last.
fn left_behind(locator: &Locator<'_>, most_events: usize) -> Vec<String> {
    let Some(header) = locator.header else { return Vec::new() };
    let ram = Ram(locator.memory.clone());
    let mut lines: Vec<_> =
        running(&ram, header).into_iter().map(|line| format!("  ran   {line}")).collect();
    let events = last_events(&ram, header, locator, most_events);
    if !events.is_empty() {
        lines.push("  last events".to_owned());
        lines.extend(events.into_iter().map(|event| format!("    {event}")));
    }
    lines
}

/// The task whose page table is loaded, and those of its threads that could run.
fn running(ram: &Ram, header: u64) -> Option<String> {
    let guest = inspect::Guest::open(ram, header).ok()?;
    let loaded = guest.loaded_page_table()?;
    let task = guest.tasks().into_iter().find(|task| task.page_table == loaded)?;
    let name = &task.name;
    let ready = task.threads.iter().filter(|thread| thread.state == Some(ThreadState::Ready));
    let ready: Vec<_> = ready
        .map(|thread| match &thread.name {
            Some(thread) => format!("{name}/{thread}"),
            None => name.clone(),
        })
        .collect();
    Some(match &ready[..] {
        [] => format!("in the address space of {name}, none of whose threads was ready"),
        [thread] => format!("{thread}, or the kernel in its address space"),
        threads => {
            format!("in the address space of {name}: one of {}, or the kernel", threads.join(", "))
        }
    })
}

/// The last events of the trace, a line each, the latest one last.
fn last_events(ram: &Ram, header: u64, locator: &Locator<'_>, most: usize) -> Vec<String> {
    let images = locator.guest.images(locator.source_lines.clone());
    let mut observer = Observer::new(ram.clone(), header, images, locator.ticks_per_second);
    let mut shown = VecDeque::new();
    // What cannot be read is not shown: this only adds to a report. The guest has stopped, so there
    // is no more than one ring to read.
    let _ = observer.finish(&mut || true, &mut |event| {
        let mut text = Vec::new();
        // A vector has room for everything.
        let _ = Printer::new(Style::Flat, false, &mut text).event(event);
        shown.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
        let surplus = shown.len().saturating_sub(most);
        shown.drain(..surplus);
    });
    shown.into()
}

/// The report on a kernel that has panicked, of several lines; `None` if it has not.
pub fn panic(locator: &Locator<'_>) -> Option<Vec<String>> {
    let header: Header = locator.memory.read_plain(locator.header?).ok()?;
    if header.panicked == 0 {
        return None;
    }
    let mut lines = vec!["the kernel has panicked: that is a bug of it".to_owned()];
    if let Ok(words) = locator.memory.read_plain::<LastWords>(header.panicked) {
        lines.extend(last_words(&words, header.machine, locator));
    }
    lines.extend(left_behind(locator, LAST_EVENTS_OF_PANIC));
    Some(lines)
}

/// What a kernel that has panicked said, where it was, and who had called that.
fn last_words(words: &LastWords, machine: u32, locator: &Locator<'_>) -> Vec<String> {
    let length = usize::try_from(words.message_length).unwrap_or(usize::MAX);
    let message = &words.message[..length.min(words.message.len())];
    let mut lines = vec![format!("  said  {}", shown_bytes(message))];
    let images = locator.guest.images(locator.source_lines.clone());
    let (Some(processor), Some(kernel)) = (Processor::of_machine(machine), images.kernel()) else {
        return lines;
    };
    let ram = Ram(locator.memory.clone());
    let places = backtrace(&ram, processor, words, kernel);
    let labels = iter::once("at").chain(iter::repeat("from"));
    let described = places.iter().map(|place| described(kernel, place));
    lines.extend(labels.zip(described).map(|(label, place)| format!("  {label:<4}  {place}")));
    if places.len() == MOST_FRAMES {
        lines.push("  from  and so on".to_owned());
    }
    lines
}

/// The report on a crash, of several lines.
pub fn crash(crash: &Crash, locator: &Locator<'_>) -> Vec<String> {
    let mut lines = vec![format!("the guest cannot go on: {}", crash.cause)];
    match &crash.cpu {
        Some(cpu) => {
            lines.push(format!("  at  {}", locator.place(cpu)));
            lines.extend(cpu.to_string().lines().map(|line| format!("  {line}")));
        }
        None => lines.extend(left_behind(locator, LAST_EVENTS)),
    }
    lines
}

//! What to say of a guest that did not end by itself.

use crate::guest::Guest;
use machine::{CpuState, Crash, Memory};
use observe::symbols::Location;
use protocol::introspection::{Header, TaskRecord};

/// Finds out where a processor was.
#[derive(Debug)]
pub struct Locator<'a> {
    /// What was booted, with its symbols.
    pub guest: &'a Guest,
    /// The guest's RAM.
    pub memory: Memory,
    /// Where the kernel's introspection header is.
    pub header: Option<u64>,
}

impl Locator<'_> {
    /// `kernel: main+0x12 (src/main.rs:7)`
    pub fn place(&self, cpu: &CpuState) -> String {
        let address = cpu.instruction_pointer();
        let images = self.guest.images();
        let image = if cpu.in_kernel() {
            images.kernel()
        } else {
            self.task_image(cpu.page_table()).and_then(|module| images.module(module))
        };
        let Some(image) = image else { return format!("{address:#x}") };
        let Location { symbol, .. } = image.locate(address);
        let name = image.name();
        let Some(symbol) = symbol else { return format!("{address:#x} ({name}, no symbol)") };
        match &symbol.source {
            Some(source) => format!("{address:#x} {name}`{symbol} ({source})"),
            None => format!("{address:#x} {name}`{symbol}"),
        }
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

/// The report on a crash, of several lines.
pub fn crash(crash: &Crash, locator: &Locator<'_>) -> Vec<String> {
    let mut lines = vec![format!("the guest cannot go on: {}", crash.cause)];
    if let Some(cpu) = &crash.cpu {
        lines.push(format!("  at  {}", locator.place(cpu)));
        lines.extend(cpu.to_string().lines().map(|line| format!("  {line}")));
    }
    lines
}

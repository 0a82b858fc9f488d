//! A running guest as its kernel's tables show it at this moment, without a trace.
//!
//! | module | what |
//! |---|---|
//! | this one | tasks and threads |
//! | `snapshot`, filled by `reader` | all tables |
//! | `pool`, `frame`, `mapping`, `nodes`, `forest` | what it is made of: the kernel's frames, those with entries, what they map, the nodes of that, their trees |
//! | `ports` | what the processor was told of I/O ports |
//! | `ranges`, `tree` | mappings by task, and by what they map |
//! | [`check`] | whether what the kernel promises is so |

pub mod check;
mod forest;
mod frame;
#[cfg(test)]
mod made;
mod mapping;
mod nodes;
mod pool;
mod ports;
mod ranges;
mod reader;
mod snapshot;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_trees;
mod tree;

pub use mapping::{Mapping, Noted, Target, Unit};
pub use ports::ProcessorPorts;
pub use ranges::{Range, Ranges, Source};
pub use snapshot::{Origin, Snapshot};
pub use tree::{Branch, Totals, TreeStep, Unmap, Unmapping};

use crate::{
    memory::{GuestMemory, OutsideMemory, read_value},
    names::printable,
    paging::{End, Geometry, Walk},
};
use protocol::{
    introspection::{
        HEADER_MAGIC, HEADER_VERSION, Header, NOBODY, PortCache, SET_ASIDE, Table, TaskRecord,
        ThreadRecord, ThreadState,
    },
    kip::{Clock, KIP_MAGIC, KernelInfoPage},
    layout::KERNEL_INFO_PAGE,
};
use thiserror::Error;

/// Why there is nothing to see.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InspectError {
    /// The kernel's ELF note points nowhere.
    #[error("the kernel's introspection header is not in memory: {0}")]
    Header(OutsideMemory),
    /// The kernel has not come so far, or has overwritten its header.
    #[error("the kernel has no valid introspection header yet; try again in a moment")]
    NotReady,
    /// The kernel is older or newer than this tool.
    #[error(
        "the kernel's introspection header has version {0}, this tool reads version \
         {HEADER_VERSION}; use a kernel and a tool of the same release"
    )]
    Version(u32),
    /// An architecture whose page tables are unknown.
    #[error("the kernel's header names ELF machine {0}, which is neither amd64 nor ia32")]
    Machine(u32),
}

/// A guest to look into. Everything is read anew each time: the guest runs on.
#[derive(Clone, Copy)]
pub struct Guest<'m> {
    memory: &'m dyn GuestMemory,
    header_address: u64,
    header: Header,
    geometry: &'static Geometry,
}

/// The most tasks, threads or factories that are believed: twice as many as the kernel has at most.
const MOST_RECORDS: u16 = 1 << 14;

/// The most gates: the kernel has four for each task that it has room for.
const MOST_GATES: u16 = NOBODY;

impl std::fmt::Debug for Guest<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Guest for {}", self.geometry.name)
    }
}

/// A task that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its index in the kernel's table.
    pub number: u16,
    /// Its name, or its number if it has none.
    pub name: String,
    /// Physical address of its top-level page table.
    pub page_table: u64,
    /// Physical address of the directory of its I/O ports, if it has one.
    pub port_directory: Option<u64>,
    /// The boot module that its image came from.
    pub image: Option<u32>,
    /// Its threads.
    pub threads: Vec<Thread>,
}

/// A thread that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its index in the kernel's table.
    pub number: u16,
    /// Its name, if it has one of its own.
    pub name: Option<String>,
    /// What it does; `None` if that is no state.
    pub state: Option<ThreadState>,
    /// Its priority.
    pub priority: u16,
    /// The thread that it waits for; its pager, after a page fault.
    pub partner: Option<u16>,
    /// Whether it waits for an answer that was set aside: see [`Snapshot::holder_of_reply`].
    pub waits_for_reply: bool,
    /// Until when it waits, in microseconds of the kernel clock, if there is a limit to that.
    pub deadline: Option<u64>,
}

impl<'m> Guest<'m> {
    /// Reads the header.
    pub fn open(memory: &'m dyn GuestMemory, header_address: u64) -> Result<Self, InspectError> {
        let header: Header = read_value(memory, header_address).map_err(InspectError::Header)?;
        if header.magic != HEADER_MAGIC {
            return Err(InspectError::NotReady);
        }
        if header.version != HEADER_VERSION {
            return Err(InspectError::Version(header.version));
        }
        let geometry = Geometry::of_machine(header.machine);
        let geometry = geometry.ok_or(InspectError::Machine(header.machine))?;
        Ok(Self { memory, header_address, header, geometry })
    }

    /// What its page tables look like.
    pub fn geometry(&self) -> &'static Geometry {
        self.geometry
    }

    /// The tasks that are alive, with their threads.
    pub fn tasks(&self) -> Vec<Task> {
        let mut tasks: Vec<Task> =
            entries::<TaskRecord>(self.memory, self.header.tasks, MOST_RECORDS)
                .filter(|(_, record)| record.state != 0)
                .map(|(number, record)| Task {
                    number,
                    name: printable(&record.name).unwrap_or_else(|| format!("task{number}")),
                    page_table: record.page_table,
                    port_directory: (record.port_directory != 0).then_some(record.port_directory),
                    image: record.image.checked_sub(1),
                    threads: Vec::new(),
                })
                .collect();
        let clock = tasks.iter().find_map(|task| self.clock(task));
        let threads = entries::<ThreadRecord>(self.memory, self.header.threads, MOST_RECORDS);
        for (number, record) in threads {
            // Tasks are in the order of their numbers.
            let task = tasks.binary_search_by_key(&record.task, |task| task.number);
            if let (Ok(task), true) = (task, record.state != ThreadState::Unused as u16) {
                tasks[task].threads.push(Thread {
                    number,
                    name: printable(&record.name),
                    state: ThreadState::from_u16(record.state),
                    priority: record.priority,
                    partner: (record.partner < SET_ASIDE).then_some(record.partner),
                    waits_for_reply: record.partner == SET_ASIDE,
                    deadline: clock.and_then(|clock| record.deadline(clock)),
                });
            }
        }
        tasks
    }

    /// The kernel clock, as a task reads it.
    fn clock(&self, task: &Task) -> Option<Clock> {
        let End::Page(page) = self.walk(task, KERNEL_INFO_PAGE as u64).end else { return None };
        let page: KernelInfoPage = read_value(self.memory, page.physical).ok()?;
        (page.magic == KIP_MAGIC).then_some(page.clock)
    }

    /// The page table that the processor works with, as far as the kernel's memory tells: that of the
    /// task that runs.
    pub fn loaded_page_table(&self) -> Option<u64> {
        let cache: PortCache = read_value(self.memory, self.header.port_cache).ok()?;
        read_value(self.memory, cache.loaded_root).ok()
    }

    /// Where an address of a task leads.
    pub fn walk(&self, task: &Task, address: u64) -> Walk {
        Walk::new(self.memory, self.geometry, task.page_table, address)
    }

    /// Where an I/O port of a task leads, if the task has a directory of ports.
    pub fn walk_port(&self, task: &Task, port: u16) -> Option<Walk> {
        let directory = task.port_directory?;
        Some(Walk::of_port(self.memory, self.geometry, directory, port))
    }
}

/// The entries of a table that are in memory. The guest wrote its size: it is not believed.
fn entries<T>(memory: &dyn GuestMemory, table: Table, most: u16) -> impl Iterator<Item = (u16, T)>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes,
{
    let count = table.count.min(most.into()) as u16;
    (0..count).map_while(move |number| Some((number, entry(memory, table, number)?)))
}

/// An entry of a table, if it is in memory.
fn entry<T>(memory: &dyn GuestMemory, table: Table, number: u16) -> Option<T>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes,
{
    let address = table.stride.checked_mul(number.into())?.checked_add(table.address)?;
    let is_there = u64::from(number) < table.count;
    is_there.then(|| read_value(memory, address).ok()).flatten()
}

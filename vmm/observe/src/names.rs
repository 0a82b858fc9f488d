//! Names of tasks and threads, from the kernel's tables.

use crate::{
    event::Party,
    memory::{GuestMemory, read_value},
    text::shown_bytes,
};
use protocol::{
    boot::trim_name,
    introspection::{Header, NOBODY, Table, TaskRecord, ThreadRecord, record::split_ids},
};
use std::{collections::HashMap, sync::Arc};

/// Parties that are remembered before all are read anew: records may name any.
const MAX_PARTIES: usize = 1 << 16;

/// Reads names when they are first needed after a [`Names::refresh`], and remembers the last ones
/// of tasks and threads that are gone.
#[derive(Debug)]
pub(crate) struct Names {
    tasks: Table,
    threads: Table,
    known_tasks: HashMap<u16, Task>,
    known_parties: HashMap<u64, Entry<Party>>,
    first_threads: HashMap<u16, u16>,
    now: u64,
}

#[derive(Debug, Clone)]
struct Entry<T> {
    read_at: u64,
    value: T,
}

/// What the table says about a task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) name: Arc<str>,
    /// Index of the boot module with its image.
    pub(crate) image: Option<u32>,
    /// Physical address of its top-level page table.
    pub(crate) page_table: u64,
    read_at: u64,
}

impl Names {
    pub(crate) fn new() -> Self {
        let nowhere = Table { address: 0, stride: 0, count: 0 };
        Self {
            tasks: nowhere,
            threads: nowhere,
            known_tasks: HashMap::new(),
            known_parties: HashMap::new(),
            first_threads: HashMap::new(),
            now: 0,
        }
    }

    /// From now on, names are read anew.
    pub(crate) fn refresh(&mut self, header: &Header) {
        self.tasks = header.tasks;
        self.threads = header.threads;
        self.now += 1;
    }

    /// Forgets what is known of a task number because a new task has it.
    pub(crate) fn task_created(&mut self, task: u16) {
        self.known_tasks.remove(&task);
        self.first_threads.remove(&task);
        self.known_parties.retain(|ids, _| split_ids(*ids).0 != task);
    }

    /// A thread as records name it, `task << 16 | thread`.
    pub(crate) fn party<M: GuestMemory>(&mut self, memory: &M, ids: u64) -> Party {
        if let Some(entry) = self.known_parties.get(&ids).filter(|entry| entry.read_at == self.now)
        {
            return entry.value.clone();
        }
        let value = self.read_party(memory, ids);
        if self.known_parties.len() >= MAX_PARTIES {
            self.known_parties.clear();
        }
        self.known_parties.insert(ids, Entry { read_at: self.now, value: value.clone() });
        value
    }

    fn read_party<M: GuestMemory>(&mut self, memory: &M, ids: u64) -> Party {
        let (task, thread) = split_ids(ids);
        if task == NOBODY {
            return Party { task, thread, task_name: "kernel".into(), name: "kernel".into() };
        }
        let task_name = self.task(memory, task).name;
        if thread == NOBODY {
            return Party { task, thread, name: Arc::clone(&task_name), task_name };
        }
        let first_thread = *self.first_threads.entry(task).or_insert(thread);
        let name = match self.thread_name(memory, thread) {
            Some(own) => format!("{task_name}/{own}").into(),
            None if thread == first_thread => Arc::clone(&task_name),
            None => format!("{task_name}/thread{thread}").into(),
        };
        Party { task, thread, task_name, name }
    }

    /// A task as the table has it.
    pub(crate) fn task<M: GuestMemory>(&mut self, memory: &M, task: u16) -> Task {
        let known = self.known_tasks.get(&task);
        if let Some(known) = known.filter(|known| known.read_at == self.now) {
            return known.clone();
        }
        let mut current = match read_entry::<TaskRecord, M>(memory, self.tasks, task) {
            Some(record) if record.state != 0 => Task {
                name: printable(&record.name).unwrap_or_else(|| format!("task{task}")).into(),
                image: record.image.checked_sub(1),
                page_table: record.page_table,
                read_at: 0,
            },
            _ => known.cloned().unwrap_or_else(|| Task {
                name: format!("task{task}").into(),
                image: None,
                page_table: 0,
                read_at: 0,
            }),
        };
        current.read_at = self.now;
        self.known_tasks.insert(task, current.clone());
        current
    }

    fn thread_name<M: GuestMemory>(&self, memory: &M, thread: u16) -> Option<String> {
        let record: ThreadRecord = read_entry(memory, self.threads, thread)?;
        if record.state == 0 { None } else { printable(&record.name) }
    }
}

/// Entry `index` of a table, if the table has it.
fn read_entry<T, M>(memory: &M, table: Table, index: u16) -> Option<T>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes,
    M: GuestMemory,
{
    let index = u64::from(index);
    if index >= table.count {
        return None;
    }
    let address = table.stride.checked_mul(index)?.checked_add(table.address)?;
    read_value(memory, address).ok()
}

/// A name without padding, as it is shown. `None` if it is empty.
pub(crate) fn printable(name: &[u8]) -> Option<String> {
    Some(shown_bytes(trim_name(name))).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeGuest, STRIDE, TASKS};
    use protocol::introspection::record::ids;

    fn name(names: &mut Names, guest: &FakeGuest, ids: u64) -> String {
        names.party(guest, ids).to_string()
    }

    fn refreshed(guest: &FakeGuest) -> Names {
        let mut names = Names::new();
        names.refresh(&guest.header());
        names
    }

    #[test]
    fn first_threads_go_by_their_task_and_others_by_both() {
        let guest = FakeGuest::new(4);
        guest.task(2, "pager", 0, 0);
        guest.thread(4, 2, "");
        guest.thread(5, 2, "worker");
        guest.thread(6, 2, "");
        let mut names = refreshed(&guest);
        assert_eq!(name(&mut names, &guest, ids(2, NOBODY)), "pager");
        assert_eq!(name(&mut names, &guest, ids(2, 4)), "pager");
        assert_eq!(name(&mut names, &guest, ids(2, 5)), "pager/worker");
        assert_eq!(name(&mut names, &guest, ids(2, 6)), "pager/thread6");
        assert_eq!(name(&mut names, &guest, ids(NOBODY, NOBODY)), "kernel");
        assert_eq!(name(&mut names, &guest, ids(9, 9)), "task9");
        assert_eq!(name(&mut names, &guest, ids(60000, 60000)), "task60000");
    }

    #[test]
    fn names_change_with_a_refresh_and_outlive_their_tasks() {
        let guest = FakeGuest::new(4);
        guest.task(2, "", 0, 0);
        let mut names = refreshed(&guest);
        assert_eq!(name(&mut names, &guest, ids(2, 4)), "task2");
        guest.task(2, "late", 7, 0x5000);
        assert_eq!(name(&mut names, &guest, ids(2, 4)), "task2");
        names.refresh(&guest.header());
        assert_eq!(name(&mut names, &guest, ids(2, 4)), "late");
        let task = names.task(&guest, 2);
        assert_eq!((task.image, task.page_table), (Some(6), 0x5000));
        guest.put(TASKS + 2 * STRIDE, &0u32);
        names.refresh(&guest.header());
        assert_eq!(name(&mut names, &guest, ids(2, 4)), "late");
        names.task_created(2);
        assert_eq!(name(&mut names, &guest, ids(2, 4)), "task2");
    }

    #[test]
    fn terminals_are_safe_from_names() {
        let guest = FakeGuest::new(4);
        guest.task(2, "\u{1b}[2Jevil\n", 0, 0);
        guest.thread(4, 2, "");
        assert_eq!(name(&mut refreshed(&guest), &guest, ids(2, 4)), "\\u001b[2Jevil\\u000a");
    }
}

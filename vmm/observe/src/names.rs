//! Names of tasks and threads, from the kernel's tables.

use crate::{
    event::Party,
    memory::{GuestMemory, read_value},
    text::shown_bytes,
};
use protocol::{
    boot::trim_name,
    introspection::{
        Header, NOBODY, Table, TaskRecord, ThreadRecord, UNUSED,
        record::{EndedObject, Ids, Name, NamedObject, ObjectEnded, ObjectNamed},
    },
};
use std::{collections::HashMap, sync::Arc};

/// Parties that are remembered before all are read anew: records may name any.
const MAX_PARTIES: usize = 1 << 16;

/// Reads names when they are first needed after a [`Names::refresh`], and remembers the last ones
/// of tasks and threads that are gone.
///
/// The tables are ahead of the records: what has a number there may have it for less long than the
/// records are old, and may have got its name since. So a name from the records holds until the next
/// one, or the object's end; what comes before is known by the name that is read next, if there is one,
/// or else by the tables. Names and ends in the records tell how many have had a number.
#[derive(Debug)]
pub(crate) struct Names {
    tasks: Table,
    threads: Table,
    known_tasks: HashMap<u16, Task>,
    known_parties: HashMap<Ids, Entry>,
    /// How often a number of tasks, or of threads, went to another one.
    turns: HashMap<Numbered, u64>,
    /// How many objects have had a number by now, where the records tell.
    generations: HashMap<Numbered, u32>,
    /// What those are called that get a name or end further on: by the first such record.
    foreseen: HashMap<(Numbered, u32), Identity>,
    /// What those that have a number now were called by the last record of a name.
    named: HashMap<Numbered, Identity>,
    first_threads: HashMap<u16, u16>,
    /// What threads were called last while they had a task: it may end before they do.
    last_called: HashMap<u16, Arc<str>>,
    now: u64,
}

/// The number of a task or thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Numbered {
    Task(u16),
    Thread(u16),
}

/// What records say of a task or thread.
#[derive(Clone, Copy, Debug)]
struct Identity {
    name: Name,
    /// Index of the boot module with its image.
    image: Option<u32>,
}

#[derive(Debug, Clone)]
struct Entry {
    read_at: u64,
    /// [`Names::turns`] of its task and thread then.
    turns: u64,
    party: Party,
}

/// What the table says about a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
            turns: HashMap::new(),
            generations: HashMap::new(),
            foreseen: HashMap::new(),
            named: HashMap::new(),
            first_threads: HashMap::new(),
            last_called: HashMap::new(),
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
        self.turn(Numbered::Task(task));
    }

    /// An object ends further on.
    pub(crate) fn foresee_end(&mut self, ended: &ObjectEnded) {
        if let Some((numbered, identity)) = identity(ended) {
            self.foresee(numbered, ended.generation, identity);
        }
    }

    /// An object gets a name further on.
    pub(crate) fn foresee_name(&mut self, who: Ids, named: &ObjectNamed) {
        let (numbered, identity) = named_identity(who, named);
        self.foresee(numbered, named.generation, identity);
    }

    fn foresee(&mut self, numbered: Numbered, generation: u32, identity: Identity) {
        self.generations.entry(numbered).or_insert(generation);
        self.foreseen.entry((numbered, generation)).or_insert(identity);
    }

    /// Records are missing before those that were foreseen: who came before them is not known.
    pub(crate) fn forget_foreseen(&mut self) {
        self.foreseen.clear();
    }

    /// An object got a name: it has its number, whoever the tables say has it later.
    pub(crate) fn object_named(&mut self, who: Ids, named: &ObjectNamed) {
        let (numbered, identity) = named_identity(who, named);
        self.foreseen.remove(&(numbered, named.generation));
        self.generations.insert(numbered, named.generation);
        self.named.insert(numbered, identity);
        if let Numbered::Task(task) = numbered {
            self.known_tasks.remove(&task);
        }
        self.turn(numbered);
    }

    /// An object has ended: what has its number from now on is another one.
    pub(crate) fn object_ended(&mut self, ended: &ObjectEnded) {
        let Some((numbered, _)) = identity(ended) else { return };
        self.foreseen.remove(&(numbered, ended.generation));
        self.named.remove(&numbered);
        self.generations.insert(numbered, ended.generation.saturating_add(1));
        match numbered {
            Numbered::Task(task) => self.task_created(task),
            Numbered::Thread(thread) => {
                self.last_called.remove(&thread);
                self.turn(numbered);
            }
        }
    }

    /// Who has a number is looked up anew.
    fn turn(&mut self, numbered: Numbered) {
        *self.turns.entry(numbered).or_default() += 1;
    }

    /// Records were lost, and ends may be among them.
    pub(crate) fn gap(&mut self) {
        self.generations.clear();
        self.named.clear();
        self.last_called.clear();
        for (numbered, generation) in self.foreseen.keys() {
            let first = self.generations.entry(*numbered).or_insert(*generation);
            *first = (*first).min(*generation);
        }
    }

    /// A thread as records name it.
    pub(crate) fn party<M: GuestMemory>(&mut self, memory: &M, ids: Ids) -> Party {
        let (task, thread) = (ids.task(), ids.thread());
        let turns = |numbered| self.turns.get(&numbered).copied().unwrap_or(0);
        let turns = turns(Numbered::Task(task)) + turns(Numbered::Thread(thread));
        let has_task = task != NOBODY || thread == NOBODY;
        let is_current =
            |entry: &&Entry| has_task && entry.read_at == self.now && entry.turns == turns;
        if let Some(entry) = self.known_parties.get(&ids).filter(is_current) {
            return entry.party.clone();
        }
        let party = self.read_party(memory, ids);
        if self.known_parties.len() >= MAX_PARTIES {
            self.known_parties.clear();
        }
        let entry = Entry { read_at: self.now, turns, party: party.clone() };
        self.known_parties.insert(ids, entry);
        party
    }

    fn read_party<M: GuestMemory>(&mut self, memory: &M, ids: Ids) -> Party {
        let (task, thread) = (ids.task(), ids.thread());
        match (task, thread) {
            (NOBODY, NOBODY) => {
                return Party { task, thread, task_name: "kernel".into(), name: "kernel".into() };
            }
            (NOBODY, _) => {
                let name = self.name_without_task(memory, thread);
                return Party { task, thread, task_name: "-".into(), name };
            }
            _ => {}
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
        self.last_called.insert(thread, Arc::clone(&name));
        Party { task, thread, task_name, name }
    }

    /// What a thread is called whose task has ended, or that has none yet.
    fn name_without_task<M: GuestMemory>(&self, memory: &M, thread: u16) -> Arc<str> {
        if let Some(name) = self.last_called.get(&thread) {
            return Arc::clone(name);
        }
        self.thread_name(memory, thread).unwrap_or_else(|| format!("thread{thread}")).into()
    }

    /// A task as the table has it.
    pub(crate) fn task<M: GuestMemory>(&mut self, memory: &M, task: u16) -> Task {
        let known = self.known_tasks.get(&task);
        if let Some(known) = known.filter(|known| known.read_at == self.now) {
            return known.clone();
        }
        let numbered = Numbered::Task(task);
        let found = |name: &[u8], image, page_table| Task {
            name: printable(name).unwrap_or_else(|| format!("task{task}")).into(),
            image,
            page_table,
            read_at: self.now,
        };
        let entry = read_entry::<TaskRecord, M>(memory, self.tasks, task)
            .filter(|record| self.is_meant(numbered, record.state, record.generation));
        let alive = entry.filter(|record| record.state != UNUSED);
        let page_table = alive.map_or(0, |record| record.page_table);
        let current = match (self.recorded(numbered), entry, known) {
            (Some(identity), ..) => found(&identity.name, identity.image, page_table),
            (None, Some(record), _) => found(&record.name, record.image.checked_sub(1), page_table),
            (None, None, Some(known)) => Task { read_at: self.now, ..known.clone() },
            (None, None, None) => found(&[], None, 0),
        };
        self.known_tasks.insert(task, current.clone());
        current
    }

    fn thread_name<M: GuestMemory>(&self, memory: &M, thread: u16) -> Option<String> {
        let numbered = Numbered::Thread(thread);
        if let Some(identity) = self.recorded(numbered) {
            return printable(&identity.name);
        }
        read_entry::<ThreadRecord, M>(memory, self.threads, thread)
            .filter(|record| self.is_meant(numbered, record.state.into(), record.generation))
            .and_then(|record| printable(&record.name))
    }

    /// Whether an entry of a table is the object that has a number by now: alive, or just gone.
    fn is_meant(&self, numbered: Numbered, state: u32, generation: u32) -> bool {
        match self.generations.get(&numbered) {
            Some(wanted) => *wanted == generation,
            None => state != UNUSED,
        }
    }

    /// What the records call the object that has a number by now.
    fn recorded(&self, numbered: Numbered) -> Option<&Identity> {
        let foreseen = || {
            let generation = *self.generations.get(&numbered)?;
            self.foreseen.get(&(numbered, generation))
        };
        self.named.get(&numbered).or_else(foreseen)
    }
}

/// What got a name, and which.
fn named_identity(who: Ids, named: &ObjectNamed) -> (Numbered, Identity) {
    let (numbered, image) = match named.object {
        NamedObject::Task { image } => (Numbered::Task(who.task()), image),
        NamedObject::Thread => (Numbered::Thread(who.thread()), None),
    };
    (numbered, Identity { name: named.name, image })
}

/// Which task or thread ended, if it was one.
fn identity(ended: &ObjectEnded) -> Option<(Numbered, Identity)> {
    match ended.object {
        EndedObject::Task { name, image } => {
            Some((Numbered::Task(ended.number), Identity { name, image }))
        }
        EndedObject::Thread { name } => {
            Some((Numbered::Thread(ended.number), Identity { name, image: None }))
        }
        _ => None,
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

    fn name(names: &mut Names, guest: &FakeGuest, ids: Ids) -> String {
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
        assert_eq!(name(&mut names, &guest, Ids::of_task(2)), "pager");
        assert_eq!(name(&mut names, &guest, Ids::new(2, 4)), "pager");
        assert_eq!(name(&mut names, &guest, Ids::new(2, 5)), "pager/worker");
        assert_eq!(name(&mut names, &guest, Ids::new(2, 6)), "pager/thread6");
        assert_eq!(name(&mut names, &guest, Ids::NOBODY), "kernel");
        assert_eq!(name(&mut names, &guest, Ids::new(9, 9)), "task9");
        assert_eq!(name(&mut names, &guest, Ids::new(60000, 60000)), "task60000");
    }

    #[test]
    fn names_change_with_a_refresh_and_outlive_their_tasks() {
        let guest = FakeGuest::new(4);
        guest.task(2, "", 0, 0);
        let mut names = refreshed(&guest);
        assert_eq!(name(&mut names, &guest, Ids::new(2, 4)), "task2");
        guest.task(2, "late", 7, 0x5000);
        assert_eq!(name(&mut names, &guest, Ids::new(2, 4)), "task2");
        names.refresh(&guest.header());
        assert_eq!(name(&mut names, &guest, Ids::new(2, 4)), "late");
        let task = names.task(&guest, 2);
        assert_eq!((task.image, task.page_table), (Some(6), 0x5000));
        guest.put(TASKS + 2 * STRIDE, &0u32);
        names.refresh(&guest.header());
        assert_eq!(name(&mut names, &guest, Ids::new(2, 4)), "late");
        names.task_created(2);
        assert_eq!(name(&mut names, &guest, Ids::new(2, 4)), "task2");
    }

    #[test]
    fn terminals_are_safe_from_names() {
        let guest = FakeGuest::new(4);
        guest.task(2, "\u{1b}[2Jevil\n", 0, 0);
        guest.thread(4, 2, "");
        assert_eq!(name(&mut refreshed(&guest), &guest, Ids::new(2, 4)), "\\u001b[2Jevil\\u000a");
    }
}

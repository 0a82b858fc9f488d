//! Rules about the records of tasks, threads, factories, gates and interrupts.

use super::{Report, Rule, factory_path};
use crate::{inspect::Snapshot, paging::TABLE_SIZE};
use protocol::{
    boot::trim_name,
    introspection::{
        ALIVE, Header, NOBODY, SET_ASIDE, Table, TaskRecord, ThreadRecord, ThreadState, UNUSED,
        mapping::{FactoryRecord, GateRecord, InterruptRecord, LifeState},
    },
    syscall::{Limit, Timeout},
};

pub(super) fn check(snapshot: &Snapshot, report: &mut Report) {
    let header = &snapshot.header;
    let sizes = [
        size_of::<TaskRecord>(),
        size_of::<ThreadRecord>(),
        size_of::<FactoryRecord>(),
        size_of::<GateRecord>(),
        size_of::<InterruptRecord>(),
    ];
    for ((name, table, most), record) in snapshot.tables().into_iter().zip(sizes) {
        report.expect(
            is_table(table, record, most, header),
            Rule::Records,
            || format!("table of {name}"),
            || {
                let Table { address, stride, count } = table;
                format!(
                    "{count} entries of {stride} bytes at {address:#x} are no table in the pool"
                )
            },
        );
    }
    for (number, record) in &snapshot.tasks {
        let problem = task_problem(record, snapshot.factories.len());
        report.judge(Rule::Records, || format!("task {number}"), problem);
    }
    for (number, state) in &snapshot.odd_tasks {
        report.judge(
            Rule::Records,
            || format!("task {number}"),
            Some(format!("its state is {state}")),
        );
    }
    for (number, record) in (0..=u16::MAX).zip(&snapshot.threads) {
        let problem = thread_problem(record, snapshot);
        let problem = problem.or_else(|| reply_problem(record, snapshot, number));
        report.judge(Rule::Records, || format!("thread {number}"), problem);
    }
    for (number, record) in (0..=u16::MAX).zip(&snapshot.factories) {
        let problem = factory_problem(record, snapshot, number);
        report.judge(Rule::Records, || factory_path(snapshot, number), problem);
    }
    for (number, record) in snapshot.gates.iter().enumerate() {
        let problem = gate_problem(record, snapshot);
        report.judge(Rule::Records, || format!("gate {number}"), problem);
    }
    for (number, record) in snapshot.interrupts.iter().enumerate() {
        let problem = interrupt_problem(record, snapshot);
        report.judge(Rule::Records, || format!("interrupt {number}"), problem);
    }
}

/// An interrupt is bound to a gate that is there, or to none; what is none is in nothing.
fn interrupt_problem(record: &InterruptRecord, snapshot: &Snapshot) -> Option<String> {
    const KNOWN: u32 = InterruptRecord::OPEN | InterruptRecord::PENDING | InterruptRecord::MISSED;
    let InterruptRecord { state, gate, flags, .. } = *record;
    let bound = snapshot.gates.get(usize::from(gate));
    let is_bound = bound.is_some_and(|gate| u32::from(gate.state) == ALIVE);
    match u32::from(state) {
        UNUSED if (gate, flags) != (NOBODY, 0) => {
            Some(format!("there is no object of it, but it has gate {gate} and flags {flags:#x}"))
        }
        UNUSED => None,
        ALIVE if flags & !KNOWN != 0 => Some(format!("its flags are {flags:#x}")),
        ALIVE if gate == NOBODY || is_bound => None,
        ALIVE => Some(format!("it is bound to gate {gate}, which does not exist")),
        state => Some(format!("its state is {state}")),
    }
}

fn is_table(table: Table, record: usize, most: u16, header: &Header) -> bool {
    let size = table.stride.checked_mul(table.count);
    let end = size.and_then(|size| size.checked_add(table.address));
    let fits = table.address >= header.pool_start && end.is_some_and(|end| end <= header.pool_end);
    fits && table.stride >= record as u64 && table.count <= most.into()
}

fn task_problem(record: &TaskRecord, factories: usize) -> Option<String> {
    let TaskRecord { page_table, reserved, factory, .. } = *record;
    match () {
        () if !is_padded(&record.name) => Some("its name goes on behind its end".to_owned()),
        () if reserved != 0 => Some(format!("its reserved word is {reserved:#x}")),
        () if !page_table.is_multiple_of(TABLE_SIZE) => {
            Some(format!("its page table at {page_table:#x} is on no page boundary"))
        }
        () if usize::from(factory) >= factories => {
            Some(format!("factory {factory} pays for it, which does not exist"))
        }
        () => None,
    }
}

fn thread_problem(record: &ThreadRecord, snapshot: &Snapshot) -> Option<String> {
    let ThreadRecord { state, task, priority, timeout, .. } = *record;
    let Some(known) = ThreadState::from_u16(state) else {
        return Some(format!("its state is {state}"));
    };
    let limit = Timeout(timeout).limit();
    let waits = !matches!(
        known,
        ThreadState::Unused | ThreadState::Inactive | ThreadState::Ready | ThreadState::Stopped
    );
    let partner = snapshot.threads.get(usize::from(record.partner));
    let partner_exists = partner.is_some_and(|partner| partner.state != ThreadState::Unused as u16);
    let task_is_alive = snapshot.task(task).is_some();
    match known {
        ThreadState::Unused => None,
        _ if !is_padded(&record.name) => Some("its name goes on behind its end".to_owned()),
        _ if !matches!(limit, Some(Limit::Never | Limit::Within(_) | Limit::Begun)) => {
            Some(format!("its time limit is {timeout:#x}"))
        }
        _ if limit != Some(Limit::Never)
            && !matches!(known, ThreadState::Sending | ThreadState::Receiving) =>
        {
            Some("its waiting has a time limit, and it waits in no system call".to_owned())
        }
        _ if priority > 255 => Some(format!("its priority is {priority}")),
        // A task that ends leaves its threads behind, stopped.
        ThreadState::Inactive | ThreadState::Stopped if task == NOBODY => None,
        _ if !task_is_alive => Some(format!("it runs in task {task}, which is not alive")),
        _ if waits && record.partner < SET_ASIDE && !partner_exists => {
            Some(format!("it waits for thread {}, which does not exist", record.partner))
        }
        _ => None,
    }
}

/// Somebody has the answer that a thread waits for if that was set aside, or has just dropped it.
fn reply_problem(record: &ThreadRecord, snapshot: &Snapshot, number: u16) -> Option<String> {
    let life = snapshot.life_of_reply(number).unwrap_or_default();
    let is_dropped = life.state == LifeState::Dying as u16;
    let is_lost = record.partner == SET_ASIDE
        && record.state != ThreadState::Unused as u16
        && !is_dropped
        && snapshot.holder_of_reply(number).is_none();
    is_lost.then(|| "it waits for an answer that was set aside, and nobody has that".to_owned())
}

fn factory_problem(record: &FactoryRecord, snapshot: &Snapshot, number: u16) -> Option<String> {
    let FactoryRecord { parent, state, .. } = *record;
    match u32::from(state) {
        UNUSED => None,
        ALIVE if parent == NOBODY || is_older(snapshot, parent, number) => None,
        ALIVE => Some(format!("it was made from factory {parent}, which is not older")),
        state => Some(format!("its state is {state}")),
    }
}

/// Whether a factory is alive, and neither itself nor one of those that it was made from is another one.
fn is_older(snapshot: &Snapshot, factory: u16, other: u16) -> bool {
    let mut next = factory;
    for _ in 0..snapshot.factories.len() {
        let found = snapshot.factories.get(usize::from(next));
        match found.filter(|found| next != other && u32::from(found.state) == ALIVE) {
            Some(found) if found.parent == NOBODY => return true,
            Some(found) => next = found.parent,
            None => return false,
        }
    }
    false
}

/// A gate leads to a thread that is there, or nowhere any more.
fn gate_problem(record: &GateRecord, snapshot: &Snapshot) -> Option<String> {
    let GateRecord { thread, state, .. } = *record;
    let found = snapshot.threads.get(usize::from(thread));
    let exists = found.is_some_and(|found| found.state != ThreadState::Unused as u16);
    match u32::from(state) {
        UNUSED => None,
        ALIVE if exists || thread == NOBODY => None,
        ALIVE => Some(format!("it leads to thread {thread}, which does not exist")),
        state => Some(format!("its state is {state}")),
    }
}

fn is_padded(name: &[u8]) -> bool {
    name[trim_name(name).len()..].iter().all(|byte| *byte == 0)
}

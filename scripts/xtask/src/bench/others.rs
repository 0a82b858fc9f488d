//! What another kernel takes for the same.

/// Its name.
pub const NAME: &str = "seL4";

/// Instructions, measured by the same method, user stubs included.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    /// A page fault.
    pub page_fault: &'static str,
    /// A call and its reply.
    pub ipc_call: &'static str,
    /// The cheapest system call that does nothing, and the cheapest one that does something.
    pub null_syscall: &'static str,
    /// Making a thread and ending it.
    pub thread_cycle: &'static str,
    /// Making a task with a thread and some mappings, which sends a message, and ending it.
    pub task_cycle: &'static str,
}

//! What other kernels take for the same.

/// Their names.
pub const NAMES: [&str; 1] = ["seL4"];

/// Instructions, measured by the same method, user stubs included; in the order of [`NAMES`].
#[derive(Clone, Copy, Debug)]
pub struct Others {
    /// A page fault.
    pub page_fault: [&'static str; 1],
    /// A call and its reply.
    pub ipc_call: [&'static str; 1],
    /// The cheapest system call that does nothing, and the cheapest one that does something.
    pub null_syscall: [&'static str; 1],
}

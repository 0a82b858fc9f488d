//! Measures what the kernel's main operations cost, from user level: a null system call, a call to
//! another task and its answer, a page fault that a pager in another task resolves, mapping,
//! taking mappings back, making threads and tasks and ending them, and exceptions.
//!
//! The image is two programs: with the argument `server` it is pager and server of the other one,
//! `client`, which measures and prints a line of JSON.
#![no_std]
#![no_main]

mod client;
mod cycle;
mod mapping;
mod probe;
mod samples;
mod server;

use runtime::{println, program};

runtime::entry!(main);

fn main() -> i32 {
    let result = match program::arguments() {
        "client" => client::run(),
        "server" => server::run(),
        other => {
            println!("bench: the argument is '{other}', but must be 'client' or 'server'");
            return 2;
        }
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            println!("bench: {error}");
            1
        }
    }
}

//! Time: a thread sleeps, and waits no longer than it wants, for anybody and for a partner that is deaf.
//!
//! The image is two programs: `deaf` takes one message, and then sleeps; `sleeper` is its client.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::time::Duration;
use runtime::{
    Error, Result,
    capability::SERVER,
    ipc, println, program,
    protocol::{error::IpcError, message::MessageTag},
    time,
};

runtime::entry!(main);

const SHORT: Duration = Duration::from_millis(5);
const LONGER: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_millis(200);
/// Far more than the other program takes meanwhile.
const DEAF: Duration = Duration::from_secs(2);

/// So often the timer may come while all sleep: once for the one who wakes, and for what it was set to before.
const INTERRUPTS: u64 = 4;

fn main() -> i32 {
    let result = match program::arguments() {
        "sleeper" => sleeper(),
        "deaf" => deaf(),
        other => {
            println!("sleep: the argument is '{other}', but must be 'sleeper' or 'deaf'");
            return 2;
        }
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            println!("sleep: {error}");
            1
        }
    }
}

/// Hears once.
fn deaf() -> Result<()> {
    ipc::wait()?;
    time::sleep(DEAF)
}

fn sleeper() -> Result<()> {
    let (before, interrupts) = (time::now(), time::interrupts());
    time::sleep(LONG)?;
    let slept = time::now() - before;
    let interrupts = time::interrupts() - interrupts;
    println!("sleep: {} ms have passed: {}", LONG.as_millis(), slept >= LONG);
    println!("sleep: the machine slept too: {}", interrupts <= INTERRUPTS);
    expect("no message came", ipc::wait_within(SHORT).map(|_| ()), IpcError::Timeout)?;
    let server = SERVER.index();
    let answer = ipc::call_within(server, MessageTag::default(), LONGER).map(|_| ());
    expect("the deaf one took the call and gave no answer", answer, IpcError::Timeout)?;
    let sent = ipc::send_within(server, MessageTag::default(), SHORT);
    expect("the deaf one took no other message", sent, IpcError::SendTimeout)
}

/// Says that the time was over, if that is why it failed.
fn expect(what: &str, result: core::result::Result<(), IpcError>, error: IpcError) -> Result<()> {
    match result {
        Err(found) if found == error => {
            println!("sleep: {what}");
            Ok(())
        }
        Err(other) => Err(other.into()),
        Ok(()) => Err(Error::BadAnswer),
    }
}

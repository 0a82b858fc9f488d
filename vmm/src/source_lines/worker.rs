//! A worker: reads what the debug information of one image says, until that is too much for it.

use super::{
    Extent,
    connection::{About, Answer, Connection, Question},
};
use crate::confinement;
use anyhow::{Context, Result};
use observe::symbols::{Frames, SourceLines};
use rustix::{
    param::page_size,
    process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit},
};
use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    thread,
};

/// Its stack, in bytes. The images of this project need a hundredth of it.
const STACK: usize = 8 << 20;

/// The memory that it gets beside the image, in bytes.
const ROOM: u64 = 256 << 20;

/// The processor time that it gets in all, in seconds.
const TIME: u64 = 5;

/// Answers questions about an image until the clerk ends.
pub fn serve(image: Extent) -> Result<()> {
    end_with_parent()?;
    let elf = read(image)?;
    let connection = Connection::of_standard_output()?;
    // A thread's stack is as large as that, whatever the user's limit is.
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || -> Result<()> {
        let size = size()?;
        confinement::reader(|| limit(size))?;
        answer(&elf, connection)
    })?;
    thread.join().map_err(|_| io::Error::from(io::ErrorKind::Other))?
}

/// Has the kernel end this process when the one that started it ends.
pub fn end_with_parent() -> io::Result<()> {
    // Had it ended before that, its end of the socket is closed, and there is no question.
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

fn read(image: Extent) -> Result<Vec<u8>> {
    let images = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut elf = vec![0; usize::try_from(image.length)?];
    images.read_exact_at(&mut elf, image.start).context("cannot read the image")?;
    Ok(elf)
}

/// How much address space this process has by now, in bytes.
fn size() -> Result<u64> {
    let sizes = fs::read_to_string("/proc/self/statm").context("cannot read its own size")?;
    let pages: u64 = sizes.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(pages * page_size() as u64)
}

/// From now on this process, which has that size, opens nothing, starts nothing, leaves nothing, and
/// has an end.
fn limit(size: u64) -> Result<()> {
    for (resource, most) in [
        (Resource::As, size + ROOM),
        (Resource::Cpu, TIME),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nproc, 0),
        (Resource::Nofile, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn answer(elf: &[u8], mut connection: Connection) -> Result<()> {
    let lines = SourceLines::new(elf);
    let frames = Frames::new(elf);
    while let Some(Question { about, address, .. }) = connection.receive(None)? {
        let answer = match about {
            About::Place => {
                let place = lines.as_ref().and_then(|lines| lines.find(address));
                place.map(|place| Answer::Place(place.into()))
            }
            About::Frame => {
                frames.as_ref().and_then(|frames| frames.find(address)).map(Answer::Frame)
            }
        };
        connection.send(&answer.unwrap_or(Answer::Nothing))?;
    }
    Ok(())
}

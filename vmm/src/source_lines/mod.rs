//! Source lines and call frames, looked up where nothing can be lost.
//!
//! Debug information can be made so that whoever reads it overflows the stack, fills the memory or never
//! ends. So a run does not read it: others do, and all that they can do to the run is to give no answer.
//!
//! | module | process |
//! |---|---|
//! | this one | the run: it asks the clerk, and says once what is wrong with an image |
//! | [`clerk`] | `glass source-lines`: starts a worker for an image that is asked for, and passes on |
//! | [`worker`] | `glass source-lines --image`: reads one image's debug information, within limits |
//! | [`connection`] | questions and answers, each a line |
//!
//! The clerk is there so that a run starts no process any more once its guest runs.

mod clerk;
mod connection;
mod worker;

use crate::{cli::SourceLinesArgs, guest::Guest, message::say};
use anyhow::{Context, Result};
use connection::{About, Answer, Connection, Question};
use observe::symbols::{Frame, ImageId, Lookup, Place};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The hidden verb of clerk and workers.
const VERB: &str = "source-lines";

/// How long an answer of the clerk may take: it waits for its workers not that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where an image lies in the file with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    start: u64,
    length: u64,
}

/// `START+LENGTH`, as on the command line of a worker.
impl fmt::Display for Extent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}+{}", self.start, self.length)
    }
}

impl FromStr for Extent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (start, length) = text.split_once('+').ok_or("write START+LENGTH")?;
        let number = |text: &str| text.parse().map_err(|_| "write two numbers");
        Ok(Self { start: number(start)?, length: number(length)? })
    }
}

/// `glass source-lines`.
pub fn serve(args: &SourceLinesArgs) -> Result<u8> {
    match args.image {
        None => clerk::serve()?,
        Some(image) => worker::serve(image)?,
    }
    Ok(0)
}

/// Source lines of a guest's images.
#[derive(Debug)]
pub struct SourceLines(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    images: HashMap<ImageId, Image>,
    /// To the clerk, until it fails. It ends when this is closed, or else with the run: a run that is
    /// confined could not send it a signal.
    clerk: Option<Connection>,
}

#[derive(Debug)]
struct Image {
    name: String,
    extent: Extent,
    failed: bool,
}

impl SourceLines {
    /// Starts the clerk. Without one a guest runs as well.
    pub fn start(guest: &Guest) -> Self {
        let state = State::start(guest)
            .inspect_err(|error| say(format_args!("no source lines: {error:#}")))
            .unwrap_or_default();
        Self(Mutex::new(state))
    }
}

impl State {
    fn start(guest: &Guest) -> Result<Self> {
        let (file, images) = pack(guest).context("cannot hand the images on (memfd)")?;
        let (clerk, _) = spawn(&[], file.into(), Stdio::null())
            .context("cannot start the process that looks them up")?;
        Ok(Self { images, clerk: Some(clerk) })
    }
}

impl Lookup for SourceLines {
    fn find(&self, image: ImageId, address: u64) -> Option<Place> {
        match self.ask(About::Place, image, address)? {
            Answer::Place(place) => Some(place.into()),
            _ => None,
        }
    }

    fn frame(&self, image: ImageId, address: u64) -> Option<Frame> {
        match self.ask(About::Frame, image, address)? {
            Answer::Frame(frame) => Some(frame),
            _ => None,
        }
    }
}

impl SourceLines {
    fn ask(&self, about: About, image: ImageId, address: u64) -> Option<Answer> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { images, clerk } = &mut *state;
        let image = images.get_mut(&image).filter(|image| !image.failed)?;
        let question = Question { about, image: image.extent.to_string(), address };
        match clerk.as_mut()?.ask(&question, PATIENCE) {
            Ok(Answer::Failed(failure)) => {
                image.failed = true;
                say(format_args!("no source lines of {}: {failure}", image.name));
                None
            }
            Ok(answer) => Some(answer),
            Err(error) => {
                *clerk = None;
                say(format_args!("no source lines from here on: {error}"));
                None
            }
        }
    }
}

/// Writes a guest's images to one file, which then never changes. Equal ones are written once.
fn pack(guest: &Guest) -> io::Result<(File, HashMap<ImageId, Image>)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("images", flags)?);
    let mut images = HashMap::new();
    let mut written: Vec<(&[u8], Extent)> = Vec::new();
    let mut start = 0;
    for (id, name, elf) in guest.elf_files() {
        let same = written.iter().find(|(bytes, _)| *bytes == elf);
        let extent = same.map_or(Extent { start, length: elf.len() as u64 }, |(_, extent)| *extent);
        if same.is_none() {
            file.write_all(elf)?;
            written.push((elf, extent));
            start += extent.length;
        }
        images.insert(id, Image { name: name.to_owned(), extent, failed: false });
    }
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok((file, images))
}

/// Starts this program anew: questions come on its standard output, where its answers go, and the
/// images are its standard input.
fn spawn(arguments: &[&str], images: Stdio, last_words: Stdio) -> io::Result<(Connection, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("glass")
        .arg(VERB)
        .args(arguments)
        .env_clear()
        .stdin(images)
        .stdout(OwnedFd::from(theirs))
        .stderr(last_words)
        // Ctrl-C is for the run; these end with it.
        .process_group(0);
    Ok((Connection::new(ours), command.spawn()?))
}

/// Ends a child if it still runs.
fn end(child: &mut Child) {
    // An error means that it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

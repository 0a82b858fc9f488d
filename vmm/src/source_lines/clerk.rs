//! The clerk: keeps a few workers, and finds out how one has ended.

use super::{
    connection::{Answer, Connection, Failure, Question},
    end, spawn, worker,
};
use crate::confinement;
use anyhow::Result;
use rustix::process::Signal;
use std::{
    collections::HashMap,
    io::{PipeReader, Read, pipe},
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

/// Workers that live at once; of more, the one that was asked longest ago ends.
const MOST_WORKERS: usize = 4;

/// How long an answer may take. A worker's processor time has a limit of its own, which is far shorter.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is read of a worker's last words.
const LAST_WORDS: u64 = 4096;

/// Answers questions until the run ends.
pub fn serve() -> Result<()> {
    worker::end_with_parent()?;
    confinement::clerk();
    let mut connection = Connection::of_standard_output()?;
    let mut workers = Workers::default();
    while let Some(question) = connection.receive(None)? {
        connection.send(&workers.ask(&question))?;
    }
    Ok(())
}

#[derive(Default)]
struct Workers {
    /// The one that was asked last is the last.
    alive: Vec<Worker>,
    /// Images that have cost a worker its life get no other one.
    failed: HashMap<String, Failure>,
}

struct Worker {
    image: String,
    connection: Connection,
    child: Child,
    last_words: PipeReader,
}

impl Workers {
    fn ask(&mut self, question: &Question) -> Answer {
        if let Some(failure) = self.failed.get(&question.image) {
            return Answer::Failed(*failure);
        }
        let known = self.alive.iter().position(|worker| worker.image == question.image);
        let worker = match known {
            Some(position) => Ok(self.alive.remove(position)),
            None => Worker::start(&question.image),
        };
        let answer = worker.map_err(|_| Failure::NotStarted).and_then(|mut worker| {
            let answer = worker.ask(question)?;
            if self.alive.len() == MOST_WORKERS {
                self.alive.remove(0);
            }
            self.alive.push(worker);
            Ok(answer)
        });
        answer.unwrap_or_else(|failure| {
            self.failed.insert(question.image.clone(), failure);
            Answer::Failed(failure)
        })
    }
}

impl Worker {
    fn start(image: &str) -> std::io::Result<Self> {
        let (last_words, writer) = pipe()?;
        let (connection, child) = spawn(&["--image", image], Stdio::inherit(), writer.into())?;
        Ok(Self { image: image.to_owned(), connection, child, last_words })
    }

    fn ask(&mut self, question: &Question) -> Result<Answer, Failure> {
        match self.connection.ask(question, PATIENCE) {
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Failure::TooLong),
            Err(_) => Err(self.end()),
        }
    }

    /// How a worker has ended that does not answer any more.
    fn end(&mut self) -> Failure {
        // It closes its connection only when it ends.
        let Ok(status) = self.child.wait() else { return Failure::Broken };
        let mut said = Vec::new();
        // Its end has closed the pipe. What cannot be read was not said.
        let _ = (&mut self.last_words).take(LAST_WORDS).read_to_end(&mut said);
        meaning(status, &String::from_utf8_lossy(&said))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// What a worker's end says about its image. The words are those of Rust's runtime.
fn meaning(status: ExitStatus, said: &str) -> Failure {
    let ended_by = |signal: Signal| status.signal() == Some(signal.as_raw());
    if ended_by(Signal::XCPU) || ended_by(Signal::KILL) {
        Failure::TooLong
    } else if said.contains("overflowed its stack") {
        Failure::TooDeep
    } else if said.contains("memory allocation of") {
        Failure::TooLarge
    } else {
        Failure::Broken
    }
}

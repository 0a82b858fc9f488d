//! Questions and answers: each is one line of JSON, and none is believed to be short or to come.

use observe::symbols::{Frame, Place, Source};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, Write},
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};
use thiserror::Error;

/// The longest line that is read. A place has two names of 1 KiB, each byte at most six of JSON.
const LONGEST: usize = 16 << 10;

/// What is asked about an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    /// Where it is in the sources.
    Place,
    /// The call frame there.
    Frame,
}

/// What is there?
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// What is asked.
    pub about: About,
    /// Which image: an [`super::Extent`].
    pub image: String,
    /// An address in it.
    pub address: u64,
}

/// This.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The debug information says nothing.
    Nothing,
    /// It says this of the place.
    Place(PlaceBody),
    /// It says this of the call frame.
    Frame(Frame),
    /// It cannot be read.
    Failed(Failure),
}

/// A [`Place`] on its way.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceBody {
    inlined: Option<String>,
    source: Option<(String, u32)>,
}

impl From<Place> for PlaceBody {
    fn from(place: Place) -> Self {
        let Place { inlined, source } = place;
        Self { inlined, source: source.map(|Source { file, line }| (file, line)) }
    }
}

impl From<PlaceBody> for Place {
    fn from(body: PlaceBody) -> Self {
        let PlaceBody { inlined, source } = body;
        Self { inlined, source: source.map(|(file, line)| Source { file, line }) }
    }
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Failure {
    /// The worker's stack was full.
    #[error("its debug information is too deep")]
    TooDeep,
    /// The worker's memory was full.
    #[error("its debug information is too large")]
    TooLarge,
    /// The worker's time was up.
    #[error("reading its debug information took too long")]
    TooLong,
    /// The worker ended in another way.
    #[error("reading its debug information failed")]
    Broken,
    /// There is no worker.
    #[error("the process that reads its debug information cannot be started")]
    NotStarted,
}

/// One end of a pair of sockets.
#[derive(Debug)]
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Over this socket.
    pub fn new(socket: UnixStream) -> Self {
        Self(BufReader::new(socket))
    }

    /// Over this process's standard output, where who started it has put a socket.
    pub fn of_standard_output() -> io::Result<Self> {
        let socket: OwnedFd = rustix::stdio::stdout().try_clone_to_owned()?;
        Ok(Self::new(socket.into()))
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, question: &Question, patience: Duration) -> io::Result<Answer> {
        let deadline = Instant::now() + patience;
        self.0.get_ref().set_write_timeout(Some(patience))?;
        self.send(question)?;
        self.receive(Some(deadline))?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Sends a line.
    pub fn send(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line)
    }

    /// Waits for a line, for ever without a deadline. `None` if the other end is closed.
    pub fn receive<T: DeserializeOwned>(
        &mut self,
        deadline: Option<Instant>,
    ) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.0.get_ref().set_read_timeout(left)?;
            let bytes = match self.0.fill_buf() {
                Ok([]) => return Ok(None),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            if line.len() + end > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            line.extend(&bytes[..end]);
            self.0.consume(end);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question { about: About::Place, image: "0+1".to_owned(), address: u64::MAX }
    }

    /// What comes of an answer of these bytes, after which nothing more is said.
    fn answer(bytes: &[u8]) -> io::Result<Answer> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        Connection::new(ours).ask(&question(), Duration::from_secs(30))
    }

    #[test]
    fn answers_come_back_as_they_were() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut clerk = Connection::new(theirs);
        let body = PlaceBody { inlined: None, source: Some(("a \"\n\u{1b}".repeat(250), 7)) };
        let frame = Frame { register: 7, offset: 16, saved: vec![(16, -8), (6, i64::MIN)] };
        let failed = Answer::Failed(Failure::TooDeep);
        for sent in [Answer::Nothing, Answer::Place(body), Answer::Frame(frame), failed] {
            clerk.send(&sent).unwrap();
            let mut connection = Connection::new(ours.try_clone().unwrap());
            assert_eq!(connection.ask(&question(), Duration::from_secs(30)).unwrap(), sent);
            let asked: Question = clerk.receive(None).unwrap().unwrap();
            assert_eq!((asked.image.as_str(), asked.address), ("0+1", u64::MAX));
        }
    }

    #[test]
    fn answers_that_make_no_sense_are_errors() {
        assert_eq!(answer(b"\"Nothing\"\n").unwrap(), Answer::Nothing);
        for (bytes, kind) in [
            (&b""[..], io::ErrorKind::UnexpectedEof),
            (b"\"Noth", io::ErrorKind::UnexpectedEof),
            (b"\"Everything\"\n", io::ErrorKind::InvalidData),
            (b"\xff\xfe\n", io::ErrorKind::InvalidData),
            (&[b' '; LONGEST + 1], io::ErrorKind::InvalidData),
        ] {
            assert_eq!(answer(bytes).unwrap_err().kind(), kind, "{bytes:?}");
        }
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Connection::new(ours).ask(&question(), Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

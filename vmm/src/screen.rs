//! The only way out: all that `glass` writes for people and programs goes through here.
//!
//! Much of it somebody else wrote: guests, images, other processes, authors of scenarios. So
//! whatever is not plain ([`observe::text`]) is shown as text, and nobody who writes a view has to
//! think of it: the linter refuses `stdout` and `stderr` anywhere else. What is formatted
//! (`writeln!`) is one line, whatever line breaks the text in it has; only bytes that are written as
//! they are may have several.

use observe::text;
use std::{
    fmt::Arguments,
    io::{self, IsTerminal, Stderr, Stdout, StdoutLock, Write},
};

/// For a view, on standard output.
pub fn output() -> Screen<StdoutLock<'static>> {
    Screen::new(stdout().lock(), Passing::Lines)
}

/// For messages, on standard error.
pub fn errors() -> Screen<Stderr> {
    Screen::new(stderr(), Passing::Lines)
}

/// For the trace, on standard error; its colours pass.
pub fn trace() -> Screen<Stderr> {
    Screen::new(stderr(), Passing::Colours)
}

/// For the guest's console, on standard output. Unless that is a terminal, or if `raw`, bytes pass
/// as they are.
pub fn console(raw: bool) -> Screen<Stdout> {
    let stdout = stdout();
    let is_terminal = stdout.is_terminal();
    Screen::new(stdout, if is_terminal && !raw { Passing::Tabs } else { Passing::Everything })
}

/// Whether standard error is a terminal.
pub fn errors_are_on_a_terminal() -> bool {
    stderr().is_terminal()
}

#[expect(clippy::disallowed_methods, reason = "this is the way out")]
fn stdout() -> Stdout {
    io::stdout()
}

#[expect(clippy::disallowed_methods, reason = "this is the way out")]
fn stderr() -> Stderr {
    io::stderr()
}

/// What passes beside plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// Line breaks.
    Lines,
    /// Line breaks, and the sequences that set a terminal's colours.
    Colours,
    /// Line breaks, with or without a carriage return, and tabs.
    Tabs,
    /// All bytes.
    Everything,
}

/// Shows text on `out`. Each write is one write there.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    passing: Passing,
    /// The last bytes, if what they mean depends on those that follow.
    held: Vec<u8>,
}

impl<W: Write> Screen<W> {
    fn new(out: W, passing: Passing) -> Self {
        Self { out, passing, held: Vec::new() }
    }

    fn passes(&self, byte: u8) -> bool {
        match byte {
            b' '..=b'~' | b'\n' => true,
            b'\t' => matches!(self.passing, Passing::Tabs | Passing::Everything),
            _ => self.passing == Passing::Everything,
        }
    }

    /// Adds all of `text`, and of `\r\n` only the line break.
    fn show(&self, shown: &mut String, text: &str) {
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let colour = match self.passing {
                Passing::Colours => colour(rest),
                _ => None,
            };
            let length = match colour {
                Some(colour) => {
                    shown.push_str(colour);
                    colour.len()
                }
                None if self.passing == Passing::Tabs && rest.starts_with("\r\n") => 1,
                None => {
                    match u8::try_from(character) {
                        Ok(byte @ ..0x80) if self.passes(byte) => shown.push(character),
                        _ => text::push(shown, character),
                    }
                    character.len_utf8()
                }
            };
            rest = &rest[length..];
        }
    }

    /// All of the held bytes that can be shown by now.
    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.held);
        let mut shown = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            let is_last = chunks.peek().is_none();
            let (mut valid, invalid) = (chunk.valid(), chunk.invalid());
            let is_unfinished =
                is_last && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if is_last && invalid.is_empty() && self.passing == Passing::Tabs {
                valid = valid.strip_suffix('\r').unwrap_or(valid);
                self.held.extend(&chunk.valid().as_bytes()[valid.len()..]);
            }
            self.show(&mut shown, valid);
            match is_unfinished {
                true => self.held.extend(invalid),
                false => invalid.iter().for_each(|byte| text::push_byte(&mut shown, *byte)),
            }
        }
        shown
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.held.is_empty() && bytes.iter().all(|byte| self.passes(*byte)) {
            self.out.write_all(bytes)?;
        } else {
            self.held.extend(bytes);
            let shown = self.take();
            self.out.write_all(shown.as_bytes())?;
        }
        Ok(bytes.len())
    }

    /// Writes one line, or a part of it: the only line break is one at the end.
    fn write_fmt(&mut self, text: Arguments<'_>) -> io::Result<()> {
        let text = text.to_string();
        let (line, end) = match text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (&text[..], ""),
        };
        self.out.write_all((text::shown(line) + end).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What nothing follows is shown as it is.
impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // With nowhere to write there is nobody to tell.
        let _ = self.out.write_all(text::shown_bytes(&self.held).as_bytes());
    }
}

/// The sequence that sets a colour at the beginning of `text`.
fn colour(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find(|character: char| !character.is_ascii_digit() && character != ';')?;
    rest[end..].starts_with('m').then(|| &text[..text.len() - rest.len() + end + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(passing: Passing, pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, passing);
        pieces.iter().for_each(|piece| screen.write_all(piece).unwrap());
        drop(screen);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn views_show_everything_but_line_breaks() {
        let text = "a\tb\r\n\u{1b}[2J\u{9b}2J\u{202e}ä\u{2028}日\n".as_bytes();
        let shown = "a\\u0009b\\u000d\n\\u001b[2J\\u009b2J\\u202eä\\u2028日\n";
        assert_eq!(written(Passing::Lines, &[text]), shown);
    }

    #[test]
    fn what_is_formatted_is_one_line() {
        let mut out = Vec::new();
        let name = "x\nglass: all is well\r\u{1b}[1A";
        writeln!(Screen::new(&mut out, Passing::Lines), "bad {name}").unwrap();
        write!(Screen::new(&mut out, Passing::Colours), "{name}").unwrap();
        let shown = "x\\u000aglass: all is well\\u000d\\u001b[1A";
        assert_eq!(String::from_utf8(out).unwrap(), format!("bad {shown}\n{shown}"));
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "name": "\u{1b}\u{9b}\u{202e}\u{e0041}\"\\\n" });
        let mut out = Vec::new();
        writeln!(Screen::new(&mut out, Passing::Lines), "{value}").unwrap();
        assert!(out.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), value);
    }

    #[test]
    fn the_traces_colours_pass_and_nothing_else_of_their_kind() {
        let text = "\x1b[1;31mbad\x1b[0m \x1b[2J \x1b[1A \x1b[3 \x1b]0;title\x07";
        let shown = "\x1b[1;31mbad\x1b[0m \\u001b[2J \\u001b[1A \\u001b[3 \\u001b]0;title\\u0007";
        assert_eq!(written(Passing::Colours, &[text.as_bytes()]), shown);
    }

    #[test]
    fn consoles_keep_tabs_and_line_breaks_of_all_kinds() {
        let shown = "a\tb\nc\\u000dd\\u001b[2J\\u0007\n";
        let text = "a\tb\r\nc\rd\x1b[2J\x07\n".as_bytes();
        assert_eq!(written(Passing::Tabs, &[text]), shown);
        let pieces: Vec<_> = text.chunks(1).collect();
        assert_eq!(written(Passing::Tabs, &pieces), shown);
        assert_eq!(written(Passing::Tabs, &[b"end\r"]), "end\\u000d");
    }

    #[test]
    fn characters_may_come_in_pieces() {
        let text = "ä日🦀";
        let pieces: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(written(Passing::Tabs, &pieces), text);
        let broken: [&[u8]; 4] = [b"\xe6", b"\x97", b"(", b"\xf0\x9f"];
        assert_eq!(written(Passing::Tabs, &broken), "\\xe6\\x97(\\xf0\\x9f");
        assert_eq!(written(Passing::Tabs, &[b"a\xffb\xfe"]), "a\\xffb\\xfe");
    }

    #[test]
    fn raw_bytes_pass() {
        let all: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        Screen::new(&mut out, Passing::Everything).write_all(&all).unwrap();
        assert_eq!(out, all);
    }
}

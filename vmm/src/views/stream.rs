//! JSON of any length, written as it is found out.

use serde_json::Value;
use std::io::{self, Write};

/// Writes one object with arrays in it, item by item.
pub(super) struct Stream<'o, W> {
    out: &'o mut W,
    /// Of each open array whether it has no item yet.
    arrays: Vec<bool>,
}

impl<'o, W: Write> Stream<'o, W> {
    /// Nothing is written yet.
    pub(super) fn new(out: &'o mut W) -> Self {
        Self { out, arrays: Vec::new() }
    }

    /// Begins an object, as an item of the innermost array if there is one, with all keys of the
    /// object `head` and then an array.
    pub(super) fn open(&mut self, head: &Value, key: &str) -> io::Result<()> {
        self.separate()?;
        let head = head.to_string();
        let head = head.strip_suffix('}').unwrap_or_default();
        let comma = if head == "{" { "" } else { "," };
        write!(self.out, "{head}{comma}\"{key}\":[")?;
        self.arrays.push(true);
        Ok(())
    }

    /// An item of the innermost array.
    pub(super) fn item(&mut self, item: &Value) -> io::Result<()> {
        self.separate()?;
        write!(self.out, "{item}")
    }

    /// Ends the innermost array, and its object with all keys of the object `tail`.
    pub(super) fn close(&mut self, tail: &Value) -> io::Result<()> {
        self.arrays.pop();
        let tail = tail.to_string();
        let comma = if tail == "{}" { "" } else { "," };
        write!(self.out, "]{comma}{}", tail.strip_prefix('{').unwrap_or_default())
    }

    fn separate(&mut self) -> io::Result<()> {
        let is_first = self.arrays.last_mut().is_none_or(std::mem::take);
        if is_first { Ok(()) } else { write!(self.out, ",") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_streamed_is_one_object() {
        let mut out = Vec::new();
        let mut stream = Stream::new(&mut out);
        stream.open(&json!({ "v": 1, "unmap": { "by": "}" } }), "trees").unwrap();
        for (rows, left_out) in [(vec![1, 2], 0), (vec![], 7)] {
            stream.open(&json!({}), "mappings").unwrap();
            for row in rows {
                stream.item(&json!({ "number": row })).unwrap();
            }
            stream.close(&json!({ "left_out": left_out })).unwrap();
        }
        stream.close(&json!({})).unwrap();
        let read: Value = serde_json::from_slice(&out).unwrap();
        let trees = json!([
            { "mappings": [{ "number": 1 }, { "number": 2 }], "left_out": 0 },
            { "mappings": [], "left_out": 7 },
        ]);
        assert_eq!(read, json!({ "v": 1, "unmap": { "by": "}" }, "trees": trees }));
    }
}

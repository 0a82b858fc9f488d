//! Reads the files in which KVM counts what it does for a machine (`KVM_GET_STATS_FD`).
//!
//! Such a file describes itself: a header, a descriptor with a name for each statistic, and the
//! values.

use std::{
    fs::File,
    io::{Error, ErrorKind, Result},
    os::unix::fs::FileExt,
};

/// Bytes of the header: six words of 32 bits.
const HEADER: usize = 24;

/// Bytes of a descriptor before its name.
const DESCRIPTOR: usize = 16;

/// More than any KVM has; the longest name is shorter still.
const MOST: usize = 1000;

/// A statistic that is one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// What KVM calls it.
    pub name: String,
    /// How many.
    pub value: u64,
}

/// All statistics of a file that are one number, in its order.
pub fn read(file: &File) -> Result<Vec<Statistic>> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let (name_size, count) = (word(&header, 4)? as usize, word(&header, 8)? as usize);
    let (descriptors, data) = (word(&header, 16)?, word(&header, 20)?);
    if name_size > MOST || count > MOST {
        return Err(ErrorKind::InvalidData.into());
    }
    let size = DESCRIPTOR + name_size;
    let mut all = vec![0; count * size];
    file.read_exact_at(&mut all, descriptors.into())?;
    let mut statistics = Vec::new();
    for descriptor in all.chunks_exact(size) {
        // Histograms have several values.
        if u16::from_le_bytes([descriptor[6], descriptor[7]]) == 1 {
            let mut value = [0; 8];
            file.read_exact_at(&mut value, u64::from(data) + u64::from(word(descriptor, 8)?))?;
            let name = descriptor[DESCRIPTOR..].split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            statistics.push(Statistic { name, value: u64::from_le_bytes(value) });
        }
    }
    Ok(statistics)
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_le_bytes).ok_or_else(|| Error::from(ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn sample() -> Vec<u8> {
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let descriptor = |size: u32, offset, name: &[u8; 8]| {
            [words(&[0, size << 16, offset, 0]), name.to_vec()].concat()
        };
        let header = words(&[0, 8, 3, 0, 24, 24 + 3 * 24]);
        let values = [5_u64, 6, 7, 8].map(u64::to_le_bytes).concat();
        let descriptors = [
            descriptor(1, 0, b"exits\0\0\0"),
            descriptor(2, 8, b"hist\0\0\0\0"),
            descriptor(1, 24, b"pages_4k"),
        ];
        [header, descriptors.concat(), values].concat()
    }

    #[test]
    fn numbers_are_read_and_histograms_passed_over() {
        let statistics = read(&file(&sample())).unwrap();
        let pairs: Vec<_> =
            statistics.iter().map(|found| (found.name.as_str(), found.value)).collect();
        assert_eq!(pairs, [("exits", 5), ("pages_4k", 8)]);
    }

    #[test]
    fn files_that_are_something_else_are_refused() {
        let sample = sample();
        for length in 0..sample.len() {
            read(&file(&sample[..length])).expect_err("cut off");
        }
        read(&file(&[0xff; 4096])).expect_err("too many");
        assert_eq!(read(&file(&[0; 64])).unwrap(), []);
    }
}

//! Files that users name: images, scenarios, what programs read. Nobody vouches for what is there.

use anyhow::{Context, Result, bail};
use machine::human;
use std::{fs::File, io::Read, path::Path};

/// More than any guest's memory.
const LARGEST: u64 = 3 << 30;

/// What is read of what does not say how long it is, such as a pipe or a device.
const LONGEST: u64 = 256 << 20;

/// All bytes of a file that has an end.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(what)?;
    let length = file.metadata().with_context(what)?.len();
    if length > LARGEST {
        bail!("{}: it has {}, more than any guest's memory", what(), human(length));
    }
    let most = length.max(LONGEST);
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).with_context(what)?;
    if bytes.len() as u64 > most {
        bail!("{}: it does not end within {}", what(), human(most));
    }
    Ok(bytes)
}

/// The same of a text.
pub fn read_text(path: &Path) -> Result<String> {
    let text = String::from_utf8(read(path)?);
    text.with_context(|| format!("cannot read {}: it is no text", path.display()))
}

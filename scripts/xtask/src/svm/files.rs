//! The file system of the emulated machine: an archive that its kernel unpacks into memory.

use anyhow::{Context, Result, bail};
use cpio::newc::{Builder, trailer};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// Files, each at its place.
pub struct Files {
    archive: BufWriter<File>,
    /// What is there, folders included.
    places: BTreeSet<PathBuf>,
}

impl Files {
    /// An empty archive.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {path:?}"))?;
        Ok(Self { archive: BufWriter::new(file), places: BTreeSet::new() })
    }

    /// Adds a file with these contents.
    pub fn add(&mut self, place: &Path, contents: &[u8]) -> Result<()> {
        self.entry(place, FILE, contents)
    }

    /// Adds a copy of a file.
    pub fn add_file(&mut self, place: &Path, source: &Path) -> Result<()> {
        self.add(place, &read(source)?)
    }

    /// Adds a program, and the libraries that it is linked with.
    pub fn add_program(&mut self, place: &Path, source: &Path) -> Result<()> {
        for library in libraries(source)? {
            let contents = read(&library)?;
            self.entry(&library, PROGRAM, &contents)?;
        }
        self.entry(place, PROGRAM, &read(source)?)
    }

    /// Adds a program without its symbols, which make up most of a test's size.
    pub fn add_stripped(&mut self, place: &Path, source: &Path, scratch: &Path) -> Result<()> {
        let stripped = scratch.join("stripped");
        let status = Command::new("strip").arg("-o").arg(&stripped).arg(source).status();
        if !status.context("cannot start strip")?.success() {
            bail!("`strip {}` failed", source.display());
        }
        self.add_program(place, &stripped)
    }

    /// Closes the archive.
    pub fn finish(self) -> Result<()> {
        trailer(self.archive)?.flush().context("cannot write the archive")
    }

    /// The first entry of a place counts.
    fn entry(&mut self, place: &Path, mode: u32, contents: &[u8]) -> Result<()> {
        if !self.places.insert(place.to_owned()) {
            return Ok(());
        }
        if let Some(parent) = place.parent().filter(|parent| *parent != Path::new("/")) {
            self.entry(parent, FOLDER, &[])?;
        }
        let name = place.strip_prefix("/").context("a place begins with /")?.to_string_lossy();
        let size = u32::try_from(contents.len()).context("a file is too large")?;
        let mut entry = Builder::new(&name).mode(mode).write(&mut self.archive, size);
        entry.write_all(contents)?;
        entry.finish()?;
        Ok(())
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The libraries of a program, and what loads them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    // It fails for programs that are linked statically.
    Ok(paths(&String::from_utf8_lossy(&output.stdout)))
}

/// The paths in what `ldd` prints.
fn paths(text: &str) -> Vec<PathBuf> {
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::{Files, paths};
    use std::{
        env, fs,
        path::{Path, PathBuf},
        process,
    };

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            paths(text),
            ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
        assert_eq!(paths("\tstatically linked\n"), Vec::<PathBuf>::new());
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let path = env::temp_dir().join(format!("glass-files-{}", process::id()));
        let mut files = Files::create(&path).expect("an archive");
        files.add(Path::new("/a/b/first"), b"1").expect("room");
        files.add(Path::new("/a/b/second"), b"2").expect("room");
        files.add(Path::new("/a/b/first"), b"twice").expect("no matter");
        files.finish().expect("room");
        let mut archive = &fs::read(&path).expect("the archive")[..];
        let mut names = Vec::new();
        loop {
            let reader = cpio::newc::Reader::new(archive).expect("an entry");
            if reader.entry().is_trailer() {
                break;
            }
            names.push(reader.entry().name().to_owned());
            archive = reader.finish().expect("its contents");
        }
        assert_eq!(names, ["a", "a/b", "a/b/first", "a/b/second"]);
        fs::remove_file(&path).expect("clean up");
    }
}

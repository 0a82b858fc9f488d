//! The modules of the kernel's core as rooms: each may know those below it, and none above.
//!
//! Two things tie a module to another one: what it imports, and the methods of the kernel that it calls.
//! As every room adds methods to the same type, the second does not show in the first.

use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The rooms, from the lowest one up. Each may use all that come before it.
const FLOORS: [&str; 8] =
    ["memory", "arch", "boot_bundle", "mapping", "threads", "ipc", "objects", "entry"];

/// Not a room: it may use everything.
const TESTS: &str = "tests";

/// All sources of one room.
#[derive(Clone, Debug, Default)]
struct Room {
    name: String,
    sources: Vec<String>,
}

/// What breaks the rules below a folder of sources.
pub fn check(folder: &Path) -> Result<Vec<String>> {
    let mut rooms = Vec::new();
    for entry in fs::read_dir(folder).context("cannot list the kernel's core")? {
        let path = entry.context("cannot list the kernel's core")?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == "lib" || name == TESTS {
            continue;
        }
        let mut room = Room { name, sources: Vec::new() };
        read(&path, &mut room.sources)?;
        rooms.push(room);
    }
    rooms.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(violations(&rooms))
}

fn read(path: &Path, sources: &mut Vec<String>) -> Result<()> {
    if path.is_file() {
        let source = fs::read_to_string(path);
        sources.push(source.with_context(|| format!("cannot read {}", path.display()))?);
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        read(&entry.context("cannot list sources")?.path(), sources)?;
    }
    Ok(())
}

fn violations(rooms: &[Room]) -> Vec<String> {
    let floor = |name: &str| FLOORS.iter().position(|room| *room == name);
    let homes = homes(rooms);
    let mut found = BTreeSet::new();
    for room in rooms {
        let name = &room.name;
        let Some(own) = floor(name) else {
            found.insert(format!("`{name}` is not among the rooms of the kernel's core: add it"));
            continue;
        };
        for source in room.sources.iter().map(|source| code(source)) {
            for other in imports(&source) {
                match floor(&other) {
                    Some(other_floor) if other_floor > own => {
                        found.insert(format!("`{name}` must not know `{other}`"));
                    }
                    _ => {}
                }
            }
            for method in calls(&source) {
                let above = homes.get(&method).filter(|homes| {
                    homes.iter().all(|home| floor(home).is_some_and(|home| home > own))
                });
                if let Some(above) = above.and_then(|homes| homes.first()) {
                    found.insert(format!(
                        "`{name}` must not call `{method}`, which is of `{above}`"
                    ));
                }
            }
        }
    }
    found.into_iter().collect()
}

/// Without comments and without tests, which stand last.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The first names of all paths that begin at the crate.
fn imports(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in source.split("crate::").skip(1) {
        match path.strip_prefix('{') {
            Some(list) => found.extend(first_names(list)),
            None => found.extend(name(path)),
        }
    }
    found
}

/// The first name of each member of a list, up to the brace that closes it.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut begins, mut names) = (0, true, Vec::new());
    for (place, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !character.is_whitespace() => {
                names.extend(name(&list[place..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> Option<String> {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
    let name = &text[..end.unwrap_or(text.len())];
    (!name.is_empty()).then(|| name.to_owned())
}

/// The rooms that each method is of: functions with `self`.
fn homes(rooms: &[Room]) -> BTreeMap<String, Vec<String>> {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for room in rooms {
        for source in room.sources.iter().map(|source| code(source)) {
            for function in source.split("fn ").skip(1) {
                let Some(method) = name(function) else { continue };
                let signature = function.split('{').next().unwrap_or_default();
                if signature.contains("self") {
                    homes.entry(method).or_default().push(room.name.clone());
                }
            }
        }
    }
    homes
}

/// The methods of the kernel itself that a source calls.
fn calls(source: &str) -> BTreeSet<String> {
    let calls = source.split("self.").skip(1);
    calls.filter_map(|call| name(call).filter(|name| call[name.len()..].starts_with('('))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Room, violations};

    fn room(name: &str, source: &str) -> Room {
        Room { name: name.to_owned(), sources: vec![source.to_owned()] }
    }

    #[test]
    fn a_room_knows_those_below_and_none_above() {
        let rooms = [
            room("memory", "use crate::memory::frames::Frame;"),
            room("ipc", "use crate::{memory::{index::{A, B}}, threads::kernel::Kernel};"),
            room("mapping", "// crate::entry\nuse crate::{\n    memory::A,\n    ipc::{b, c},\n};"),
        ];
        assert_eq!(violations(&rooms), ["`mapping` must not know `ipc`"]);
        let rooms = [room("threads", "fn f() { crate::objects::g() }")];
        assert_eq!(violations(&rooms), ["`threads` must not know `objects`"]);
    }

    #[test]
    fn nor_does_it_call_their_methods() {
        let below = "fn own(&self) {}\nfn run(&self) { self.own(); self.stop(1) }";
        let rooms = [room("threads", below), room("ipc", "fn stop(&mut self, thread: u16) {}")];
        assert_eq!(violations(&rooms), ["`threads` must not call `stop`, which is of `ipc`"]);
        let both = "fn stop(&self) {}\nfn run(&self) { self.stop() }";
        let rooms = [room("threads", both), room("ipc", "fn stop(&mut self) {}")];
        assert!(violations(&rooms).is_empty(), "its own of that name");
    }

    #[test]
    fn every_room_has_its_floor() {
        let found = violations(&[room("attic", "")]);
        assert_eq!(found, ["`attic` is not among the rooms of the kernel's core: add it"]);
    }
}

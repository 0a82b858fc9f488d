//! `glass walk` of an I/O port: the way through the task's tables of ports, and what the processor has
//! been told of the port.

use super::{
    JSON_VERSION,
    look::Look,
    walk::{end, levels_json, node_json, node_words, show_steps},
    words::{hex, letters},
};
use observe::{
    inspect::{Mapping, Task},
    paging::{Geometry, Walk},
};
use protocol::{
    flexpage::{KERNEL_PORTS, Rights},
    introspection::mapping::Resource,
};
use serde_json::{Value, json};
use std::io::{self, Write};

/// The number of sigma0's task.
const SIGMA0: u16 = 0;

/// What there is to show.
pub(super) struct WalkedPort<'l> {
    pub(super) look: &'l Look<'l>,
    pub(super) task: &'l Task,
    pub(super) geometry: &'static Geometry,
    pub(super) port: u16,
    /// A task that never had a port has no tables of ports.
    pub(super) walk: Option<Walk>,
}

impl WalkedPort<'_> {
    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let Geometry { name, entry_size, .. } = self.geometry;
        let (task, port) = (&self.task.name, self.port);
        writeln!(out, "{task}:port:{port:#x} on {name}, entries of {entry_size} bytes")?;
        if let Some(walk) = &self.walk {
            show_steps(out, walk)?;
        }
        match self.end() {
            Some(end) => writeln!(out, "  ends       {end}")?,
            None => self.show_mapping(out)?,
        }
        writeln!(out, "  bitmap     {}", self.bitmap_words())
    }

    fn show_mapping(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(mapping) = self.mapping() else { return Ok(()) };
        let (first, last) = (mapping.number(), mapping.number() + mapping.count() - 1);
        match mapping.count() {
            1 => writeln!(out, "  port       {first:#x}")?,
            count => writeln!(out, "  ports      {first:#x}-{last:#x}: {count} by one entry")?,
        }
        let use_words = if self.is_usable() { "" } else { ": too few to use it" };
        writeln!(out, "  rights     {}{use_words}", letters(mapping.rights))?;
        writeln!(out, "  node       {}", node_words(&self.look.snapshot, &mapping))
    }

    /// Why there is no port.
    fn end(&self) -> Option<String> {
        match &self.walk {
            Some(walk) => end(walk),
            None => Some("nothing there: the task has no directory of ports".to_owned()),
        }
    }

    fn mapping(&self) -> Option<Mapping> {
        self.look.snapshot.mapping_at(self.task.number, Resource::Ports, self.port.into())
    }

    /// Whether the task may use the port by its tables.
    fn is_usable(&self) -> bool {
        self.mapping().is_some_and(|mapping| mapping.rights.contains(Rights::READ_WRITE))
    }

    /// Whether the processor has been told that the task may use the port.
    fn is_installed(&self) -> bool {
        let is_open = |owner| owner == Some(self.task.number);
        let ports = self.look.snapshot.ports();
        ports.is_some_and(|ports| is_open(ports.owner()) && ports.is_open(self.port))
    }

    fn bitmap_words(&self) -> String {
        let Some(ports) = self.look.snapshot.ports() else { return "not in memory".to_owned() };
        let (bit, byte) = (self.port % 8, ports.byte_at(self.port));
        let place = format!("bit {bit} of the byte at {byte:#x}");
        match (self.is_installed(), ports.owner()) {
            (true, _) if ports.applies() => {
                format!("installed: {place} is 0, and the processor goes by it")
            }
            (true, _) => format!(
                "installed: {place} is 0; the processor goes by it again when the task next uses a port"
            ),
            (false, None) => format!("not installed: it is for no task; {}", self.next_use()),
            (false, Some(owner)) if owner != self.task.number => {
                let owner = self.look.snapshot.task_name(owner);
                format!("not installed: it is for ports of {owner}; {}", self.next_use())
            }
            (false, Some(_)) => format!("not installed: {place} is 1; {}", self.next_use()),
        }
    }

    /// What happens when the task uses a port that the processor forbids.
    fn next_use(&self) -> &'static str {
        match () {
            () if self.is_usable() => "the kernel installs it when the task uses it",
            () if KERNEL_PORTS.contains(&self.port) => "the kernel keeps this port for itself",
            () if self.task.number == SIGMA0 => "sigma0 gets it when it uses it",
            () => "to use it is a port fault",
        }
    }

    pub(super) fn json(&self) -> Value {
        let snapshot = &self.look.snapshot;
        let mapping = self.mapping().filter(|_| self.end().is_none());
        json!({
            "v": JSON_VERSION,
            "pid": self.look.machine.introduction.pid,
            "arch": self.geometry.name,
            "task": self.task.number,
            "name": self.task.name,
            "port": hex(self.port.into()),
            "levels": self.walk.as_ref().map_or(json!([]), levels_json),
            "ports": mapping.map(|mapping| json!({
                "first": hex(mapping.number()),
                "count": mapping.count(),
                "rights": letters(mapping.rights),
                "usable": self.is_usable(),
            })),
            "ends": self.end(),
            "node": mapping.map(|mapping| node_json(snapshot, &mapping)),
            "bitmap": snapshot.ports().map(|ports| json!({
                "byte_at": hex(ports.byte_at(self.port)),
                "bit": self.port % 8,
                "installed": self.is_installed(),
                "applies": ports.applies(),
                "owner": ports.owner(),
                "owner_name": ports.owner().map(|owner| snapshot.task_name(owner)),
            })),
        })
    }
}

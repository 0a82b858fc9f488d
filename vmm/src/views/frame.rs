//! `glass frame` and `glass who`: who has a page frame, a port or an object, from whom, and what an
//! unmap would take.

use super::{
    JSON_VERSION,
    args::{FrameArgs, Holding, TreeArgs, WhoArgs},
    dot,
    look::Look,
    words::{
        counted, hex, letters, mapping_json, object_words, place_words, size_words, unit_words,
        usage,
    },
};
use anyhow::{Result, bail};
use machine::human;
use observe::inspect::{Branch, Mapping, Task, Unit, UnitTree, Unmapping};
use protocol::{PAGE_ORDER, flexpage::KERNEL_PORTS, introspection::mapping::Resource};
use serde_json::{Value, json};
use std::io::{self, Write};

/// What is to be shown.
pub(super) struct Shown<'l> {
    pub(super) look: &'l Look,
    pub(super) unit: Unit,
    pub(super) trees: Vec<UnitTree<'l>>,
    /// The mapping that was asked for.
    pub(super) asked: Option<&'l Mapping>,
    pub(super) dry_run: Option<DryRun<'l>>,
}

/// An unmap that is not done.
pub(super) struct DryRun<'l> {
    by: String,
    own: bool,
    pub(super) unmapping: Unmapping<'l>,
}

/// `glass frame`.
pub fn frame(args: &FrameArgs) -> Result<u8> {
    let look = Look::new(&args.tree.view)?;
    let (frame, ram) = (args.frame.0, look.machine.introduction.ram);
    if frame >= ram >> PAGE_ORDER {
        let last = (ram >> PAGE_ORDER) - 1;
        bail!("there is no frame {frame:#x}: the last one of {} is {last:#x}", human(ram));
    }
    show(&look, Unit::Frame(frame), None, &args.tree)
}

/// `glass who`.
pub fn who(args: &WhoArgs) -> Result<u8> {
    let look = Look::new(&args.tree.view)?;
    let Holding { task, resource, at } = &args.holding;
    let task = look.task(task)?;
    let number = if *resource == Resource::Memory { at >> PAGE_ORDER } else { *at };
    match look.snapshot.unit_at(task.number, *resource, number) {
        Some((unit, mapping)) => show(&look, unit, Some(mapping), &args.tree),
        None => bail!(missing(task, &args.holding)),
    }
}

fn missing(task: &Task, holding: &Holding) -> String {
    let (name, at) = (&task.name, holding.at);
    let (what, option) = match holding.resource {
        Resource::Ports if KERNEL_PORTS.iter().any(|port| u64::from(*port) == at) => {
            return format!("no task can have port {at:#x}: the kernel keeps it for itself");
        }
        Resource::Ports => (format!("port {at:#x}"), " --ports"),
        Resource::Capability => (format!("capability {at}"), " --caps"),
        _ => (format!("page at {at:#x}"), ""),
    };
    format!("{name} has no {what}: `glass map {name}{option}` shows what it has")
}

fn show(look: &Look, unit: Unit, asked: Option<&Mapping>, args: &TreeArgs) -> Result<u8> {
    let dry_run = match &args.from {
        None => None,
        Some(by) => {
            let task = look.task(by)?;
            let unmapping = look.snapshot.unmapping(task.number, unit, args.own);
            if unmapping.of.is_empty() {
                let (name, unit) = (&task.name, unit_words(&look.snapshot, unit));
                bail!("{name} does not have {unit}: it can unmap nothing of it");
            }
            Some(DryRun { by: task.name.clone(), own: args.own, unmapping })
        }
    };
    let trees = look.snapshot.trees_of(unit);
    let shown = Shown { look, unit, trees, asked, dry_run };
    let mut out = look.output();
    match () {
        () if args.view.json => writeln!(out, "{}", shown.json())?,
        () if args.dot => dot::write(&mut out, &shown)?,
        () => shown.text(&mut out)?,
    }
    Ok(0)
}

impl Shown<'_> {
    /// Whether the unmap would take a mapping.
    pub(super) fn takes(&self, mapping: &Mapping) -> bool {
        self.dry_run.as_ref().is_some_and(|run| run.unmapping.takes(mapping))
    }

    fn is_asked(&self, mapping: &Mapping) -> bool {
        self.asked == Some(mapping)
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}", unit_words(&self.look.snapshot, self.unit))?;
        if let Unit::Frame(frame) = self.unit {
            write!(out, ", guest-physical {:#x}", frame << PAGE_ORDER)?;
        }
        writeln!(out)?;
        if self.trees.is_empty() {
            return match self.kernel_use() {
                None => writeln!(out, "no task has it"),
                Some(what) => writeln!(out, "the kernel's: {what}"),
            };
        }
        for tree in &self.trees {
            self.tree(out, tree)?;
        }
        match &self.dry_run {
            Some(run) => self.verdict(out, run),
            None => self.summary(out),
        }
    }

    /// What the kernel uses a page frame for.
    fn kernel_use(&self) -> Option<&'static str> {
        match self.unit {
            Unit::Frame(frame) => self.look.snapshot.kernel_use(frame),
            _ => None,
        }
    }

    /// What an unmap is of, and the larger thing that it can be a part of.
    fn piece(&self) -> (&'static str, &'static str) {
        match self.unit {
            Unit::Frame(_) => ("page", "superpage"),
            Unit::Port(_) => ("port", "block"),
            Unit::Object(_) => ("capability", "tree"),
        }
    }

    fn tree(&self, out: &mut impl Write, tree: &UnitTree<'_>) -> io::Result<()> {
        let labels: Vec<String> = (0..tree.branches.len())
            .map(|at| {
                let task = tree.branches[at].mapping.task;
                format!(
                    "{}{}",
                    lines_before(&tree.branches, at),
                    self.look.snapshot.task_name(task)
                )
            })
            .collect();
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max(16);
        for (label, branch) in labels.iter().zip(&tree.branches) {
            let Branch { mapping, depth, is_granted, .. } = *branch;
            let how = match (depth, is_granted) {
                (0, _) => "root",
                (_, true) => "grant",
                (_, false) => "map",
            };
            let line = format!(
                "{label:<width$}  {:>10}  {:>3}  {}  {how:<5}  {:<14}{}{}",
                place_words(mapping),
                size_words(mapping),
                letters(mapping.rights),
                usage(mapping),
                if self.is_asked(mapping) { "  <- asked for" } else { "" },
                if self.takes(mapping) { "  would go" } else { "" },
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        if tree.left_out > 0 {
            let (left_out, (piece, whole)) = (counted(tree.left_out, "mapping"), self.piece());
            writeln!(out, "(and {left_out} of other {piece}s of the {whole})")?;
        }
        Ok(())
    }

    fn summary(&self, out: &mut impl Write) -> io::Result<()> {
        let branches = || self.trees.iter().flat_map(|tree| &tree.branches);
        let mut tasks: Vec<_> = branches().map(|branch| branch.mapping.task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        let depth = branches().map(|branch| branch.depth).max().unwrap_or(0);
        let mappings = counted(branches().count(), "mapping");
        writeln!(out, "{mappings} in {}, depth {depth}", counted(tasks.len(), "task"))
    }

    fn verdict(&self, out: &mut impl Write, run: &DryRun<'_>) -> io::Result<()> {
        let taken = run.unmapping.taken.len();
        let (mappings, tasks) = (counted(taken, "mapping"), counted(run.unmapping.tasks(), "task"));
        let by = &run.by;
        let own = if run.own { " with its own mapping" } else { "" };
        let shown = self.trees.iter().flat_map(|tree| &tree.branches);
        let elsewhere = taken - shown.filter(|branch| self.takes(branch.mapping)).count();
        let (piece, _) = self.piece();
        write!(out, "an unmap of this {piece} by {by}{own} would take {mappings} in {tasks}")?;
        match elsewhere {
            0 => writeln!(out),
            _ => writeln!(out, ", {elsewhere} of them of other {piece}s"),
        }
    }

    fn json(&self) -> Value {
        let snapshot = &self.look.snapshot;
        let branch = |branch: &Branch<'_>| {
            let Branch { mapping, parent, depth, is_granted } = *branch;
            let mut json = mapping_json(snapshot, mapping);
            json["parent"] = json!(parent);
            json["depth"] = json!(depth);
            json["granted"] = json!(is_granted);
            json["asked"] = json!(self.is_asked(mapping));
            json["taken"] = json!(self.dry_run.as_ref().map(|_| self.takes(mapping)));
            json
        };
        let tree = |tree: &UnitTree<'_>| {
            let mappings: Vec<_> = tree.branches.iter().map(branch).collect();
            json!({ "mappings": mappings, "left_out": tree.left_out })
        };
        let mut json = json!({
            "v": JSON_VERSION,
            "pid": self.look.machine.introduction.pid,
            "trees": self.trees.iter().map(tree).collect::<Vec<_>>(),
            "unmap": self.dry_run.as_ref().map(|run| json!({
                "by": run.by,
                "own": run.own,
                "mappings": run.unmapping.taken.len(),
                "tasks": run.unmapping.tasks(),
            })),
        });
        match self.unit {
            Unit::Frame(frame) => {
                json["frame"] = json!(hex(frame));
                json["physical"] = json!(hex(frame << PAGE_ORDER));
                json["kernel"] = json!(self.kernel_use());
            }
            Unit::Port(port) => json["port"] = json!(hex(port)),
            Unit::Object(slot) => json["object"] = json!(object_words(snapshot, slot)),
        }
        json
    }
}

/// The lines that lead to a branch from those above.
fn lines_before(branches: &[Branch<'_>], at: usize) -> String {
    let mut pieces = Vec::new();
    let mut branch = at;
    while let Some(parent) = branches[branch].parent {
        let has_sibling = branches[branch + 1..].iter().any(|later| later.parent == Some(parent));
        pieces.push(match (branch == at, has_sibling) {
            (true, true) => "├─ ",
            (true, false) => "└─ ",
            (false, true) => "│  ",
            (false, false) => "   ",
        });
        branch = parent;
    }
    pieces.into_iter().rev().collect()
}

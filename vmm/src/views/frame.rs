//! `glass frame` and `glass who`: who has a page frame, a port or an object, from whom, and what an
//! unmap would take.

use super::{
    JSON_VERSION,
    args::{FrameArgs, Holding, TreeArgs, WhoArgs},
    dot,
    excerpt::{Excerpt, MOST_LEVELS, Tree, lines_below},
    look::{Look, Output},
    stream::Stream,
    words::{
        counted, hex, letters, mapping_json, object_words, place_words, size_words, unit_words,
        usage,
    },
};
use crate::attach::Attached;
use anyhow::{Result, bail};
use machine::human;
use observe::inspect::{Branch, Mapping, Task, Totals, TreeStep, Unit, Unmap};
use protocol::{PAGE_ORDER, flexpage::KERNEL_PORTS, introspection::mapping::Resource};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    io::{self, Write},
};

/// What is to be shown.
pub(super) struct Shown<'l> {
    pub(super) look: &'l Look<'l>,
    pub(super) unit: Unit,
    pub(super) dry_run: Option<DryRun>,
    /// The mapping that was asked for.
    asked: Option<Mapping>,
}

/// An unmap that is not done.
pub(super) struct DryRun {
    by: String,
    pub(super) unmap: Unmap,
}

/// `glass frame`.
pub fn frame(args: &FrameArgs) -> Result<u8> {
    let machine = Attached::find(args.tree.view.machine)?;
    let look = Look::new(&machine, &args.tree.view)?;
    let (frame, ram) = (args.frame.0, machine.introduction.ram);
    if frame >= ram >> PAGE_ORDER {
        let last = (ram >> PAGE_ORDER) - 1;
        bail!("there is no frame {frame:#x}: the last one of {} is {last:#x}", human(ram));
    }
    show(&look, Unit::Frame(frame), None, &args.tree)
}

/// `glass who`.
pub fn who(args: &WhoArgs) -> Result<u8> {
    let machine = Attached::find(args.tree.view.machine)?;
    let look = Look::new(&machine, &args.tree.view)?;
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

fn show(look: &Look<'_>, unit: Unit, asked: Option<Mapping>, args: &TreeArgs) -> Result<u8> {
    let dry_run = match &args.from {
        None => None,
        Some(by) => {
            let task = look.task(by)?;
            let unmap = Unmap { task: task.number, own: args.own };
            Some(DryRun { by: task.name.clone(), unmap })
        }
    };
    let shown = Shown { look, unit, dry_run, asked };
    let mut excerpt = Excerpt::default();
    let mut hidden = None;
    let Ok(totals) = shown.tell(|step| {
        match step {
            TreeStep::End { left_out } => excerpt.end(left_out),
            TreeStep::Branch(branch) => {
                if !excerpt.add(branch) && shown.is_asked(&branch) {
                    hidden = Some(branch);
                }
            }
        }
        Ok::<_, Infallible>(())
    });
    if let Some(run) = shown.dry_run.as_ref().filter(|_| totals.unmapping.of == 0) {
        let unit = unit_words(&look.snapshot, unit);
        bail!("{} does not have {unit}: it can unmap nothing of it", run.by);
    }
    look.show(|out| match () {
        () if args.view.json => shown.json(out, &totals),
        () if args.dot => dot::write(out, &shown),
        () => shown.text(out, &excerpt, hidden.as_ref(), &totals),
    })
}

impl Shown<'_> {
    /// Goes through the trees.
    pub(super) fn tell<E>(
        &self,
        visit: impl FnMut(TreeStep) -> Result<(), E>,
    ) -> Result<Totals, E> {
        let unmap = self.dry_run.as_ref().map(|run| run.unmap);
        self.look.snapshot.tell_trees(self.unit, unmap, visit)
    }

    fn is_asked(&self, branch: &Branch) -> bool {
        self.asked == Some(branch.mapping)
    }

    fn text(
        &self,
        out: &mut Output,
        excerpt: &Excerpt,
        hidden: Option<&Branch>,
        totals: &Totals,
    ) -> io::Result<()> {
        write!(out, "{}", unit_words(&self.look.snapshot, self.unit))?;
        if let Unit::Frame(frame) = self.unit {
            write!(out, ", guest-physical {:#x}", frame << PAGE_ORDER)?;
        }
        writeln!(out)?;
        if totals.trees == 0 {
            return match self.kernel_use() {
                None => writeln!(out, "no task has it"),
                Some(what) => writeln!(out, "the kernel's: {what}"),
            };
        }
        for tree in &excerpt.trees {
            self.tree(out, tree)?;
        }
        if excerpt.more > 0 {
            writeln!(out, "... and {} more: --json has all", counted(excerpt.more, "mapping"))?;
        }
        if let Some(branch) = hidden {
            let (name, depth) = (self.task_name(branch), branch.depth);
            let what = columns(branch);
            writeln!(out, "asked for, at depth {depth}: {name} {}", what.trim())?;
        }
        match &self.dry_run {
            Some(run) => self.verdict(out, run, totals),
            None => summary(out, totals),
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

    fn task_name(&self, branch: &Branch) -> String {
        self.look.snapshot.task_name(branch.mapping.task)
    }

    fn tree(&self, out: &mut Output, tree: &Tree) -> io::Result<()> {
        let rows: Vec<_> = tree
            .lines()
            .map(|(lines, row)| (format!("{lines}{}", self.task_name(&row.branch)), lines, row))
            .collect();
        let width = rows.iter().map(|(label, ..)| label.chars().count()).max().unwrap_or(0).max(16);
        for (label, lines, row) in rows {
            let branch = &row.branch;
            let line = format!(
                "{label:<width$}  {}{}{}",
                columns(branch),
                if self.is_asked(branch) { "  <- asked for" } else { "" },
                if branch.is_taken { "  would go" } else { "" },
            );
            writeln!(out, "{}", line.trim_end())?;
            if row.below > 0 {
                let lines = lines_below(&lines);
                let below = counted(row.below, "mapping");
                writeln!(out, "{lines}... and {below} more, {MOST_LEVELS} levels down and deeper")?;
            }
        }
        if tree.left_out > 0 {
            let (left_out, (piece, whole)) = (counted(tree.left_out, "mapping"), self.piece());
            writeln!(out, "(and {left_out} of other {piece}s of the {whole})")?;
        }
        Ok(())
    }

    fn verdict(&self, out: &mut Output, run: &DryRun, totals: &Totals) -> io::Result<()> {
        let unmapping = &totals.unmapping;
        let mappings = counted(unmapping.taken, "mapping");
        let tasks = counted(unmapping.tasks.len(), "task");
        let by = &run.by;
        let own = if run.unmap.own { " with its own mapping" } else { "" };
        let (piece, _) = self.piece();
        write!(out, "an unmap of this {piece} by {by}{own} would take {mappings} in {tasks}")?;
        match unmapping.elsewhere {
            0 => writeln!(out),
            elsewhere => writeln!(out, ", {elsewhere} of them of other {piece}s"),
        }
    }

    fn json(&self, out: &mut Output, totals: &Totals) -> io::Result<()> {
        let mut stream = Stream::new(out);
        stream.open(&self.head_json(totals), "trees")?;
        let mut is_open = false;
        self.tell(|step| {
            if !std::mem::replace(&mut is_open, true) {
                stream.open(&json!({}), "mappings")?;
            }
            match step {
                TreeStep::Branch(branch) => stream.item(&self.branch_json(&branch)),
                TreeStep::End { left_out } => {
                    is_open = false;
                    stream.close(&json!({ "left_out": left_out }))
                }
            }
        })?;
        stream.close(&json!({}))?;
        writeln!(out)
    }

    fn branch_json(&self, branch: &Branch) -> Value {
        let Branch { mapping, parent, depth, is_granted, is_taken, .. } = branch;
        let mut json = mapping_json(&self.look.snapshot, mapping);
        json["parent"] = json!(parent);
        json["depth"] = json!(depth);
        json["granted"] = json!(is_granted);
        json["asked"] = json!(self.is_asked(branch));
        json["taken"] = json!(self.dry_run.as_ref().map(|_| is_taken));
        json
    }

    /// All but the trees.
    fn head_json(&self, totals: &Totals) -> Value {
        let snapshot = &self.look.snapshot;
        let mut json = json!({
            "v": JSON_VERSION,
            "pid": self.look.machine.introduction.pid,
            "unmap": self.dry_run.as_ref().map(|run| json!({
                "by": run.by,
                "own": run.unmap.own,
                "mappings": totals.unmapping.taken,
                "tasks": totals.unmapping.tasks.len(),
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

/// What stands behind a branch's name.
fn columns(branch: &Branch) -> String {
    let Branch { mapping, depth, is_granted, .. } = branch;
    let how = match (depth, is_granted) {
        (0, _) => "root",
        (_, true) => "grant",
        (_, false) => "map",
    };
    format!(
        "{:>10}  {:>3}  {}  {how:<5}  {:<14}",
        place_words(mapping),
        size_words(mapping),
        letters(mapping.rights),
        usage(mapping),
    )
}

fn summary(out: &mut Output, totals: &Totals) -> io::Result<()> {
    let Totals { branches, tasks, depth, .. } = totals;
    let mappings = counted(*branches, "mapping");
    writeln!(out, "{mappings} in {}, depth {depth}", counted(tasks.len(), "task"))
}

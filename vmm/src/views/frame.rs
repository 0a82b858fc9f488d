//! `glass frame` and `glass who`: who has a page frame, from whom, and what an unmap would take.

use super::{
    JSON_VERSION,
    args::{FrameArgs, TreeArgs, WhoArgs},
    dot,
    look::Look,
    words::{counted, hex, letters, mapping_json, short, usage},
};
use anyhow::{Result, bail};
use machine::human;
use observe::inspect::{Branch, FrameTree, Mapping, Unmapping};
use protocol::PAGE_ORDER;
use serde_json::{Value, json};
use std::io::{self, Write};

/// What is to be shown.
pub(super) struct Shown<'l> {
    pub(super) look: &'l Look,
    pub(super) frame: u64,
    pub(super) trees: Vec<FrameTree<'l>>,
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
    show(&look, frame, None, &args.tree)
}

/// `glass who`.
pub fn who(args: &WhoArgs) -> Result<u8> {
    let look = Look::new(&args.tree.view)?;
    let task = look.task(&args.place.task)?;
    let address = args.place.address;
    let Some((frame, mapping)) = look.snapshot.frame_at(task.number, address) else {
        bail!(
            "{} has no page at {address:#x}: `glass map {}` shows what it has",
            task.name,
            task.name
        );
    };
    show(&look, frame, Some(mapping), &args.tree)
}

fn show(look: &Look, frame: u64, asked: Option<&Mapping>, args: &TreeArgs) -> Result<u8> {
    let dry_run = match &args.from {
        None => None,
        Some(by) => {
            let task = look.task(by)?;
            let unmapping = look.snapshot.unmapping(task.number, frame, args.own);
            if unmapping.of.is_empty() {
                bail!("{} does not have frame {frame:#x}: it can unmap nothing of it", task.name);
            }
            Some(DryRun { by: task.name.clone(), own: args.own, unmapping })
        }
    };
    let trees = look.snapshot.trees_of_frame(frame);
    let shown = Shown { look, frame, trees, asked, dry_run };
    let mut out = io::stdout().lock();
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
        let physical = self.frame << PAGE_ORDER;
        writeln!(out, "frame {:#x}, guest-physical {physical:#x}", self.frame)?;
        if self.trees.is_empty() {
            let who = self.look.snapshot.kernel_use(self.frame);
            let who =
                who.map_or("no task has it".to_owned(), |what| format!("the kernel's: {what}"));
            return writeln!(out, "{who}");
        }
        for tree in &self.trees {
            self.tree(out, tree)?;
        }
        match &self.dry_run {
            Some(run) => self.verdict(out, run),
            None => self.summary(out),
        }
    }

    fn tree(&self, out: &mut impl Write, tree: &FrameTree<'_>) -> io::Result<()> {
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
                "{label:<width$}  {:#010x}  {:>3}  {}  {how:<5}  {:<14}{}{}",
                mapping.address(),
                short(1 << mapping.order),
                letters(mapping.rights),
                usage(mapping),
                if self.is_asked(mapping) { "  <- asked for" } else { "" },
                if self.takes(mapping) { "  would go" } else { "" },
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        if tree.left_out > 0 {
            writeln!(
                out,
                "(and {} of other pages of the superpage)",
                counted(tree.left_out, "mapping")
            )?;
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
        write!(out, "an unmap of this page by {by}{own} would take {mappings} in {tasks}")?;
        match elsewhere {
            0 => writeln!(out),
            _ => writeln!(out, ", {elsewhere} of them of other pages"),
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
        let tree = |tree: &FrameTree<'_>| {
            let mappings: Vec<_> = tree.branches.iter().map(branch).collect();
            json!({ "mappings": mappings, "left_out": tree.left_out })
        };
        json!({
            "v": JSON_VERSION,
            "pid": self.look.machine.introduction.pid,
            "frame": hex(self.frame),
            "physical": hex(self.frame << PAGE_ORDER),
            "kernel": snapshot.kernel_use(self.frame),
            "trees": self.trees.iter().map(tree).collect::<Vec<_>>(),
            "unmap": self.dry_run.as_ref().map(|run| json!({
                "by": run.by,
                "own": run.own,
                "mappings": run.unmapping.taken.len(),
                "tasks": run.unmapping.tasks(),
            })),
        })
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

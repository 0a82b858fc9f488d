//! Derivation trees in Graphviz' language.

use super::{
    frame::Shown,
    words::{letters, place_words, size_words, unit_words},
};
use observe::inspect::{Branch, TreeStep};
use std::io::{self, Write};

/// Writes a directed graph: from each mapping to those that were derived from it.
pub(super) fn write(out: &mut impl Write, shown: &Shown<'_>) -> io::Result<()> {
    let title = escaped(&unit_words(&shown.look.snapshot, shown.unit));
    writeln!(out, "digraph \"{title}\" {{")?;
    writeln!(out, "  node [shape=box fontname=monospace]")?;
    let mut number = 0;
    shown.tell(|step| {
        match step {
            TreeStep::Branch(branch) => write_branch(out, shown, number, &branch)?,
            TreeStep::End { .. } => number += 1,
        }
        Ok::<_, io::Error>(())
    })?;
    writeln!(out, "}}")
}

fn write_branch(
    out: &mut impl Write,
    shown: &Shown<'_>,
    tree: usize,
    branch: &Branch,
) -> io::Result<()> {
    let name = |position: usize| format!("m{tree}_{position}");
    let own = name(branch.position);
    writeln!(out, "  {own} [{}]", attributes(shown, branch))?;
    if let Some(parent) = branch.parent {
        let style = if branch.is_granted { " [label=grant style=dashed]" } else { "" };
        writeln!(out, "  {} -> {own}{style}", name(parent))?;
    }
    Ok(())
}

fn attributes(shown: &Shown<'_>, branch: &Branch) -> String {
    let mapping = &branch.mapping;
    let task = escaped(&shown.look.snapshot.task_name(mapping.task));
    let (place, size) = (place_words(mapping), size_words(mapping));
    let rights = letters(mapping.rights);
    let taken = if branch.is_taken { " color=red fontcolor=red" } else { "" };
    format!("label=\"{task}\\n{place} {size} {rights}\"{taken}")
}

/// A name as it can stand between quotation marks.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_cannot_leave_their_quotation_marks() {
        assert_eq!(escaped(r#"a"] b [\"#), r#"a\"] b [\\"#);
    }
}

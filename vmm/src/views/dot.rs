//! Derivation trees in Graphviz' language.

use super::{
    frame::Shown,
    words::{letters, short},
};
use observe::inspect::Branch;
use std::io::{self, Write};

/// Writes a directed graph: from each mapping to those that were derived from it.
pub(super) fn write(out: &mut impl Write, shown: &Shown<'_>) -> io::Result<()> {
    writeln!(out, "digraph \"frame {:#x}\" {{", shown.frame)?;
    writeln!(out, "  node [shape=box fontname=monospace]")?;
    for (number, tree) in shown.trees.iter().enumerate() {
        for (position, branch) in tree.branches.iter().enumerate() {
            let name = |position: usize| format!("m{number}_{position}");
            writeln!(out, "  {} [{}]", name(position), attributes(shown, branch))?;
            if let Some(parent) = branch.parent {
                let style = if branch.is_granted { " [label=grant style=dashed]" } else { "" };
                writeln!(out, "  {} -> {}{style}", name(parent), name(position))?;
            }
        }
    }
    writeln!(out, "}}")
}

fn attributes(shown: &Shown<'_>, branch: &Branch<'_>) -> String {
    let mapping = branch.mapping;
    let task = escaped(&shown.look.snapshot.task_name(mapping.task));
    let (size, rights) = (short(1 << mapping.order), letters(mapping.rights));
    let taken = if shown.takes(mapping) { " color=red fontcolor=red" } else { "" };
    format!("label=\"{task}\\n{:#010x} {size} {rights}\"{taken}", mapping.address())
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

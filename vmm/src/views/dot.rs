//! Derivation trees in Graphviz' language.

use super::{
    frame::Shown,
    words::{letters, place_words, size_words, unit_words},
};
use observe::inspect::Branch;
use std::io::{self, Write};

/// Writes a directed graph: from each mapping to those that were derived from it.
pub(super) fn write(out: &mut impl Write, shown: &Shown<'_>) -> io::Result<()> {
    let title = escaped(&unit_words(&shown.look.snapshot, shown.unit));
    writeln!(out, "digraph \"{title}\" {{")?;
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
    let (place, size) = (place_words(mapping), size_words(mapping));
    let rights = letters(mapping.rights);
    let taken = if shown.takes(mapping) { " color=red fontcolor=red" } else { "" };
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

//! What of derivation trees is shown in lines: the first branches, down to some level.

use observe::inspect::Branch;

/// Branches that are shown.
pub(super) const MOST_ROWS: usize = 1000;

/// Levels that are shown.
pub(super) const MOST_LEVELS: usize = 40;

/// The branches that are shown, tree by tree. It takes as much memory as the lines.
#[derive(Debug, Default)]
pub(super) struct Excerpt {
    pub(super) trees: Vec<Tree>,
    /// Branches that are not shown, beside those below the lowest level.
    pub(super) more: usize,
    rows: usize,
}

/// A tree of which something is shown.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) rows: Vec<Row>,
    /// Further mappings of the tree, of other pages or ports.
    pub(super) left_out: usize,
    is_complete: bool,
}

/// A branch that is shown.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) branch: Branch,
    /// How many branches come below it that are too deep to be shown.
    pub(super) below: usize,
}

impl Excerpt {
    /// Takes the next branch. False if it is not shown.
    pub(super) fn add(&mut self, branch: Branch) -> bool {
        if self.trees.last().is_none_or(|tree| tree.is_complete) {
            self.trees.push(Tree::default());
        }
        let Some(tree) = self.trees.last_mut() else { return false };
        if branch.level < MOST_LEVELS && self.rows < MOST_ROWS {
            tree.rows.push(Row { branch, below: 0 });
            self.rows += 1;
            return true;
        }
        // What is below the last row comes before all other that is not shown.
        let above = tree.rows.last_mut().filter(|_| self.more == 0);
        match above.filter(|_| branch.level >= MOST_LEVELS) {
            Some(above) => above.below += 1,
            None => self.more += 1,
        }
        false
    }

    /// The tree is complete, but for further mappings of other pages or ports.
    pub(super) fn end(&mut self, left_out: usize) {
        if self.trees.last().is_some_and(|tree| tree.rows.is_empty()) {
            self.trees.pop();
        } else if let Some(tree) = self.trees.last_mut() {
            (tree.left_out, tree.is_complete) = (left_out, true);
        }
    }
}

impl Tree {
    /// The rows, each with the lines that lead to it from those above.
    pub(super) fn lines(&self) -> impl Iterator<Item = (String, &Row)> {
        let mut goes_on = vec![false; self.rows.len()];
        // At each level, whether a branch of the same parent comes later.
        let mut later = [false; MOST_LEVELS];
        for (row, goes_on) in self.rows.iter().zip(&mut goes_on).rev() {
            let level = row.branch.level;
            (*goes_on, later[level]) = (later[level], true);
            later[level + 1..].fill(false);
        }
        let mut above: Vec<bool> = Vec::new();
        self.rows.iter().zip(goes_on).map(move |(row, goes_on)| {
            above.truncate(row.branch.level);
            // The first level has no lines.
            let forebears =
                above.iter().skip(1).map(|goes_on| if *goes_on { "│  " } else { "   " });
            let own = match (row.branch.level, goes_on) {
                (0, _) => "",
                (_, true) => "├─ ",
                (_, false) => "└─ ",
            };
            let lines = forebears.chain([own]).collect();
            above.push(goes_on);
            (lines, row)
        })
    }
}

/// The lines that lead to what is right below a row with these lines.
pub(super) fn lines_below(lines: &str) -> String {
    let before = lines.replace("├─ ", "│  ").replace("└─ ", "   ");
    format!("{before}└─ ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::inspect::{Mapping, Target};
    use protocol::{
        flexpage::Rights,
        introspection::mapping::{Place, Resource},
    };

    /// Branches on these levels, in this order.
    fn excerpt(levels: impl IntoIterator<Item = usize>) -> Excerpt {
        let mut excerpt = Excerpt::default();
        for (position, level) in levels.into_iter().enumerate() {
            let mapping = Mapping {
                task: 1,
                place: Place::new(Resource::Memory, position as u32, false),
                order: 12,
                target: Target::Memory(0),
                rights: Rights::READ,
                is_accessed: false,
                is_dirty: false,
                entry_address: 0,
                value: 0,
                node: 0,
            };
            let (depth, is_granted, is_taken) = (level as u16, false, false);
            excerpt.add(Branch {
                mapping,
                position,
                parent: None,
                level,
                depth,
                is_granted,
                is_taken,
            });
        }
        excerpt.end(3);
        excerpt
    }

    fn lines(excerpt: &Excerpt) -> Vec<String> {
        excerpt.trees.iter().flat_map(Tree::lines).map(|(lines, _)| lines).collect()
    }

    #[test]
    fn lines_lead_to_every_branch() {
        let expected = ["", "├─ ", "│  ├─ ", "│  │  └─ ", "│  └─ ", "└─ ", "   └─ ", "", "└─ "];
        assert_eq!(lines(&excerpt([0, 1, 2, 3, 2, 1, 2, 0, 1])), expected);
        assert_eq!(lines_below("│  ├─ "), "│  │  └─ ");
        assert_eq!(lines_below("   └─ "), "      └─ ");
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let chain = excerpt(0..65_532);
        assert_eq!((chain.rows, chain.more), (MOST_LEVELS, 0));
        assert_eq!(chain.trees[0].rows[MOST_LEVELS - 1].below, 65_532 - MOST_LEVELS);
        let star = excerpt([0].into_iter().chain([1; 65_531]));
        assert_eq!((star.rows, star.more), (MOST_ROWS, 65_532 - MOST_ROWS));
        // Teeth of a comb, each longer than what is shown.
        let comb = excerpt((0..500).flat_map(|_| 0..2 * MOST_LEVELS));
        let below: usize = comb.trees[0].rows.iter().map(|row| row.below).sum();
        assert_eq!((comb.rows, comb.rows + comb.more + below), (MOST_ROWS, 1000 * MOST_LEVELS));
        assert_eq!((chain.trees.len(), chain.trees[0].left_out), (1, 3));
        assert!(lines(&comb).iter().all(|line| line.chars().count() <= 3 * MOST_LEVELS));
    }
}

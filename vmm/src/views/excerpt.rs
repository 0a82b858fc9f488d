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

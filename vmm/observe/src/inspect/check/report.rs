//! What a check found.

use std::collections::HashSet;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The header and its tables.
    Records,
    /// The kernel info page.
    KernelInfo,
    /// Where page tables and their like are.
    Tables,
    /// The kernel's part of the address spaces.
    KernelArea,
    /// Bits of entries.
    Bits,
    /// What user pages map.
    Pages,
    /// Where user pages are.
    Addresses,
    /// What the processor was told of I/O ports.
    Ports,
    /// Entries and nodes.
    Nodes,
    /// Links of nodes.
    Lists,
    /// Depths of nodes.
    Depths,
    /// How deep nodes are.
    DepthLimit,
    /// What derived mappings map.
    Derived,
    /// What derived mappings allow.
    Rights,
    /// Where mappings begin.
    Roots,
    /// Free nodes.
    FreeNodes,
    /// How long objects live.
    Lives,
    /// What is paid of kernel memory.
    Quotas,
    /// Where all kernel memory is.
    Memory,
}

impl Rule {
    /// All of them, in the order in which reports show them.
    pub const ALL: [Self; 19] = [
        Self::Records,
        Self::KernelInfo,
        Self::Tables,
        Self::KernelArea,
        Self::Bits,
        Self::Pages,
        Self::Addresses,
        Self::Ports,
        Self::Nodes,
        Self::Lists,
        Self::Depths,
        Self::DepthLimit,
        Self::Derived,
        Self::Rights,
        Self::Roots,
        Self::FreeNodes,
        Self::Lives,
        Self::Quotas,
        Self::Memory,
    ];

    /// What holds.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Records => {
                "records of tasks, threads, factories, gates and interrupts are well-formed"
            }
            Self::KernelInfo => "every task has the kernel info page, read-only",
            Self::Tables => {
                "every frame of tables and nodes lies in the kernel's pool and is used once"
            }
            Self::KernelArea => "no entry above the user area lets user code through",
            Self::Bits => "every user entry has only bits that the kernel or the processor sets",
            Self::Pages => "every user page maps memory that the kernel does not keep",
            Self::Addresses => "no page lies below the first address that can be mapped",
            Self::Ports => {
                "the processor lets a task use no ports but its own, and none of the kernel's"
            }
            Self::Nodes => {
                "every page, port and capability has exactly one node, which leads back to it"
            }
            Self::Lists => "the nodes of each tree are one list, the same in both directions",
            Self::Depths => "every node is one deeper than the one that it was derived from",
            Self::DepthLimit => "no node is deeper than the kernel lets mappings be handed on",
            Self::Derived => {
                "every mapping is of the frame, port or object that it was derived from"
            }
            Self::Rights => "no mapping allows more than the one that it was derived from",
            Self::Roots => {
                "every tree begins in sigma0, or with the only first capability of its object"
            }
            Self::FreeNodes => "the lists of free nodes end, and no free node is in use",
            Self::Lives => "every object that is there, and no other one, has a first capability",
            Self::Quotas => "quotas add up: what can be counted is what the factories say",
            Self::Memory => {
                "every frame of the kernel's pool is free, and zero, or somebody has it"
            }
        }
    }

    /// What is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::KernelInfo => "tasks",
            Self::Tables => "frames",
            Self::KernelArea | Self::Bits => "entries",
            Self::Pages | Self::Addresses => "pages",
            Self::Ports => "ports",
            Self::Nodes => "mappings",
            Self::Lists | Self::Depths | Self::DepthLimit | Self::FreeNodes => "nodes",
            Self::Derived | Self::Rights => "derived",
            Self::Roots => "trees",
            Self::Lives => "objects",
            Self::Quotas => "sums",
            Self::Memory => "pairs",
        }
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What should hold.
    pub rule: Rule,
    /// The way to it: a record, a node, or a task and the place in it.
    pub path: String,
    /// What stands there.
    pub evidence: String,
}

/// The most violations that a report shows; more are only counted.
const MOST: usize = 1000;

/// What one pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often each rule was applied, in the order of [`Rule::ALL`].
    pub counts: [u64; Rule::ALL.len()],
    /// Where it did not hold.
    pub violations: Vec<Violation>,
    /// Violations beyond the most that are shown.
    pub more: u64,
    /// Whether the kernel mapped and unmapped nothing during the pass. If it did, sums were not
    /// checked ([`Rule::Quotas`], and whether all nodes are accounted for), since they are of
    /// different moments.
    pub is_of_one_moment: bool,
}

impl Report {
    /// How often a rule was applied.
    pub fn count(&self, rule: Rule) -> u64 {
        self.counts[rule as usize]
    }

    /// Whether all that was checked holds.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.more == 0
    }

    /// What both passes found: what only one of them saw was changing at that moment.
    pub fn confirmed_by(mut self, second: &Self) -> Self {
        let seen: HashSet<_> =
            second.violations.iter().map(|found| (found.rule, &found.path)).collect();
        self.violations.retain(|found| seen.contains(&(found.rule, &found.path)));
        self.more = self.more.min(second.more);
        self
    }

    pub(super) fn applied(&mut self, rule: Rule) {
        self.counts[rule as usize] += 1;
    }

    /// Notes a violation. Its words are made only if it is shown.
    pub(in crate::inspect) fn violation(
        &mut self,
        rule: Rule,
        path: impl FnOnce() -> String,
        evidence: impl FnOnce() -> String,
    ) {
        if self.violations.len() < MOST {
            self.violations.push(Violation { rule, path: path(), evidence: evidence() });
        } else {
            self.more += 1;
        }
    }

    /// Evidence for [`Report::judge`]. Nobody reads that of violations that are only counted.
    pub(super) fn words(&self, evidence: impl FnOnce() -> String) -> String {
        if self.violations.len() < MOST { evidence() } else { String::new() }
    }

    /// Counts one application of a rule.
    pub(in crate::inspect) fn expect(
        &mut self,
        holds: bool,
        rule: Rule,
        path: impl FnOnce() -> String,
        evidence: impl FnOnce() -> String,
    ) {
        self.applied(rule);
        if !holds {
            self.violation(rule, path, evidence);
        }
    }

    /// Counts one application of a rule that is broken if there is a problem.
    pub(super) fn judge(
        &mut self,
        rule: Rule,
        path: impl FnOnce() -> String,
        problem: Option<String>,
    ) {
        self.applied(rule);
        if let Some(problem) = problem {
            self.violation(rule, path, || problem);
        }
    }
}

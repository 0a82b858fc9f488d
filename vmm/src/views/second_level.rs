//! What KVM puts behind a guest's page tables, as far as its module and its statistics tell.

use crate::attach::statistics::Statistic;
use machine::host::SecondLevel;
use serde_json::{Value, json};

/// KVM's entries that lead to pages: what it calls their number, and the size of such a page in KiB.
const ENTRIES: [(&str, u64); 3] = [("pages_4k", 4), ("pages_2m", 2 << 10), ("pages_1g", 1 << 20)];

/// For programs.
pub fn json(level: Option<SecondLevel>, statistics: &[Statistic]) -> Value {
    json!({
        "kind": level.map(word),
        "page_kib": only_size(statistics),
    })
}

fn word(level: SecondLevel) -> &'static str {
    match level {
        SecondLevel::Npt => "npt",
        SecondLevel::Ept => "ept",
        SecondLevel::Shadow => "shadow",
    }
}

/// For people.
pub fn sentence(level: Option<SecondLevel>, statistics: &[Statistic]) -> String {
    let kind = match level {
        Some(SecondLevel::Npt) => {
            "nested page tables (NPT), which the processor walks behind these"
        }
        Some(SecondLevel::Ept) => {
            "extended page tables (EPT), which the processor walks behind these"
        }
        Some(SecondLevel::Shadow) => {
            "shadow page tables, which the processor walks in place of these"
        }
        None => "page tables of a kind that its module does not tell",
    };
    match only_size(statistics) {
        Some(kib) => format!("{kind}; all entries are of {kib} KiB"),
        None if sizes(statistics).count() > 1 => {
            format!(
                "{kind}; entries of several sizes, and KVM does not tell which one this page has"
            )
        }
        None => kind.to_owned(),
    }
}

/// The size of all pages that KVM has entries for, if there is but one.
fn only_size(statistics: &[Statistic]) -> Option<u64> {
    let mut sizes = sizes(statistics);
    sizes.next().filter(|_| sizes.next().is_none())
}

fn sizes(statistics: &[Statistic]) -> impl Iterator<Item = u64> {
    ENTRIES.into_iter().filter_map(|(name, kib)| {
        let entries = statistics.iter().find(|found| found.name == name)?;
        (entries.value > 0).then_some(kib)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(counts: &[(&str, u64)]) -> Vec<Statistic> {
        counts
            .iter()
            .map(|(name, value)| Statistic { name: (*name).to_owned(), value: *value })
            .collect()
    }

    #[test]
    fn a_size_is_told_where_there_is_but_one() {
        let small = statistics(&[("pages_4k", 1489), ("pages_2m", 0), ("pages_1g", 0)]);
        assert_eq!(only_size(&small), Some(4));
        assert_eq!(
            sentence(Some(SecondLevel::Npt), &small),
            "nested page tables (NPT), which the processor walks behind these; all entries are of 4 KiB"
        );
        let both = statistics(&[("pages_4k", 1489), ("pages_2m", 3), ("pages_1g", 0)]);
        assert_eq!(only_size(&both), None);
        assert!(sentence(None, &both).ends_with("KVM does not tell which one this page has"));
        assert_eq!(
            sentence(Some(SecondLevel::Shadow), &[]),
            "shadow page tables, which the processor walks in place of these"
        );
    }
}

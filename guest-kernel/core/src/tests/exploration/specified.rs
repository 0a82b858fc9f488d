//! A map, grant or unmap that nobody interrupts, held against the specification.

use super::{
    alphabet::Act,
    machine::{Machine, PLAYERS},
    replies,
};
use crate::{
    mapping::database::NEAR,
    memory::index::TableIndex,
    tests::algebra::{
        BLOCK, Row, same,
        specification::{Mapping, Spot, World},
    },
};
use protocol::flexpage::{Flexpage, Rights};
use std::collections::BTreeMap;

/// What the mappings are of which the kernel has these rows.
fn world(rows: &[Row]) -> World {
    let mut world = World::new(BLOCK, NEAR as usize, |_, _| false);
    // Of siblings the youngest stands first.
    for row in rows.iter().rev() {
        world.add_root(row.spot, row.size, row.what, row.rights);
    }
    let ids: BTreeMap<Spot, _> =
        world.mappings.iter().map(|(spot, mapping)| (*spot, mapping.id)).collect();
    for row in rows {
        if let Some(mapping) = world.mappings.get_mut(&row.spot) {
            mapping.parent = row.parent.map(|parent| ids[&parent]);
            mapping.granted = row.granted;
            [mapping.accessed, mapping.dirty] = row.noted;
        }
    }
    world
}

/// Whether an act is one that is specified, and then whether it led to what it should.
pub fn check(
    before: &Machine,
    number: u16,
    act: Option<Act>,
    rows: &[Row],
    after: &[Row],
) -> Result<bool, String> {
    // What is interrupted stands between the mappings.
    // Nor are answers that were set aside: they are not mapped.
    if before.bench.kernel.mappings.interrupted_walks != 0 || replies::are_among(rows) {
        return Ok(false);
    }
    let own = before.task(number).position();
    let mut world = world(rows);
    match act {
        Some(Act::Map { to, item }) => {
            let to = before.task((number + u16::from(to)) % PLAYERS).position();
            world.map([own, to], item.encode(), Flexpage::WHOLE_SPACE, None);
        }
        Some(Act::Unmap { thing, take, own: with_own }) => {
            world.unmap(own, thing.flexpage(Rights::empty()), take, with_own);
        }
        _ => return Ok(false),
    }
    let found: BTreeMap<Spot, _> = after
        .iter()
        .map(|row| (row.spot, (row.parent, row.what, row.size, row.rights, row.granted)))
        .collect();
    let spots: BTreeMap<_, Spot> =
        world.mappings.iter().map(|(spot, mapping)| (mapping.id, *spot)).collect();
    let wanted = world.mappings.iter().map(|(spot, mapping)| {
        let Mapping { parent, what, size, rights, granted, .. } = *mapping;
        (*spot, (parent.map(|parent| spots[&parent]), what, size, rights, granted))
    });
    same("mappings", found, wanted.collect())?;
    Ok(true)
}

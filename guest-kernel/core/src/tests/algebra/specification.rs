//! What map, grant and unmap mean: a set of mappings, and the operations on it.
//!
//! Nothing here is fast or clever, and nothing is shared with the kernel but the wire formats and
//! where [`protocol::flexpage::Area`] places an item. Everything is counted in units: pages, ports, capabilities.

use protocol::{
    PAGE_ORDER, Word,
    flexpage::{Flexpage, Kind, Rights},
    introspection::{mapping::Resource, record::MapStatus},
    layout::{MAPPABLE_END, MAPPABLE_START},
    message::MapItem,
    object::CAPABILITY_TABLE_SIZE,
};
use std::collections::{BTreeMap, BTreeSet};

/// The task that all memory and all ports come from.
pub const SIGMA0: u16 = 0;

/// A mapping's name for as long as it lives, wherever a grant moves it.
pub type Id = u64;

/// Where a mapping begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub task: u16,
    pub resource: Resource,
    /// Page, port or capability.
    pub number: u32,
}

/// One mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub id: Id,
    /// Units: one, or as many as a directory entry covers.
    pub size: u32,
    /// First frame, first port, or object.
    pub what: u64,
    pub rights: Rights,
    /// The mapping that it was derived from, and when: of siblings the youngest stands first.
    pub parent: Option<Id>,
    pub age: u64,
    /// Whether it came by grant.
    pub granted: bool,
    /// The processor notes that the page was used.
    pub accessed: bool,
    /// The processor notes that the page was written.
    pub dirty: bool,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: MapStatus,
    /// Where the area begins, and how large it is.
    pub destination: u32,
    pub order: u32,
    /// Mappings that the receiver has now because of the item.
    pub entries: u32,
    /// What the first of them is, and its rights.
    pub first: Option<(u64, Rights)>,
}

/// All mappings of all tasks.
#[derive(Clone, Debug)]
pub struct World {
    pub mappings: BTreeMap<Spot, Mapping>,
    /// Units that a directory entry covers.
    block: u32,
    /// What sigma0 owns.
    is_owned: fn(Resource, u32) -> bool,
    /// How many mappings stand between a mapping and its parent at most, if that is to be found.
    reach: usize,
    next_id: Id,
}

/// Units, counted from each space's beginning.
#[derive(Clone, Copy, Debug)]
struct Piece {
    resource: Resource,
    source: u32,
    destination: u32,
    order: u32,
}

impl World {
    pub fn new(block: u32, reach: usize, is_owned: fn(Resource, u32) -> bool) -> Self {
        Self { mappings: BTreeMap::new(), block, is_owned, reach, next_id: 1 }
    }

    /// A mapping that is derived from none.
    pub fn add_root(&mut self, spot: Spot, size: u32, what: u64, rights: Rights) {
        self.add(spot, size, what, rights, None);
    }

    /// The mapping that covers a unit.
    pub fn at(&self, spot: Spot) -> Option<(Spot, Mapping)> {
        let block = Spot { number: spot.number - spot.number % self.block, ..spot };
        let found = [spot, block].map(|spot| Some((spot, *self.mappings.get(&spot)?)));
        found.into_iter().flatten().find(|(at, found)| spot.number - at.number < found.size)
    }

    /// Where a mapping is, and what it is.
    fn find(&self, id: Id) -> Option<(Spot, Mapping)> {
        let mut all = self.mappings.iter();
        all.find(|(_, mapping)| mapping.id == id).map(|(spot, mapping)| (*spot, *mapping))
    }

    /// A mapping and all that was derived from it, directly or not.
    pub fn family(&self, id: Id) -> BTreeSet<Id> {
        let mut family = BTreeSet::from([id]);
        loop {
            let before = family.len();
            for mapping in self.mappings.values() {
                if mapping.parent.is_some_and(|parent| family.contains(&parent)) {
                    family.insert(mapping.id);
                }
            }
            if family.len() == before {
                return family;
            }
        }
    }

    /// A mapping and all that was derived from it in the order of the database: depth first, of
    /// siblings the youngest first.
    pub fn in_order(&self, id: Id) -> Vec<Id> {
        let family = self.family(id);
        let mut left: Vec<_> = family.iter().filter_map(|id| self.find(*id)).collect();
        left.sort_by_key(|(_, mapping)| mapping.age);
        let mut order = vec![id];
        let mut at = 0;
        while let Some(above) = order.get(at).copied() {
            at += 1;
            // The eldest first: each of the others comes in before it.
            for (_, mapping) in left.iter().filter(|(_, mapping)| mapping.parent == Some(above)) {
                order.insert(at, mapping.id);
            }
        }
        order
    }

    fn is_child(&self, mapping: &Mapping, parent: Id) -> bool {
        let place = |order: Vec<Id>| order.iter().position(|id| *id == mapping.id);
        mapping.parent == Some(parent)
            && place(self.in_order(parent)).is_some_and(|place| place <= self.reach)
    }

    fn has_children(&self, id: Id) -> bool {
        self.mappings.values().any(|mapping| mapping.parent == Some(id))
    }

    /// Mappings are gone.
    pub fn remove(&mut self, ids: &BTreeSet<Id>) {
        self.mappings.retain(|_, mapping| !ids.contains(&mapping.id));
    }

    /// Takes rights away from mappings; without the right to read they are gone.
    fn reduce(&mut self, ids: &BTreeSet<Id>, taken: Rights) {
        if taken.contains(Rights::READ) {
            return self.remove(ids);
        }
        for mapping in self.mappings.values_mut().filter(|mapping| ids.contains(&mapping.id)) {
            mapping.rights -= taken;
        }
    }

    fn add(&mut self, spot: Spot, size: u32, what: u64, rights: Rights, parent: Option<Id>) {
        let id = self.next_id;
        self.next_id += 1;
        let mapping = Mapping {
            id,
            size,
            what,
            rights,
            parent,
            age: id,
            granted: false,
            accessed: false,
            dirty: false,
        };
        self.mappings.insert(spot, mapping);
    }

    /// Whether small pages stand where a superpage would begin: mappings, or the kernel's own.
    fn has_small_pages(&self, spot: Spot) -> bool {
        let last = Spot { number: spot.number + self.block - 1, ..spot };
        is_kept(last) || self.mappings.range(spot..=last).any(|(_, mapping)| mapping.size == 1)
    }

    /// What a task has at a spot. sigma0 gets what it owns when it is first touched or sent, as
    /// large as possible.
    pub fn touch(&mut self, spot: Spot) -> Option<(Spot, Mapping)> {
        let (resource, number) = (spot.resource, spot.number);
        let is_new = spot.task == SIGMA0 && self.at(spot).is_none();
        if is_new && resource != Resource::Capability && (self.is_owned)(resource, number) {
            let first = number - number % self.block;
            let mut block = first..first + self.block;
            if block.all(|number| (self.is_owned)(resource, number)) {
                let spot = Spot { number: first, ..spot };
                self.add_root(spot, self.block, first.into(), Rights::all());
            } else {
                self.add_root(spot, 1, number.into(), Rights::all());
            }
        }
        self.at(spot)
    }

    /// Maps or grants a flexpage. If the kernel says that it ran out of memory after some mappings,
    /// `limit` is how many: the next one, where nothing is yet, is not made.
    pub fn map(
        &mut self,
        [from, to]: [u16; 2],
        item: MapItem,
        window: Flexpage,
        limit: Option<u32>,
    ) -> Outcome {
        let mut outcome = Outcome {
            status: MapStatus::Overflow,
            destination: 0,
            order: 0,
            entries: 0,
            first: None,
        };
        let Some(piece) = place(item, window).filter(|_| to != SIGMA0) else { return outcome };
        outcome.destination = piece.destination;
        outcome.order = piece.order;
        outcome.status = MapStatus::SourceEmpty;
        if !item.flexpage.rights().contains(Rights::READ) {
            return outcome;
        }
        let mut done = 0;
        while done < 1 << piece.order {
            let resource = piece.resource;
            let source = Spot { task: from, resource, number: piece.source + done };
            let destination = Spot { task: to, resource, number: piece.destination + done };
            let left = (1 << piece.order) - done;
            done += 1;
            if is_kept(source) || is_kept(destination) {
                continue;
            }
            let Some((begin, found)) = self.touch(source) else { continue };
            // Superpages stay whole where they can.
            let is_whole = found.size > 1
                && begin == source
                && left >= found.size
                && destination.number.is_multiple_of(found.size)
                && !self.has_small_pages(destination);
            let size = if is_whole { found.size } else { 1 };
            done += size - 1;
            let rights = found.rights & item.flexpage.rights();
            self.make_way(source, destination, size, rights);
            // What was in the way may have been what the sender had this from.
            if self.at(source).is_none() {
                continue;
            }
            if limit == Some(outcome.entries) && self.at(destination).is_none() {
                outcome.status = MapStatus::NoMemory;
                return outcome;
            }
            let entered = self.enter(source, destination, size, rights, item.grant);
            outcome.status = MapStatus::Done;
            outcome.first.get_or_insert(entered);
            outcome.entries += 1;
        }
        outcome
    }

    /// What a unit is: its frame, port or object.
    fn what(&self, spot: Spot) -> Option<u64> {
        let (begin, found) = self.at(spot)?;
        Some(found.what + u64::from(spot.number - begin.number))
    }

    /// Unmaps the receiver's superpage if a page that is no part of it, or has other rights, is to
    /// be mapped into its middle.
    fn make_way(&mut self, source: Spot, destination: Spot, size: u32, rights: Rights) {
        let Some((_, old)) = self.at(destination).filter(|(_, old)| old.size > size) else {
            return;
        };
        let is_same = self.what(destination) == self.what(source);
        if !is_same || !old.rights.contains(rights) {
            self.remove(&self.family(old.id));
        }
    }

    /// Maps or grants `size` units, all of one mapping, with `rights`, and says what and with which
    /// rights the receiver has them then.
    fn enter(
        &mut self,
        source: Spot,
        destination: Spot,
        size: u32,
        rights: Rights,
        grant: bool,
    ) -> (u64, Rights) {
        let (begin, sent) = self.at(source).expect("something to send");
        let what = self.what(source).expect("something to send");
        let old = self.at(destination);
        if let Some((at, old)) = old
            && self.what(destination) == Some(what)
        {
            if old.rights.contains(rights) {
                return (what, old.rights);
            }
            let is_child = self.is_child(&old, sent.id);
            if is_child {
                let grown = Mapping { rights: old.rights | rights, ..old };
                self.mappings.insert(at, grown);
                return (what, grown.rights);
            }
            if !self.has_children(old.id) {
                let rights = (old.rights | rights) & sent.rights;
                let (parent, age) = (Some(sent.id), self.next_id);
                self.next_id += 1;
                let adopted = Mapping { rights, parent, age, granted: false, ..old };
                self.mappings.insert(at, adopted);
                return (what, rights);
            }
        }
        if let Some((_, old)) = old {
            self.remove(&self.family(old.id));
        }
        if grant && source.task != SIGMA0 && sent.size == size {
            self.reduce(&self.family(sent.id), Rights::all() - rights);
            let moved = self.mappings.remove(&begin).expect("something to send");
            self.mappings.insert(destination, Mapping { granted: true, ..moved });
        } else {
            self.add(destination, size, what, rights, Some(sent.id));
        }
        (what, rights)
    }

    /// Takes `taken` away from all that was derived from a task's mappings of a flexpage, and from
    /// these with `own`. Returns, and clears, what the processor noted: accessed, written.
    pub fn unmap(&mut self, task: u16, flexpage: Flexpage, taken: Rights, own: bool) -> [bool; 2] {
        let Some((resource, first, order)) = units(flexpage) else { return [false; 2] };
        let range = first..first + (1 << order);
        let mut covered = BTreeSet::new();
        for (spot, mapping) in &self.mappings {
            let end = spot.number + mapping.size;
            let is_here = spot.task == task && spot.resource == resource;
            if is_here && spot.number < range.end && range.start < end {
                // The part of it that the flexpage names.
                let start = range.start.max(spot.number) - spot.number;
                let end = range.end.min(end) - spot.number;
                let part = mapping.what + u64::from(start)..mapping.what + u64::from(end);
                covered.extend(self.derived(mapping.id, part));
                match own && task != SIGMA0 {
                    true if taken.is_empty() => covered.extend([mapping.id]),
                    // It is one mapping and goes as a whole; so must all below it.
                    true => covered.extend(self.family(mapping.id)),
                    false => {}
                }
            }
        }
        let mut noted = [false; 2];
        for mapping in self.mappings.values_mut().filter(|mapping| covered.contains(&mapping.id)) {
            noted[0] |= mapping.accessed;
            noted[1] |= mapping.dirty;
            mapping.accessed = false;
            mapping.dirty = false;
        }
        self.reduce(&covered, taken);
        noted
    }

    /// All that was derived from a mapping, but for single pages outside of `part`. Of a derived
    /// superpage every page counts.
    fn derived(&self, id: Id, part: std::ops::Range<u64>) -> BTreeSet<Id> {
        let mut derived = BTreeSet::new();
        for mapping in self.mappings.values().filter(|mapping| mapping.parent == Some(id)) {
            if mapping.size > 1 || part.contains(&mapping.what) {
                derived.extend(self.family(mapping.id));
            }
        }
        derived
    }

    /// The processor uses a page.
    pub fn use_page(&mut self, spot: Spot, write: bool) {
        if let Some((begin, mut mapping)) = self.at(spot) {
            mapping.accessed = true;
            mapping.dirty |= write;
            self.mappings.insert(begin, mapping);
        }
    }

    /// What is true of every set of mappings that these operations lead to.
    pub fn check(&self) -> Result<(), String> {
        let by_id: BTreeMap<Id, (&Spot, &Mapping)> =
            self.mappings.iter().map(|(spot, mapping)| (mapping.id, (spot, mapping))).collect();
        for (spot, mapping) in &self.mappings {
            let Some(parent) = mapping.parent else { continue };
            let Some((above, parent)) = by_id.get(&parent) else {
                return Err(format!("{spot:?} {mapping:?} was derived from nothing"));
            };
            let end = |mapping: &Mapping| mapping.what + u64::from(mapping.size);
            let is_within = parent.rights.contains(mapping.rights)
                && mapping.rights.contains(Rights::READ)
                && above.resource == spot.resource
                && parent.what <= mapping.what
                && end(mapping) <= end(parent)
                && parent.id != mapping.id;
            if !is_within {
                return Err(format!("{spot:?} {mapping:?} is not within {above:?} {parent:?}"));
            }
        }
        Ok(())
    }
}

/// Pages of the kernel at the end of every task; its first ones, and capability 0, which are nobody's.
fn is_kept(spot: Spot) -> bool {
    match spot.resource {
        Resource::Memory => {
            let (start, end) = (MAPPABLE_START >> PAGE_ORDER, MAPPABLE_END >> PAGE_ORDER);
            !(start..end).contains(&(spot.number as Word))
        }
        Resource::Capability => spot.number == 0,
        _ => false,
    }
}

/// What a flexpage names: its kind of units, the first, and the binary logarithm of how many.
pub fn units(flexpage: Flexpage) -> Option<(Resource, u32, u32)> {
    let (resource, area) = match flexpage.kind() {
        Kind::Memory => (Resource::Memory, flexpage.memory_area()?),
        Kind::IoPorts => (Resource::Ports, flexpage.port_area()?),
        Kind::Capability => (Resource::Capability, flexpage.capability_area()?),
        Kind::Special => return None,
    };
    Some((resource, (area.base() >> PAGE_ORDER) as u32, area.order() - PAGE_ORDER))
}

/// What an item takes from where to where, if it is none of the absurd ones.
fn place(item: MapItem, window: Flexpage) -> Option<Piece> {
    let (resource, ..) = units(item.flexpage)?;
    let area = |flexpage: Flexpage| match resource {
        Resource::Memory => flexpage.memory_area(),
        Resource::Ports => flexpage.port_area(),
        _ => flexpage.capability_area(),
    };
    let (send, window) = (area(item.flexpage)?, area(window)?);
    let placement = match resource {
        // A port stays the port that it is.
        Resource::Ports => send.common(window)?,
        _ => send.place(item.send_base, window)?,
    };
    let piece = Piece {
        resource,
        source: (placement.source >> PAGE_ORDER) as u32,
        destination: (placement.destination >> PAGE_ORDER) as u32,
        order: placement.order - PAGE_ORDER,
    };
    let end = match resource {
        Resource::Memory => u32::MAX,
        Resource::Ports => protocol::flexpage::IO_PORTS as u32,
        _ => CAPABILITY_TABLE_SIZE as u32,
    };
    (piece.destination < end && 1 << piece.order <= end - piece.destination).then_some(piece)
}

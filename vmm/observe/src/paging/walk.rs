//! Where the page tables lead from an address, level by level.

use super::{Entry, Geometry, Level};
use crate::memory::{GuestMemory, OutsideMemory};
use protocol::{PAGE_ORDER, flexpage::Rights};

/// What was met on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Where it began.
    pub address: u64,
    /// The entries, top level first.
    pub steps: Vec<Step>,
    /// Where it ended.
    pub end: End,
}

/// An entry on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number in its table.
    pub index: u64,
    /// Its physical address.
    pub entry_address: u64,
    /// What it says.
    pub entry: Entry,
}

/// How a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At a page.
    Page(Page),
    /// At an entry that is not present.
    Absent(&'static Level),
    /// At an entry that claims a superpage where there can be none.
    Malformed(&'static Level),
    /// At a table that is not in memory.
    Outside(&'static Level, OutsideMemory),
    /// It cannot even begin.
    NoAddress,
}

/// A page, and what user code can do to it: what every level lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its first byte in physical memory.
    pub physical: u64,
    /// Binary logarithm of its size.
    pub order: u32,
    /// What it was mapped with.
    pub rights: Rights,
    /// Whether every level lets user code through.
    pub is_user: bool,
    /// Whether every level lets writes through.
    pub is_writable: bool,
    /// Whether every level lets code be fetched.
    pub is_executable: bool,
}

impl Walk {
    /// Walks the tables under `root`. It reads at most one entry of each level.
    pub fn new<M>(memory: &M, geometry: &'static Geometry, root: u64, address: u64) -> Self
    where
        M: GuestMemory + ?Sized,
    {
        let mut walk = Self { address, steps: Vec::new(), end: End::NoAddress };
        if geometry.is_address(address) {
            walk.end = walk.follow(memory, geometry, geometry.levels, root);
        }
        walk
    }

    /// Walks a directory of ports, in which a port stands like the page of that number.
    pub fn of_port<M>(memory: &M, geometry: &'static Geometry, directory: u64, port: u16) -> Self
    where
        M: GuestMemory + ?Sized,
    {
        let address = u64::from(port) << PAGE_ORDER;
        let mut walk = Self { address, steps: Vec::new(), end: End::NoAddress };
        walk.end = walk.follow(memory, geometry, geometry.port_levels(), directory);
        walk
    }

    fn follow<M>(
        &mut self,
        memory: &M,
        geometry: &'static Geometry,
        levels: &'static [Level],
        root: u64,
    ) -> End
    where
        M: GuestMemory + ?Sized,
    {
        let mut table = root & geometry.address_mask;
        let mut end = End::NoAddress;
        for level in levels {
            let index = geometry.index(level, self.address);
            let entry_address = table + index * geometry.entry_size;
            let mut bytes = [0; 8];
            let read = memory.read(entry_address, &mut bytes[..geometry.entry_size as usize]);
            if let Err(outside) = read {
                return End::Outside(level, outside);
            }
            let entry = Entry::new(u64::from_le_bytes(bytes), level, geometry);
            self.steps.push(Step { index, entry_address, entry });
            if !entry.is_present() {
                return End::Absent(level);
            }
            if entry.is_malformed() {
                return End::Malformed(level);
            }
            if entry.maps() {
                return End::Page(self.page(entry));
            }
            table = entry.physical();
            end = End::Absent(level);
        }
        end
    }

    fn page(&self, entry: Entry) -> Page {
        let all = |lets_through: fn(Entry) -> bool| {
            self.steps.iter().all(|step| lets_through(step.entry))
        };
        Page {
            physical: entry.physical(),
            order: entry.level.shift,
            rights: entry.rights(),
            is_user: all(Entry::is_user),
            is_writable: all(Entry::is_writable),
            is_executable: all(Entry::is_executable),
        }
    }

    /// The physical address that it leads to.
    pub fn physical(&self) -> Option<u64> {
        match self.end {
            End::Page(page) => Some(page.physical | self.address & ((1 << page.order) - 1)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{AMD64, IA32},
        *,
    };
    use crate::testing::Random;

    fn memory(geometry: &Geometry, entries: &[(usize, u64)]) -> Vec<u8> {
        let mut memory = vec![0; 0x8000];
        let size = geometry.entry_size as usize;
        for (address, entry) in entries {
            memory[*address..address + size].copy_from_slice(&entry.to_le_bytes()[..size]);
        }
        memory
    }

    fn indices(walk: &Walk) -> Vec<u64> {
        walk.steps.iter().map(|step| step.index).collect()
    }

    #[test]
    fn amd64_has_the_spine_and_two_levels() {
        let address = 1 << 30 | 2 << 21 | 3 << 12;
        let entries =
            [(0x1000, 0x2007), (0x2008, 0x3007), (0x3010, 0x4007), (0x4018, 0x5025 | 1 << 63)];
        let walk = Walk::new(&memory(&AMD64, &entries), &AMD64, 0x1000, address + 0x123);
        assert_eq!(indices(&walk), [0, 1, 2, 3]);
        assert_eq!(walk.physical(), Some(0x5123));
        let End::Page(page) = walk.end else { panic!("{:?}", walk.end) };
        assert_eq!((page.order, page.rights, page.is_user), (12, Rights::READ, true));
        assert!(!page.is_writable && !page.is_executable);
        let absent = Walk::new(&memory(&AMD64, &entries), &AMD64, 0x1000, address + 0x1000);
        assert_eq!(absent.end, End::Absent(&AMD64.levels[3]));
        assert_eq!(absent.physical(), None);
    }

    #[test]
    fn ia32_has_two_levels_and_superpages_of_4_mib() {
        let entries = [(0x1000, 0x2007), (0x1004, 0x40_00e7), (0x200c, 0x5207)];
        let memory = memory(&IA32, &entries);
        let walk = Walk::new(&memory, &IA32, 0x1000, 0x3abc);
        assert_eq!((indices(&walk), walk.physical()), (vec![0, 3], Some(0x5abc)));
        let large = Walk::new(&memory, &IA32, 0x1000, 0x40_0000 + 0x12_3456);
        assert_eq!((indices(&large), large.physical()), (vec![1], Some(0x52_3456)));
        assert_eq!(Walk::new(&memory, &IA32, 0x1000, 1 << 32).end, End::NoAddress);
        let absent = Walk::new(&memory, &IA32, 0x1000, 0xbfff_f000);
        assert_eq!(absent.end, End::Absent(&IA32.levels[0]));
    }

    #[test]
    fn ports_have_the_last_two_levels() {
        for (geometry, port, index) in [(&AMD64, 0x3ff, [1, 0x1ff]), (&IA32, 0x3ff, [0, 0x3ff])] {
            let size = geometry.entry_size as usize;
            let directory = 0x1000 + index[0] as usize * size;
            let table = 0x2000 + index[1] as usize * size;
            let tables = memory(geometry, &[(directory, 0x2007), (table, 0x3f_f007)]);
            let walk = Walk::of_port(&tables, geometry, 0x1000, port);
            assert_eq!((indices(&walk), walk.physical()), (index.to_vec(), Some(0x3f_f000)));
            let absent = Walk::of_port(&tables, geometry, 0x1000, port - 1);
            let [.., directory, last] = geometry.levels else { panic!("{geometry:?}") };
            assert_eq!(absent.end, End::Absent(last));
            let absent = Walk::of_port(&tables, geometry, 0x1000, u16::MAX);
            assert_eq!(absent.end, End::Absent(directory));
        }
        let block = memory(&AMD64, &[(0x1008, 0x20_0087)]);
        let End::Page(page) = Walk::of_port(&block, &AMD64, 0x1000, 0x3ff).end else {
            panic!("no block");
        };
        assert_eq!((page.physical >> 12, page.order), (0x200, 21));
    }

    #[test]
    fn a_level_that_refuses_refuses_for_all_below() {
        let entries = [(0x1000, 0x2003), (0x2000, 0x5207)];
        let walk = Walk::new(&memory(&IA32, &entries), &IA32, 0x1000, 0);
        let End::Page(page) = walk.end else { panic!("{:?}", walk.end) };
        assert!(!page.is_user && page.is_writable);
    }

    #[test]
    fn tables_that_point_at_themselves_or_away_end() {
        let looped = memory(&AMD64, &[(0x1000, 0x1007)]);
        assert_eq!(Walk::new(&looped, &AMD64, 0x1000, 0x10).physical(), Some(0x1010));
        let away = memory(&AMD64, &[(0x1000, AMD64.address_mask | 7)]);
        assert!(
            matches!(Walk::new(&away, &AMD64, 0x1000, 0).end, End::Outside(level, _) if level.name == "PDPT")
        );
        assert!(matches!(Walk::new(&away, &AMD64, u64::MAX, 0).end, End::Outside(..)));
        let malformed = memory(&AMD64, &[(0x1000, 0x2087)]);
        assert_eq!(Walk::new(&malformed, &AMD64, 0x1000, 0).end, End::Malformed(&AMD64.levels[0]));
    }

    #[test]
    fn random_memory_is_walked_to_some_end() {
        let mut random = Random::new(11);
        let mut memory = vec![0; 0x8000];
        for _ in 0..200 {
            random.fill(&mut memory);
            for geometry in [&AMD64, &IA32] {
                let (root, address) = (random.below(0x9000), random.next());
                let walk = Walk::new(&memory, geometry, root, address >> random.below(64));
                assert!(walk.steps.len() <= geometry.levels.len());
            }
        }
    }
}

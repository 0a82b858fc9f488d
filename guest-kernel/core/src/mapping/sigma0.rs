//! sigma0's memory: the kernel itself resolves the page faults of the first task.
//!
//! sigma0 owns all memory that the kernel does not keep and that can be mapped 1:1. Nothing of that is entered ahead of
//! time: it would make starting a machine slower the more memory it has. The kernel fabricates a
//! page of sigma0 when sigma0 touches it or sends it on.

use crate::{
    arch::{Entry, TABLE_ENTRIES, TABLE_ORDER},
    boot_bundle::Image,
    mapping::{
        database::{self, NewMapping},
        mappings::Mappings,
        space::{DirectoryEntry, Pages, Spot, table_index},
    },
    memory::{
        frames::{KernelFrame, NoMemory, PhysicalAddress},
        index::{TableIndex, TaskIndex},
        machine::Machine,
    },
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{KERNEL_PORTS, Rights, align_down},
    introspection::mapping::Place,
    kip::PhysicalRange,
    layout::{MAPPABLE_START, ONE_TO_ONE_END},
};

/// What sigma0 is made of.
#[derive(Clone, Debug)]
pub struct Sigma0 {
    /// The kernel info page, which every task gets.
    pub kernel_info_page: KernelFrame,
    /// End of RAM.
    pub ram_end: u64,
    /// Memory that the kernel keeps.
    pub reserved: [PhysicalRange; 4],
    /// Its image in the bundle, mapped as it lies there.
    pub image: Image,
}

impl Sigma0 {
    /// What sigma0 has at `address`: a page of memory, or a port.
    fn page(&self, pages: Pages, address: Word) -> Option<(PhysicalAddress, Rights)> {
        match pages {
            Pages::Memory => self.page_at(address),
            Pages::Ports => {
                let port = (address >> PAGE_ORDER) as u16;
                let page = align_down(address, PAGE_ORDER) as u64;
                let free = !KERNEL_PORTS.contains(&port);
                free.then_some((PhysicalAddress(page), Rights::all()))
            }
        }
    }

    /// Whether all around `address` that one directory entry covers is sigma0's.
    fn has_whole_superpage(&self, pages: Pages, address: Word) -> bool {
        let start = align_down(address, TABLE_ORDER);
        match pages {
            Pages::Memory => self.is_free(start as u64, 1 << TABLE_ORDER),
            Pages::Ports => {
                let first = start >> PAGE_ORDER;
                !KERNEL_PORTS.iter().any(|port| (*port as Word).wrapping_sub(first) < TABLE_ENTRIES)
            }
        }
    }

    /// The page that sigma0 has at `address`: of its image, or memory 1:1.
    pub(crate) fn page_at(&self, address: Word) -> Option<(PhysicalAddress, Rights)> {
        if let Some((physical, rights)) = self.image.page_at(address) {
            return Some((PhysicalAddress(physical), rights));
        }
        let page = align_down(address, PAGE_ORDER);
        let free = self.is_free(page as u64, PAGE_SIZE as u64);
        free.then_some((PhysicalAddress(page as u64), Rights::all()))
    }

    /// Whether a piece of memory is RAM that the kernel does not keep and that can be mapped 1:1.
    fn is_free(&self, start: u64, size: u64) -> bool {
        let end = start + size;
        start >= MAPPABLE_START as u64
            && end <= self.ram_end.min(ONE_TO_ONE_END as u64)
            && self.reserved.iter().all(|kept| end <= kept.start || kept.end <= start)
    }
}

impl<M: Machine> Mappings<M> {
    /// Makes sure that sigma0 has the page or port at `address`, as a part of something larger where
    /// that is its whole. Does nothing where there is none.
    pub(crate) fn fabricate(&mut self, pages: Pages, address: Word) -> Result<(), NoMemory> {
        let space = &self.tasks[TaskIndex::SIGMA0].space;
        let table = match space.directory_entry(&mut self.machine, pages, address) {
            DirectoryEntry::Superpage(_) => return Ok(()),
            DirectoryEntry::Table(table) => table,
            DirectoryEntry::Empty => {
                if self.sigma0.has_whole_superpage(pages, address) {
                    return self.fabricate_superpage(pages, address);
                }
                if self.sigma0.page(pages, address).is_none() {
                    return Ok(());
                }
                self.add_table(TaskIndex::SIGMA0, pages, address)?
            }
        };
        let spot = Spot::<Entry>::new(table, table_index(address));
        if spot.entry(&mut self.machine).is_present() {
            return Ok(());
        }
        let Some((physical, rights)) = self.sigma0.page(pages, address) else { return Ok(()) };
        self.fabricate_at(spot, Entry::page(physical, rights, false), pages, address)
    }

    fn fabricate_superpage(&mut self, pages: Pages, address: Word) -> Result<(), NoMemory> {
        if pages == Pages::Ports {
            self.need_port_directory(TaskIndex::SIGMA0)?;
        }
        let start = align_down(address, TABLE_ORDER);
        let entry = Entry::page(PhysicalAddress(start as u64), Rights::all(), true);
        match self.tasks[TaskIndex::SIGMA0].space.directory_spot(pages, start) {
            Some(spot) => self.fabricate_at(spot, entry, pages, start),
            None => Ok(()),
        }
    }

    /// Enters a root of the mapping database.
    fn fabricate_at(
        &mut self,
        spot: Spot<Entry>,
        entry: Entry,
        pages: Pages,
        address: Word,
    ) -> Result<(), NoMemory> {
        let node = self.allocate_node(self.tasks[TaskIndex::SIGMA0].factory)?;
        let resource = pages.resource();
        let number = (address >> PAGE_ORDER) as u32;
        let place = Place::new(resource, number, entry.is_superpage());
        let mapping = NewMapping { task: TaskIndex::SIGMA0.position(), place };
        database::make_root(&mut self.machine, node, mapping);
        spot.set_node(&mut self.machine, node.into());
        spot.set_entry(&mut self.machine, entry);
        Ok(())
    }
}

//! The page behind a fault: found in a module, or made.

use arrayvec::ArrayVec;
use core::fmt;
use images::bundle::Bundle;
use policy::{
    frames::{FrameTables, Space, Table},
    manifest::MAX_PROGRAMS,
    programs::{Program, ProgramIndex, Programs},
    regions::{Backing, Files, FilesError, find},
};
use runtime::{
    Error,
    memory::{Memory, Pool, touch},
    protocol::{
        PAGE_ORDER, Word,
        boot::{ModuleKind, pad_name},
        fault::PageFault,
        flexpage::{Flexpage, Rights},
        program::{MAX_FILES, ProgramInfo},
    },
    share::Shareable,
};
use zerocopy::{FromZeros, IntoBytes};

/// Tables for the pages that programs have of their own: each is for 4 MiB of a program.
const MAX_TABLES: usize = 512;

/// Pages for all programs.
pub struct Paging {
    /// Memory for pages, tables, and for programs that ask for some.
    pub memory: Pool,
    frames: FrameTables<'static, MAX_TABLES>,
    spaces: ArrayVec<Space, MAX_PROGRAMS>,
    files: Files,
    contents: ArrayVec<&'static [u8], MAX_FILES>,
    bundle: Bundle<'static>,
}

/// Why a fault is not answered with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is nothing at the address, or nothing that may be accessed that way.
    NoPage,
    /// There should be something, but no memory is left for it.
    NoMemory,
}

/// Why programs cannot be paged.
#[derive(Debug)]
pub enum PagingError {
    Files(FilesError),
    NoMemory(Error),
}

impl fmt::Display for PagingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => error.fmt(f),
            Self::NoMemory(error) => write!(
                f,
                "cannot get memory to start with: {error}: give the machine more (glass run \
                 --memory)"
            ),
        }
    }
}

impl Paging {
    /// Pages for nobody yet.
    pub fn new(bundle: Bundle<'static>) -> Self {
        Self {
            memory: Pool::one_to_one(),
            frames: FrameTables::new(),
            spaces: ArrayVec::new(),
            files: Files::default(),
            contents: ArrayVec::new(),
            bundle,
        }
    }

    /// Lays out the files, and gets the first memory.
    pub fn prepare(&mut self, programs: &Programs<'static>) -> Result<(), PagingError> {
        self.files = Files::lay_out(self.bundle).map_err(PagingError::Files)?;
        // No more than were laid out.
        self.contents.extend(self.bundle.modules_of(ModuleKind::File).map(|file| file.bytes));
        for _ in programs.iter() {
            let table = self.table().map_err(PagingError::NoMemory)?;
            // There are more tables than programs.
            self.spaces.extend(self.frames.new_space(table));
        }
        Ok(())
    }

    /// The page to map for a fault of `program`.
    pub fn find(
        &mut self,
        index: ProgramIndex,
        program: &Program<'static>,
        fault: PageFault,
    ) -> Result<Shareable, Refused> {
        let backing = find(&program.image, &self.files, fault.address, fault.access)
            .map_err(|_| Refused::NoPage)?;
        match backing {
            Backing::Image { offset, rights } => page_of(program.module.bytes, offset, rights),
            Backing::File { file, offset } => page_of(self.contents[file], offset, Rights::READ),
            Backing::Private { offset, length, skip, rights } => {
                let source = &program.module.bytes[offset..offset + length];
                let fill = |page: &mut Memory| page.write(skip, source);
                self.private_page(index, fault.address, rights, fill)
            }
            Backing::Info => {
                let (bundle, files) = (self.bundle, self.files.clone());
                let fill = |page: &mut Memory| write_info(page, program, bundle, &files);
                self.private_page(index, fault.address, Rights::READ, fill)
            }
        }
    }

    /// The program's own frame at `address`; if it has none yet, a new one of zeros and what `fill` writes
    /// to it.
    fn private_page(
        &mut self,
        index: ProgramIndex,
        address: Word,
        rights: Rights,
        fill: impl FnOnce(&mut Memory),
    ) -> Result<Shareable, Refused> {
        let space = self.spaces[index.number()];
        if let Some(frame) = self.frames.get(space, address) {
            let page = Flexpage::memory(frame, PAGE_ORDER, rights);
            return Shareable::new(page).ok_or(Refused::NoPage);
        }
        if self.frames.lacks_table(space, address) {
            let table = self.table().map_err(|_| Refused::NoMemory)?;
            self.frames.add_table(space, address, table).ok_or(Refused::NoMemory)?;
        }
        let mut page = self.memory.page().map_err(|_| Refused::NoMemory)?;
        page.fill(0);
        fill(&mut page);
        self.frames.set(space, address, page.address()).ok_or(Refused::NoMemory)?;
        Ok(page.flexpage(rights))
    }

    fn table(&mut self) -> Result<&'static Table, Error> {
        let entries = self.memory.page()?.into_atomics();
        <&Table>::try_from(entries).map_err(|_| Error::BadAnswer)
    }
}

/// The page of `bytes`, which begin on a page boundary, that begins at `offset`.
fn page_of(bytes: &'static [u8], offset: usize, rights: Rights) -> Result<Shareable, Refused> {
    let first = bytes.get(offset).ok_or(Refused::NoPage)?;
    // Nobody can map on what he has not got.
    touch(first);
    let page = Flexpage::memory(core::ptr::from_ref(first).addr(), PAGE_ORDER, rights);
    Shareable::new(page).ok_or(Refused::NoPage)
}

fn write_info(page: &mut Memory, program: &Program, bundle: Bundle, files: &Files) {
    let mut info = ProgramInfo::new_zeroed();
    // The manifest's check has seen that they fit.
    let arguments = program.module.arguments.as_bytes();
    info.arguments[..arguments.len()].copy_from_slice(arguments);
    info.arguments_length = arguments.len() as u32;
    let modules = bundle.modules_of(ModuleKind::File);
    for ((area, file), module) in info.files.iter_mut().zip(files.iter()).zip(modules) {
        area.address = file.address as u64;
        area.length = file.length as u64;
        area.name = pad_name(module.name.as_bytes());
        info.file_count += 1;
    }
    page.write(0, info.as_bytes());
}

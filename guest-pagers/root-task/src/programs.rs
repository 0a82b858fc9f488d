//! The programs of the manifest.

use arrayvec::ArrayVec;
use core::{fmt, ops::Index};
use policy::{
    bundle::{Bundle, Module},
    elf::{ElfError, Image},
    regions::PROGRAM_AREA,
};
use runtime::{
    arch::MACHINE,
    protocol::{
        Word,
        boot::{ModuleKind, ROOT},
    },
};

/// Programs that one manifest can have.
pub const MAX_PROGRAMS: usize = 32;

/// Which program, in the manifest's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramIndex(usize);

impl ProgramIndex {
    /// Its place in lists that are in the manifest's order.
    pub const fn number(self) -> usize {
        self.0
    }
}

/// One program.
#[derive(Debug)]
pub struct Program {
    pub module: Module<'static>,
    pub image: Image,
    /// The program that pages it; `None`: the root task does.
    pub pager: Option<ProgramIndex>,
    /// The program that it gets a gate to.
    pub server: Option<ProgramIndex>,
    /// It serves others: the machine does not wait for its end.
    is_service: bool,
    /// Its exit status, once it has ended.
    ended: Option<u8>,
}

impl Program {
    pub fn name(&self) -> &'static str {
        self.module.name
    }

    /// The label that its messages to the program that pages or serves it carry.
    pub fn label_between_programs(&self) -> Word {
        self.module.index + 1
    }
}

/// All programs.
#[derive(Debug)]
pub struct Programs(ArrayVec<Program, MAX_PROGRAMS>);

/// What is wrong with the manifest.
#[derive(Debug)]
pub enum ManifestError {
    None,
    TooMany,
    NotRunnable(&'static str, ElfError),
    NoSuchProgram(&'static str),
    PagersInACircle(&'static str),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "the boot bundle names no program to start"),
            Self::TooMany => write!(f, "there are more than {MAX_PROGRAMS} programs"),
            Self::NotRunnable(name, error) => write!(f, "cannot run `{name}`: {error}"),
            Self::NoSuchProgram(name) => {
                write!(f, "the pager or server of `{name}` is not one of the programs")
            }
            Self::PagersInACircle(name) => write!(
                f,
                "`{name}` is, over others or not, its own pager: some pager in the circle must be \
                 paged by the root task"
            ),
        }
    }
}

impl Programs {
    /// Reads the manifest.
    pub fn read(bundle: Bundle<'static>) -> Result<Self, ManifestError> {
        let mut programs = Self(ArrayVec::new());
        for module in bundle.modules_of(ModuleKind::Program) {
            let image = Image::parse(module.bytes, MACHINE, &PROGRAM_AREA)
                .map_err(|error| ManifestError::NotRunnable(module.name, error))?;
            let program = Program {
                module,
                image,
                pager: None,
                server: None,
                is_service: false,
                ended: None,
            };
            programs.0.try_push(program).map_err(|_| ManifestError::TooMany)?;
        }
        if programs.0.is_empty() {
            return Err(ManifestError::None);
        }
        programs.connect()?;
        let in_circle = programs.iter().find(|(index, _)| programs.pages_itself(*index));
        if let Some((_, program)) = in_circle {
            return Err(ManifestError::PagersInACircle(program.name()));
        }
        Ok(programs)
    }

    /// Finds out who pages and who serves whom.
    fn connect(&mut self) -> Result<(), ManifestError> {
        for index in 0..self.0.len() {
            let Module { name, entry, .. } = self.0[index].module;
            for (module, is_pager) in [(entry.pager, true), (entry.server, false)] {
                if module == ROOT {
                    continue;
                }
                let other = self.0.iter().position(|other| other.module.index == module as usize);
                let other = other.ok_or(ManifestError::NoSuchProgram(name))?;
                self.0[other].is_service = true;
                let place = match is_pager {
                    true => &mut self.0[index].pager,
                    false => &mut self.0[index].server,
                };
                *place = Some(ProgramIndex(other));
            }
        }
        Ok(())
    }

    fn pages_itself(&self, index: ProgramIndex) -> bool {
        let mut chain = core::iter::successors(self[index].pager, |pager| self[*pager].pager);
        // A chain that is longer than the list has a circle, which this program may not be in.
        chain.by_ref().take(self.0.len()).any(|pager| pager == index)
    }

    /// All programs, in the manifest's order.
    pub fn iter(&self) -> impl Iterator<Item = (ProgramIndex, &Program)> {
        self.0.iter().enumerate().map(|(index, program)| (ProgramIndex(index), program))
    }

    /// The label of the gate through which a program reaches the root task.
    pub const fn label(index: ProgramIndex) -> Word {
        index.0 + 1
    }

    /// The program whose gate to the root task has this label.
    #[inline]
    pub fn of_client(&self, label: Word) -> Option<ProgramIndex> {
        let index = label.checked_sub(1)?;
        (index < self.0.len()).then_some(ProgramIndex(index))
    }

    /// The program whose gates to other programs have this label.
    pub fn of_gate_between_programs(&self, label: Word) -> Option<ProgramIndex> {
        let found = self.iter().find(|(_, program)| program.label_between_programs() == label);
        found.map(|(index, _)| index)
    }

    /// Notes that a program has ended. What it did later than that does not count.
    pub fn end(&mut self, index: ProgramIndex, status: u8) {
        self.0[index.0].ended.get_or_insert(status);
    }

    /// The machine's exit status, once there is nothing left to wait for: all programs have ended
    /// that serve nobody, or one has failed that others cannot do without.
    pub fn outcome(&self) -> Option<u8> {
        let failed_service =
            self.0.iter().any(|p| p.is_service && p.ended.is_some_and(|status| status != 0));
        let only_services = self.0.iter().all(|program| program.is_service);
        let is_done = |p: &Program| p.ended.is_some() || p.is_service && !only_services;
        if failed_service || self.0.iter().all(is_done) {
            self.0.iter().filter_map(|program| program.ended).max()
        } else {
            None
        }
    }
}

impl Index<ProgramIndex> for Programs {
    type Output = Program;

    fn index(&self, index: ProgramIndex) -> &Program {
        &self.0[index.0]
    }
}

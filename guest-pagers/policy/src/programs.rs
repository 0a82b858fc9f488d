//! The programs of the manifest: who pages and serves whom, and when all is done.

use crate::{
    bundle::{Bundle, Module},
    elf::{ElfError, Image, Machine},
    ports,
    regions::PROGRAM_AREA,
};
use arrayvec::ArrayVec;
use core::{fmt, iter, ops::Index};
use protocol::{
    Word,
    boot::{ModuleKind, ROOT},
    flexpage::Flexpage,
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
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// Its module in the bundle.
    pub module: Module<'a>,
    /// Its segments.
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

impl<'a> Program<'a> {
    /// Its name.
    pub const fn name(&self) -> &'a str {
        self.module.name
    }

    /// Whether the manifest names all these I/O ports for it.
    pub fn may_use(&self, ports: Flexpage) -> bool {
        ports::are_among(self.module.entry.port_ranges(), ports)
    }

    /// The kernel memory, in bytes, that it may cause to be used; `None`: no limit but that of the
    /// root task.
    pub const fn quota(&self) -> Option<Word> {
        match self.module.entry.quota {
            0 => None,
            kib => Some((kib as Word).saturating_mul(1 << 10)),
        }
    }

    /// The label that its messages to the program that pages or serves it carry.
    pub const fn label_between_programs(&self) -> Word {
        self.module.index + 1
    }
}

/// All programs.
#[derive(Clone, Debug, Default)]
pub struct Programs<'a>(ArrayVec<Program<'a>, MAX_PROGRAMS>);

/// What is wrong with the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestError<'a> {
    /// There is no program.
    None,
    /// There are more than [`MAX_PROGRAMS`].
    TooMany,
    /// This program's image cannot be run.
    NotRunnable(&'a str, ElfError),
    /// The pager or server of this program is no program.
    NoSuchProgram(&'a str),
    /// This program would have to page itself.
    PagersInACircle(&'a str),
}

impl fmt::Display for ManifestError<'_> {
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

impl<'a> Programs<'a> {
    /// No programs.
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// Adds the programs that the manifest names.
    pub fn read(&mut self, bundle: Bundle<'a>, machine: Machine) -> Result<(), ManifestError<'a>> {
        for module in bundle.modules_of(ModuleKind::Program) {
            let image = Image::parse(module.bytes, machine, &PROGRAM_AREA)
                .map_err(|error| ManifestError::NotRunnable(module.name, error))?;
            let program = Program {
                module,
                image,
                pager: None,
                server: None,
                is_service: false,
                ended: None,
            };
            self.0.try_push(program).map_err(|_| ManifestError::TooMany)?;
        }
        if self.0.is_empty() {
            return Err(ManifestError::None);
        }
        self.connect()?;
        match self.iter().find(|(index, _)| self.pages_itself(*index)) {
            Some((_, program)) => Err(ManifestError::PagersInACircle(program.name())),
            None => Ok(()),
        }
    }

    /// Finds out who pages and who serves whom.
    fn connect(&mut self) -> Result<(), ManifestError<'a>> {
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
        let chain = iter::successors(self[index].pager, |pager| self[*pager].pager);
        // A longer chain goes round in a circle; those who are in it will be found.
        chain.take(self.0.len()).any(|pager| pager == index)
    }

    /// All programs, in the manifest's order.
    pub fn iter(&self) -> impl Iterator<Item = (ProgramIndex, &Program<'a>)> {
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

impl<'a> Index<ProgramIndex> for Programs<'a> {
    type Output = Program<'a>;

    fn index(&self, index: ProgramIndex) -> &Program<'a> {
        &self.0[index.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::{TEXT, file};
    use protocol::PAGE_SIZE;
    use protocol::boot::{BUNDLE_MAGIC, BUNDLE_VERSION, BundleHeader, ModuleEntry, pad_name};
    use zerocopy::IntoBytes;

    /// A bundle of a file and as many copies of a program as there are links; each link names the
    /// pager and the server among the programs.
    fn with_programs<R>(
        links: &[(Option<u32>, Option<u32>)],
        check: impl FnOnce(Result<Programs, ManifestError>) -> R,
    ) -> R {
        let program = file(Machine::Amd64, 0x40_0010, &[TEXT]);
        let mut bytes = vec![0u64; (PAGE_SIZE + program.len()) / 8];
        let header = BundleHeader {
            magic: BUNDLE_MAGIC,
            version: BUNDLE_VERSION,
            module_count: links.len() as u32 + 1,
            length: (PAGE_SIZE + program.len()) as u64,
            reserved: 0,
        };
        // The file is module 0, so that numbers of programs and modules differ.
        let entry = |kind, pager: Option<u32>, server: Option<u32>| ModuleEntry {
            offset: PAGE_SIZE as u64,
            length: program.len() as u64,
            kind,
            pager: pager.map_or(ROOT, |number| number + 1),
            server: server.map_or(ROOT, |number| number + 1),
            priority: 10,
            name: pad_name(b"program"),
            ..ModuleEntry::default()
        };
        let mut entries = vec![entry(ModuleKind::File as u32, None, None)];
        let programs = links.iter().map(|(pager, server)| (*pager, *server));
        entries.extend(programs.map(|(p, s)| entry(ModuleKind::Program as u32, p, s)));
        let all = bytes.as_mut_slice().as_mut_bytes();
        header.write_to_prefix(all).unwrap();
        entries.as_slice().write_to_prefix(&mut all[size_of::<BundleHeader>()..]).unwrap();
        all[PAGE_SIZE..].copy_from_slice(&program);
        let mut programs = Programs::new();
        let result = programs.read(Bundle::parse(all).unwrap(), Machine::Amd64);
        check(result.map(|()| programs))
    }

    const ALONE: (Option<u32>, Option<u32>) = (None, None);

    fn error_of(links: &[(Option<u32>, Option<u32>)]) -> Option<ManifestError<'static>> {
        with_programs(links, |programs| {
            programs.err().map(|error| match error {
                ManifestError::PagersInACircle(_) => ManifestError::PagersInACircle("program"),
                ManifestError::NoSuchProgram(_) => ManifestError::NoSuchProgram("program"),
                ManifestError::NotRunnable(_, why) => ManifestError::NotRunnable("program", why),
                ManifestError::None => ManifestError::None,
                ManifestError::TooMany => ManifestError::TooMany,
            })
        })
    }

    fn index(number: usize) -> ProgramIndex {
        ProgramIndex(number)
    }

    #[test]
    fn pagers_and_servers_are_programs() {
        with_programs(&[ALONE, (Some(0), None), (Some(1), Some(0))], |programs| {
            let programs = programs.unwrap();
            assert_eq!(programs[index(2)].pager, Some(index(1)));
            assert_eq!(programs[index(2)].server, Some(index(0)));
            assert_eq!(programs[index(0)].pager, None);
            // The file comes first, and labels begin at 1.
            assert_eq!(programs[index(2)].label_between_programs(), 4);
            assert_eq!(programs.of_gate_between_programs(4), Some(index(2)));
            assert_eq!(programs.of_gate_between_programs(1), None);
            assert_eq!(programs.of_client(Programs::label(index(2))), Some(index(2)));
            assert_eq!(programs.of_client(0), None);
            assert_eq!(programs.of_client(4), None);
        });
    }

    #[test]
    fn manifests_that_cannot_work_are_refused() {
        assert_eq!(error_of(&[]), Some(ManifestError::None));
        assert_eq!(error_of(&[ALONE; MAX_PROGRAMS]), None);
        assert_eq!(error_of(&[ALONE; MAX_PROGRAMS + 1]), Some(ManifestError::TooMany));
        let no_program = Some(ManifestError::NoSuchProgram("program"));
        assert_eq!(error_of(&[(Some(1), None)]), no_program);
        assert_eq!(error_of(&[(None, Some(1))]), no_program);
        let circle = Some(ManifestError::PagersInACircle("program"));
        assert_eq!(error_of(&[(Some(0), None)]), circle);
        assert_eq!(error_of(&[(Some(1), None), (Some(2), None), (Some(0), None)]), circle);
        assert_eq!(error_of(&[(Some(1), None), (Some(2), None), (Some(1), None)]), circle);
        // Serving each other is no circle of pagers.
        assert_eq!(error_of(&[(None, Some(1)), (None, Some(0))]), None);
    }

    #[test]
    fn the_machine_ends_when_all_that_matter_have_ended() {
        with_programs(&[ALONE, (Some(0), None), ALONE], |programs| {
            let mut programs = programs.unwrap();
            programs.end(index(1), 3);
            assert_eq!(programs.outcome(), None);
            programs.end(index(2), 2);
            // Program 0 only serves.
            assert_eq!(programs.outcome(), Some(3));
            // What happens after the end does not count.
            programs.end(index(2), 7);
            assert_eq!(programs.outcome(), Some(3));
        });
    }

    #[test]
    fn a_service_that_fails_ends_the_machine_and_one_that_succeeds_does_not() {
        with_programs(&[ALONE, (None, Some(0))], |programs| {
            let mut programs = programs.unwrap();
            programs.end(index(0), 0);
            assert_eq!(programs.outcome(), None);
        });
        with_programs(&[ALONE, (None, Some(0))], |programs| {
            let mut programs = programs.unwrap();
            programs.end(index(0), 1);
            assert_eq!(programs.outcome(), Some(1));
        });
        // Where everybody serves somebody, everybody is waited for.
        with_programs(&[(None, Some(1)), (None, Some(0))], |programs| {
            let mut programs = programs.unwrap();
            programs.end(index(0), 0);
            assert_eq!(programs.outcome(), None);
            programs.end(index(1), 0);
            assert_eq!(programs.outcome(), Some(0));
        });
    }
}

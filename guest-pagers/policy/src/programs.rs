//! The programs of the manifest: who pages and serves whom, and when all is done.

use crate::{
    manifest::{self, MAX_PROGRAMS, ManifestError},
    ports,
};
use arrayvec::ArrayVec;
use core::{iter, ops::Index};
use images::{
    Architecture,
    bundle::{Bundle, Module},
    elf::Image,
};
use protocol::{
    Word,
    boot::{ModuleKind, ROOT},
    flexpage::Flexpage,
};

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

impl<'a> Programs<'a> {
    /// No programs.
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// Adds the programs that the manifest names, after checking all that it says.
    pub fn read(&mut self, bundle: Bundle<'a>, wanted: Architecture) -> Result<(), ManifestError> {
        manifest::check(bundle)?;
        for module in bundle.modules_of(ModuleKind::Program) {
            let image = module.image(wanted)?;
            let program = Program {
                module,
                image,
                pager: None,
                server: None,
                is_service: false,
                ended: None,
            };
            // No more than were counted.
            self.0.push(program);
        }
        if self.0.is_empty() {
            return Err(ManifestError::NoProgram);
        }
        self.connect()?;
        match self.iter().find(|(index, _)| self.pages_itself(*index)) {
            Some((_, program)) => Err(ManifestError::PagerCycle(program.module.name())),
            None => Ok(()),
        }
    }

    /// Finds out who pages and who serves whom.
    fn connect(&mut self) -> Result<(), ManifestError> {
        for index in 0..self.0.len() {
            let module = self.0[index].module;
            for (other, is_pager) in [(module.entry.pager, true), (module.entry.server, false)] {
                if other == ROOT {
                    continue;
                }
                let other =
                    self.0.iter().position(|program| program.module.index == other as usize);
                let other = other.ok_or_else(|| ManifestError::NoSuchProgram(module.name()))?;
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
    use images::{
        bundle::{BundleError, ModuleName},
        sample::Sample,
    };
    use protocol::PAGE_SIZE;
    use protocol::boot::{
        BUNDLE_MAGIC, BUNDLE_VERSION, BundleHeader, ModuleEntry, PortRange, pad_name,
    };
    use zerocopy::IntoBytes;

    /// A bundle of sigma0, the root task, a file and as many copies of a program as there are links;
    /// each link names the pager and the server among the programs. `change` has the last word.
    fn changed(
        links: &[(Option<u32>, Option<u32>)],
        change: impl FnOnce(&mut [ModuleEntry]),
    ) -> Vec<u8> {
        let program = Sample::program().bytes();
        let entry = |kind, number, pager: Option<u32>, server: Option<u32>| ModuleEntry {
            offset: PAGE_SIZE as u64,
            length: program.len() as u64,
            kind,
            pager: pager.map_or(ROOT, |number| number + FIRST),
            server: server.map_or(ROOT, |number| number + FIRST),
            priority: 10,
            name: pad_name(format!("program {number}").as_bytes()),
            ..ModuleEntry::default()
        };
        let others = [ModuleKind::Sigma0, ModuleKind::RootTask, ModuleKind::File];
        let mut entries = others.map(|kind| entry(kind as u32, 0, None, None)).to_vec();
        let programs = links.iter().zip(0..);
        entries.extend(programs.map(|((p, s), n)| entry(ModuleKind::Program as u32, n, *p, *s)));
        change(&mut entries);
        let header = BundleHeader {
            magic: BUNDLE_MAGIC,
            version: BUNDLE_VERSION,
            module_count: entries.len() as u32,
            length: (PAGE_SIZE + program.len()) as u64,
            reserved: 0,
        };
        let mut bytes = [header.as_bytes(), entries.as_slice().as_bytes()].concat();
        bytes.resize(PAGE_SIZE, b'a');
        [bytes, program].concat()
    }

    /// The number of the first program: there are other modules, so that numbers of programs and modules
    /// differ.
    const FIRST: u32 = 3;

    fn with_programs<R>(
        links: &[(Option<u32>, Option<u32>)],
        check: impl FnOnce(Result<Programs, ManifestError>) -> R,
    ) -> R {
        let bytes = changed(links, |_| {});
        let mut programs = Programs::new();
        let result = programs.read(Bundle::parse(&bytes).unwrap(), Architecture::Amd64);
        check(result.map(|()| programs))
    }

    const ALONE: (Option<u32>, Option<u32>) = (None, None);

    fn error_of(links: &[(Option<u32>, Option<u32>)]) -> Option<ManifestError> {
        with_programs(links, |programs| programs.err())
    }

    fn name(number: usize) -> ModuleName {
        ModuleName::from(&format!("program {number}")).unwrap()
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
            // Other modules come first, and labels begin at 1.
            assert_eq!(programs[index(2)].label_between_programs(), 6);
            assert_eq!(programs.of_gate_between_programs(6), Some(index(2)));
            assert_eq!(programs.of_gate_between_programs(3), None);
            assert_eq!(programs.of_client(Programs::label(index(2))), Some(index(2)));
            assert_eq!(programs.of_client(0), None);
            assert_eq!(programs.of_client(4), None);
        });
    }

    #[test]
    fn manifests_that_cannot_work_are_refused() {
        assert_eq!(error_of(&[]), Some(ManifestError::NoProgram));
        assert_eq!(error_of(&[ALONE; MAX_PROGRAMS]), None);
        let too_many = Some(ManifestError::TooManyPrograms(MAX_PROGRAMS + 1));
        assert_eq!(error_of(&[ALONE; MAX_PROGRAMS + 1]), too_many);
        let no_program = Some(ManifestError::NoSuchProgram(name(0)));
        assert_eq!(error_of(&[(Some(1), None)]), no_program);
        assert_eq!(error_of(&[(None, Some(1))]), no_program);
        let circle = |number| Some(ManifestError::PagerCycle(name(number)));
        assert_eq!(error_of(&[(Some(0), None)]), circle(0));
        assert_eq!(error_of(&[(Some(1), None), (Some(2), None), (Some(0), None)]), circle(0));
        assert_eq!(error_of(&[(Some(1), None), (Some(2), None), (Some(1), None)]), circle(1));
        // Serving each other is no circle of pagers.
        assert_eq!(error_of(&[(None, Some(1)), (None, Some(0))]), None);
    }

    #[test]
    fn what_modules_say_of_themselves_has_its_bounds() {
        let refusal = |change: fn(&mut [ModuleEntry])| {
            let bytes = changed(&[ALONE, ALONE], change);
            let bundle = Bundle::parse(&bytes).unwrap();
            Programs::new().read(bundle, Architecture::Amd64).expect_err("a bad manifest")
        };
        let name = name(0);
        let range = PortRange { first: 0x10, last: 0x30 };
        let priority = |priority| ManifestError::Priority { name, priority };
        let quota = |quota| ManifestError::Quota { name, quota };
        let long = ManifestError::LongArguments { name, length: 2049 };
        let kernel_port = ManifestError::KernelPort { name, range, port: 0x20 };
        let not_one = |what, count| BundleError::NotOne { what, count }.into();
        assert_eq!(refusal(|all| all[0].kind = 3), not_one("sigma0", 0));
        assert_eq!(refusal(|all| all[2].kind = 2), not_one("root task", 2));
        assert_eq!(refusal(|all| all[4].name = [0; 32]), ManifestError::NoName);
        assert_eq!(refusal(|all| all[4].name = all[3].name), ManifestError::SameName(name));
        assert_eq!(refusal(|all| all[3].priority = 0), priority(0));
        assert_eq!(refusal(|all| all[3].priority = 256), priority(256));
        assert_eq!(refusal(|all| all[3].quota = 6), quota(6));
        assert_eq!(refusal(|all| all[3].quota = 128 * 1024 + 4), quota(128 * 1024 + 4));
        assert_eq!(refusal(|all| all[2].quota = 4), ManifestError::NotAProgram(name));
        assert_eq!(refusal(|all| all[2].port_ranges = 1), ManifestError::NotAProgram(name));
        let ports = |all: &mut [ModuleEntry]| {
            all[3].port_ranges = 1;
            all[3].ports[0] = PortRange { first: 0x10, last: 0x30 };
        };
        assert_eq!(refusal(ports), kernel_port);
        let arguments = |all: &mut [ModuleEntry]| {
            all[3].arguments_offset = 2047;
            all[3].arguments_length = 2049;
        };
        assert_eq!(refusal(arguments), long);
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

//! Packs boot modules into the bundle that the kernel finds ([`protocol::boot`]).
//!
//! What comes out is read and checked as the kernel and the root task do it, with the same code: what is
//! packed here, they take.

use crate::Architecture;
use images::bundle::{Bundle, ModuleName};
use policy::programs::Programs;
use protocol::{
    PAGE_SIZE,
    boot::{
        BUNDLE_MAGIC, BUNDLE_VERSION, BundleHeader, MAX_INTERRUPTS, MAX_PORT_RANGES, ModuleEntry,
        ModuleKind, NAME_LENGTH, ROOT, pad_name,
    },
};
use std::sync::Arc;
use thiserror::Error;
use zerocopy::IntoBytes;

pub use images::elf::is_elf;
pub use policy::manifest::ManifestError;
pub use protocol::boot::{DEFAULT_PRIORITY, PortRange};

/// A module to be packed.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its name, by which others refer to it.
    pub name: String,
    /// What it is for.
    pub kind: ModuleKind,
    /// Its contents.
    pub bytes: Arc<[u8]>,
    /// The arguments of a program.
    pub arguments: String,
    /// The name of the program that pages it; none for the root task.
    pub pager: Option<String>,
    /// The name of the program that it gets a gate to.
    pub server: Option<String>,
    /// Its priority.
    pub priority: u32,
    /// The I/O ports that it begins with.
    pub ports: Vec<PortRange>,
    /// Numbers of the interrupts that it begins with.
    pub interrupts: Vec<u16>,
    /// KiB of kernel memory that it may cause, if it has a limit of its own.
    pub quota: Option<u32>,
}

impl Module {
    /// A module without arguments that the root task pages.
    pub fn new(name: &str, kind: ModuleKind, bytes: Arc<[u8]>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            bytes,
            arguments: String::new(),
            pager: None,
            server: None,
            priority: DEFAULT_PRIORITY,
            ports: Vec::new(),
            interrupts: Vec::new(),
            quota: None,
        }
    }
}

/// Why modules can't be packed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PackError {
    /// A name that does not fit.
    #[error("the module name '{0}' is longer than {max} bytes: give a shorter one with name=", max = NAME_LENGTH - 1)]
    LongName(String),
    /// A name that the guest would cut.
    #[error("the module name {0:?} has a zero byte in it: give another one with name=")]
    ZeroInName(String),
    /// A pager or server that is not there.
    #[error("module '{module}' names '{target}' as its {role}, but no program is called that: {}", known(.programs))]
    UnknownProgram {
        /// The module.
        module: String,
        /// `pager` or `server`.
        role: &'static str,
        /// The name.
        target: String,
        /// The programs that there are.
        programs: Vec<String>,
    },
    /// More port ranges than fit.
    #[error("module '{name}' has {count} ranges of ports: the most is {MAX_PORT_RANGES}")]
    TooManyPorts {
        /// The module.
        name: String,
        /// How many it has.
        count: usize,
    },
    /// More interrupts than fit.
    #[error("module '{name}' has {count} interrupts: the most is {MAX_INTERRUPTS}")]
    TooManyInterrupts {
        /// The module.
        name: String,
        /// How many it has.
        count: usize,
    },
    /// The guest would refuse what comes out.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

fn known(programs: &[String]) -> String {
    match programs {
        [] => "there are no programs".to_owned(),
        _ => format!("there are {}", programs.join(", ")),
    }
}

/// Packs modules in their order, for a guest of this architecture.
pub fn pack(modules: &[Module], architecture: Architecture) -> Result<Vec<u8>, PackError> {
    let entries_end = size_of::<BundleHeader>() + modules.len() * size_of::<ModuleEntry>();
    let arguments: usize = modules.iter().map(|module| module.arguments.len()).sum();
    let mut offset = (entries_end + arguments).next_multiple_of(PAGE_SIZE);
    let mut arguments_offset = entries_end;
    let mut entries = Vec::new();
    for module in modules {
        entries.push(entry(modules, module, offset, arguments_offset)?);
        arguments_offset += module.arguments.len();
        offset += module.bytes.len().next_multiple_of(PAGE_SIZE);
    }
    let header = BundleHeader {
        magic: BUNDLE_MAGIC,
        version: BUNDLE_VERSION,
        module_count: modules.len() as u32,
        length: offset as u64,
        reserved: 0,
    };
    let mut bundle = Vec::with_capacity(offset);
    bundle.extend(header.as_bytes());
    bundle.extend(entries.as_slice().as_bytes());
    modules.iter().for_each(|module| bundle.extend(module.arguments.as_bytes()));
    for module in modules {
        bundle.resize(bundle.len().next_multiple_of(PAGE_SIZE), 0);
        bundle.extend(&*module.bytes);
    }
    bundle.resize(offset, 0);
    check(&bundle, architecture)?;
    Ok(bundle)
}

/// Reads a bundle as the guest will.
fn check(bundle: &[u8], architecture: Architecture) -> Result<(), ManifestError> {
    let bundle = Bundle::parse(bundle)?;
    for module in [bundle.sigma0()?, bundle.root_task()?] {
        module.image(architecture)?;
    }
    match Programs::new().read(bundle, architecture) {
        // A kernel or a root task of the user's own may need none.
        Err(ManifestError::NoProgram) => Ok(()),
        result => result,
    }
}

fn entry(
    modules: &[Module],
    module: &Module,
    offset: usize,
    arguments_offset: usize,
) -> Result<ModuleEntry, PackError> {
    let Module { name, .. } = module;
    if name.len() >= NAME_LENGTH {
        return Err(PackError::LongName(name.clone()));
    }
    if name.contains('\0') {
        return Err(PackError::ZeroInName(name.clone()));
    }
    if module.quota == Some(0) {
        // In the bundle that would be no limit.
        let name = ModuleName::from(name).unwrap_or_default();
        return Err(ManifestError::Quota { name, quota: 0 }.into());
    }
    if module.ports.len() > MAX_PORT_RANGES {
        let count = module.ports.len();
        return Err(PackError::TooManyPorts { name: name.clone(), count });
    }
    let mut ports = [PortRange::default(); MAX_PORT_RANGES];
    ports.iter_mut().zip(&module.ports).for_each(|(to, from)| *to = *from);
    if module.interrupts.len() > MAX_INTERRUPTS {
        let count = module.interrupts.len();
        return Err(PackError::TooManyInterrupts { name: name.clone(), count });
    }
    let mut interrupts = [0; MAX_INTERRUPTS];
    interrupts.iter_mut().zip(&module.interrupts).for_each(|(to, from)| *to = *from);
    Ok(ModuleEntry {
        offset: offset as u64,
        length: module.bytes.len() as u64,
        kind: module.kind as u32,
        pager: program_index(modules, module, "pager", module.pager.as_deref())?,
        arguments_offset: arguments_offset as u32,
        arguments_length: module.arguments.len() as u32,
        server: program_index(modules, module, "server", module.server.as_deref())?,
        priority: module.priority,
        quota: module.quota.unwrap_or(0),
        port_ranges: module.ports.len() as u16,
        interrupt_count: module.interrupts.len() as u16,
        ports,
        interrupts,
        name: pad_name(module.name.as_bytes()),
    })
}

/// The index of the program that `module` names in one of its roles.
fn program_index(
    modules: &[Module],
    module: &Module,
    role: &'static str,
    target: Option<&str>,
) -> Result<u32, PackError> {
    let Some(target) = target else { return Ok(ROOT) };
    let found = modules.iter().position(|other| is_program(other) && other.name == target);
    found.map(|index| index as u32).ok_or_else(|| PackError::UnknownProgram {
        module: module.name.clone(),
        role,
        target: target.to_owned(),
        programs: modules.iter().filter(|m| is_program(m)).map(|m| m.name.clone()).collect(),
    })
}

fn is_program(module: &Module) -> bool {
    module.kind == ModuleKind::Program
}

#[cfg(test)]
mod tests {
    use super::*;
    use images::{
        bundle::BundleError,
        elf::{ElfError, Image, Rules},
        sample::{Sample, segment},
    };
    use policy::regions::FilesError;
    use protocol::{boot::trim_name, program::ARGUMENTS_LENGTH, program::MAX_FILES};
    use zerocopy::FromBytes;

    fn image() -> Arc<[u8]> {
        Sample::program().bytes().into()
    }

    fn sigma0(architecture: Architecture) -> Module {
        let image = Sample::ground(architecture, &Rules::SIGMA0).bytes();
        Module::new("sigma0", ModuleKind::Sigma0, image.into())
    }

    fn root_task(architecture: Architecture) -> Module {
        let image = Sample::ground(architecture, &Rules::ROOT_TASK).bytes();
        Module::new("root", ModuleKind::RootTask, image.into())
    }

    fn with(extra: Vec<Module>) -> Vec<Module> {
        [vec![sigma0(Architecture::Amd64), root_task(Architecture::Amd64)], extra].concat()
    }

    fn program(name: &str) -> Module {
        Module::new(name, ModuleKind::Program, image())
    }

    fn file(name: &str, bytes: &[u8]) -> Module {
        Module::new(name, ModuleKind::File, bytes.into())
    }

    fn name(text: &str) -> ModuleName {
        ModuleName::from(text).unwrap()
    }

    /// What the guest would say.
    fn guest_refusal(extra: Vec<Module>) -> ManifestError {
        match refusal(extra) {
            PackError::Manifest(error) => error,
            other => panic!("{other}"),
        }
    }

    fn elf_refusal(extra: Vec<Module>) -> ElfError {
        match guest_refusal(extra) {
            ManifestError::Bundle(BundleError::NotRunnable { error, .. }) => error,
            other => panic!("{other}"),
        }
    }

    fn refusal(extra: Vec<Module>) -> PackError {
        pack(&with(extra), Architecture::Amd64).expect_err("bad modules were packed")
    }

    fn unpack(bundle: &[u8]) -> (BundleHeader, Vec<ModuleEntry>) {
        let (header, rest) = BundleHeader::read_from_prefix(bundle).unwrap();
        let entries = rest.chunks_exact(size_of::<ModuleEntry>());
        let entries = entries.take(header.module_count as usize);
        (header, entries.map(|entry| ModuleEntry::read_from_bytes(entry).unwrap()).collect())
    }

    #[test]
    fn what_is_packed_is_found_again() {
        let app = Module {
            arguments: "one two".to_owned(),
            pager: Some("pager".to_owned()),
            server: Some("pager".to_owned()),
            priority: 7,
            ports: vec![PortRange { first: 0x3f8, last: 0x3ff }],
            interrupts: vec![4, 31],
            quota: Some(64),
            ..program("app")
        };
        let modules = with(vec![app, program("pager"), file("text", b"hello"), file("empty", b"")]);
        let bundle = pack(&modules, Architecture::Amd64).unwrap();
        let (header, entries) = unpack(&bundle);
        assert_eq!((header.magic, header.version), (BUNDLE_MAGIC, BUNDLE_VERSION));
        assert_eq!(header.length, bundle.len() as u64);
        assert_eq!(entries.len(), modules.len());
        for (entry, module) in entries.iter().zip(&modules) {
            assert_eq!(trim_name(&entry.name), module.name.as_bytes());
            assert_eq!(entry.kind, module.kind as u32);
            assert_eq!(entry.offset % PAGE_SIZE as u64, 0);
            let start = entry.offset as usize;
            let end = start + entry.length as usize;
            assert_eq!(bundle[start..end], *module.bytes);
            let rest = &bundle[end..end.next_multiple_of(PAGE_SIZE)];
            assert!(rest.iter().all(|byte| *byte == 0), "the last page is not zero-filled");
        }
        let app = entries[2];
        assert_eq!((app.pager, app.server, app.priority), (3, 3, 7));
        assert_eq!((entries[3].pager, entries[3].server), (ROOT, ROOT));
        assert_eq!((app.port_ranges(), app.quota), (&modules[2].ports[..], 64));
        assert_eq!(app.interrupts(), [4, 31]);
        assert_eq!((entries[3].port_ranges(), entries[3].quota), (&[][..], 0));
        let start = app.arguments_offset as usize;
        assert_eq!(&bundle[start..start + app.arguments_length as usize], b"one two");
    }

    /// sigma0 has other memory of its own around the root task's area.
    #[test]
    fn a_root_task_that_sigma0_refuses_is_not_packed() {
        let sigma0 = sigma0(Architecture::Amd64);
        let (area, architecture) = (Rules::ROOT_TASK.area, Architecture::Amd64);
        for address in [0x40_0000, area.start - PAGE_SIZE, area.end, 0xbffe_0000, 0xbfff_0000] {
            let start = address as u64;
            let sample = Sample::with(architecture, &[segment(0x1000, start, 0x1000, true)]);
            let bytes: Arc<[u8]> = Sample { entry: start, ..sample }.bytes().into();
            let root = Module::new("root", ModuleKind::RootTask, bytes);
            let error = pack(&[sigma0.clone(), root, program("words")], architecture).unwrap_err();
            let refused = ManifestError::Bundle(BundleError::NotRunnable {
                name: name("root"),
                error: ElfError::OutOfPlace { start, area: area.clone() },
            });
            assert_eq!(error, refused.into());
        }
    }

    #[test]
    fn there_is_one_sigma0_and_one_root_task() {
        let not_one = |what, count| ManifestError::Bundle(BundleError::NotOne { what, count });
        let error = pack(&[program("alone")], Architecture::Amd64).unwrap_err();
        assert_eq!(error, not_one("sigma0", 0).into());
        let second = Module { name: "other".to_owned(), ..root_task(Architecture::Amd64) };
        assert_eq!(guest_refusal(vec![second]), not_one("root task", 2));
    }

    #[test]
    fn names_are_short_and_unique_among_their_kind() {
        assert_eq!(guest_refusal(vec![program("")]), ManifestError::NoName);
        let long = "x".repeat(NAME_LENGTH);
        assert_eq!(refusal(vec![program(&long)]), PackError::LongName(long));
        pack(&with(vec![program(&"x".repeat(NAME_LENGTH - 1))]), Architecture::Amd64).unwrap();
        let twice = vec![program("a"), program("a")];
        assert_eq!(guest_refusal(twice), ManifestError::SameName(name("a")));
        assert_eq!(refusal(vec![program("a\0b")]), PackError::ZeroInName("a\0b".to_owned()));
        pack(&with(vec![program("a"), file("a", b"")]), Architecture::Amd64).unwrap();
    }

    #[test]
    fn pagers_and_servers_must_be_programs() {
        let app = Module { pager: Some("nobody".to_owned()), ..program("app") };
        let error = refusal(vec![app, program("b")]);
        assert_eq!(
            error.to_string(),
            "module 'app' names 'nobody' as its pager, but no program is called that: \
             there are app, b"
        );
        let app = Module { server: Some("text".to_owned()), ..program("app") };
        let error = refusal(vec![app, file("text", b"")]);
        assert!(matches!(error, PackError::UnknownProgram { role: "server", .. }), "{error}");
    }

    #[test]
    fn pagers_that_page_each_other_are_refused() {
        let itself = Module { pager: Some("a".to_owned()), ..program("a") };
        assert_eq!(guest_refusal(vec![itself]), ManifestError::PagerCycle(name("a")));
        let a = Module { pager: Some("b".to_owned()), ..program("a") };
        let b = Module { pager: Some("a".to_owned()), ..program("b") };
        assert_eq!(guest_refusal(vec![a.clone(), b]), ManifestError::PagerCycle(name("a")));
        pack(&with(vec![a, program("b")]), Architecture::Amd64).unwrap();
    }

    #[test]
    fn numbers_have_their_ranges() {
        for priority in [0, 256] {
            let error = guest_refusal(vec![Module { priority, ..program("a") }]);
            assert_eq!(error, ManifestError::Priority { name: name("a"), priority });
        }
        let arguments = "x".repeat(ARGUMENTS_LENGTH + 1);
        let error = guest_refusal(vec![Module { arguments, ..program("a") }]);
        let length = ARGUMENTS_LENGTH + 1;
        assert_eq!(error, ManifestError::LongArguments { name: name("a"), length });
        let files = (0..=MAX_FILES).map(|number| file(&number.to_string(), b"")).collect();
        assert_eq!(guest_refusal(files), ManifestError::Files(FilesError::TooMany));
    }

    #[test]
    fn each_interrupt_exists_and_has_one_program() {
        let asking =
            |who, interrupts: &[u16]| Module { interrupts: interrupts.to_vec(), ..program(who) };
        let error = guest_refusal(vec![asking("a", &[4, 32])]);
        assert_eq!(error.to_string(), "module 'a' asks for interrupt 32: the last one is 31");
        for modules in [vec![asking("a", &[4]), asking("b", &[5, 4])], vec![asking("b", &[4, 4])]] {
            let error = guest_refusal(modules).to_string();
            assert_eq!(error, "module 'b' asks for interrupt 4, which has been asked for already");
        }
        let text = Module { interrupts: vec![4], ..file("a", b"") };
        assert_eq!(guest_refusal(vec![text]), ManifestError::NotAProgram(name("a")));
        let error = refusal(vec![asking("a", &[1, 2, 3, 4, 5])]).to_string();
        assert_eq!(error, "module 'a' has 5 interrupts: the most is 4");
    }

    #[test]
    fn a_range_of_ports_does_not_end_before_it_begins() {
        let range = PortRange { first: 0x3ff, last: 0x3f8 };
        let error = guest_refusal(vec![Module { ports: vec![range], ..program("a") }]);
        assert_eq!(error, ManifestError::NoPorts { name: name("a"), range });
        assert_eq!(
            error.to_string(),
            "the ports 0x3ff-0x3f8 of module 'a' end before they begin: write the lower one first"
        );
    }

    #[test]
    fn ports_and_quotas_have_their_ranges() {
        let range = |first, last| PortRange { first, last };
        for (ports, port) in [(range(0, 0xffff), 0x20), (range(0xa1, 0xa1), 0xa1)] {
            let error = guest_refusal(vec![Module { ports: vec![ports], ..program("a") }]);
            let expected = ManifestError::KernelPort { name: name("a"), range: ports, port };
            assert_eq!(error, expected);
        }
        let ports = vec![range(0x60, 0x60); MAX_PORT_RANGES + 1];
        let error = refusal(vec![Module { ports, ..program("a") }]).to_string();
        assert_eq!(error, "module 'a' has 5 ranges of ports: the most is 4");
        for quota in [0, 3, 6, (128 << 10) + 4, u32::MAX] {
            let error = guest_refusal(vec![Module { quota: Some(quota), ..program("a") }]);
            assert_eq!(error, ManifestError::Quota { name: name("a"), quota });
        }
        let error = guest_refusal(vec![Module { quota: Some(4), ..file("text", b"") }]);
        assert_eq!(error, ManifestError::NotAProgram(name("text")));
        let most = Module {
            quota: Some(128 << 10),
            ports: vec![range(0, 0x1f), range(0xffff, 0xffff)],
            ..program("a")
        };
        pack(&with(vec![most]), Architecture::Amd64).unwrap();
    }

    #[test]
    fn images_must_be_mappable_page_by_page() {
        let app = |sample: Sample| Module { bytes: sample.bytes().into(), ..program("app") };
        let error = |sample| elf_refusal(vec![app(sample)]);
        let mut sample = Sample::program();
        sample.segments[0].address = 0x40_0010;
        assert_eq!(error(sample), ElfError::NotCongruent(0x40_0010));

        let mut sample = Sample::program();
        sample.segments[0].file_size = 0x800;
        sample.segments[0].memory_size = 0x800;
        sample.segments.push(segment(0x1800, 0x40_0800, 0x10, false));
        assert_eq!(error(sample), ElfError::SharedPage(0x40_0000));

        let area = Rules::PROGRAM.area;
        let [start, end] = [area.start as u64, area.end as u64];
        for address in [0, start - 0x1000, end - 0x800, u64::MAX - 0xfff] {
            let mut sample = Sample::program();
            sample.segments[0].address = address;
            sample.segments[0].memory_size = 0x2000;
            let area = area.clone();
            assert_eq!(error(sample), ElfError::OutOfPlace { start: address, area });
        }
    }

    #[test]
    fn programs_must_be_executables_with_an_entry() {
        let script = Module { bytes: b"#!/bin/sh".as_slice().into(), ..program("script") };
        let error = refusal(vec![script]).to_string();
        assert!(error.starts_with("cannot run module 'script': it is not an ELF file"), "{error}");
        let error = pack(&with(vec![]), Architecture::Ia32).unwrap_err().to_string();
        assert!(error.starts_with("cannot run module 'sigma0': it is for amd64"), "{error}");
        let sample = Sample { entry: 0x50_0000, ..Sample::program() };
        let lost = Module { bytes: sample.bytes().into(), ..program("lost") };
        let error = refusal(vec![lost]).to_string();
        assert!(error.contains("its entry point 0x500000 is in no executable segment"), "{error}");
    }

    /// Each field of each program header with each of these numbers, and the entry point.
    fn odd_images(
        architecture: Architecture,
        base: u64,
    ) -> impl Iterator<Item = (String, Vec<u8>)> {
        let segments = [(0x1000, base, true), (0x2000, base + 0x1000, false)];
        let segments =
            segments.map(|(offset, address, is_code)| segment(offset, address, 0x1000, is_code));
        let image = Sample { entry: base, ..Sample::with(architecture, &segments) }.bytes();
        let wide = architecture == Architecture::Amd64;
        let (word, headers, size) = if wide { (8, 64, 56) } else { (4, 52, 32) };
        let header_fields: [(&str, usize, usize); 6] = match wide {
            true => [
                ("type", 0, 4),
                ("flags", 4, 4),
                ("offset", 8, 8),
                ("address", 16, 8),
                ("file size", 32, 8),
                ("memory size", 40, 8),
            ],
            false => [
                ("type", 0, 4),
                ("offset", 4, 4),
                ("address", 8, 4),
                ("file size", 16, 4),
                ("memory size", 20, 4),
                ("flags", 24, 4),
            ],
        };
        let fields = (0..2).flat_map(move |index| {
            let field = move |(name, offset, size_of_field)| {
                (format!("{name} {index}"), headers + size * index + offset, size_of_field)
            };
            header_fields.into_iter().map(field)
        });
        let fields: Vec<_> = fields.chain([("entry".to_owned(), 24, word)]).collect();
        let numbers = [
            0,
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            0x10,
            0xfff,
            0x1000,
            0x1001,
            0x1800,
            0x2000,
            0x2001,
            0x3000,
            0x3000_0000,
            base - 0x1000,
            base,
            base + 1,
            base + 0xfff,
            base + 0x1000,
            base + 0x2000,
            0x7ff_e000,
            0x7ff_f000,
            0x7ff_f001,
            0x800_0000,
            0xfff_f000,
            0x1000_0000,
            0xbfff_f000,
            0xffff_f000,
            0xffff_ffff,
            !0xfff,
            u64::MAX,
        ];
        fields.into_iter().flat_map(move |(name, offset, size)| {
            let image = image.clone();
            numbers.into_iter().map(move |number| {
                let mut image = image.clone();
                image[offset..offset + size].copy_from_slice(&number.to_le_bytes()[..size]);
                (format!("{name} = {number:#x}"), image)
            })
        })
    }

    #[test]
    fn programs_are_taken_here_if_and_only_if_the_root_task_takes_them() {
        for architecture in Architecture::ALL {
            let (sigma0, root) = (sigma0(architecture), root_task(architecture));
            let (mut taken, mut refused) = (0, 0);
            for (what, image) in odd_images(architecture, 0x40_0000) {
                let by_root = Image::parse(&image, architecture, &Rules::PROGRAM);
                let app = Module::new("app", ModuleKind::Program, image.into());
                let here = pack(&[sigma0.clone(), root.clone(), app], architecture);
                assert_eq!(here.is_ok(), by_root.is_ok(), "{what}: {here:?}, but {by_root:?}");
                *(if here.is_ok() { &mut taken } else { &mut refused }) += 1;
            }
            assert!(taken > 20 && refused > 200, "{taken} taken, {refused} refused");
        }
    }

    #[test]
    fn sigma0_and_the_root_task_are_taken_here_only_if_the_kernel_takes_them() {
        let [sigma0, root] = [sigma0, root_task].map(|module| module(Architecture::Amd64));
        for ground in [&sigma0, &root] {
            let mut taken = 0;
            let base = Rules::of(ground.kind).area.start as u64;
            for (what, image) in odd_images(Architecture::Amd64, base) {
                let odd = Module { bytes: image.into(), ..ground.clone() };
                let others = [&sigma0, &root].into_iter().filter(|other| other.kind != ground.kind);
                let modules: Vec<_> = others.cloned().chain([odd, program("app")]).collect();
                let Ok(bundle) = pack(&modules, Architecture::Amd64) else { continue };
                let read = Bundle::parse(&bundle).unwrap();
                for module in [read.sigma0().unwrap(), read.root_task().unwrap()] {
                    let by_kernel = kernel_core::boot_bundle::Image::read(&module, 0);
                    assert!(by_kernel.is_ok(), "{what}: {by_kernel:?}");
                }
                taken += 1;
            }
            assert!(taken > 20, "{taken} taken");
        }
    }

    #[test]
    fn what_the_guest_has_no_room_for_is_refused() {
        let programs = |count| (0..count).map(|number| program(&number.to_string())).collect();
        assert_eq!(guest_refusal(programs(33)), ManifestError::TooManyPrograms(33));
        pack(&with(programs(32)), Architecture::Amd64).unwrap();
        let mut sample = Sample::program();
        for number in 1..=8 {
            let address = 0x40_0000 + number * 0x1000;
            sample.segments.push(segment(0x1000, address, 0x1000, false));
        }
        let nine = Module { bytes: sample.bytes().into(), ..program("nine") };
        let error = refusal(vec![nine]).to_string();
        assert_eq!(
            error,
            "cannot run module 'nine': it has 9 segments to load: a program has at most 8"
        );
        let base = Rules::ROOT_TASK.area.start as u64;
        let segments = [0, 1, 2, 3, 4, 5, 6]
            .map(|number| segment(0x1000, base + number * 0x1000, 0x1000, true));
        let sample = Sample { entry: base, ..Sample::with(Architecture::Amd64, &segments) };
        let root = Module::new("root", ModuleKind::RootTask, sample.bytes().into());
        let error = pack(&[sigma0(Architecture::Amd64), root], Architecture::Amd64).unwrap_err();
        let error = error.to_string();
        assert!(
            error.ends_with("it has 7 segments to load: the root task has at most 6"),
            "{error}"
        );
    }
}

//! Packs boot modules into the bundle that the kernel finds ([`protocol::boot`]).

use crate::{
    Architecture,
    elf::{ElfError, Executable},
};
use policy::{
    elf::{self, Image},
    programs::MAX_PROGRAMS,
    regions::PROGRAM_AREA,
};
use protocol::{
    PAGE_SIZE,
    boot::{
        BUNDLE_MAGIC, BUNDLE_VERSION, BundleHeader, MAX_PORT_RANGES, ModuleEntry, ModuleKind,
        NAME_LENGTH, ROOT, pad_name,
    },
    flexpage::KERNEL_PORTS,
    layout::{FILES_BASE, FILES_END, MAPPABLE_START, USER_END},
    program::{ARGUMENTS_LENGTH, MAX_FILES},
};
use std::{ops::Range, sync::Arc};
use thiserror::Error;
use zerocopy::IntoBytes;

pub use crate::elf::is_elf;
pub use protocol::boot::{DEFAULT_PRIORITY, PortRange};

/// What a quota is a multiple of, in KiB: the kernel hands out whole pages.
const QUOTA_STEP: u32 = 4;

/// The largest quota in KiB: no kernel has more memory than this to give.
const LARGEST_QUOTA: u32 = 128 * 1024;

/// Segments of sigma0 or the root task: the kernel has room for no more.
const MAX_GROUND_SEGMENTS: usize = 6;

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
            quota: None,
        }
    }
}

/// Why modules can't be packed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BundleError {
    /// There must be one.
    #[error("there must be exactly one {what}, but {count} modules are of that kind")]
    NotOne {
        /// `sigma0` or `root task`.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// No name.
    #[error("a module has no name: give it one with name=")]
    NoName,
    /// A name that does not fit.
    #[error("the module name '{0}' is longer than {max} bytes: give a shorter one with name=", max = NAME_LENGTH - 1)]
    LongName(String),
    /// A name that the guest would cut.
    #[error("the module name {0:?} has a zero byte in it: give another one with name=")]
    ZeroInName(String),
    /// Names are how modules refer to each other.
    #[error("two modules of one kind are called '{0}': rename one with name=")]
    SameName(String),
    /// An image that cannot run.
    #[error("cannot run module '{name}': {error}")]
    NotExecutable {
        /// The module.
        name: String,
        /// Why.
        error: ElfError,
    },
    /// A program whose segments are in the wrong place.
    #[error("cannot run module '{name}': {error}")]
    BadImage {
        /// The module.
        name: String,
        /// Why.
        error: ImageError,
    },
    /// A program that the root task would refuse.
    #[error("cannot run module '{name}': {error}")]
    NotRunnable {
        /// The module.
        name: String,
        /// What the root task would say.
        error: elf::ElfError,
    },
    /// More programs than the root task has room for.
    #[error("{0} programs are too many: the root task starts at most {MAX_PROGRAMS}")]
    TooManyPrograms(usize),
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
    /// A pager that would wait for itself.
    #[error(
        "module '{0}' is paged, in the end, by itself: its faults would never be resolved; leave out one pager="
    )]
    PagerCycle(String),
    /// Out of range.
    #[error("priority {priority} of module '{name}' is not between 1 and 255")]
    Priority {
        /// The module.
        name: String,
        /// Its priority.
        priority: u32,
    },
    /// A quota of no use.
    #[error(
        "the quota of module '{name}' is {quota}K: it must be a multiple of {QUOTA_STEP}K, from \
         {QUOTA_STEP}K to {}M", LARGEST_QUOTA >> 10
    )]
    Quota {
        /// The module.
        name: String,
        /// Its quota in KiB.
        quota: u32,
    },
    /// More port ranges than fit.
    #[error("module '{name}' has {count} ranges of ports: the most is {MAX_PORT_RANGES}")]
    TooManyPorts {
        /// The module.
        name: String,
        /// How many it has.
        count: usize,
    },
    /// Ports that nobody gets.
    #[error(
        "the ports {:#x}-{:#x} of module '{name}' include {port:#x}, which the kernel keeps for \
         itself", .range.first, .range.last
    )]
    KernelPort {
        /// The module.
        name: String,
        /// The range.
        range: PortRange,
        /// The port in it.
        port: u16,
    },
    /// Ports or a quota for something that does not run on its own.
    #[error("module '{0}' is no program: only programs have ports or a quota")]
    NotAProgram(String),
    /// Arguments that do not fit.
    #[error(
        "the arguments of module '{name}' are {length} bytes long: the most is {ARGUMENTS_LENGTH}"
    )]
    LongArguments {
        /// The module.
        name: String,
        /// Their length.
        length: usize,
    },
    /// More files than a program can see.
    #[error("{0} files are too many: a program sees at most {MAX_FILES}")]
    TooManyFiles(usize),
    /// Files that don't fit the part of the address space where programs see them.
    #[error("the files take {} MiB: programs see at most {} MiB", .0 >> 20, (FILES_END - FILES_BASE) >> 20)]
    FilesTooBig(u64),
}

/// Why a program's segments can't be mapped.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// Its pages could not be mapped as they are.
    #[error(
        "the segment at {0:#x} lies in the file at an offset that is not congruent to its address \
         modulo 4096; link with -z max-page-size=4096"
    )]
    NotCongruent(u64),
    /// Two segments with rights of their own in one page.
    #[error(
        "two segments share the page at {0:#x}; align each segment to 4096 in the linker script"
    )]
    SharedPage(u64),
    /// Not in the user area, or where a program's pager, heap, files and stack are.
    #[error(
        "the segment at {start:#x} does not lie between {:#x} and {:#x}; link it at 0x400000",
        .area.start, .area.end
    )]
    OutOfPlace {
        /// Where it begins.
        start: u64,
        /// Where images must lie.
        area: Range<u64>,
    },
    /// Sigma0 and the root task have no pager that could fill pages.
    #[error(
        "the segment at {0:#x} is not made of whole pages of the file, as those of sigma0 and the \
         root task must be; align it to 4096, in memory and in the file, and write out its zeros"
    )]
    NotWholePages(u64),
    /// More than the kernel has room for.
    #[error(
        "it has {0} segments to load: sigma0 and the root task have at most {MAX_GROUND_SEGMENTS}"
    )]
    TooManySegments(usize),
}

fn known(programs: &[String]) -> String {
    match programs {
        [] => "there are no programs".to_owned(),
        _ => format!("there are {}", programs.join(", ")),
    }
}

/// Packs modules in their order, for a guest of this architecture.
pub fn pack(modules: &[Module], architecture: Architecture) -> Result<Vec<u8>, BundleError> {
    check(modules, architecture)?;
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
    Ok(bundle)
}

fn entry(
    modules: &[Module],
    module: &Module,
    offset: usize,
    arguments_offset: usize,
) -> Result<ModuleEntry, BundleError> {
    // Their number was checked.
    let mut ports = [PortRange::default(); MAX_PORT_RANGES];
    ports.iter_mut().zip(&module.ports).for_each(|(to, from)| *to = *from);
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
        port_ranges: module.ports.len() as u32,
        ports,
        name: pad_name(module.name.as_bytes()),
    })
}

/// The index of the program that `module` names in one of its roles.
fn program_index(
    modules: &[Module],
    module: &Module,
    role: &'static str,
    target: Option<&str>,
) -> Result<u32, BundleError> {
    let Some(target) = target else { return Ok(ROOT) };
    let found = modules.iter().position(|other| is_program(other) && other.name == target);
    found.map(|index| index as u32).ok_or_else(|| BundleError::UnknownProgram {
        module: module.name.clone(),
        role,
        target: target.to_owned(),
        programs: modules.iter().filter(|m| is_program(m)).map(|m| m.name.clone()).collect(),
    })
}

fn is_program(module: &Module) -> bool {
    module.kind == ModuleKind::Program
}

fn check(modules: &[Module], architecture: Architecture) -> Result<(), BundleError> {
    for (kind, what) in [(ModuleKind::Sigma0, "sigma0"), (ModuleKind::RootTask, "root task")] {
        match modules.iter().filter(|module| module.kind == kind).count() {
            1 => {}
            count => return Err(BundleError::NotOne { what, count }),
        }
    }
    for (index, module) in modules.iter().enumerate() {
        check_module(module, architecture)?;
        let same = |other: &Module| other.kind == module.kind && other.name == module.name;
        if modules[..index].iter().any(same) {
            return Err(BundleError::SameName(module.name.clone()));
        }
        check_pagers(modules, module)?;
    }
    match modules.iter().filter(|module| is_program(module)).count() {
        count if count > MAX_PROGRAMS => Err(BundleError::TooManyPrograms(count)),
        _ => check_files(modules),
    }
}

fn check_module(module: &Module, architecture: Architecture) -> Result<(), BundleError> {
    let name = || module.name.clone();
    if module.name.is_empty() {
        return Err(BundleError::NoName);
    }
    if module.name.len() >= NAME_LENGTH {
        return Err(BundleError::LongName(name()));
    }
    if module.name.contains('\0') {
        return Err(BundleError::ZeroInName(name()));
    }
    if module.arguments.len() > ARGUMENTS_LENGTH {
        let length = module.arguments.len();
        return Err(BundleError::LongArguments { name: name(), length });
    }
    if !(1..=255).contains(&module.priority) {
        return Err(BundleError::Priority { name: name(), priority: module.priority });
    }
    check_resources(module)?;
    if module.kind == ModuleKind::File {
        return Ok(());
    }
    let executable = Executable::parse(&module.bytes, architecture)
        .map_err(|error| BundleError::NotExecutable { name: name(), error })?;
    let bad_image = |error| BundleError::BadImage { name: name(), error };
    if is_program(module) {
        let area = PROGRAM_AREA.start as u64..PROGRAM_AREA.end as u64;
        check_image(&executable, &area).map_err(bad_image)?;
    } else {
        check_image(&executable, &(MAPPABLE_START as u64..USER_END as u64)).map_err(bad_image)?;
        check_ground(&executable).map_err(bad_image)?;
    }
    let entry_found = executable.segments.iter().any(|segment| {
        let start = segment.virtual_address;
        segment.executable && (start..start + segment.memory_size).contains(&executable.entry)
    });
    if !entry_found {
        let error = ElfError::BadEntry(executable.entry);
        return Err(BundleError::NotExecutable { name: name(), error });
    }
    if is_program(module) {
        // The last word is the root task's own, with the code that it runs.
        Image::parse(&module.bytes, elf_machine(architecture), &PROGRAM_AREA)
            .map_err(|error| BundleError::NotRunnable { name: name(), error })?;
    }
    Ok(())
}

fn elf_machine(architecture: Architecture) -> elf::Machine {
    match architecture {
        Architecture::Amd64 => elf::Machine::Amd64,
        Architecture::Ia32 => elf::Machine::Ia32,
    }
}

/// The ports and the quota.
fn check_resources(module: &Module) -> Result<(), BundleError> {
    let name = || module.name.clone();
    if !is_program(module) && (module.quota.is_some() || !module.ports.is_empty()) {
        return Err(BundleError::NotAProgram(name()));
    }
    let is_usable =
        |quota: &u32| quota.is_multiple_of(QUOTA_STEP) && (1..=LARGEST_QUOTA).contains(quota);
    if let Some(quota) = module.quota.filter(|quota| !is_usable(quota)) {
        return Err(BundleError::Quota { name: name(), quota });
    }
    if module.ports.len() > MAX_PORT_RANGES {
        return Err(BundleError::TooManyPorts { name: name(), count: module.ports.len() });
    }
    for range in &module.ports {
        let includes = |port: &u16| (range.first..=range.last).contains(port);
        if let Some(port) = KERNEL_PORTS.into_iter().find(includes) {
            return Err(BundleError::KernelPort { name: name(), range: *range, port });
        }
    }
    Ok(())
}

fn check_image(executable: &Executable<'_>, area: &Range<u64>) -> Result<(), ImageError> {
    let page = PAGE_SIZE as u64;
    let mut segments = executable.segments.clone();
    segments.sort_by_key(|segment| segment.virtual_address);
    let mut previous_end = 0;
    for segment in segments {
        let start = segment.virtual_address;
        let fits = start.checked_add(segment.memory_size).is_some_and(|end| end <= area.end);
        if start < area.start || !fits {
            return Err(ImageError::OutOfPlace { start, area: area.clone() });
        }
        if start % page != segment.offset % page {
            return Err(ImageError::NotCongruent(start));
        }
        if start / page * page < previous_end {
            return Err(ImageError::SharedPage(start / page * page));
        }
        previous_end = start + segment.memory_size;
    }
    Ok(())
}

/// What the kernel wants of the images that it starts itself: it maps them as they lie in the bundle.
fn check_ground(executable: &Executable<'_>) -> Result<(), ImageError> {
    let page = PAGE_SIZE as u64;
    for segment in &executable.segments {
        let start = segment.virtual_address;
        let is_aligned = start.is_multiple_of(page) && segment.offset.is_multiple_of(page);
        if !is_aligned || segment.file_size != segment.memory_size {
            return Err(ImageError::NotWholePages(start));
        }
    }
    match executable.segments.len() {
        count if count > MAX_GROUND_SEGMENTS => Err(ImageError::TooManySegments(count)),
        _ => Ok(()),
    }
}

/// Follows the pagers from a program on: they must end at the root task.
fn check_pagers(modules: &[Module], module: &Module) -> Result<(), BundleError> {
    let mut current = module;
    for _ in modules {
        let Some(pager) = &current.pager else { return Ok(()) };
        let next = modules.iter().find(|other| is_program(other) && other.name == *pager);
        // A name that is not there is an error of its own, with a better message.
        let Some(next) = next else { return Ok(()) };
        current = next;
    }
    Err(BundleError::PagerCycle(module.name.clone()))
}

fn check_files(modules: &[Module]) -> Result<(), BundleError> {
    let files = modules.iter().filter(|module| module.kind == ModuleKind::File);
    let (count, bytes) = files.fold((0, 0), |(count, bytes), file| {
        (count + 1, bytes + file.bytes.len().next_multiple_of(PAGE_SIZE))
    });
    if count > MAX_FILES {
        return Err(BundleError::TooManyFiles(count));
    }
    if bytes > FILES_END - FILES_BASE {
        return Err(BundleError::FilesTooBig(bytes as u64));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::{Sample, segment};
    use protocol::boot::trim_name;
    use zerocopy::FromBytes;

    fn image() -> Arc<[u8]> {
        Sample::program().bytes().into()
    }

    fn with(extra: Vec<Module>) -> Vec<Module> {
        let sigma0 = Module::new("sigma0", ModuleKind::Sigma0, image());
        let root = Module::new("root", ModuleKind::RootTask, image());
        [vec![sigma0, root], extra].concat()
    }

    fn program(name: &str) -> Module {
        Module::new(name, ModuleKind::Program, image())
    }

    fn file(name: &str, bytes: &[u8]) -> Module {
        Module::new(name, ModuleKind::File, bytes.into())
    }

    fn refusal(extra: Vec<Module>) -> BundleError {
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
        assert_eq!((entries[3].port_ranges(), entries[3].quota), (&[][..], 0));
        let start = app.arguments_offset as usize;
        assert_eq!(&bundle[start..start + app.arguments_length as usize], b"one two");
    }

    #[test]
    fn there_is_one_sigma0_and_one_root_task() {
        let error = pack(&[program("alone")], Architecture::Amd64).unwrap_err();
        assert_eq!(error, BundleError::NotOne { what: "sigma0", count: 0 });
        let second = Module::new("other", ModuleKind::RootTask, image());
        assert_eq!(refusal(vec![second]), BundleError::NotOne { what: "root task", count: 2 });
    }

    #[test]
    fn names_are_short_and_unique_among_their_kind() {
        assert_eq!(refusal(vec![program("")]), BundleError::NoName);
        let long = "x".repeat(NAME_LENGTH);
        assert_eq!(refusal(vec![program(&long)]), BundleError::LongName(long));
        pack(&with(vec![program(&"x".repeat(NAME_LENGTH - 1))]), Architecture::Amd64).unwrap();
        let twice = vec![program("a"), program("a")];
        assert_eq!(refusal(twice), BundleError::SameName("a".to_owned()));
        assert_eq!(refusal(vec![program("a\0b")]), BundleError::ZeroInName("a\0b".to_owned()));
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
        assert!(matches!(error, BundleError::UnknownProgram { role: "server", .. }), "{error}");
    }

    #[test]
    fn pagers_that_page_each_other_are_refused() {
        let itself = Module { pager: Some("a".to_owned()), ..program("a") };
        assert_eq!(refusal(vec![itself]), BundleError::PagerCycle("a".to_owned()));
        let a = Module { pager: Some("b".to_owned()), ..program("a") };
        let b = Module { pager: Some("a".to_owned()), ..program("b") };
        assert_eq!(refusal(vec![a.clone(), b]), BundleError::PagerCycle("a".to_owned()));
        pack(&with(vec![a, program("b")]), Architecture::Amd64).unwrap();
    }

    #[test]
    fn numbers_have_their_ranges() {
        for priority in [0, 256] {
            let error = refusal(vec![Module { priority, ..program("a") }]);
            assert_eq!(error, BundleError::Priority { name: "a".to_owned(), priority });
        }
        let arguments = "x".repeat(ARGUMENTS_LENGTH + 1);
        let error = refusal(vec![Module { arguments, ..program("a") }]);
        let length = ARGUMENTS_LENGTH + 1;
        assert_eq!(error, BundleError::LongArguments { name: "a".to_owned(), length });
        let files = (0..=MAX_FILES).map(|number| file(&number.to_string(), b"")).collect();
        assert_eq!(refusal(files), BundleError::TooManyFiles(MAX_FILES + 1));
    }

    #[test]
    fn ports_and_quotas_have_their_ranges() {
        let range = |first, last| PortRange { first, last };
        for (ports, port) in [(range(0, 0xffff), 0x20), (range(0xa1, 0xa1), 0xa1)] {
            let error = refusal(vec![Module { ports: vec![ports], ..program("a") }]);
            let expected = BundleError::KernelPort { name: "a".to_owned(), range: ports, port };
            assert_eq!(error, expected);
        }
        let ports = vec![range(0x60, 0x60); MAX_PORT_RANGES + 1];
        let error = refusal(vec![Module { ports, ..program("a") }]).to_string();
        assert_eq!(error, "module 'a' has 5 ranges of ports: the most is 4");
        for quota in [0, 3, 6, LARGEST_QUOTA + 4, u32::MAX] {
            let error = refusal(vec![Module { quota: Some(quota), ..program("a") }]);
            assert_eq!(error, BundleError::Quota { name: "a".to_owned(), quota });
        }
        let error = refusal(vec![Module { quota: Some(4), ..file("text", b"") }]);
        assert_eq!(error, BundleError::NotAProgram("text".to_owned()));
        let most = Module {
            quota: Some(LARGEST_QUOTA),
            ports: vec![range(0, 0x1f), range(0xffff, 0xffff)],
            ..program("a")
        };
        pack(&with(vec![most]), Architecture::Amd64).unwrap();
    }

    #[test]
    fn images_must_be_mappable_page_by_page() {
        let app = |sample: Sample| Module { bytes: sample.bytes().into(), ..program("app") };
        let error = |sample| match refusal(vec![app(sample)]) {
            BundleError::BadImage { error, .. } => error,
            other => panic!("{other}"),
        };
        let mut sample = Sample::program();
        sample.segments[0].virtual_address = 0x40_0010;
        assert_eq!(error(sample), ImageError::NotCongruent(0x40_0010));

        let mut sample = Sample::program();
        sample.segments[0].file_size = 0x800;
        sample.segments[0].memory_size = 0x800;
        sample.segments.push(segment(0x1800, 0x40_0800, 0x10, false));
        assert_eq!(error(sample), ImageError::SharedPage(0x40_0000));

        let area = PROGRAM_AREA.start as u64..PROGRAM_AREA.end as u64;
        for address in [0, area.start - 0x1000, area.end - 0x800, u64::MAX - 0xfff] {
            let mut sample = Sample::program();
            sample.segments[0].virtual_address = address;
            sample.segments[0].memory_size = 0x2000;
            let area = area.clone();
            assert_eq!(error(sample), ImageError::OutOfPlace { start: address, area });
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
    fn odd_images(architecture: Architecture) -> impl Iterator<Item = (String, Vec<u8>)> {
        let mut sample = Sample::program_for(architecture);
        sample.segments.push(segment(0x2000, 0x40_1000, 0x1000, false));
        let image = sample.bytes();
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
            0x3f_f000,
            0x40_0000,
            0x40_0001,
            0x40_0fff,
            0x40_1000,
            0x40_2000,
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
            let ground = Sample::program_for(architecture).bytes();
            let sigma0 = Module::new("sigma0", ModuleKind::Sigma0, ground.as_slice().into());
            let root = Module::new("root", ModuleKind::RootTask, ground.as_slice().into());
            let (mut taken, mut refused) = (0, 0);
            for (what, image) in odd_images(architecture) {
                let by_root = Image::parse(&image, elf_machine(architecture), &PROGRAM_AREA);
                let app = Module::new("app", ModuleKind::Program, image.into());
                let here = pack(&[sigma0.clone(), root.clone(), app], architecture);
                assert_eq!(here.is_ok(), by_root.is_ok(), "{what}: {here:?}, but {by_root:?}");
                *(if here.is_ok() { &mut taken } else { &mut refused }) += 1;
            }
            assert!(taken > 20 && refused > 200, "{taken} taken, {refused} refused");
        }
    }

    #[test]
    fn sigma0_is_taken_here_only_if_the_kernel_takes_it() {
        let mut taken = 0;
        for (what, image) in odd_images(Architecture::Amd64) {
            let sigma0 = Module::new("sigma0", ModuleKind::Sigma0, image.into());
            let root = Module::new("root", ModuleKind::RootTask, self::image());
            let Ok(bundle) = pack(&[sigma0, root], Architecture::Amd64) else { continue };
            let by_kernel = kernel_core::boot_bundle::find_image(&bundle, 0, ModuleKind::Sigma0);
            assert!(by_kernel.is_ok(), "{what}: {by_kernel:?}");
            taken += 1;
        }
        assert!(taken > 20, "{taken} taken");
    }

    #[test]
    fn what_the_guest_has_no_room_for_is_refused() {
        let programs = |count| (0..count).map(|number| program(&number.to_string())).collect();
        assert_eq!(refusal(programs(33)), BundleError::TooManyPrograms(33));
        pack(&with(programs(32)), Architecture::Amd64).unwrap();
        let mut sample = Sample::program();
        for number in 1..=8 {
            let address = 0x40_0000 + number * 0x1000;
            sample.segments.push(segment(0x1000, address, 0x1000, false));
        }
        let nine = Module { bytes: sample.bytes().into(), ..program("nine") };
        let error = refusal(vec![nine]).to_string();
        assert_eq!(error, "cannot run module 'nine': it has no segment to load, or more than 8");
        let root = Module::new("root", ModuleKind::RootTask, sample.bytes().into());
        let sigma0 = Module::new("sigma0", ModuleKind::Sigma0, image());
        let error = pack(&[sigma0, root], Architecture::Amd64).unwrap_err().to_string();
        assert!(
            error.ends_with("it has 9 segments to load: sigma0 and the root task have at most 6"),
            "{error}"
        );
    }
}

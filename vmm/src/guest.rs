//! What is booted: a kernel and its modules, from a scenario and the command line.

use crate::{
    cli::GuestArgs,
    embedded, input,
    scenario::{self, Scenario},
};
use anyhow::{Context, Result, bail};
use machine::{
    Architecture, Kernel, SERIAL_INTERRUPT,
    bundle::{self, ManifestError, Module},
};
use observe::{
    Images,
    symbols::{ImageId, Lookup},
};
use protocol::boot::ModuleKind;
use std::{iter, sync::Arc};

/// The scenario that runs if the command line names nothing at all.
const DEFAULT_SCENARIO: &str = "words";

/// What there must be one of, unless the kernel is the user's own: our root task starts programs.
const RUN: [ModuleKind; 2] = [ModuleKind::RootTask, ModuleKind::Program];

/// A guest that is ready to be packed.
#[derive(Debug)]
pub struct Guest {
    /// What kernel and programs are built for.
    pub architecture: Architecture,
    /// Name of the scenario, unless only modules were given.
    pub scenario: Option<String>,
    /// How to call the kernel in messages.
    kernel_name: String,
    /// The kernel's image.
    pub kernel: Arc<[u8]>,
    /// The modules, in the bundle's order.
    pub modules: Vec<Module>,
}

impl Guest {
    /// Reads everything that the command line names.
    pub fn new(args: &GuestArgs) -> Result<Self> {
        let architecture = args.arch;
        let (kernel_name, kernel) = match &args.kernel {
            None => ("the embedded kernel".to_owned(), embedded_image(architecture, "kernel")?),
            Some(path) => {
                let name = path.display().to_string();
                (name, input::read(path)?.into())
            }
        };
        let mut modules = Vec::new();
        let mut scenario = chosen_scenario(args)?;
        for (name, value) in &args.parameters {
            match &mut scenario {
                Some(scenario) => scenario.set(name, value)?,
                None => bail!("--{name} is for a scenario, and none is named: leave it out"),
            }
        }
        if let Some(scenario) = &scenario {
            modules.extend(scenario.modules(architecture, args.file.as_deref())?);
        } else if let Some(path) = &args.file {
            modules.push(scenario::read_file(path)?);
        }
        for spec in &args.modules {
            modules.push(spec.module()?);
        }
        if args.kernel.is_none() && !modules.iter().any(|module| RUN.contains(&module.kind)) {
            bail!(ManifestError::NoProgram);
        }
        let modules = with_ground(architecture, modules)?;
        let scenario = scenario.map(|scenario| scenario.name);
        Ok(Self { architecture, scenario, kernel_name, kernel, modules })
    }

    /// The kernel, checked.
    pub fn kernel(&self) -> Result<Kernel<'_>> {
        Kernel::parse(&self.kernel, self.architecture)
            .with_context(|| format!("cannot boot {}", self.kernel_name))
    }

    /// Symbols of the kernel and of every program, with source lines from there.
    pub fn images(&self, source_lines: Arc<dyn Lookup>) -> Images {
        let mut images = Images::with_source_lines(source_lines);
        images.set_kernel(self.kernel.clone());
        for (index, module) in self.programs() {
            images.add(index, &module.name, module.bytes.clone());
        }
        images
    }

    /// The kernel and every program, with their names.
    pub fn elf_files(&self) -> impl Iterator<Item = (ImageId, &str, &[u8])> {
        let programs = self
            .programs()
            .map(|(index, module)| (ImageId::Module(index), module.name.as_str(), &*module.bytes));
        iter::once((ImageId::Kernel, "the kernel", &*self.kernel)).chain(programs)
    }

    /// The modules that are no mere files, with their places in the bundle.
    fn programs(&self) -> impl Iterator<Item = (u32, &Module)> {
        (0..).zip(&self.modules).filter(|(_, module)| module.kind != ModuleKind::File)
    }

    /// Whether one of the programs gets what comes in by the serial line: the one that has its interrupt.
    pub fn reads_the_line(&self) -> bool {
        self.modules.iter().any(|module| module.interrupts.contains(&SERIAL_INTERRUPT))
    }

    /// The modules, packed.
    pub fn bundle(&self) -> Result<Vec<u8>> {
        Ok(bundle::pack(&self.modules, self.architecture)?)
    }
}

fn chosen_scenario(args: &GuestArgs) -> Result<Option<Scenario>> {
    match &args.scenario {
        Some(name) => scenario::find(name).map(Some),
        None if args.kernel.is_none() && args.modules.is_empty() => {
            scenario::find(DEFAULT_SCENARIO).map(Some)
        }
        None => Ok(None),
    }
}

/// Puts the embedded sigma0 and root task before the other modules, unless these bring their own.
fn with_ground(architecture: Architecture, modules: Vec<Module>) -> Result<Vec<Module>> {
    let mut all = Vec::new();
    for (kind, name) in [(ModuleKind::Sigma0, "sigma0"), (ModuleKind::RootTask, "root-task")] {
        if !modules.iter().any(|module| module.kind == kind) {
            all.push(Module::new(name, kind, embedded_image(architecture, name)?));
        }
    }
    all.extend(modules);
    Ok(all)
}

fn embedded_image(architecture: Architecture, name: &str) -> Result<Arc<[u8]>> {
    match embedded::image(architecture, name) {
        Some(bytes) => Ok(bytes.into()),
        None => bail!("this binary has no embedded image '{name}' for {architecture}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(scenario: Option<&str>, modules: &[&str]) -> Result<Guest> {
        let modules = modules.iter().map(|text| text.parse().unwrap()).collect();
        let scenario = scenario.map(str::to_owned);
        Guest::new(&GuestArgs { scenario, modules, ..GuestArgs::default() })
    }

    fn names(guest: &Guest) -> Vec<&str> {
        guest.modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn without_a_word_the_default_scenario_runs() {
        assert_eq!(
            names(&guest(None, &[]).unwrap()),
            ["sigma0", "root-task", "words", "pagers.txt"]
        );
    }

    #[test]
    fn own_modules_replace_or_extend() {
        let alone = guest(None, &["Cargo.toml,kind=program,name=app"]).unwrap();
        assert_eq!(names(&alone), ["sigma0", "root-task", "app"]);
        let added = guest(Some("broken"), &["Cargo.toml"]).unwrap();
        assert_eq!(names(&added), ["sigma0", "root-task", "broken", "Cargo.toml"]);
        let own_root = guest(None, &["Cargo.toml,kind=root,name=mine"]).unwrap();
        assert_eq!(names(&own_root), ["sigma0", "mine"]);
    }

    #[test]
    fn a_bundle_without_a_program_is_not_packed() {
        let error = guest(None, &["Cargo.toml,name=config"]).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&ManifestError::NoProgram));
        // Another kernel, or another root task, may need none.
        let kernel = Some("Cargo.toml".into());
        let other = Guest::new(&GuestArgs { kernel, ..GuestArgs::default() }).unwrap();
        assert_eq!(names(&other), ["sigma0", "root-task"]);
        guest(None, &["Cargo.toml,kind=root"]).unwrap();
    }

    #[test]
    fn both_architectures_have_all_images() {
        for arch in Architecture::ALL {
            let guest = Guest::new(&GuestArgs { arch, ..GuestArgs::default() }).unwrap();
            guest.kernel().unwrap();
            assert!(!guest.bundle().unwrap().is_empty());
        }
    }

    #[test]
    fn a_kernel_that_cannot_boot_is_named() {
        let args = GuestArgs { kernel: Some("Cargo.toml".into()), ..GuestArgs::default() };
        let guest = Guest::new(&args).unwrap();
        let error = format!("{:#}", guest.kernel().unwrap_err());
        assert!(error.starts_with("cannot boot Cargo.toml: it is not an ELF file"), "{error}");
    }
}

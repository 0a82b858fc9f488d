//! The command line.

use crate::{
    confinement::ConfinementArgs,
    module_spec::ModuleSpec,
    scenario::{self, Parameter},
    source_lines::Extent,
    units,
    views::{CheckArgs, FrameArgs, ListArgs, MapArgs, ViewArgs, WalkArgs, WhoArgs},
};
use clap::{Arg, ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use machine::{Architecture, RamSize};
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Boots a microkernel under KVM or QEMU and shows every page fault that its user-level pagers
/// resolve.
#[derive(Debug, Parser)]
#[command(name = "glass", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The heading of the options that scenarios have.
const OF_SCENARIOS: &str = "Options of single scenarios";

impl Cli {
    /// Reads a command line. Besides the options that are named here, each scenario's parameters are options of
    /// `run` and `bundle`, unless these have one of that name.
    ///
    /// # Errors
    /// What is wrong with it, or help.
    pub fn of_command_line<S>(words: impl IntoIterator<Item = S>) -> Result<Self, clap::Error>
    where
        S: Into<OsString> + Clone,
    {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let parameters = scenario::parameters_of(&words);
        let options = |command: clap::Command| {
            let is_free =
                |name: &str| command.get_arguments().all(|known| known.get_long() != Some(name));
            let free = parameters.iter().filter(|parameter| is_free(&parameter.name));
            let options: Vec<_> = free.map(option).collect();
            command.args(options)
        };
        let command =
            Self::command().mut_subcommand("run", options).mut_subcommand("bundle", options);
        let matches = command.try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let guest = match &mut cli.command {
            Command::Run(run) => Some(&mut run.guest),
            Command::Bundle(bundle) => Some(&mut bundle.guest),
            _ => None,
        };
        if let (Some(guest), Some((_, matches))) = (guest, matches.subcommand()) {
            let said = parameters.iter().filter_map(|Parameter { name, .. }| {
                let value = matches.try_get_one::<String>(&identity(name)).ok()??;
                Some((name.clone(), value.clone()))
            });
            guest.parameters.extend(said);
        }
        Ok(cli)
    }
}

/// The option of a scenario's parameter.
fn option(parameter: &Parameter) -> Arg {
    let Parameter { name, value, meaning } = parameter;
    let help = format!("{meaning} [default: {value}]");
    Arg::new(identity(name)).long(name).value_name("VALUE").help(help).help_heading(OF_SCENARIOS)
}

/// What tells its value from all else that has a name in a command's definition, groups included.
fn identity(name: &str) -> String {
    format!("--{name}")
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario or your own images, and show each page fault as it happens.
    ///
    /// The trace goes to standard error, what the guest prints to standard output. The exit status
    /// is the guest's; 124 after the timeout, 130 after Ctrl-C, 1 for errors of glass itself. After
    /// the timeout or a signal the run ends within two seconds, also if nobody reads its output.
    Run(RunArgs),
    /// Say what this host can do, and how to repair what it can't.
    ///
    /// It opens KVM, asks QEMU for its version, and runs a guest of each architecture on each of
    /// them. The exit status is 0 if amd64 guests run under KVM.
    Doctor(DoctorArgs),
    /// List the machines that run, for the views below.
    Ls(ListArgs),
    /// Show the tasks and threads of a running machine.
    Tasks(ViewArgs),
    /// Show the memory of a task of a running machine, or its ports or capabilities.
    Map(MapArgs),
    /// Show who has a page frame of a running machine, and from whom.
    Frame(FrameArgs),
    /// Show who has a page, port or object of a task of a running machine, and from whom.
    Who(WhoArgs),
    /// Show how the page tables of a running machine translate an address of a task, or what its
    /// tables of ports say of a port.
    ///
    /// And below that: where the page is in the memory of this host, or whether the processor has
    /// been told of the port.
    Walk(WalkArgs),
    /// Check a running machine's page tables, mapping database and records. The status is 1 if
    /// something is wrong.
    Check(CheckArgs),
    /// List the scenarios.
    List,
    /// Write a scenario's kernel and boot bundle to a folder, for QEMU and other PVH loaders.
    Bundle(BundleArgs),
    /// What a run starts to have source lines looked up.
    #[command(hide = true)]
    SourceLines(SourceLinesArgs),
}

/// What is booted.
#[derive(Debug, Default, Args)]
pub struct GuestArgs {
    /// Scenario to run: a name (see `glass list`) or a TOML file [default: words]
    pub scenario: Option<String>,
    /// What is said to the scenario's programs: the options of [`Cli::of_command_line`].
    #[arg(skip)]
    pub parameters: Vec<(String, String)>,
    /// File of the host that the scenario's programs read
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// What kernel and programs are built for: amd64 or ia32
    #[arg(long, value_name = "ARCHITECTURE", default_value_t)]
    pub arch: Architecture,
    /// Kernel to boot instead of the embedded one (a PVH ELF executable)
    #[arg(long, value_name = "ELF")]
    pub kernel: Option<PathBuf>,
    /// Module to add; keys are name=, kind=program|file|sigma0|root, pager=, server=, priority=,
    /// ports=, interrupts=, quota=
    ///
    /// An ELF file is a program, any other one a file, unless kind= says otherwise. What follows
    /// the keys are the program's arguments. Without a scenario, only these modules run, under the
    /// embedded sigma0 and root task (or yours, with kind=).
    #[arg(long = "module", value_name = "FILE[,KEY=VALUE...][,ARGUMENTS]")]
    pub modules: Vec<ModuleSpec>,
}

/// `glass run`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("style"))]
pub struct RunArgs {
    #[command(flatten)]
    pub guest: GuestArgs,
    /// The kernel's command line (trace=off, trace=all, trace_ring=RECORDS)
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub cmdline: String,
    /// Memory of the guest: 16M to 3G; to 960M with --arch ia32; to 2815M under QEMU
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = units::ram_size)]
    pub memory: RamSize,
    /// End a run that takes longer, with exit status 124
    #[arg(long, value_name = "TIME", value_parser = units::timeout)]
    pub timeout: Option<Duration>,
    /// Check the kernel's promises at every Nth mapping operation, while the guest waits, and at the
    /// end; the exit status is 1 if one is broken
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub check: Option<u32>,
    /// Show each fault on one line
    #[arg(long, group = "style")]
    pub flat: bool,
    /// Show each event as a JSON object on a line
    #[arg(long, group = "style")]
    pub json: bool,
    /// Show only a table of faults by task, at the end
    #[arg(short = 'c', long = "count", group = "style")]
    pub count: bool,
    /// Show no trace
    #[arg(long, group = "style")]
    pub quiet: bool,
    /// Pass what the guest prints on to a terminal as it is, control characters included
    #[arg(long)]
    pub raw: bool,
    /// Colours in the trace
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub color: Colour,
    /// List the scenarios and end
    #[arg(long, exclusive = true)]
    pub list: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub confinement: ConfinementArgs,
}

/// What runs the guest.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// What runs the guest
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = EngineChoice::Auto)]
    pub engine: EngineChoice,
    /// KVM's device [default: /dev/kvm]; auto then means KVM
    #[arg(long, value_name = "PATH")]
    pub kvm: Option<PathBuf>,
    /// QEMU's program [default: qemu-system-x86_64]; auto then means QEMU
    #[arg(long, value_name = "PATH", conflicts_with = "kvm")]
    pub qemu: Option<PathBuf>,
}

/// Which engine is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// The quickest: KVM if the host's processor runs all of the guest, else QEMU, else KVM as it is.
    Auto,
    /// The host's processor.
    Kvm,
    /// Emulation in software.
    Qemu,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// If standard error is a terminal and NO_COLOR is not set.
    Auto,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// `glass doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// KVM's device
    #[arg(long, value_name = "PATH", default_value = machine::KVM_DEVICE)]
    pub kvm: PathBuf,
    /// QEMU's program
    #[arg(long, value_name = "PATH", default_value = machine::QEMU_PROGRAM)]
    pub qemu: PathBuf,
}

/// `glass bundle`.
#[derive(Debug, Args)]
pub struct BundleArgs {
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Folder to write `kernel` and `bundle` to; it is created if it is not there
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
}

/// `glass source-lines`: for runs, not for people.
#[derive(Debug, Args)]
pub struct SourceLinesArgs {
    /// The image of a worker
    #[arg(long, value_name = "START+LENGTH")]
    pub image: Option<Extent>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
        let cli = Cli::of_command_line([&["glass", "run"], arguments].concat())?;
        match cli.command {
            Command::Run(run) => Ok(run),
            other => panic!("{other:?} is not a run"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_needs_to_be_said() {
        let args = run(&[]).unwrap();
        assert_eq!((args.guest.scenario, args.timeout), (None, None));
        assert_eq!((args.memory.bytes(), args.color), (256 << 20, Colour::Auto));
        assert_eq!(
            (args.guest.arch, args.engine.engine),
            (Architecture::Amd64, EngineChoice::Auto)
        );
    }

    #[test]
    fn checks_come_after_every_operation_unless_they_say_otherwise() {
        let check = |arguments: &[&str]| run(arguments).unwrap().check;
        assert_eq!(check(&[]), None);
        assert_eq!(check(&["--check", "words"]), Some(1));
        assert_eq!(check(&["--check=100", "words"]), Some(100));
    }

    #[test]
    fn own_images_can_be_named() {
        let arguments = ["--kernel", "k", "--module", "p", "--module", "a,pager=p", "--flat"];
        let args = run(&arguments).unwrap();
        assert_eq!(args.guest.kernel, Some(PathBuf::from("k")));
        assert_eq!(args.guest.modules, ["p", "a,pager=p"].map(|text| text.parse().unwrap()));
        assert!(args.flat && !args.json);
    }

    #[test]
    fn parameters_of_scenarios_are_options() {
        let said = |arguments: &[&str]| run(arguments).unwrap().guest.parameters;
        assert_eq!(said(&["fuzz"]), []);
        let both = [("seed", "7"), ("calls", "9")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(said(&["fuzz", "--calls", "9", "--seed=7"]), both);
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/fuzz.toml");
        assert_eq!(said(&[file, "--seed", "7"]), both[..1]);
        run(&["fuzz", "--cals", "9"]).expect_err("accepted");
    }

    #[test]
    fn parameters_may_be_called_as_something_in_the_definition() {
        let path = std::env::temp_dir().join(format!("glass-cli-{}.toml", std::process::id()));
        let names = ["style", "modules", "scenario", "version"];
        let parameter =
            |name| format!("[[parameter]]\nname = '{name}'\nvalue = ''\nmeaning = ''\n");
        let parameters: String = names.into_iter().map(parameter).collect();
        std::fs::write(&path, format!("name = 'x'\nsummary = 'X.'\n{parameters}")).unwrap();
        let file = path.to_str().unwrap();
        let said = names.map(|name| {
            run(&[file, &format!("--{name}=1"), "--flat"]).map(|args| args.guest.parameters)
        });
        std::fs::remove_file(&path).unwrap();
        for (name, said) in names.iter().zip(said) {
            assert_eq!(said.unwrap(), [((*name).to_owned(), "1".to_owned())]);
        }
    }

    #[test]
    fn contradictions_and_bad_values_are_refused() {
        for arguments in [
            &["--flat", "--json"][..],
            &["-c", "--quiet"],
            &["--memory", "8M"],
            &["--memory", "4G"],
            &["--timeout", "0"],
            &["--check=0"],
            &["--check=often"],
            &["--module", ",x"],
            &["--color", "sometimes"],
            &["--list", "words"],
            &["--arch", "arm"],
            &["--engine", "xen"],
            &["--kvm", "/dev/kvm", "--qemu", "qemu"],
            &["words", "broken"],
        ] {
            run(arguments).expect_err("accepted");
        }
        let error = run(&["--memory", "8M"]).unwrap_err().to_string();
        assert!(error.contains("8 MiB of memory is too little: the least is 16 MiB"), "{error}");
    }
}

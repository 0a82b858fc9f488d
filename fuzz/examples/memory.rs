//! Records what views and the trace read of a guest's memory after it has run: the files in
//! `fuzz/memory`. Run it where the guest has been built: `cargo run -p fuzz --example memory`.
#![forbid(unsafe_code)]

use fuzz::memory::Recorded;
use glass::scenario;
use machine::{
    Architecture, Config, Engine, Kernel, Machine, Memory, QEMU_PROGRAM, Qemu, RamSize,
    bundle::{self, Module},
};
use observe::{GuestMemory, Images, Observer, OutsideMemory, inspect::Guest};
use protocol::boot::ModuleKind;
use std::{cell::RefCell, collections::BTreeMap, error::Error, fs, path::Path, sync::mpsc};

/// What runs: it has ports, capabilities, superpages and a port fault that stays unresolved.
const SCENARIO: &str = "ioport";

/// The least that a machine can have.
const RAM: u64 = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for architecture in Architecture::ALL {
        let name = architecture.name();
        let image = |image: &str| fs::read(here.join("../target/guest").join(name).join(image));
        let mut modules = scenario::find(SCENARIO)?.modules(architecture, None)?;
        modules.push(Module::new("sigma0", ModuleKind::Sigma0, image("sigma0")?.into()));
        modules.push(Module::new("root", ModuleKind::RootTask, image("root-task")?.into()));
        let kernel = image("kernel")?;
        let kernel = Kernel::parse(&kernel, architecture)?;
        let bundle = bundle::pack(&modules, architecture)?;
        let config =
            Config { ram: RamSize::new(RAM)?, kernel: &kernel, bundle: &bundle, command_line: "" };
        let memory = run(&config)?;
        let header = kernel.introspection_header().ok_or("the kernel has no header")?;
        let recorder = Recorder { memory, words: RefCell::default() };
        look(&recorder, header)?;
        let file = Recorded::write(header, RAM, &recorder.words.borrow());
        println!("{name}: {} bytes", file.len());
        fs::write(here.join("memory").join(name), file)?;
    }
    Ok(())
}

/// Runs a guest to its end. What it leaves is its memory.
fn run(config: &Config<'_>) -> Result<Memory, Box<dyn Error>> {
    let engine = Engine::Qemu(Qemu::find(Path::new(QEMU_PROGRAM))?);
    let machine = Machine::new(&engine, config)?;
    let memory = machine.memory();
    let (sender, ended) = mpsc::channel();
    let running = machine.start(
        std::io::stderr(),
        || (),
        move |outcome| {
            // The receiver waits for it.
            let _ = sender.send(outcome);
        },
    )?;
    println!("it ended: {:?}", ended.recv()?);
    running.stop();
    Ok(memory)
}

/// Reads all that views and the trace read.
fn look(memory: &Recorder, header: u64) -> Result<(), Box<dyn Error>> {
    let guest = Guest::open(memory, header)?;
    let report = guest.check();
    println!("it is sound: {}, {} tasks", report.is_clean(), guest.tasks().len());
    let mut events = 0;
    let mut observer = Observer::new(memory, header, Images::new(), 1_000_000_000);
    observer.finish(&mut || true, &mut |_| events += 1)?;
    println!("{events} events, {} records lost", observer.lost());
    Ok(())
}

/// Memory that notes which of its words are not zero, among those that are read.
struct Recorder {
    memory: Memory,
    words: RefCell<BTreeMap<u64, u64>>,
}

impl GuestMemory for Recorder {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() };
        self.memory.read(address, bytes).map_err(|_| outside)?;
        let end = address + bytes.len() as u64;
        for at in (address / 8 * 8..end).step_by(8) {
            let value: u64 = self.memory.read_plain(at).map_err(|_| outside)?;
            if value != 0 {
                self.words.borrow_mut().insert(at, value);
            }
        }
        Ok(())
    }
}

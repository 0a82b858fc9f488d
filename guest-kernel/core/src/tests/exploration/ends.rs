//! Any object of the small machine ends, in whatever state that is.

use super::machine::Machine;
use crate::{
    mapping::{life::Mortal, progress::Progress, walk::Effect},
    memory::index::{TableIndex, TaskIndex, WalkerIndex},
    tests::{Bench, algebra::Check, soundness},
};

/// Pieces that an end takes, at the very most.
const PIECES: u32 = 10_000;

/// Ends each object of the machine, each in a copy of it and piece by piece. Returns how many objects and
/// pieces that were.
pub fn check(machine: &Machine) -> Result<[u64; 2], String> {
    let (mut objects, mut all_pieces) = (0, 0);
    for object in soundness::Census::of(&machine.bench).all() {
        let is_first = match object {
            Mortal::Task(task) => matches!(task, TaskIndex::SIGMA0 | TaskIndex::ROOT),
            Mortal::Factory(factory) => factory.position() == 0,
            _ => false,
        };
        let has_root = machine.bench.kernel.mappings.lives.of(object).root().is_some();
        if is_first || !has_root {
            continue;
        }
        let mut bench = machine.bench.clone();
        let ended = end(&mut bench, object);
        all_pieces += ended.map_err(|why| format!("the end of {object:?}: {why}"))?;
        objects += 1;
    }
    Ok([objects, all_pieces])
}

fn end(bench: &mut Bench, object: Mortal) -> Result<u64, String> {
    let mut pieces = 0;
    while bench.kernel.mappings.lives.of(object).root().is_some() || bench.kernel.is_due() {
        let mappings = &mut bench.kernel.mappings;
        mappings.machine.is_restless = true;
        mappings.stretch.begin_alone(&mut mappings.machine);
        match mappings.lives.of(object).root() {
            Some(root) => {
                let mut progress = Progress::new(WalkerIndex::KERNEL);
                let _ = mappings.unmap_tree(&mut progress, root, Effect::REMOVE, true);
            }
            None => _ = bench.kernel.dismantle(),
        }
        bench.kernel.mappings.stretch.take_tick();
        pieces += 1;
        if pieces > PIECES.into() {
            return Err("it never ends".to_owned());
        }
        soundness::check(bench)?;
    }
    bench.kernel.preempt();
    is_gone(bench, object)?;
    Ok(pieces)
}

fn is_gone(bench: &mut Bench, object: Mortal) -> Check {
    match soundness::Census::of(bench).has(object) {
        true => Err("it is still there".to_owned()),
        false => soundness::check(bench),
    }
}

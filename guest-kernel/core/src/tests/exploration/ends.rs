//! Any object of the small machine ends, in whatever state that is.

use super::{
    alphabet::Act,
    machine::{Machine, PLAYERS, Way},
};
use crate::{
    mapping::{life::Mortal, progress::Progress, walk::Effect},
    memory::index::{TableIndex, TaskIndex, WalkerIndex},
    tests::{Bench, algebra::Check, soundness},
};

/// Pieces that an end takes, at the very most.
const PIECES: u32 = 10_000;

/// How they do that.
const WAYS: [Way; 2] = [Way::Calm, Way::Left(0)];

/// Ends each object of the machine, each in a copy of it and piece by piece. Returns how many objects and
/// pieces that were.
pub fn check(machine: &Machine) -> Result<[u64; 2], String> {
    let (mut objects, mut all_pieces) = (0, 0);
    for object in mortals(machine) {
        let mut bench = machine.bench.clone();
        let ended = end(&mut bench, object);
        all_pieces += ended.map_err(|why| format!("the end of {object:?}: {why}"))?;
        objects += 1;
    }
    Ok([objects, all_pieces])
}

/// The same, and between two pieces each thread that can run does any of some acts, or goes on with what it was
/// interrupted in. Returns how many objects and acts that were.
pub fn check_with_others(machine: &Machine, acts: &[Act]) -> Result<[u64; 2], String> {
    let (mut objects, mut done) = (0, 0);
    for object in mortals(machine) {
        let mut ending = machine.clone();
        while is_under_way(&ending.bench, object) {
            end_piece(&mut ending.bench, object);
            ending.bench.kernel.preempt();
            for number in (0..PLAYERS).filter(|number| ending.is_ready(*number)) {
                let can: Vec<Option<Act>> = match ending.is_restarted(number) {
                    true => vec![None],
                    false => acts.iter().copied().map(Some).collect(),
                };
                for (act, way) in can.into_iter().flat_map(|act| WAYS.map(|way| (act, way))) {
                    let mut other = ending.clone();
                    if let Some(act) = act {
                        other.begin(number, act);
                    }
                    other.go(number, way);
                    other.bench.kernel.mappings.stretch.take_tick();
                    let ended = soundness::check(&mut other.bench)
                        .and_then(|()| end(&mut other.bench, object));
                    ended.map_err(|why| format!("{number} {act:?} in {object:?}: {why}"))?;
                    done += 1;
                }
            }
        }
        objects += 1;
    }
    Ok([objects, done])
}

/// What can end of the machine.
fn mortals(machine: &Machine) -> Vec<Mortal> {
    let mut all = soundness::Census::of(&machine.bench).all();
    all.retain(|object| {
        let is_first = match object {
            Mortal::Task(task) => matches!(*task, TaskIndex::SIGMA0 | TaskIndex::ROOT),
            Mortal::Factory(factory) => factory.position() == 0,
            _ => false,
        };
        !is_first && machine.bench.kernel.mappings.lives.of(*object).root().is_some()
    });
    all
}

fn is_under_way(bench: &Bench, object: Mortal) -> bool {
    bench.kernel.mappings.lives.of(object).root().is_some() || bench.kernel.is_due()
}

/// Goes on with the end of an object, or with all that are due, until the next preemption point.
fn end_piece(bench: &mut Bench, object: Mortal) {
    let mappings = &mut bench.kernel.mappings;
    (mappings.machine.is_restless, mappings.machine.calm_windows) = (true, 0);
    mappings.stretch.begin_alone(&mut mappings.machine);
    match mappings.lives.of(object).root() {
        Some(root) => {
            let mut progress = Progress::new(WalkerIndex::KERNEL);
            let _ = mappings.unmap_tree(&mut progress, root, Effect::REMOVE, true);
        }
        None => _ = bench.kernel.dismantle(None),
    }
    bench.kernel.mappings.stretch.take_tick();
    // As the kernel does whenever it is left.
    bench.kernel.preempt();
}

fn end(bench: &mut Bench, object: Mortal) -> Result<u64, String> {
    let mut pieces = 0;
    while is_under_way(bench, object) {
        end_piece(bench, object);
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

//! Stretches of a map or unmap, from one preemption point to the next.

use super::model::ModelMachine;
use crate::mapping::stretch::{Preempted, STEPS_ON, Stretch, WINDOWS};

/// Preemption points that are passed after `begin`.
fn passed(stretch: &mut Stretch, machine: &mut ModelMachine) -> u32 {
    stretch.begin(machine);
    for passed in 0..=WINDOWS {
        stretch.account(u32::MAX);
        if stretch.need(machine, 1) == Err(Preempted) {
            return passed;
        }
        assert_eq!(stretch.need(machine, STEPS_ON), Ok(()));
    }
    unreachable!("it never leaves the kernel")
}

#[test]
fn every_so_many_points_the_kernel_is_left_in_any_case() {
    let (mut stretch, mut machine) = (Stretch::new(), ModelMachine::default());
    for _ in 0..3 {
        assert_eq!(passed(&mut stretch, &mut machine), WINDOWS);
        assert!(!stretch.take_tick());
    }
}

#[test]
fn a_tick_ends_the_operation_once() {
    let (mut stretch, mut machine) = (Stretch::new(), ModelMachine::default());
    machine.is_restless = true;
    assert_eq!(passed(&mut stretch, &mut machine), 0);
    assert!(stretch.take_tick() && !stretch.take_tick());
    machine.is_restless = false;
    assert_eq!(passed(&mut stretch, &mut machine), WINDOWS);
}

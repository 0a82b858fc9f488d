//! Random forests, told as they were made, whatever their size and shape.

use super::{
    Branch, Snapshot, TreeStep, Unit, Unmap,
    made::{APP, At, Made, OTHER, ROOT, SIGMA0, page},
};
use crate::{
    paging::{AMD64, IA32},
    testing::Random,
};
use protocol::{flexpage::Rights, introspection::mapping::Resource};
use std::convert::Infallible;

const FRAME: u64 = 0x100_0000;
const TASKS: [u16; 3] = [ROOT, APP, OTHER];

/// How each further mapping finds the one that it is derived from.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// From the last one.
    Chain,
    /// All from the first one.
    Star,
    /// By turns from the last of the back, and as a tooth that nothing is derived from.
    Comb,
    /// From any.
    Random,
}

impl Shape {
    const ALL: [Self; 4] = [Self::Chain, Self::Star, Self::Comb, Self::Random];

    /// The parent of mapping number `number`, from 1 on.
    fn parent(self, number: usize, random: &mut Random) -> usize {
        match self {
            Self::Chain => number - 1,
            Self::Star => 0,
            Self::Comb => (number - 1) / 2 * 2,
            Self::Random => random.below(number as u64) as usize,
        }
    }
}

/// The naive model: each mapping with its parent, and its children, the youngest first, as the kernel
/// enters them.
#[derive(Default)]
struct Model {
    at: Vec<At>,
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
}

impl Model {
    fn add(&mut self, at: At, parent: Option<usize>) {
        let number = self.at.len();
        self.at.push(at);
        self.parents.push(parent);
        self.children.push(Vec::new());
        if let Some(parent) = parent {
            self.children[parent].insert(0, number);
        }
    }

    /// Depth-first.
    fn order(&self) -> Vec<usize> {
        let (mut order, mut to_do) = (Vec::new(), vec![0]);
        while let Some(number) = to_do.pop() {
            order.push(number);
            to_do.extend(self.children[number].iter().rev());
        }
        order
    }

    fn forebears(&self, number: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.parents[number], |number| self.parents[*number])
    }

    fn is_taken(&self, number: usize, unmap: Unmap) -> bool {
        let is_task = |number: usize| self.at[number].task == unmap.task;
        let is_own = unmap.own && unmap.task != SIGMA0 && is_task(number);
        is_own || self.forebears(number).any(is_task)
    }
}

fn made(shape: Shape, size: usize, random: &mut Random) -> (Made, Model) {
    let geometry = if random.below(2) == 0 { &AMD64 } else { &IA32 };
    // Of nodes there are 256 in a frame; of pages each of the tasks may have a table for every 512.
    let mut made = Made::with_frames(geometry, size as u64 / 64);
    let mut model = Model::default();
    let first = page(SIGMA0, FRAME);
    made.root(first, FRAME, Rights::all());
    model.add(first, None);
    for number in 1..size {
        let parent = shape.parent(number, random);
        let task = TASKS[random.below(3) as usize];
        let at = page(task, 0x1000_0000 + number as u64 * 0x1000);
        made.map(model.at[parent], at, Rights::all());
        model.add(at, Some(parent));
    }
    made.header();
    (made, model)
}

fn tree(snapshot: &Snapshot<'_>, unmap: Option<Unmap>) -> Vec<Branch> {
    let (mut branches, mut ends) = (Vec::new(), 0);
    let Ok(totals) = snapshot.tell_trees(Unit::Frame(FRAME >> 12), unmap, |step| {
        match step {
            TreeStep::Branch(branch) => branches.push(branch),
            TreeStep::End { left_out } => ends += 1 + left_out,
        }
        Ok::<_, Infallible>(())
    });
    assert_eq!((ends, totals.trees, totals.branches), (1, 1, branches.len()));
    let taken = branches.iter().filter(|branch| branch.is_taken).count();
    assert_eq!((totals.unmapping.taken, totals.unmapping.elsewhere), (taken, 0));
    branches
}

#[test]
fn the_tree_that_is_told_is_the_tree_that_was_made() {
    let mut random = Random::new(21);
    for size in [1, 2, 3, 7, 40, 300, 2000] {
        for shape in Shape::ALL {
            let (made, model) = made(shape, size, &mut random);
            let (snapshot, order) = (made.snapshot(), model.order());
            let mut position = vec![0; size];
            order.iter().enumerate().for_each(|(at, number)| position[*number] = at);
            let unmap = Unmap { task: random.below(4) as u16, own: random.below(2) == 0 };
            let branches = tree(&snapshot, Some(unmap));
            assert_eq!(branches.len(), size, "{shape:?}");
            for (branch, number) in branches.iter().zip(order) {
                let At { task, place } = model.at[number];
                assert_eq!((branch.mapping.task, branch.mapping.place), (task, place));
                let depth = model.forebears(number).count();
                assert_eq!((usize::from(branch.depth), branch.level), (depth, depth));
                let parent = model.parents[number].map(|parent| position[parent]);
                assert_eq!((branch.position, branch.parent), (position[number], parent));
                assert_eq!(branch.is_taken, model.is_taken(number, unmap), "{shape:?} {unmap:?}");
            }
        }
    }
}

/// Whatever the shape, a mapping costs the same in trees of any size: so many looks at words of frames.
#[test]
fn trees_are_told_in_linear_time() {
    const LOOKS: usize = 12;
    let mut random = Random::new(22);
    for size in [100, 1000, 10_000, 65_532] {
        for shape in Shape::ALL {
            let (made, _) = made(shape, size, &mut random);
            let snapshot = made.snapshot();
            let looks = |work: &dyn Fn()| {
                let before = snapshot.pool.looks();
                work();
                snapshot.pool.looks() - before
            };
            let unmap = Unmap { task: ROOT, own: true };
            let told = looks(&|| assert_eq!(tree(&snapshot, Some(unmap)).len(), size));
            let ranges = looks(&|| {
                TASKS.iter().for_each(|task| {
                    snapshot.ranges(*task, Resource::Memory).iter().for_each(drop);
                });
            });
            // Besides there are the capabilities, and the nodes of the frames that are not in use.
            let most = LOOKS * (size + 1000);
            assert!(told <= most && ranges <= 3 * most, "{shape:?} {size}: {told} {ranges}");
        }
    }
}

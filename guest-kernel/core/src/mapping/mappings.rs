//! What the mapping database works on: everything that maps something, and the memory for it.

use crate::{
    mapping::{
        database::{NODES_PER_PAIR, take_node},
        emptying::{CLEAR_STEPS, PAIR_PIECES, clear_piece},
        life::{LifeTables, Lives},
        precedence::Precedence,
        progress::{Walker, Walkers},
        sigma0::Sigma0,
        stretch::{Preempted, Stretch},
        task::{Task, Tasks},
    },
    memory::{
        factory::{Factories, Factory},
        frames::{FramePair, FramePool, NoMemory, PAIR_SIZE},
        index::{FactoryIndex, Table},
        machine::Machine,
        node::{MaybeNode, NodeIndex},
    },
};

/// Steps that another pair of frames of nodes costs.
const STOCK_STEPS: u32 = 10;

/// Tasks, what they map, and who pays for it.
#[derive(Debug)]
pub struct Mappings<M: Machine> {
    /// The hardware.
    pub machine: M,
    /// All tasks.
    pub tasks: Tasks<M>,
    /// All factories.
    pub factories: Factories<M>,
    /// Who walks through the database, and how far they have come.
    pub(crate) walkers: Walkers<M>,
    /// How long the objects live.
    pub lives: Lives<M>,
    /// The kernel's memory.
    pub pool: FramePool,
    /// What sigma0 is made of.
    pub sigma0: Sigma0,
    /// How long a map or unmap that is under way may go on.
    pub(crate) stretch: Stretch,
    /// Walks that are interrupted, each with a bookmark in a list.
    pub(crate) interrupted_walks: u16,
    /// In which trees.
    pub(crate) precedence: Precedence,
}

impl<M: Machine> Mappings<M> {
    /// Nothing is mapped yet. `pool` is memory for everything beside the tables of objects.
    pub fn new(
        machine: M,
        tasks: M::Storage<Task>,
        factories: M::Storage<Factory>,
        walkers: M::Storage<Walker>,
        lives: LifeTables<M>,
        pool: FramePool,
        sigma0: Sigma0,
    ) -> Self {
        let memory = pool.left();
        Self {
            machine,
            tasks: Table::new(tasks, memory),
            factories: Table::new(factories, memory),
            walkers: Table::new(walkers, memory),
            lives: Lives::new(lives),
            pool,
            sigma0,
            stretch: Stretch::new(),
            interrupted_walks: 0,
            precedence: Precedence::new(),
        }
    }

    /// A pair of frames, paid for by `factory`.
    pub fn allocate(&mut self, factory: FactoryIndex) -> Result<FramePair, NoMemory> {
        self.factories[factory].charge(PAIR_SIZE)?;
        let pair = self.pool.allocate(&mut self.machine);
        if pair.is_err() {
            self.factories[factory].refund(PAIR_SIZE);
        }
        self.machine.publish_pool(&self.pool);
        pair
    }

    /// Gives a pair, which is zero again, back to the pool, and its price to `factory`.
    pub fn give_back(&mut self, factory: FactoryIndex, pair: FramePair) {
        self.pool.give_back(&mut self.machine, pair);
        self.factories[factory].refund(PAIR_SIZE);
        self.machine.publish_pool(&self.pool);
    }

    /// A node of `factory`, which pays for another pair of frames if it has none in stock.
    #[inline]
    pub(crate) fn allocate_node(&mut self, factory: FactoryIndex) -> Result<NodeIndex, NoMemory> {
        self.need_node(factory)?;
        take_node(&mut self.machine, &mut self.factories[factory]).ok_or(NoMemory)
    }

    /// Makes sure that `factory` has a node in stock.
    #[inline]
    pub(crate) fn need_node(&mut self, factory: FactoryIndex) -> Result<(), NoMemory> {
        match self.factories[factory].record.free_nodes {
            0 => self.stock_nodes(factory),
            _ => Ok(()),
        }
    }

    /// Buys a pair of frames of nodes. The first one leads to the pair before. As they are zero, each of
    /// the others is followed by the next one already.
    #[cold]
    #[inline(never)]
    fn stock_nodes(&mut self, factory: FactoryIndex) -> Result<(), NoMemory> {
        self.stretch.account(STOCK_STEPS);
        let link = NodeIndex::first_of(self.allocate(factory)?).ok_or(NoMemory)?;
        let first = link.further(1).ok_or(NoMemory)?;
        let last = link.further(NODES_PER_PAIR).ok_or(NoMemory)?;
        self.machine.node(last).next = last.get().wrapping_add(1).wrapping_neg();
        let record = &mut self.factories[factory].record;
        self.machine.node(link).next = record.node_frames;
        record.node_frames = link.get();
        record.free_nodes = first.get();
        record.nodes += NODES_PER_PAIR;
        Ok(())
    }

    /// Gives the frames of the nodes of a factory back, which ends: none of its nodes is used any more.
    pub fn give_back_nodes(&mut self, factory: FactoryIndex) -> Result<(), Preempted> {
        while let Some(link) = MaybeNode::from_raw(self.factories[factory].record.node_frames).get()
            && let Some(frames) = link.into_frames()
        {
            self.spend(CLEAR_STEPS)?;
            let Factory { record, cleared } = &mut self.factories[factory];
            (record.free_nodes, record.nodes) = (0, 0);
            // From the end on: the link goes last.
            *cleared += 1;
            let (piece, before) = (PAIR_PIECES - *cleared, self.machine.node(link).next);
            clear_piece(&mut self.machine, &frames, piece);
            if piece == 0 {
                (record.node_frames, *cleared) = (before, 0);
                self.give_back(factory, frames);
            }
        }
        Ok(())
    }
}

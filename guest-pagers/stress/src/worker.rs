//! One task: what it does of its own, and what it answers to others.

use crate::{
    arena,
    dice::{Dice, Resource},
};
use runtime::{
    capability::{SERVER, TASK},
    message,
    pager::{Answer, Client, Pager, forward, serve_pending},
    protocol::{
        PAGE_ORDER, PAGE_SIZE,
        fault::{Access, PageFault, PortFault},
        flexpage::{Flexpage, Rights, align_down},
        layout::PAGER_AREA,
        message::MessageTag,
    },
    share::{Item, Shareable},
};

/// To the server: give me something of the kind in word 0.
const GIVE: isize = 1;

#[derive(Debug)]
pub struct Worker {
    dice: Dice,
    /// The top task keeps what it has: there is nobody to get it from again.
    is_top: bool,
    /// Pages that it looked into.
    pub pages_read: usize,
}

impl Worker {
    pub const fn new(dice: Dice, is_top: bool) -> Self {
        Self { dice, is_top, pages_read: 0 }
    }

    /// Does one thing, then serves all who wait.
    pub fn round(&mut self) {
        match self.dice.below(8) {
            0 | 1 => self.read(),
            2 => arena::write(self.dice.page(), self.pages_read),
            3 => arena::read_port(self.dice.below(1 << arena::PORTS_ORDER)),
            4 if !self.is_top => self.ask(),
            5 if !self.is_top => self.map_to_itself(),
            _ => self.unmap(),
        }
        serve_pending(self);
    }

    fn read(&mut self) {
        arena::read(self.dice.page());
        self.pages_read += 1;
    }

    /// What arrives, if anything, is up to the server, and where to the window.
    fn ask(&mut self) {
        let resource = self.dice.resource();
        let window = self.dice.piece(resource);
        message::write(0, [resource.to_word()]);
        let _ = message::accept(window, || SERVER.call(MessageTag::new(GIVE, 1, 0)));
    }

    fn map_to_itself(&mut self) {
        let resource = self.dice.resource();
        let item = self.item(resource);
        // There may be nothing to map.
        let _ = TASK.map(item);
    }

    fn unmap(&mut self) {
        let resources = [self.dice.resource(), self.dice.resource()];
        let pieces = resources.map(|resource| self.dice.piece(resource));
        let take = self.dice.take();
        let own = !self.is_top && self.dice.below(2) == 0;
        let take = if own { take.own_too() } else { take };
        TASK.unmap(pieces, take).unwrap_or_else(|error| panic!("unmap: {error}"));
    }

    /// Maps or, unless this is the top task, grants.
    fn item(&mut self, resource: Resource) -> Item {
        let grant = self.may_grant();
        self.dice.item(resource, grant)
    }

    fn may_grant(&mut self) -> bool {
        !self.is_top && self.dice.below(3) == 0
    }
}

impl Pager for Worker {
    /// One page that helps, and before it others that may not.
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        let arena = PAGER_AREA..PAGER_AREA + (1 << arena::ORDER);
        if !arena.contains(&fault.address) {
            return forward(client, fault);
        }
        // What it maps it must have, with the right that is wanted: it may have to fault for that.
        let page = self.dice.page();
        if fault.access.contains(Access::WRITE) {
            arena::write(page, fault.instruction);
        } else {
            arena::read(page);
        }
        let page = Flexpage::memory(PAGER_AREA + page * PAGE_SIZE, PAGE_ORDER, Rights::all());
        let others = [self.dice.resource(), self.dice.resource()];
        let [first, second] = others.map(|resource| self.dice.item(resource, false));
        let page = Shareable::new(page).expect("the arena is open memory");
        let item = if self.may_grant() { Item::grant } else { Item::map };
        Answer::items([first, second, item(align_down(fault.address, PAGE_ORDER), page)])
    }

    fn port_fault(&mut self, _: Client, fault: PortFault) -> Answer {
        arena::read_port(fault.ports.address() - arena::FIRST_PORT);
        Answer::ports(fault.ports)
    }

    fn request(&mut self, _: Client, _: MessageTag) -> Answer {
        let resource = Resource::from_word(message::get(0));
        let items = [(); 2].map(|()| self.item(resource));
        Answer::items(items)
    }
}

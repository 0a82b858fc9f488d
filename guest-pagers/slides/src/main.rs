//! What the slides on flexpages say, as programs: one module for each scenario, one function for each
//! program in it. The arguments choose: the module's name, then the function's.
//!
//! Whatever a program prints it has seen; an expectation that is not met ends it with a panic.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod area;
mod capability;
mod grant;
mod ioport;
mod many_pages;
mod map;
mod superpage;
mod tree;
mod unmap;
mod window;

use runtime::{println, program::arguments};

runtime::entry!(main);

fn main() -> i32 {
    match arguments() {
        "map app" => map::app(),
        "map pager" => map::pager(),
        "grant app" => grant::app(),
        "grant friend" => grant::friend(),
        "grant pager" => grant::pager(),
        "unmap app" => unmap::app(),
        "unmap pager" => unmap::pager(),
        "window larger" => window::larger(),
        "window smaller" => window::smaller(),
        "window sender" => window::sender(),
        "many-pages app" => many_pages::app(),
        "many-pages pager" => many_pages::pager(),
        "superpage app" => superpage::app(),
        "superpage pager" => superpage::pager(),
        "ioport driver" => ioport::driver(),
        "ioport intruder" => ioport::intruder(),
        "capability app" => capability::app(),
        "capability owner" => capability::owner(),
        "capability echo" => capability::echo_server(),
        "tree last" => tree::last(),
        "tree node" => tree::node(),
        "tree top" => tree::top(),
        other => {
            println!(
                "slides: there is no program '{other}': see the scenarios for those that there are"
            );
            return 2;
        }
    }
    0
}

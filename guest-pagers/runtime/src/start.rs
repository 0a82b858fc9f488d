//! From the first instruction to `main`, and panics.

use crate::{println, program::exit};
use core::{hint::black_box, panic::PanicInfo};

/// Exit status of a program that panicked.
pub const PANIC_STATUS: i32 = 101;

/// Makes `main`, a function without arguments, the program. It returns an exit status as `i32`, or
/// never (`!`). The program gets a heap: `extern crate alloc` works.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[global_allocator]
        static HEAP: $crate::heap::Heap = $crate::heap::Heap::new();

        $crate::boot_entry!($main);
    };
}

/// As [`entry!`], for sigma0 and the root task: they have no heap.
#[macro_export]
macro_rules! boot_entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn __program_main() -> i32 {
            let main: fn() -> _ = $main;
            $crate::start::Main::run(main)
        }
    };
}

unsafe extern "Rust" {
    /// What [`entry!`] defines.
    fn __program_main() -> i32;
}

/// Called by `_start` with a stack.
pub extern "C" fn start() -> ! {
    // SAFETY: `entry!` defines this function with this type, and nobody else can be linked with it.
    exit(unsafe { __program_main() })
}

/// What [`entry!`] takes. Calls are hidden from the compiler, so that `main` stays a function of its
/// own, which traces can name.
pub trait Main {
    /// Runs the program.
    fn run(self) -> i32;
}

impl Main for fn() -> i32 {
    fn run(self) -> i32 {
        black_box(self)()
    }
}

impl Main for fn() -> ! {
    fn run(self) -> i32 {
        black_box(self)()
    }
}

#[panic_handler]
fn panic(information: &PanicInfo) -> ! {
    println!("{information}");
    exit(PANIC_STATUS)
}

//! Where things lie in every task's user area (0 to 3 GiB), on both architectures.
//!
//! sigma0 and the root task map physical memory 1:1 from [`MAPPABLE_START`] up; their own images lie just
//! below 3 GiB. A machine with so much memory that both would meet keeps its kernel memory up
//! there, which is never mapped 1:1, so there is no conflict.

use crate::Word;

/// End of the user area: 3 GiB. No task maps or sends anything at or above it.
pub const USER_END: Word = 0xC000_0000;

/// Beginning of what can be mapped: 1 MiB + 64 KiB. Nothing is ever below, so that no pointer or selector
/// that was left at 0 leads to what a task has put there, and that there is nothing to run in
/// virtual-8086 mode, whose addresses all lie below.
pub const MAPPABLE_START: Word = 0x11_0000;

/// End of what can be mapped and sent: above are the kernel info page and the UTCB area, whose pages
/// are the kernel's and stay where they are.
pub const MAPPABLE_END: Word = KERNEL_INFO_PAGE;

/// Ordinary programs are linked here.
pub const PROGRAM_BASE: Word = 0x0040_0000;

/// From here to [`HEAP_BASE`] lies what a program's own pager offers it beside its image: the root
/// task maps nothing here.
pub const PAGER_AREA: Word = 0x0800_0000;

/// First address of an ordinary program's heap; it grows upwards, page by page, as it is touched.
pub const HEAP_BASE: Word = 0x1000_0000;

/// End of the heap area.
pub const HEAP_END: Word = 0x4000_0000;

/// Files of the manifest are visible to ordinary programs from here on (see [`crate::program`]).
pub const FILES_BASE: Word = 0x4000_0000;

/// End of the file area.
pub const FILES_END: Word = 0xA000_0000;

/// Lowest address of an ordinary program's first stack.
pub const STACK_BASE: Word = 0xAFF0_0000;

/// End of the stack; the first push goes just below it.
pub const STACK_END: Word = 0xB000_0000;

/// Ordinary programs receive memory that they ask their parent for between here and
/// [`ROOT_TASK_BASE`].
pub const RECEIVE_AREA: Word = STACK_END;

/// The root task is linked here.
pub const ROOT_TASK_BASE: Word = 0xBE00_0000;

/// sigma0 is linked here.
pub const SIGMA0_BASE: Word = 0xBF00_0000;

/// The page at which every program finds its [`crate::program::ProgramInfo`], paged like all else.
pub const PROGRAM_INFO: Word = 0xBFFD_0000;

/// The kernel info page, which the kernel maps read-only into every task at its creation.
pub const KERNEL_INFO_PAGE: Word = 0xBFFE_0000;

/// Where a program's UTCB area begins. The first thread of a task has its UTCB here.
pub const UTCB_AREA: Word = 0xBFFF_0000;

/// RAM from here on is never mapped 1:1: a machine that has some keeps its kernel memory there.
pub const ONE_TO_ONE_END: Word = ROOT_TASK_BASE;

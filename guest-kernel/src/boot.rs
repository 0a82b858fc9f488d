//! Boot: finding memory, setting the kernel's aside, starting the first two tasks.
//!
//! Memory from 1 MiB up: the kernel image, then the pool with the kernel's tables, the trace ring
//! and everything that objects need. The bundle lies where the loader put it; the pool goes around
//! it. All the rest is sigma0's. Nothing here takes longer when there is more memory.

use crate::{
    arch::{
        self,
        direct_map::{self, RAM_LIMIT},
        local_apic,
    },
    hardware::Hardware,
    kernel_cell,
    reserved::Reserved,
    trace_ring,
};
use core::{alloc::Layout, ptr::NonNull};
use images::bundle::Bundle;
use kernel_core::{
    Kernel,
    boot_bundle::Image,
    mapping::{
        life::{Life, LifeTables},
        progress::Walker,
        sigma0::Sigma0,
        task::Task,
    },
    memory::{
        factory::Factory,
        frames::{FramePool, KernelFrame, PhysicalAddress},
    },
    threads::{
        alarm::{Alarm, AlarmPlace},
        gate::Gate,
        interrupt::Interrupt,
        kernel::Tables,
        thread::Thread,
        timing::{Pace, TimeTables},
    },
};
use protocol::{
    PAGE_SIZE, Word,
    introspection::record::{Kind, Record},
    kip::{Clock, KIP_MAGIC, KIP_VERSION, KernelInfoPage, PhysicalRange},
    layout::ONE_TO_ONE_END,
    operation::interrupts::INTERRUPTS,
    pool,
};
use pvh::start_info::{MemmapType, reader::MemMap, reader::StartInfoReader};
use zerocopy::FromZeros;

const MEBIBYTE: u64 = 1 << 20;

/// The most tasks of a machine for each MiB of its pool, and how many more of the other objects it has
/// room for: the more, the less of all memory is each one's share.
const TASKS_PER_MEBIBYTE: u64 = 64;
const THREADS_PER_TASK: u64 = 2;
const FACTORIES_PER_TASK: u64 = 8;
const GATES_PER_TASK: u64 = 16;

/// Trace records unless the command line says otherwise; a small machine has fewer.
const TRACE_RECORDS: u64 = 65536;
/// The ring takes at most this part of the pool.
const TRACE_SHARE: u64 = 4;

/// The loader's tables as the kernel sees them.
struct DirectMap;

impl MemMap for DirectMap {
    fn ptr(&self, address: usize, _layout: Layout) -> *const u8 {
        direct_map::pointer::<u8>(PhysicalAddress(address as u64)).cast_const()
    }
}

/// What the loader tells us.
struct LoaderInfo {
    ram_end: u64,
    bundle: PhysicalRange,
    options: Options,
}

/// The kernel's own words on the command line; it ignores all others.
#[derive(Clone, Copy)]
struct Options {
    trace_records: Option<u64>,
    enabled_records: u64,
    /// Mapping operations from one checkpoint to the next, 0 for none.
    check_interval: u32,
}

/// The kernel's first Rust function; jumped to by the boot code.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(start_info: u32, time_at_entry: u64) -> ! {
    trace_ring::mark_entry(time_at_entry);
    if let Err(missing) = arch::prepare() {
        panic!("{missing}");
    }
    let loader = read_start_info(start_info);
    let pool = pool::place(loader.ram_end, direct_map::image_end().0, loader.bundle)
        .unwrap_or_else(|error| panic!("{error}"));
    let root = install_kernel(&loader, pool);
    if let Err(error) = kernel_cell::kernel().start(&root) {
        panic!("cannot start sigma0 and the root task: {error:?}; give the machine more memory");
    }
    trace_ring::install_checkpoints(loader.options.check_interval);
    trace_ring::publish();
    kernel_cell::kernel().start_clock(local_apic::calibrate(time_at_entry));
    trace_ring::mark_first_user();
    arch::leave_kernel()
}

fn read_start_info(address: u32) -> LoaderInfo {
    // SAFETY: the loader passes the address of a valid start info (PVH); the direct map covers it.
    let Some(info) = (unsafe { StartInfoReader::from_paddr(address, DirectMap) }) else {
        panic!("no PVH start info at {address:#x}");
    };
    let ram_end = info
        .memmap()
        .iter()
        .filter(|entry| entry.ty() == MemmapType::Ram)
        .find(|entry| (entry.addr..entry.addr + entry.size).contains(&MEBIBYTE))
        .map(|entry| (entry.addr + entry.size) & !(PAGE_SIZE as u64 - 1));
    let Some(ram_end) = ram_end else { panic!("the memory map has no RAM at 1 MiB") };
    if ram_end > RAM_LIMIT {
        panic!(
            "{} MiB of RAM are more than the {} MiB that this kernel can map; start the machine with less",
            ram_end.div_ceil(MEBIBYTE),
            RAM_LIMIT / MEBIBYTE
        );
    }
    let Some(module) = info.modlist().next() else {
        panic!("no boot module: pass the boot bundle as the one module (-initrd in QEMU)");
    };
    let start = module.raw().paddr;
    let end = (start + module.raw().size).next_multiple_of(PAGE_SIZE as u64);
    if !start.is_multiple_of(PAGE_SIZE as u64) || end > ram_end.min(ONE_TO_ONE_END as u64) {
        panic!("the boot bundle at {start:#x} is not on a page boundary below {ONE_TO_ONE_END:#x}");
    }
    let line = info.cmdline().and_then(|line| line.to_str().ok()).unwrap_or_default();
    LoaderInfo { ram_end, bundle: PhysicalRange { start, end }, options: parse_options(line) }
}

fn parse_options(line: &str) -> Options {
    let mut options =
        Options { trace_records: None, enabled_records: Kind::DEFAULT_ENABLED, check_interval: 0 };
    for word in line.split_ascii_whitespace() {
        match word.split_once('=') {
            Some(("trace", "off")) => options.enabled_records = 0,
            Some(("trace", "all")) => {
                options.enabled_records = Kind::DEFAULT_ENABLED | 1 << Kind::Message as u8;
            }
            Some(("check", number)) => options.check_interval = number.parse().unwrap_or(0),
            Some(("trace_ring", number)) => options.trace_records = number.parse().ok(),
            _ => {}
        }
    }
    options
}

/// Sets the kernel up in its pool. Returns the root task's image.
fn install_kernel(loader: &LoaderInfo, pool: PhysicalRange) -> Image {
    // SAFETY: the bundle is RAM that nobody writes before the first task runs.
    let bundle = unsafe {
        let length = (loader.bundle.end - loader.bundle.start) as usize;
        let start = direct_map::pointer::<u8>(PhysicalAddress(loader.bundle.start));
        core::slice::from_raw_parts(start.cast_const(), length)
    };
    let images = Bundle::parse(bundle).and_then(|bundle| {
        let image = |module| Image::read(&module, loader.bundle.start);
        Ok((image(bundle.sigma0()?)?, image(bundle.root_task()?)?))
    });
    let (sigma0, root) =
        images.unwrap_or_else(|error| panic!("the boot bundle is unusable: {error}"));

    let mut space = PoolSpace { next: pool.start, end: pool.end };
    install_trace_ring(&mut space, loader.options, pool);
    let tasks = (pool.end - pool.start) / MEBIBYTE * TASKS_PER_MEBIBYTE;
    let lives = LifeTables {
        gates: space.table::<Life>(GATES_PER_TASK * tasks),
        threads: space.table::<Life>(THREADS_PER_TASK * tasks),
        tasks: space.table::<Life>(tasks),
        factories: space.table::<Life>(FACTORIES_PER_TASK * tasks),
        replies: space.table::<Life>(THREADS_PER_TASK * tasks),
        interrupts: space.table::<Life>(INTERRUPTS.into()),
    };
    let tables = Tables {
        threads: space.table::<Thread>(THREADS_PER_TASK * tasks),
        walkers: space.table::<Walker>(THREADS_PER_TASK * tasks + 1),
        tasks: space.table::<Task>(tasks),
        gates: space.table::<Gate>(GATES_PER_TASK * tasks),
        factories: space.table::<Factory>(FACTORIES_PER_TASK * tasks),
        interrupts: space.table::<Interrupt>(INTERRUPTS.into()),
        lives,
        time: TimeTables {
            alarms: space.zeroed_table::<Alarm>(THREADS_PER_TASK * tasks),
            places: space.zeroed_table::<AlarmPlace>(THREADS_PER_TASK * tasks),
            paces: space.zeroed_table::<Pace>(THREADS_PER_TASK * tasks),
        },
    };
    trace_ring::describe(&tables, pool);
    let reserved = [
        PhysicalRange { start: 0, end: direct_map::image_end().0 },
        pool,
        PhysicalRange::default(),
        PhysicalRange::default(),
    ];
    let mut frames = FramePool::new(PhysicalRange { start: space.next, end: pool.end });
    trace_ring::mark_pairs(frames.fresh().start);
    let mut hardware = Hardware;
    let Ok(info_frames) = frames.allocate(&mut hardware) else { panic!("the pool has no page") };
    let kernel_info_page = info_frames.first();
    write_kernel_info_page(kernel_info_page, loader, reserved);
    let sigma0 = Sigma0 { kernel_info_page, ram_end: loader.ram_end, reserved, image: sigma0 };
    kernel_cell::install(Kernel::new(hardware, tables, frames, sigma0));
    root
}

fn install_trace_ring(space: &mut PoolSpace, options: Options, pool: PhysicalRange) {
    if options.enabled_records == 0 {
        return;
    }
    let most = (pool.end - pool.start) / TRACE_SHARE / size_of::<Record>() as u64;
    let wanted = options.trace_records.unwrap_or(TRACE_RECORDS).clamp(1, most);
    // The largest power of two that is not more.
    let capacity = 1 << wanted.ilog2();
    trace_ring::install(space.zeroed::<Record>(capacity), options.enabled_records);
}

fn write_kernel_info_page(frame: KernelFrame, loader: &LoaderInfo, reserved: [PhysicalRange; 4]) {
    let page = KernelInfoPage {
        magic: KIP_MAGIC,
        version: KIP_VERSION,
        word_bits: Word::BITS,
        ram_end: loader.ram_end,
        reserved,
        bundle: loader.bundle,
        superpage_order: kernel_core::arch::TABLE_ORDER,
        has_execute_right: kernel_core::arch::HAS_EXECUTE_RIGHT.into(),
        clock: Clock::new(0, Clock::MICROSECOND),
        last_interrupt: 0,
        timer_interrupts: 0,
    };
    // SAFETY: the page was just taken from the pool and nobody else has it.
    unsafe { direct_map::pointer::<KernelInfoPage>(frame.address()).write(page) }
}

/// Hands out the beginning of the pool, once each, for things that stay for ever.
struct PoolSpace {
    next: u64,
    end: u64,
}

impl PoolSpace {
    /// Room for `count` objects.
    fn table<T>(&mut self, count: u64) -> Reserved<T> {
        // SAFETY: fresh memory of the pool, aligned to a page and handed out only here.
        unsafe { Reserved::new(self.take(count), count as usize) }
    }

    /// Room for `count` objects, all of which are there, and zero.
    fn zeroed_table<T: FromZeros>(&mut self, count: u64) -> Reserved<T> {
        // SAFETY: as in `table`; a fresh machine's memory is zero.
        unsafe { Reserved::zeroed(self.take(count), count as usize) }
    }

    /// `count` objects whose bytes are all zero.
    fn zeroed<T: FromZeros>(&mut self, count: u64) -> &'static mut [T] {
        let first = self.take(count);
        // SAFETY: as in `table`; a fresh machine's memory is zero, which is a `T`.
        unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), count as usize) }
    }

    /// Memory for `count` objects, which nobody gets again.
    fn take<T>(&mut self, count: u64) -> NonNull<T> {
        let start = self.next.next_multiple_of(PAGE_SIZE as u64);
        let end = start + count * size_of::<T>() as u64;
        assert!(end <= self.end, "the pool is too small for its tables");
        self.next = end;
        let first = NonNull::new(direct_map::pointer::<T>(PhysicalAddress(start)));
        first.expect("the direct map does not begin at 0")
    }
}

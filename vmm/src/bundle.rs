//! `glass bundle`: the same guest for other PVH loaders.

use crate::{cli::BundleArgs, guest::Guest, screen};
use anyhow::{Context, Result};
use std::{fs, io::Write, path::Path};

/// Writes `kernel` and `bundle`, and says how QEMU boots them.
pub fn write(args: &BundleArgs) -> Result<u8> {
    let guest = Guest::new(&args.guest)?;
    guest.kernel()?;
    let bundle = guest.bundle()?;
    let folder = &args.output;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let (kernel_path, bundle_path) = (folder.join("kernel"), folder.join("bundle"));
    write(&kernel_path, &guest.kernel)?;
    write(&bundle_path, &bundle)?;
    writeln!(
        screen::errors(),
        "qemu-system-x86_64 -M microvm -cpu max -m 256M -display none -nodefaults -no-reboot \
         -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=1 -kernel {} -initrd {}",
        kernel_path.display(),
        bundle_path.display()
    )?;
    Ok(0)
}

//! Embeds the guest's images and the scenarios, so that the binary alone runs them.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The guest's architectures: a folder of images each.
const ARCHITECTURES: [&str; 2] = ["amd64", "ia32"];

/// Without these the command could not keep what its help promises.
const REQUIRED: [&str; 16] = [
    "kernel",
    "sigma0",
    "root-task",
    "words",
    "broken",
    "bench",
    "squares",
    "lazy-squares",
    "slides",
    "stress",
    "attack",
    "elevator",
    "lifetimes",
    "echo",
    "siege",
    "fuzzer",
];

fn main() {
    if let Err(error) = embed() {
        println!("cargo::error={error}");
    }
}

fn embed() -> Result<(), String> {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let guest = match env::var_os("GLASS_GUEST_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => here.parent().unwrap_or(&here).join("target/guest"),
    };
    println!("cargo::rerun-if-env-changed=GLASS_GUEST_DIR");
    let mut images = "pub const IMAGES: &[(&str, Images)] = &[\n".to_owned();
    for architecture in ARCHITECTURES {
        let folder = guest.join(architecture);
        if let Some(missing) = REQUIRED.iter().find(|name| !folder.join(name).is_file()) {
            return Err(format!(
                "the guest image {} is missing: run ./scripts/run (or cargo xtask guest) first",
                folder.join(missing).display()
            ));
        }
        let name = architecture.to_uppercase();
        images = table(&name, "&[u8]", "include_bytes!", &files(&folder, None)?) + &images;
        images += &format!("    ({architecture:?}, {name}),\n");
    }
    images += "];\n";
    let scenarios =
        table("SCENARIOS", "&str", "include_str!", &files(&here.join("scenarios"), Some("toml"))?);
    let output = PathBuf::from(variable("OUT_DIR")?).join("embedded.rs");
    fs::write(&output, images + &scenarios).map_err(|error| describe(&output, &error))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn describe(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// The files in `folder` with this extension, in the order of their names.
fn files(folder: &Path, extension: Option<&str>) -> Result<Vec<PathBuf>, String> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(folder).map_err(|error| describe(folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| describe(folder, &error))?.path();
        if path.is_file() && path.extension().and_then(|name| name.to_str()) == extension {
            println!("cargo::rerun-if-changed={}", path.display());
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The source of a constant that lists files by name with their contents.
fn table(name: &str, kind: &str, include: &str, paths: &[PathBuf]) -> String {
    let mut source = format!("pub const {name}: &[(&str, {kind})] = &[\n");
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        source += &format!("    ({stem:?}, {include}({path:?})),\n");
    }
    source + "];\n"
}

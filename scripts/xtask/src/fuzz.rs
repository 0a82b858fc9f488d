//! `xtask fuzz`: a fuzzer for each target in `fuzz`, for a while.

use crate::{
    command::{self, say},
    guest,
    workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Seconds for each target, unless the command line says otherwise.
const SECONDS: &str = "60";

/// More than any input may take: of memory in MiB, and of time in seconds.
const MOST_MEMORY: u32 = 512;
const MOST_TIME: u32 = 120;

/// `[SECONDS] [TARGET...]`: fuzzes these targets, or all, each for that time. Needs `GLASS_NIGHTLY`, the
/// folder of a nightly toolchain's programs.
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let (seconds, wanted) = match arguments.split_first() {
        Some((first, rest)) if first.parse::<u32>().is_ok() => (first.as_str(), rest),
        _ => (SECONDS, arguments),
    };
    let targets = targets(&workspace.root().join("fuzz/corpus"))?;
    if let Some(unknown) = wanted.iter().find(|wanted| !targets.contains(wanted)) {
        bail!("there is no target `{unknown}`: there are {}", targets.join(", "));
    }
    // The host's build embeds it.
    guest::build(workspace)?;
    say("build: fuzz targets");
    let built = build(workspace)?;
    let is_wanted = |target: &&String| wanted.is_empty() || wanted.contains(target);
    let mut failed = Vec::new();
    for target in targets.iter().filter(is_wanted) {
        say(&format!("fuzz: {target}, {seconds} seconds"));
        if let Err(error) = fuzz(workspace, &built, target, seconds) {
            say(&format!("error: {target}: {error:#}"));
            failed.push(target.as_str());
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => bail!(
            "a promise is broken in {}: the inputs are in target/fuzz/broken",
            failed.join(", ")
        ),
    }
}

/// Runs a fuzzer for that time, or until it finds something.
fn fuzz(workspace: &Workspace, built: &Path, target: &str, seconds: &str) -> Result<()> {
    let work = workspace.root().join("target/fuzz");
    let (found, broken) = (work.join("corpus").join(target), work.join("broken").join(target));
    fs::create_dir_all(&found).and_then(|()| fs::create_dir_all(&broken))?;
    let mut fuzzer = Command::new(built.join(target));
    fuzzer.args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MOST_MEMORY}"),
        format!("-timeout={MOST_TIME}"),
        format!("-artifact_prefix={}/", broken.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    // New inputs go to the first folder.
    fuzzer.args([found, workspace.root().join("fuzz/corpus").join(target)]);
    command::run(&mut fuzzer)
}

/// Each target has a folder of inputs.
fn targets(corpus: &Path) -> Result<Vec<String>> {
    let entries = corpus.read_dir().context("cannot read fuzz/corpus")?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Builds all targets and says where they are.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let nightly = env::var_os("GLASS_NIGHTLY")
        .context("GLASS_NIGHTLY is not set: use ./scripts/test --fuzz")?;
    let nightly = PathBuf::from(nightly);
    let mut path = nightly.clone().into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let target = workspace.root().join("target/fuzz");
    // There is no unsafe code here: a sanitizer would find nothing, and limits would count its memory.
    let mut build = Command::new(nightly.join("cargo"));
    build
        .current_dir(workspace.root())
        .args([
            "fuzz",
            "build",
            "--fuzz-dir",
            "fuzz",
            "--sanitizer",
            "none",
            "--features",
            "libfuzzer",
        ])
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTC")
        .env_remove("CARGO");
    command::run(&mut build)?;
    Ok(target.join("x86_64-unknown-linux-gnu/release"))
}

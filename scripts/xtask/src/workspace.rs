//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The repository and the folder that builds go to.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub fn find() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).expect("this crate lies in scripts/xtask").to_owned();
        let target = env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
        Self { root, target }
    }

    /// The top folder of the repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where host crates are built: one folder a toolchain.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where cargo builds guest programs of one kind; their flags differ, so their folders do.
    pub fn guest_target(&self, kind: &str) -> PathBuf {
        self.target.join("guest-build").join(kind)
    }

    /// The guest's ELF images for one architecture, which the host's build embeds.
    pub fn images(&self, architecture: &str) -> PathBuf {
        self.root.join("target/guest").join(architecture)
    }

    /// The command that all this is about.
    pub fn glass(&self) -> PathBuf {
        self.root.join("target/release/glass")
    }

    /// Names of the programs in `guest-pagers`: each folder there that has a `src/main.rs`.
    pub fn programs(&self) -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.root.join("guest-pagers").read_dir()? {
            let entry = entry?;
            if entry.path().join("src/main.rs").is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::Workspace;

    #[test]
    fn every_program_is_found_and_no_library() {
        let programs = Workspace::find().programs().expect("guest-pagers is readable");
        for name in ["bench", "broken", "root-task", "sigma0", "words"] {
            assert!(programs.iter().any(|program| program == name), "{name} is missing");
        }
        assert!(!programs.iter().any(|program| program == "runtime"));
    }
}

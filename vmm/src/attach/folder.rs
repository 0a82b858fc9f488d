//! The folder in which runs leave their sockets: `$XDG_RUNTIME_DIR/glass`, or `/tmp/glass-UID`.

use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The folder, whether it is there or not.
pub fn path() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    match runtime {
        Some(folder) => Path::new(&folder).join("glass"),
        None => PathBuf::from(format!("/tmp/glass-{}", user())),
    }
}

/// Makes the folder if it is not there.
pub fn create(path: &Path) -> Result<()> {
    let created = fs::DirBuilder::new().mode(0o700).create(path);
    match created {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create {}", path.display()))
        }
        _ => verify(path),
    }
}

/// Makes sure that nobody else can put sockets there or connect to ours.
pub fn verify(path: &Path) -> Result<()> {
    let found =
        fs::symlink_metadata(path).with_context(|| format!("cannot examine {}", path.display()))?;
    let is_ours = found.is_dir() && found.uid() == user();
    if !is_ours || found.permissions().mode() & 0o077 != 0 {
        bail!(
            "{} is not a folder that only this user can open: remove it, \
             or set XDG_RUNTIME_DIR to one of your own",
            path.display()
        );
    }
    Ok(())
}

/// The socket of a run.
pub fn socket(path: &Path, pid: u32) -> PathBuf {
    path.join(format!("{pid}.socket"))
}

/// The run that a socket belongs to.
pub fn pid_of(socket: &Path) -> Option<u32> {
    let pid = socket.file_name()?.to_str()?.strip_suffix(".socket")?.parse().ok()?;
    // Two files would claim to belong to one run.
    (self::socket(socket.parent()?, pid) == socket).then_some(pid)
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_that_others_can_open_is_refused() {
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join("glass");
        create(&path).unwrap();
        create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = create(&path).unwrap_err().to_string();
        assert!(error.contains("is not a folder that only this user can open"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let link = here.path().join("link");
        symlink(&path, &link).unwrap();
        create(&link).expect_err("a link may lead anywhere");
        create(&here.path().join("no/such")).expect_err("there is no parent");
    }

    #[test]
    fn sockets_are_named_by_process() {
        let path = socket(Path::new("/x"), 12);
        assert_eq!(pid_of(&path), Some(12));
        assert_eq!(pid_of(Path::new("/x/other")), None);
        for other in ["/x/-1.socket", "/x/+12.socket", "/x/012.socket"] {
            assert_eq!(pid_of(Path::new(other)), None, "{other}");
        }
    }
}

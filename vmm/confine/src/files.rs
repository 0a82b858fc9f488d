//! What a process may open, connect to and send signals to, where the host has landlock.
//!
//! That is decided by path and by process, which filters of system calls cannot see.

use crate::ConfineError;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use std::path::Path;

/// The newest version that this was tried with. Of an older one what it has is taken.
const VERSION: ABI = ABI::V7;

/// Which files can be reached by their names. What is open stays usable, and so do files without a name.
#[derive(Clone, Copy, Debug)]
pub enum Files<'f> {
    /// None.
    None,
    /// Sockets in this folder can be made and removed.
    SocketsIn(&'f Path),
    /// That, and every file can be read and executed, but none be written: for a run that starts QEMU,
    /// which has it, too.
    SocketsInAndReading(&'f Path),
    /// Every file can be read and executed, and none be written: for who starts programs.
    Reading,
}

impl Files<'_> {
    /// Restricts the calling thread and all that it starts, programs included, to these files, to no
    /// port of TCP, and to signals among themselves.
    pub fn restrict(self) -> Result<(), ConfineError> {
        self.enforce().map(drop)
    }

    pub(crate) fn enforce(self) -> Result<RestrictionStatus, ConfineError> {
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(VERSION))?
            .handle_access(AccessNet::from_all(VERSION))?
            .scope(Scope::from_all(VERSION))?
            .create()?;
        let rules = match self {
            Self::None => rules,
            Self::SocketsIn(folder) => sockets_in(rules, folder)?,
            Self::SocketsInAndReading(folder) => reading(sockets_in(rules, folder)?)?,
            Self::Reading => reading(rules)?,
        };
        Ok(rules.restrict_self()?)
    }
}

fn reading(rules: RulesetCreated) -> Result<RulesetCreated, ConfineError> {
    allow(rules, Path::new("/"), AccessFs::from_read(VERSION))
}

fn sockets_in(rules: RulesetCreated, folder: &Path) -> Result<RulesetCreated, ConfineError> {
    allow(rules, folder, AccessFs::MakeSock | AccessFs::RemoveFile)
}

/// Nothing can be allowed in a folder that is not there.
fn allow(
    rules: RulesetCreated,
    folder: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, ConfineError> {
    match PathFd::new(folder) {
        Ok(folder) => Ok(rules.add_rule(PathBeneath::new(folder, access))?),
        Err(_) => Ok(rules),
    }
}

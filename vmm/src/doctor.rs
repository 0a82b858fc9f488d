//! `glass doctor`.
use crate::cli::DoctorArgs;
pub fn run(_args: &DoctorArgs) -> anyhow::Result<u8> {
    Ok(0)
}

//! Which engine runs a guest.

use crate::{
    cli::{EngineArgs, EngineChoice},
    message::say,
};
use anyhow::{Result, bail};
use machine::{Architecture, Engine, KVM_DEVICE, KvmError, QEMU_PROGRAM, Qemu, QemuError};
use std::path::{Path, PathBuf};

impl EngineArgs {
    /// KVM's device.
    fn device(&self) -> &Path {
        self.kvm.as_deref().unwrap_or(Path::new(KVM_DEVICE))
    }

    /// QEMU's program.
    fn program(&self) -> &Path {
        self.qemu.as_deref().unwrap_or(Path::new(QEMU_PROGRAM))
    }

    /// What was asked for: who names an engine's device or program means that engine.
    fn choice(&self) -> EngineChoice {
        match (self.engine, &self.kvm, &self.qemu) {
            (EngineChoice::Auto, Some(_), _) => EngineChoice::Kvm,
            (EngineChoice::Auto, _, Some(_)) => EngineChoice::Qemu,
            (choice, ..) => choice,
        }
    }
}

/// Finds the engine for a guest of this architecture. Says so if it is not the obvious one.
pub fn choose(args: &EngineArgs, architecture: Architecture) -> Result<Engine> {
    let kvm = || kvm(args.device(), architecture);
    let qemu = || Qemu::find(args.program()).map(Engine::Qemu);
    match args.choice() {
        EngineChoice::Kvm => match kvm() {
            Ok(engine) => Ok(engine),
            Err(refusal) => bail!("{refusal}; --engine qemu does without KVM"),
        },
        EngineChoice::Qemu => Ok(qemu()?),
        EngineChoice::Auto => {
            let (engine, line) = fall_back(kvm(), qemu)?;
            line.into_iter().for_each(say);
            Ok(engine)
        }
    }
}

fn kvm(device: &Path, architecture: Architecture) -> Result<Engine, KvmError> {
    machine::kvm_can_run(device, architecture)?;
    Ok(Engine::Kvm(PathBuf::from(device)))
}

/// KVM if it can, else QEMU with a line that says so.
fn fall_back(
    kvm: Result<Engine, KvmError>,
    qemu: impl FnOnce() -> Result<Engine, QemuError>,
) -> Result<(Engine, Option<String>)> {
    let refusal = match kvm {
        Ok(engine) => return Ok((engine, None)),
        Err(refusal) => refusal,
    };
    match qemu() {
        Ok(engine) => Ok((engine, Some(format!("this runs under QEMU: {refusal}")))),
        Err(error) => bail!("neither KVM nor QEMU can run this guest: {refusal}; and {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(engine: EngineChoice) -> EngineArgs {
        EngineArgs { engine, kvm: None, qemu: None }
    }

    fn refusal() -> Result<Engine, KvmError> {
        let reason = "CR0.PG reads back as 0".to_owned();
        Err(KvmError::CannotPage { architecture: Architecture::Ia32, reason })
    }

    #[test]
    fn auto_takes_kvm_without_a_word() {
        let (engine, line) = fall_back(Ok(Engine::Kvm("kvm".into())), || panic!("asked")).unwrap();
        assert!(matches!(engine, Engine::Kvm(_)));
        assert_eq!(line, None);
    }

    #[test]
    fn auto_falls_back_on_qemu_and_says_why() {
        let (_, line) = fall_back(refusal(), || Ok(Engine::Kvm("in its place".into()))).unwrap();
        assert_eq!(
            line.unwrap(),
            "this runs under QEMU: this KVM cannot run ia32 guests: it refuses 32-bit paging \
             (CR0.PG reads back as 0)"
        );
    }

    #[test]
    fn without_any_engine_both_reasons_are_given() {
        let missing = || Err(QemuError::Missing("qemu".into()));
        let error = fall_back(refusal(), missing).unwrap_err().to_string();
        assert!(error.contains("refuses 32-bit paging"), "{error}");
        assert!(error.contains("qemu is not installed: run `sudo apt-get install"), "{error}");
    }

    #[test]
    fn a_named_device_or_program_is_meant() {
        let kvm = EngineArgs { kvm: Some("/dev/null".into()), ..args(EngineChoice::Auto) };
        let error = choose(&kvm, Architecture::Amd64).unwrap_err().to_string();
        assert!(error.starts_with("/dev/null is not a KVM device"), "{error}");
        assert!(error.ends_with("; --engine qemu does without KVM"), "{error}");
        let qemu = EngineArgs { qemu: Some("/no/qemu".into()), ..args(EngineChoice::Auto) };
        let error = choose(&qemu, Architecture::Amd64).unwrap_err().to_string();
        assert!(error.starts_with("/no/qemu is not installed"), "{error}");
    }

    #[test]
    fn a_choice_is_a_choice() {
        let forced = EngineArgs { kvm: Some("/dev/null".into()), ..args(EngineChoice::Qemu) };
        assert_eq!(forced.choice(), EngineChoice::Qemu);
        assert_eq!(args(EngineChoice::Kvm).choice(), EngineChoice::Kvm);
        assert_eq!(args(EngineChoice::Auto).choice(), EngineChoice::Auto);
    }
}

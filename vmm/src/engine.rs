//! Which engine runs a guest.

use crate::{
    cli::{EngineArgs, EngineChoice},
    message::say,
};
use anyhow::{Result, bail};
use machine::{
    Architecture, Engine, KVM_DEVICE, KvmError, QEMU_PROGRAM, Qemu, QemuError, RamSize,
    probe::Ring0,
};
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

/// Finds the engine for a guest. Says so if it is not the host's processor.
pub fn choose(args: &EngineArgs, architecture: Architecture, ram: RamSize) -> Result<Engine> {
    let kvm = || kvm(args.device(), architecture);
    let qemu = || Qemu::find(args.program());
    match args.choice() {
        EngineChoice::Kvm => match kvm() {
            Ok(engine) => Ok(engine),
            Err(refusal) => bail!("{refusal}; --engine qemu does without KVM"),
        },
        EngineChoice::Qemu => Ok(Engine::Qemu(qemu()?)),
        EngineChoice::Auto => {
            let kvm = kvm().map(|engine| {
                // A KVM that cannot be asked is no reason to prefer it.
                let ring0 = machine::kvm_ring0(args.device());
                (engine, ring0.unwrap_or_else(|error| Ring0::Interpreted(error.to_string())))
            });
            let qemu = || {
                let qemu = qemu()?;
                qemu.can_have(ram.bytes())?;
                Ok(Engine::Qemu(qemu))
            };
            let (engine, line) = quickest(kvm, qemu)?;
            line.into_iter().for_each(say);
            Ok(engine)
        }
    }
}

fn kvm(device: &Path, architecture: Architecture) -> Result<Engine, KvmError> {
    machine::kvm_can_run(device, architecture)?;
    Ok(Engine::Kvm(PathBuf::from(device)))
}

/// The host's processor if KVM lets it run all of the guest; else QEMU, which translates code once that an
/// interpreter reads each time; else KVM as it is. With a line on which and why, if it is not the first.
fn quickest(
    kvm: Result<(Engine, Ring0), KvmError>,
    qemu: impl FnOnce() -> Result<Engine, QemuError>,
) -> Result<(Engine, Option<String>)> {
    let (as_it_is, ring0) = match kvm {
        Ok(found) => found,
        Err(refusal) => match qemu() {
            Ok(engine) => return Ok((engine, Some(format!("this runs under QEMU: {refusal}")))),
            Err(error) => bail!("neither KVM nor QEMU can run this guest: {refusal}; and {error}"),
        },
    };
    if ring0 == Ring0::Native {
        return Ok((as_it_is, None));
    }
    let (engine, line) = match qemu() {
        Ok(engine) => {
            let why = "the KVM here interprets ring 0, which is slower";
            (engine, format!("this runs under QEMU: {why} (--engine kvm takes it all the same)"))
        }
        Err(error) => {
            let why = format!("QEMU would be quicker, but {error}");
            (as_it_is, format!("this runs under KVM, which interprets ring 0 here; {why}"))
        }
    };
    Ok((engine, Some(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(engine: EngineChoice) -> EngineArgs {
        EngineArgs { engine, kvm: None, qemu: None }
    }

    fn refusal() -> Result<(Engine, Ring0), KvmError> {
        let reason = "CR0.PG reads back as 0".to_owned();
        Err(KvmError::CannotPage { architecture: Architecture::Ia32, reason })
    }

    fn kvm_with(ring0: Ring0) -> Result<(Engine, Ring0), KvmError> {
        Ok((Engine::Kvm("kvm".into()), ring0))
    }

    fn interpreted() -> Ring0 {
        Ring0::Interpreted("KVM gave up".to_owned())
    }

    fn in_its_place() -> Result<Engine, QemuError> {
        Ok(Engine::Kvm("in its place".into()))
    }

    fn missing() -> Result<Engine, QemuError> {
        Err(QemuError::Missing("qemu".into()))
    }

    fn ram() -> RamSize {
        RamSize::new(256 << 20).unwrap()
    }

    /// The device, or what stands for QEMU, and the line.
    fn taken(
        kvm: Result<(Engine, Ring0), KvmError>,
        qemu: fn() -> Result<Engine, QemuError>,
    ) -> (String, Option<String>) {
        match quickest(kvm, qemu).unwrap() {
            (Engine::Kvm(path), line) => (path.display().to_string(), line),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn auto_takes_the_processor_without_a_word() {
        let asked = || panic!("asked");
        assert_eq!(taken(kvm_with(Ring0::Native), asked), ("kvm".to_owned(), None));
    }

    #[test]
    fn auto_takes_qemu_rather_than_an_interpreter_and_says_why() {
        let (engine, line) = taken(kvm_with(interpreted()), in_its_place);
        assert_eq!(engine, "in its place");
        assert_eq!(
            line.unwrap(),
            "this runs under QEMU: the KVM here interprets ring 0, which is slower (--engine kvm \
             takes it all the same)"
        );
    }

    #[test]
    fn auto_takes_an_interpreter_rather_than_nothing_and_says_what_would_be_better() {
        let (engine, line) = taken(kvm_with(interpreted()), missing);
        assert_eq!(engine, "kvm");
        let line = line.unwrap();
        assert!(line.starts_with("this runs under KVM, which interprets ring 0 here; "), "{line}");
        assert!(line.contains("qemu is not installed: run `sudo apt-get install"), "{line}");
        let too_large = || Err(QemuError::TooMuchRam(3 << 30));
        let (engine, line) = taken(kvm_with(interpreted()), too_large);
        assert_eq!(engine, "kvm");
        assert!(line.unwrap().contains("3 GiB of memory is too much for QEMU's machines"));
    }

    #[test]
    fn auto_takes_qemu_where_kvm_cannot_and_says_why() {
        let (_, line) = taken(refusal(), in_its_place);
        assert_eq!(
            line.unwrap(),
            "this runs under QEMU: this KVM cannot run ia32 guests: it refuses 32-bit paging \
             (CR0.PG reads back as 0)"
        );
    }

    #[test]
    fn without_any_engine_both_reasons_are_given() {
        let error = quickest(refusal(), missing).unwrap_err().to_string();
        assert!(error.contains("refuses 32-bit paging"), "{error}");
        assert!(error.contains("qemu is not installed: run `sudo apt-get install"), "{error}");
    }

    #[test]
    fn a_named_device_or_program_is_meant() {
        let kvm = EngineArgs { kvm: Some("/dev/null".into()), ..args(EngineChoice::Auto) };
        let error = choose(&kvm, Architecture::Amd64, ram()).unwrap_err().to_string();
        assert!(error.starts_with("/dev/null is not a KVM device"), "{error}");
        assert!(error.ends_with("; --engine qemu does without KVM"), "{error}");
        let qemu = EngineArgs { qemu: Some("/no/qemu".into()), ..args(EngineChoice::Auto) };
        let error = choose(&qemu, Architecture::Amd64, ram()).unwrap_err().to_string();
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

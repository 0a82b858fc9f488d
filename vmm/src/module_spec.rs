//! `--module FILE[,key=value...][,arguments]`.

use crate::{
    input,
    scenario::file_name,
    units::{self, PortsError, QuotaError},
};
use anyhow::Result;
use machine::bundle::{DEFAULT_PRIORITY, Module, PortRange, is_elf};
use protocol::boot::ModuleKind;
use std::{path::PathBuf, str::FromStr};
use thiserror::Error;

/// What `--module` says about one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSpec {
    path: PathBuf,
    name: Option<String>,
    kind: Option<ModuleKind>,
    pager: Option<String>,
    server: Option<String>,
    priority: u32,
    ports: Vec<PortRange>,
    interrupts: Vec<u16>,
    quota: Option<u32>,
    arguments: String,
}

/// Why it can't be understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SpecError {
    /// Nothing before the first comma.
    #[error("it begins with no file: write FILE[,key=value...][,arguments]")]
    NoFile,
    /// A key twice.
    #[error("it names {0}= twice")]
    Twice(String),
    /// An unknown kind.
    #[error("there is no kind '{0}': use program, file, sigma0 or root")]
    Kind(String),
    /// Not a number.
    #[error("priority '{0}' is not a number from 1 to 255")]
    Priority(String),
    /// Not ports.
    #[error("ports '{0}': {1}")]
    Ports(String, PortsError),
    /// Not a number.
    #[error("interrupt '{0}' is not a number")]
    Interrupt(String),
    /// Not a size.
    #[error("quota '{0}': {1}")]
    Quota(String, QuotaError),
}

impl FromStr for ModuleSpec {
    type Err = SpecError;

    /// Keys come first; what follows the last of them is the argument string, commas included.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (path, mut rest) = split(text);
        if path.is_empty() {
            return Err(SpecError::NoFile);
        }
        let mut spec = Self {
            path: path.into(),
            name: None,
            kind: None,
            pager: None,
            server: None,
            priority: DEFAULT_PRIORITY,
            ports: Vec::new(),
            interrupts: Vec::new(),
            quota: None,
            arguments: String::new(),
        };
        let mut seen = Vec::new();
        while let Some(text) = rest {
            let (part, after) = split(text);
            let Some((key, value)) = part.split_once('=') else { break };
            match key {
                "name" => spec.name = Some(value.to_owned()),
                "kind" => spec.kind = Some(parse_kind(value)?),
                "pager" => spec.pager = Some(value.to_owned()),
                "server" => spec.server = Some(value.to_owned()),
                "priority" => spec.priority = parse_priority(value)?,
                "ports" => spec.ports.push(parse_ports(value)?),
                "interrupts" => spec.interrupts.push(parse_interrupt(value)?),
                "quota" => spec.quota = Some(parse_quota(value)?),
                _ => break,
            }
            if seen.contains(&key) && !matches!(key, "ports" | "interrupts") {
                return Err(SpecError::Twice(key.to_owned()));
            }
            seen.push(key);
            rest = after;
        }
        spec.arguments = rest.unwrap_or_default().to_owned();
        Ok(spec)
    }
}

/// What is before the first comma, and what is after it.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once(',').map_or((text, None), |(part, rest)| (part, Some(rest)))
}

fn parse_kind(text: &str) -> Result<ModuleKind, SpecError> {
    match text {
        "program" => Ok(ModuleKind::Program),
        "file" => Ok(ModuleKind::File),
        "sigma0" => Ok(ModuleKind::Sigma0),
        "root" => Ok(ModuleKind::RootTask),
        _ => Err(SpecError::Kind(text.to_owned())),
    }
}

fn parse_priority(text: &str) -> Result<u32, SpecError> {
    let priority = text.parse().ok().filter(|priority| (1..=255).contains(priority));
    priority.ok_or_else(|| SpecError::Priority(text.to_owned()))
}

fn parse_interrupt(text: &str) -> Result<u16, SpecError> {
    text.parse().map_err(|_| SpecError::Interrupt(text.to_owned()))
}

fn parse_ports(text: &str) -> Result<PortRange, SpecError> {
    units::ports(text).map_err(|error| SpecError::Ports(text.to_owned(), error))
}

fn parse_quota(text: &str) -> Result<u32, SpecError> {
    units::quota(text).map_err(|error| SpecError::Quota(text.to_owned(), error))
}

impl ModuleSpec {
    /// Reads the file.
    pub fn module(&self) -> Result<Module> {
        let bytes = input::read(&self.path)?;
        let guess = if is_elf(&bytes) { ModuleKind::Program } else { ModuleKind::File };
        Ok(Module {
            name: self.name.clone().unwrap_or_else(|| file_name(&self.path)),
            kind: self.kind.unwrap_or(guess),
            bytes: bytes.into(),
            arguments: self.arguments.clone(),
            pager: self.pager.clone(),
            server: self.server.clone(),
            priority: self.priority,
            ports: self.ports.clone(),
            interrupts: self.interrupts.clone(),
            quota: self.quota,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ModuleSpec {
        text.parse().unwrap()
    }

    #[test]
    fn keys_come_first_then_arguments() {
        let spec = parse("a/my-app,pager=my-pager,priority=30,name=app,one two, three=3");
        assert_eq!(spec.path, PathBuf::from("a/my-app"));
        assert_eq!(spec.pager.as_deref(), Some("my-pager"));
        assert_eq!((spec.priority, spec.name.as_deref()), (30, Some("app")));
        assert_eq!(spec.arguments, "one two, three=3");
    }

    #[test]
    fn ports_and_interrupts_may_come_more_than_once() {
        let spec =
            parse("app,ports=0x3f8-0x3ff,ports=0x60,interrupts=4,interrupts=3,quota=64K,rest");
        assert_eq!(spec.ports.len(), 2);
        assert_eq!(spec.interrupts, [4, 3]);
        assert_eq!((spec.quota, spec.arguments.as_str()), (Some(64), "rest"));
    }

    #[test]
    fn everything_but_the_file_can_be_left_out() {
        let spec = parse("app");
        assert_eq!((spec.kind, spec.pager, spec.priority), (None, None, DEFAULT_PRIORITY));
        assert_eq!(spec.arguments, "");
        assert_eq!(parse("app,size=3").arguments, "size=3");
        assert_eq!(parse("app,kind=root,server=s").kind, Some(ModuleKind::RootTask));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<ModuleSpec>().unwrap_err();
        assert_eq!(error(""), SpecError::NoFile);
        assert_eq!(error(",name=x"), SpecError::NoFile);
        assert_eq!(error("a,kind=elf"), SpecError::Kind("elf".to_owned()));
        assert_eq!(error("a,name=x,name=y"), SpecError::Twice("name".to_owned()));
        let bad_ports = SpecError::Ports("5-4".to_owned(), PortsError::Reversed);
        assert_eq!(error("a,ports=5-4"), bad_ports);
        assert_eq!(error("a,interrupts=x"), SpecError::Interrupt("x".to_owned()));
        assert_eq!(error("a,quota=64"), SpecError::Quota("64".to_owned(), QuotaError));
        assert_eq!(error("a,quota=4K,quota=4K"), SpecError::Twice("quota".to_owned()));
        for priority in ["0", "256", "high", ""] {
            let expected = SpecError::Priority(priority.to_owned());
            assert_eq!(error(&format!("a,priority={priority}")), expected);
        }
    }

    #[test]
    fn the_kind_is_guessed_from_the_contents() {
        let text = parse("Cargo.toml").module().unwrap();
        assert_eq!((text.kind, text.name.as_str()), (ModuleKind::File, "Cargo.toml"));
        let this_test = std::env::current_exe().unwrap();
        let own = parse(this_test.to_str().unwrap()).module().unwrap();
        assert_eq!(own.kind, ModuleKind::Program);
        let error = parse("/nonexistent").module().unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent");
    }
}

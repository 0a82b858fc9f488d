//! Scenarios: TOML files that say which programs start, who pages whom, and what files they see.

use crate::{embedded, input, units};
use anyhow::{Context, Result, anyhow, bail};
use machine::{
    Architecture,
    bundle::{DEFAULT_PRIORITY, Module},
    locale::Charset,
};
use protocol::boot::ModuleKind;
use serde::{Deserialize, Deserializer, de::Error};
use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

/// A scenario as people write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in one sentence.
    pub summary: String,
    /// What the command line can say to its programs.
    #[serde(default, rename = "parameter")]
    parameters: Vec<Parameter>,
    /// The programs, in the order in which they start.
    #[serde(default, rename = "program")]
    programs: Vec<Program>,
    /// The files that they see.
    #[serde(default, rename = "file")]
    files: Vec<File>,
    /// Where relative paths begin: the folder of a scenario that is a file of its own.
    #[serde(skip)]
    folder: PathBuf,
}

/// Something that the command line can say by an option of its name, `--name VALUE`. In the arguments of all
/// programs of the scenario, `{name}` stands for the value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is called: lower-case letters, and dashes between them.
    #[serde(deserialize_with = "parameter_name")]
    pub name: String,
    /// The value if the command line says nothing.
    pub value: String,
    /// What it means, for people.
    pub meaning: String,
}

/// Names that mean something else: an option of all commands, and the character set in arguments.
const TAKEN: [&str; 2] = ["help", "charset"];

fn parameter_name<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    let name = String::deserialize(text)?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    if !name.split('-').all(is_word) {
        let rule = "a parameter is called by lower-case letters, and dashes between them";
        return Err(D::Error::custom(format_args!("name {name:?}: {rule}")));
    }
    if TAKEN.contains(&name.as_str()) {
        return Err(D::Error::custom(format_args!(
            "name {name:?} means something else: choose another"
        )));
    }
    Ok(name)
}

/// A program of a scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    /// An embedded image, or a path with at least one `/`.
    image: String,
    /// The name of its task; that of its image if none is given.
    name: Option<String>,
    /// Its arguments. In them, `{NAME}` stands for the value of a parameter, and `{charset}` stands for the character set of the user's locale:
    /// `UTF-8` or `C`.
    #[serde(default)]
    arguments: String,
    /// The program that pages it; the root task if none is given.
    pager: Option<String>,
    /// The program that it gets a gate to.
    server: Option<String>,
    /// 1 to 255.
    #[serde(default = "default_priority")]
    priority: u32,
    /// The I/O ports that it begins with: `0x60`, or a range such as `0x3f8-0x3ff`.
    #[serde(default)]
    ports: Vec<String>,
    /// The interrupts that it begins with, by their numbers: a line of the I/O APIC, or from 24 on a
    /// message-signalled one.
    #[serde(default)]
    interrupts: Vec<u16>,
    /// How much kernel memory it may cause, such as `64K`; no limit of its own if none is given.
    quota: Option<String>,
}

fn default_priority() -> u32 {
    DEFAULT_PRIORITY
}

/// A file of a scenario: `--file` replaces the first one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Its name.
    name: String,
    /// Its contents.
    text: String,
}

/// All embedded scenarios, in the order of their names.
pub fn embedded() -> Result<Vec<Scenario>> {
    let parse =
        |(name, text): &(&str, &str)| parse(text).with_context(|| format!("scenario {name}"));
    embedded::SCENARIOS.iter().map(parse).collect()
}

/// The parameters of all embedded scenarios, and of those whose files a command line names; each name once.
pub fn parameters_of(words: &[OsString]) -> Vec<Parameter> {
    let is_file = |word: &&OsString| Path::new(word).extension().is_some_and(|end| end == "toml");
    let files = words.iter().filter(is_file).filter_map(|word| find(word.to_str()?).ok());
    let mut all: Vec<Parameter> = Vec::new();
    for scenario in embedded().unwrap_or_default().into_iter().chain(files) {
        for parameter in scenario.parameters {
            if all.iter().all(|known| known.name != parameter.name) {
                all.push(parameter);
            }
        }
    }
    all
}

/// Finds a scenario: an embedded one by its name, any other by the path of its file.
pub fn find(name: &str) -> Result<Scenario> {
    let path = Path::new(name);
    if name.contains('/') || path.extension().is_some_and(|extension| extension == "toml") {
        let text =
            input::read_text(path).with_context(|| format!("cannot read scenario {name}"))?;
        let mut scenario = parse(&text).with_context(|| format!("scenario {name}"))?;
        scenario.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        return Ok(scenario);
    }
    let scenarios = embedded()?;
    let known: Vec<_> = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    match scenarios.into_iter().find(|scenario| scenario.name == name) {
        Some(scenario) => Ok(scenario),
        None => bail!(
            "there is no scenario '{name}'; known are {}, or name a file that ends in .toml",
            known.join(", ")
        ),
    }
}

/// Reads the text of a scenario.
pub fn parse(text: &str) -> Result<Scenario> {
    let scenario: Scenario = toml::from_str(text).map_err(|error: toml::de::Error| {
        let message = error.message();
        match error.span().and_then(|span| text.get(..span.start)) {
            Some(before) => anyhow!("{}: {message}", Position::after(before)),
            None => anyhow!("{message}"),
        }
    })?;
    for (index, Parameter { name, .. }) in scenario.parameters.iter().enumerate() {
        if scenario.parameters[..index].iter().any(|other| other.name == *name) {
            bail!("it has two parameters that are called '{name}'");
        }
    }
    Ok(scenario)
}

/// A place in a text.
struct Position {
    /// From 1 on.
    line: usize,
    /// In characters, from 1 on.
    column: usize,
}

impl Position {
    fn after(text: &str) -> Self {
        let last = text.rsplit('\n').next().unwrap_or_default();
        Self { line: text.matches('\n').count() + 1, column: last.chars().count() + 1 }
    }
}

/// `line 3, column 7`
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Scenario {
    /// What the command line can say to its programs.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Takes what the command line says.
    ///
    /// # Errors
    /// If it has no such parameter.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match self.parameters.iter_mut().find(|parameter| parameter.name == name) {
            Some(parameter) => {
                value.clone_into(&mut parameter.value);
                Ok(())
            }
            None => bail!("scenario '{}' has no parameter '{name}': leave out --{name}", self.name),
        }
    }

    /// A program's arguments, with the values of all parameters.
    fn arguments(&self, program: &Program) -> String {
        let arguments = with_charset(&program.arguments, Charset::of_environment());
        self.parameters.iter().fold(arguments, |arguments, Parameter { name, value, .. }| {
            arguments.replace(&format!("{{{name}}}"), value)
        })
    }

    /// Its boot modules for this architecture. `file` takes the place of its first file.
    pub fn modules(&self, architecture: Architecture, file: Option<&Path>) -> Result<Vec<Module>> {
        if file.is_some() && self.files.is_empty() {
            bail!("scenario '{}' reads no file: leave out --file", self.name);
        }
        let programs = self.programs.iter().map(|program| self.program(architecture, program));
        let files = self.files.iter().enumerate().map(|(index, own)| match file {
            Some(path) if index == 0 => read_file(path),
            _ => Ok(Module::new(&own.name, ModuleKind::File, own.text.as_bytes().into())),
        });
        programs.chain(files).collect()
    }

    fn program(&self, architecture: Architecture, program: &Program) -> Result<Module> {
        let image = &program.image;
        let (name, bytes) = if image.contains('/') {
            let path = self.folder.join(image);
            (file_name(&path), input::read(&path)?.into())
        } else {
            let bytes = embedded::image(architecture, image)
                .with_context(|| unknown_image(architecture, &self.name, image))?;
            (image.clone(), bytes.into())
        };
        let name = program.name.clone().unwrap_or(name);
        let place = |what| format!("scenario '{}', program '{name}', {what}", self.name);
        let ports = program.ports.iter().map(|text| units::ports(text));
        let quota = program.quota.as_deref().map(units::quota).transpose();
        Ok(Module {
            ports: ports.collect::<Result<_, _>>().with_context(|| place("ports"))?,
            quota: quota.with_context(|| place("quota"))?,
            interrupts: program.interrupts.clone(),
            name,
            arguments: self.arguments(program),
            pager: program.pager.clone(),
            server: program.server.clone(),
            priority: program.priority,
            ..Module::new("", ModuleKind::Program, bytes)
        })
    }
}

/// What `{charset}` in a program's arguments stands for.
fn with_charset(arguments: &str, charset: Charset) -> String {
    arguments.replace("{charset}", charset.name())
}

fn unknown_image(architecture: Architecture, scenario: &str, image: &str) -> String {
    let known: Vec<_> = embedded::images(architecture).iter().map(|(name, _)| *name).collect();
    format!(
        "scenario '{scenario}' names the image '{image}', which is not embedded; embedded are {}, \
         and other images are named by a path with a '/'",
        known.join(", ")
    )
}

/// The contents of a file of the host as a file module.
pub fn read_file(path: &Path) -> Result<Module> {
    Ok(Module::new(&file_name(path), ModuleKind::File, input::read(path)?.into()))
}

/// The last part of a path, cut to what fits in a module's name.
pub fn file_name(path: &Path) -> String {
    const MAX: usize = protocol::boot::NAME_LENGTH - 1;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let fits = |end: &usize| name.is_char_boundary(*end);
    let end = (0..=name.len().min(MAX)).rev().find(fits).unwrap_or(0);
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD64: Architecture = Architecture::Amd64;

    #[test]
    fn every_embedded_scenario_can_be_packed() {
        let scenarios = embedded().unwrap();
        let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        for name in ["broken", "grant", "revoke-tree", "words"] {
            assert!(names.contains(&name), "{name} is not embedded");
        }
        for scenario in scenarios {
            assert!(scenario.summary.ends_with('.'), "{}: a summary is a sentence", scenario.name);
            for architecture in Architecture::ALL {
                let modules = scenario.modules(architecture, None).unwrap();
                assert!(modules.iter().any(|module| module.kind == ModuleKind::Program));
            }
        }
    }

    #[test]
    fn an_unknown_scenario_lists_the_known_ones() {
        let error = find("nothing").unwrap_err().to_string();
        assert!(error.contains("known are attack, bench, broken, capability, churn"), "{error}");
        let error = find("./nothing.toml").unwrap_err().to_string();
        assert_eq!(error, "cannot read scenario ./nothing.toml");
    }

    #[test]
    fn a_file_of_the_host_replaces_the_built_in_one() {
        let words = find("words").unwrap();
        let built_in = words.modules(AMD64, None).unwrap();
        assert_eq!(built_in.last().unwrap().name, "pagers.txt");
        let own = words.modules(AMD64, Some(Path::new("Cargo.toml"))).unwrap();
        assert_eq!(own.len(), built_in.len());
        assert_eq!(own.last().unwrap().name, "Cargo.toml");
        assert!(own.last().unwrap().bytes.starts_with(b"[package]"));
        let error = find("broken").unwrap().modules(AMD64, Some(Path::new("x"))).unwrap_err();
        assert_eq!(error.to_string(), "scenario 'broken' reads no file: leave out --file");
        let error = words.modules(AMD64, Some(Path::new("/nonexistent"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent");
    }

    #[test]
    fn all_that_a_scenario_says_reaches_the_bundle() {
        let text = r#"
            name = "two"
            summary = "Two."
            [[program]]
            image = "words"
            name = "app"
            arguments = "a b"
            pager = "broken"
            server = "broken"
            priority = 30
            ports = ["0x3f8-0x3ff", "0x60"]
            interrupts = [4, 25]
            quota = "64K"
            [[program]]
            image = "broken"
        "#;
        let modules = parse(text).unwrap().modules(AMD64, None).unwrap();
        let app = &modules[0];
        assert_eq!((app.name.as_str(), app.arguments.as_str()), ("app", "a b"));
        assert_eq!(app.pager.as_deref(), Some("broken"));
        assert_eq!((app.server.as_deref(), app.priority), (Some("broken"), 30));
        let ports: Vec<_> = app.ports.iter().map(|range| (range.first, range.last)).collect();
        assert_eq!(app.interrupts, [4, 25]);
        assert_eq!((ports, app.quota), (vec![(0x3f8, 0x3ff), (0x60, 0x60)], Some(64)));
        assert_eq!((modules[1].name.as_str(), modules[1].priority), ("broken", DEFAULT_PRIORITY));
        assert_eq!((modules[1].ports.len(), modules[1].quota), (0, None));
    }

    #[test]
    fn the_users_character_set_stands_where_a_scenario_wants_it() {
        assert_eq!(with_charset("a {charset} b", Charset::Utf8), "a UTF-8 b");
        assert_eq!(with_charset("{charset}{charset}", Charset::C), "CC");
        assert_eq!(with_charset("{other} charset", Charset::C), "{other} charset");
        let words = find("words").unwrap().modules(AMD64, None).unwrap();
        assert_eq!(words[0].arguments, Charset::of_environment().name());
    }

    #[test]
    fn what_the_command_line_says_stands_where_a_scenario_wants_it() {
        let mut fuzz = find("fuzz").unwrap();
        let arguments = |fuzz: &Scenario| fuzz.modules(AMD64, None).unwrap()[2].arguments.clone();
        assert_eq!(arguments(&fuzz), "1 10000");
        fuzz.set("calls", "77").unwrap();
        assert_eq!(arguments(&fuzz), "1 77");
        let error = fuzz.set("cals", "1").unwrap_err().to_string();
        assert_eq!(error, "scenario 'fuzz' has no parameter 'cals': leave out --cals");
        for parameter in fuzz.parameters() {
            assert!(!parameter.meaning.is_empty() && !parameter.name.contains(' '));
        }
    }

    #[test]
    fn parameters_have_names_of_their_own() {
        let with = |names: &[&str]| {
            let parameter =
                |name| format!("[[parameter]]\nname = '{name}'\nvalue = ''\nmeaning = ''\n");
            let parameters: String = names.iter().map(parameter).collect();
            parse(&format!("name = 'x'\nsummary = 'X.'\n{parameters}"))
        };
        with(&["a", "two-words"]).unwrap();
        for name in ["", "-a", "a-", "a--b", "a b", "a=b", "A", "a1", "help", "charset"] {
            let error = with(&[name]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line 4, column 8: name \"{name}\"")), "{error}");
        }
        let error = with(&["a", "b", "a"]).unwrap_err().to_string();
        assert_eq!(error, "it has two parameters that are called 'a'");
    }

    #[test]
    fn misspelt_keys_and_images_are_named() {
        let error = parse("name = 'x'\nsummary = 'X.'\n programm = []").unwrap_err().to_string();
        assert!(error.starts_with("line 3, column 2: unknown field `programm`"), "{error}");
        let error = parse("name = 'x'\nsummary = 'ä' x").unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 15: "), "{error}");
        assert_eq!(
            parse("name = 'x'").unwrap_err().to_string(),
            "line 1, column 1: missing field `summary`"
        );
        let text = "name = 'x'\nsummary = 'X.'\n[[program]]\nimage = 'wrods'";
        let error = parse(text).unwrap().modules(AMD64, None).unwrap_err().to_string();
        assert!(error.contains("'wrods', which is not embedded; embedded are"), "{error}");
    }

    #[test]
    fn ports_and_quotas_that_make_no_sense_are_named() {
        let error = |line: &str| {
            let text = format!("name = 'x'\nsummary = 'X.'\n[[program]]\nimage = 'words'\n{line}");
            format!("{:#}", parse(&text).unwrap().modules(AMD64, None).unwrap_err())
        };
        assert_eq!(
            error("ports = ['0x3ff-0x3f8']"),
            "scenario 'x', program 'words', ports: the range ends before it begins: write the lower port first"
        );
        assert_eq!(
            error("quota = '64'"),
            "scenario 'x', program 'words', quota: write a quota as a number with K or M, such as 64K"
        );
    }

    #[test]
    fn long_file_names_are_cut_between_characters() {
        let name = file_name(Path::new("/tmp/ä-file-with-a-name-that-is-far-too-long.txt"));
        assert!(name.len() <= 31 && name.starts_with("ä-file-with"), "{name}");
        assert_eq!(file_name(Path::new(&"ä".repeat(40))).len(), 30);
    }
}

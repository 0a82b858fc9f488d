//! Runs every target on the inputs in `corpus`, which are seeds and what has once gone wrong.

use fuzz::{TARGETS, Target};
use std::{fs, path::Path};

/// Runs a target on all its inputs, and says which one it is that breaks a promise.
fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("its folder is there") {
        let path = entry.expect("the folder is readable").path();
        let input = fs::read(&path).expect("the input is readable");
        println!("{}", path.display());
        (target.run)(&input);
        count += 1;
    }
    assert!(count > 1, "{name} has seeds");
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn each_target_has_a_test_a_program_and_nothing_else_has_a_corpus() {
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut corpora: Vec<_> = fs::read_dir(here.join("corpus"))
                .expect("the folder is there")
                .map(|entry| entry.expect("it is readable").file_name())
                .collect();
            corpora.sort();
            let names: Vec<_> = TARGETS.iter().map(|Target { name, .. }| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            assert_eq!(names, corpora);
            for name in names {
                let program = here.join("fuzz_targets").join(name).with_extension("rs");
                assert!(program.is_file(), "{name} has no program");
            }
        }
    };
}

tests! { bundle elf module_spec scenario tables trace viewer }

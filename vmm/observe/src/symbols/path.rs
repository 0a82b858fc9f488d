//! Source paths without what only means something on the machine that built the image.

/// Components that are kept of a path that nothing is known about.
const KEPT: usize = 3;

/// Directories that come before the path within a project, and what stands for them.
const STANDARD_LIBRARY: [&str; 3] = ["/rustc/", "/lib/rustlib/src/rust/", "/usr/src/rustc-"];
const REGISTRY: &str = "/registry/src/";

/// Whether the file belongs to `core`, `alloc` or `std`.
fn is_standard_library(file: &str) -> bool {
    let has_prefix = STANDARD_LIBRARY.iter().any(|directory| file.contains(directory));
    has_prefix && file.contains("/library/") || file.starts_with("library/")
}

/// Whether the file is not the program's own: the standard library or a package from a registry.
pub(super) fn is_foreign(file: &str) -> bool {
    is_standard_library(file) || file.contains(REGISTRY)
}

/// The path relative to the directory that the compiler ran in, to the standard library or to the
/// package registry; of any other absolute path the last components.
pub(super) fn shorten(file: &str, compilation_directory: Option<&str>) -> String {
    if is_standard_library(file) {
        return file.find("library/").map_or(file, |start| &file[start..]).to_owned();
    }
    if let Some((_, rest)) = file.split_once(REGISTRY) {
        return rest.split_once('/').map_or(rest, |(_index, package)| package).to_owned();
    }
    let relative = compilation_directory
        .and_then(|directory| file.strip_prefix(directory.trim_end_matches('/')))
        .and_then(|rest| rest.strip_prefix('/'));
    match relative {
        Some(relative) => relative.to_owned(),
        None if file.starts_with('/') => last_components(file),
        None => file.to_owned(),
    }
}

fn last_components(file: &str) -> String {
    let components: Vec<_> = file.split('/').filter(|part| !part.is_empty()).collect();
    match components.len().checked_sub(KEPT) {
        None | Some(0) => file.to_owned(),
        Some(first) => format!(".../{}", components[first..].join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_what_is_local_to_the_build() {
        let directory = Some("/home/a/project/");
        for (file, short) in [
            ("/home/a/project/words/src/main.rs", "words/src/main.rs"),
            ("words/src/main.rs", "words/src/main.rs"),
            ("/rustc/59807616e1/library/core/src/ptr/mod.rs", "library/core/src/ptr/mod.rs"),
            (
                "/root/.rustup/toolchains/x/lib/rustlib/src/rust/library/std/src/io.rs",
                "library/std/src/io.rs",
            ),
            ("/root/.cargo/registry/src/index-1949/bits-1.0/src/lib.rs", "bits-1.0/src/lib.rs"),
            ("/opt/elsewhere/deep/tree/src/lib.rs", ".../tree/src/lib.rs"),
            ("/src/lib.rs", "/src/lib.rs"),
        ] {
            assert_eq!(shorten(file, directory), short);
        }
        assert_eq!(shorten("/a/b/c/d", None), ".../b/c/d");
    }

    #[test]
    fn only_the_standard_library_is_the_standard_library() {
        assert!(is_standard_library("/rustc/abc/library/alloc/src/vec/mod.rs"));
        assert!(!is_standard_library("/home/a/library/src/main.rs"));
        assert!(is_foreign("/root/.cargo/registry/src/index-1949/bits-1.0/src/lib.rs"));
        assert!(!is_foreign("/home/a/project/words/src/main.rs"));
    }
}

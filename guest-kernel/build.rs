//! Hands the architecture's linker script to the linker.

fn main() {
    let variable = |name| std::env::var(name).expect("cargo sets it");
    let architecture = match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "x86" => "ia32",
        _ => "amd64",
    };
    let script = format!("src/arch/{architecture}/link.ld");
    println!("cargo:rustc-link-arg-bins=-T{}/{script}", variable("CARGO_MANIFEST_DIR"));
    println!("cargo:rerun-if-changed={script}");
}

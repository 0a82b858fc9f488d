# Sourced by run, test and bench. Makes sure that a Rust toolchain is there, installs what is
# missing, and lets nothing but that one toolchain be used: one toolchain's cargo with another
# one's rustc does not build.
#
# GLASS_TOOLCHAIN=debian takes Debian's rustc-web instead of rustup's toolchain.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
guest_targets=(x86_64-unknown-none i586-unknown-linux-gnu)
rust_needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
debian_source=/usr/lib/rustlib/src/rust/library/core

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Installs packages: as root, or else through sudo.
apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  if ! have apt-get; then
    say "set-up: cannot install $*: there is no apt-get here"
    return 1
  elif [[ $EUID -ne 0 ]] && ! have sudo; then
    say "set-up: cannot install $*: you are not root and there is no sudo"
    return 1
  elif [[ $EUID -ne 0 ]]; then
    apt=(sudo "${apt[@]}")
  fi
  say "set-up: apt-get install $*"
  "${apt[@]}" update >&2 || say "set-up: apt-get update failed, going on with the package lists as they are"
  "${apt[@]}" install -y --no-install-recommends "$@" >&2
}

# need COMMAND PACKAGE...: installs the packages if the command is missing.
need() {
  have "$1" || apt_install "${@:2}" ||
    die "$1 is missing. Install it (on Debian: apt-get install ${*:2}), then run this again."
}

new_enough() {
  local version
  version=$("$1" --version | cut -d ' ' -f 2) || return 1
  printf '%s\n' "$rust_needed" "${version%%-*}" | sort --version-sort --check=quiet && return
  say "set-up: $1 is Rust $version, at least $rust_needed is needed"
  return 1
}

# Finds rustup's toolchain and its guest targets; fails if there is none.
use_rustup() {
  have rustup || return 1
  local rustc
  rustc=$(cd "$root" && rustup which rustc 2>/dev/null) || return 1
  new_enough "$rustc" || return 1
  bin=${rustc%/rustc}
  local target missing=()
  for target in "${guest_targets[@]}"; do
    [[ -d ${bin%/bin}/lib/rustlib/$target ]] || missing+=("$target")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  say "set-up: rustup target add ${missing[*]}"
  (cd "$root" && rustup target add "${missing[@]}") >&2
}

use_debian() {
  bin=/usr/bin
  [[ -x $bin/cargo && -x $bin/rustc && -d $debian_source ]] && new_enough $bin/rustc && return
  apt_install rustc-web cargo-web rust-web-src && new_enough $bin/rustc
}

# clippy and rustfmt, which only ./scripts/test needs.
need_lints() {
  [[ -x $bin/cargo-clippy && -x $bin/cargo-fmt ]] && return
  if [[ $GLASS_TOOLCHAIN == debian ]]; then
    apt_install rust-web-clippy rustfmt-web
  else
    say "set-up: rustup component add clippy rustfmt"
    (cd "$root" && rustup component add clippy rustfmt) >&2
  fi || die "cannot install clippy and rustfmt. Install them, then run this again."
}

# A nightly toolchain and cargo-fuzz, which only ./scripts/test --fuzz needs. Debian has neither.
need_fuzzer() {
  have rustup || die "fuzzing needs a nightly Rust toolchain. Install rustup, then run this again."
  need g++ g++
  if ! rustup which --toolchain nightly cargo >/dev/null 2>&1; then
    say "set-up: rustup toolchain install nightly --profile minimal"
    rustup toolchain install nightly --profile minimal >&2 ||
      die "cannot install the nightly toolchain. Install it, then run this again."
  fi
  GLASS_NIGHTLY=$(dirname "$(rustup which --toolchain nightly cargo)")
  PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  export GLASS_NIGHTLY PATH
  have cargo-fuzz && return
  say "set-up: cargo install --locked cargo-fuzz"
  (cd "$root" && CARGO_TARGET_DIR=$root/target/cargo-fuzz "$CARGO" install --locked cargo-fuzz) >&2 ||
    die "cannot install cargo-fuzz. Install it, then run this again."
}

# A target with 32-bit words whose programs run here. Only rustup has it; tests can do without it.
want_narrow_words() {
  local target=i686-unknown-linux-musl
  [[ $GLASS_TOOLCHAIN == debian || -d ${bin%/bin}/lib/rustlib/$target ]] && return
  say "set-up: rustup target add $target"
  (cd "$root" && rustup target add "$target") >&2 || say "set-up: going on without $target"
}

choose_toolchain() {
  unset RUSTUP_TOOLCHAIN RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS \
    CARGO_BUILD_TARGET RUSTC_BOOTSTRAP
  if [[ ${GLASS_TOOLCHAIN:-rustup} != debian ]] && use_rustup; then
    GLASS_TOOLCHAIN=rustup
    CARGO_TARGET_DIR=$root/target
  elif use_debian; then
    GLASS_TOOLCHAIN=debian
    CARGO_TARGET_DIR=$root/target/debian
  else
    die "there is no Rust $rust_needed or newer with the targets ${guest_targets[*]}." \
      "Install rustup, or bring it up to date with 'rustup update', then run this again."
  fi
  PATH=$bin:$PATH CARGO=$bin/cargo RUSTC=$bin/rustc
  export GLASS_TOOLCHAIN CARGO_TARGET_DIR PATH CARGO RUSTC
}

# Builds scripts/xtask, which does all the rest, and becomes it.
xtask() {
  [[ -x $CARGO_TARGET_DIR/debug/xtask ]] || say "build: scripts/xtask, which does the rest"
  (cd "$root" && "$CARGO" build --quiet --package xtask)
  exec "$CARGO_TARGET_DIR/debug/xtask" "$@"
}

need cc gcc libc6-dev
need ld binutils
choose_toolchain

//! Standard input, for a guest that reads its serial line.
//!
//! If it is a terminal, what is typed goes to the guest at once and is not echoed; Ctrl-C still ends the run,
//! and the terminal is as it was whenever the run ends.

use anyhow::{Context, Result, anyhow};
use machine::Input;
use rustix::{
    process::getpgrp,
    stdio::stdin,
    termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr,
        tcgetpgrp, tcsetattr,
    },
};
use signal_hook::consts::{SIGTTIN, SIGTTOU};
use std::{
    io,
    sync::{Mutex, PoisonError},
};
use vmm_sys_util::signal::block_signal;

/// The settings that the terminal had, while it has others.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// What a terminal's character has that none stands for (`_POSIX_VDISABLE`).
const NO_CHARACTER: u8 = 0;

/// Standard input as it goes to a guest. A terminal has its own settings until this is dropped.
#[derive(Debug)]
pub struct StandardInput {
    is_terminal: bool,
}

impl Drop for StandardInput {
    fn drop(&mut self) {
        restore();
    }
}

impl StandardInput {
    /// Takes it over.
    pub fn take() -> Result<Self> {
        let is_terminal = isatty(stdin());
        if is_terminal {
            // To read a terminal that belongs to somebody else, or to set it, stops nobody: it fails.
            for signal in [SIGTTIN, SIGTTOU] {
                block_signal(signal)
                    .map_err(|error| anyhow!("cannot block a signal of the terminal: {error:?}"))?;
            }
        }
        if is_terminal && has_foreground() {
            set_up().context("cannot set the terminal up")?;
        }
        Ok(Self { is_terminal })
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// What the guest gets.
    pub fn input(&self) -> Input {
        if self.is_terminal { Input::typed(io::stdin()) } else { Input::bytes(io::stdin()) }
    }
}

/// Each character comes at once, as it is, and without an echo. The terminal neither stops the run nor has it
/// dump core: it would be left so.
fn set_up() -> io::Result<()> {
    let before = tcgetattr(stdin())?;
    let mut own = before.clone();
    own.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
    own.input_modes -= InputModes::IXON;
    for index in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
        own.special_codes[index] = NO_CHARACTER;
    }
    (own.special_codes[SpecialCodeIndex::VMIN], own.special_codes[SpecialCodeIndex::VTIME]) =
        (1, 0);
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    Ok(tcsetattr(stdin(), OptionalActions::Now, &own)?)
}

/// Gives the terminal back as it was, if it is not. Whoever ends the process calls this, in any thread.
///
/// A run that has been put into the background meanwhile leaves it to whoever has it now.
pub fn restore() {
    let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    // In this thread it may be so already, which is an error.
    let _ = block_signal(SIGTTOU);
    if has_foreground() {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}

/// Whether the terminal is this run's own.
fn has_foreground() -> bool {
    tcgetpgrp(stdin()).ok() == Some(getpgrp())
}

//! The one system call: invoke a capability.
//!
//! # `amd64`
//! | register | in | out |
//! |---|---|---|
//! | `rdi` | capability index << 12 \| [`Operation`] bits | 0 |
//! | `rsi` | message tag | 0 |
//! | `rdx` | timeouts: see [`Timeouts`] | label of the gate through which the message came |
//! | `rax` | - | message tag |
//! | `rbx rbp r12-r15 rsp` | kept | kept |
//! | `rcx r8-r11` | - | destroyed |
//!
//! then `syscall`.
//!
//! # `ia32`
//! | register | in | out |
//! |---|---|---|
//! | `eax` | capability index << 12 \| [`Operation`] bits | message tag |
//! | `edx` | message tag | label of the gate through which the message came |
//! | `ecx` | timeouts: see [`Timeouts`] | destroyed |
//! | `ebx esi edi ebp esp` | kept | kept |
//!
//! then `int 0x30`. Segment registers are the kernel's: what a task loads into `ds`, `es`, `fs` or
//! `gs` may be gone after its thread was in the kernel.
//!
//! # Both
//! The message itself is in the caller's UTCB, before and after; the kernel copies exactly the words
//! that the tag counts. A thread finds its UTCB through FS, whose base is the UTCB's address: the
//! first word of [`crate::utcb::Utcb::user`] holds that address too, so that one load through FS
//! gives it.

use crate::{Word, utcb::BUFFER_REGISTERS};
use core::time::Duration;

/// What a system call does, in the lower bits of its first argument. The bits combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Operation(pub Word);

impl Operation {
    /// Send to the capability.
    pub const SEND: Self = Self(1);
    /// Receive from the thread behind the capability.
    pub const RECEIVE: Self = Self(2);
    /// With receive: from anybody.
    pub const OPEN_WAIT: Self = Self(4);
    /// With send: answer the thread that called last; the capability is ignored.
    pub const REPLY: Self = Self(8);
    /// Send, then receive the answer from the same partner.
    pub const CALL: Self = Self(1 | 2);
    /// Wait for a message from anybody.
    pub const WAIT: Self = Self(2 | 4);
    /// Answer the last caller, then wait for a message from anybody.
    pub const REPLY_AND_WAIT: Self = Self(1 | 2 | 4 | 8);
    /// Send to the capability, then wait for a message from anybody. Only with an answer that was set aside
    /// ([`Self::SET_ASIDE`]), because nobody has to wait for that to be taken.
    pub const ANSWER_AND_WAIT: Self = Self(1 | 2 | 4);
    /// Set aside the answer to the thread that called last: it becomes a capability in the slot that is named,
    /// which must be empty, and nothing is owed any more.
    ///
    /// A message that is sent to the capability is the answer, whoever sends it, and does all that an
    /// answer does; then the capability is gone. It can be granted, but not mapped: there is never more than
    /// one. When its caller stops waiting it is gone too; when it is unmapped the caller learns that
    /// no answer will come.
    ///
    /// Fails with [`NoPartner`](crate::error::IpcError::NoPartner) if nothing is owed, with
    /// [`InvalidArgument`](crate::error::IpcError::InvalidArgument) if the slot is not empty or there is none,
    /// and with [`MapFailed`](crate::error::IpcError::MapFailed) if there is no memory for the capability.
    pub const SET_ASIDE: Self = Self(8);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Bits below the capability index in the first argument.
pub const CAPABILITY_SHIFT: u32 = 12;

/// How long a thread waits for its partner in each phase: a [`Timeout`] each, of the receive phase in bits
/// 0 to 15, of the send phase in bits 16 to 31. The others are 0. The receive phase of a call is its waiting
/// for the answer, and begins when the message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Timeouts(pub Word);

impl Timeouts {
    /// Wait for ever in both phases.
    pub const NEVER: Self = Self::new(Timeout::NEVER, Timeout::NEVER);
    /// Fail at once in either phase if the partner is not ready.
    pub const ZERO: Self = Self::new(Timeout::ZERO, Timeout::ZERO);

    /// Of the two phases.
    #[inline]
    pub const fn new(send: Timeout, receive: Timeout) -> Self {
        Self((send.0 as Word) << 16 | receive.0 as Word)
    }

    /// Of the send phase.
    #[inline]
    pub const fn send(self) -> Timeout {
        Timeout((self.0 >> 16) as u16)
    }

    /// Of the receive phase.
    #[inline]
    pub const fn receive(self) -> Timeout {
        Timeout(self.0 as u16)
    }

    /// Whether the receive phase must not wait.
    #[inline]
    pub const fn receive_is_zero(self) -> bool {
        self.receive().0 == Timeout::ZERO.0
    }

    /// Whether the send phase must not wait.
    #[inline]
    pub const fn send_is_zero(self) -> bool {
        self.send().0 == Timeout::ZERO.0
    }

    /// Whether both halves have a defined value.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.0 == 0
            || self.0 as u64 >> 32 == 0
                && self.send().limit().is_some()
                && self.receive().limit().is_some()
    }
}

/// How long a thread waits in one phase. 0: for ever. 1: not at all. Otherwise, if bit 15 is 0, so many
/// microseconds as bits 0 to 9, which are not 0, shifted to the left by bits 10 to 14. If it is 1, until a time
/// of the [kernel clock](crate::kip::Clock), which stands in the buffer register whose number are bits 0
/// to 5, in microseconds; on 32-bit machines in that one, its lower half, and the next one. All else is an
/// invalid argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Timeout(pub u16);

/// What a [`Timeout`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// As long as it takes.
    Never,
    /// Not at all.
    Zero,
    /// So many microseconds.
    Within(u64),
    /// Until the time that stands in the buffer register of this number.
    Until(usize),
    /// Until the time that was fixed when the system call began ([`Timeout::BEGUN`]).
    Begun,
}

const ABSOLUTE: u16 = 1 << 15;
const EXPONENT_SHIFT: u32 = 10;
const MANTISSA: u16 = (1 << EXPONENT_SHIFT) - 1;
const REGISTER: u16 = 0x3f;

/// Buffer registers that a time takes.
const REGISTERS_PER_TIME: usize = (u64::BITS / Word::BITS) as usize;

impl Timeout {
    /// For ever.
    pub const NEVER: Self = Self(0);
    /// Not at all.
    pub const ZERO: Self = Self(1);
    /// The longest relative one, of 25 days.
    pub const LONGEST: Self = Self(ABSOLUTE - 1);
    /// Until the time that the kernel has noted. A system call that has to begin again does so with this, so
    /// that it does not wait longer than it would have.
    pub const BEGUN: Self = Self(ABSOLUTE | REGISTER);
    /// Until the time in the last buffer registers, which programs use for that.
    pub const UNTIL_LAST: Self = Self(ABSOLUTE | Self::LAST as u16);
    /// The first of these.
    pub const LAST: usize = BUFFER_REGISTERS - REGISTERS_PER_TIME;

    /// The shortest one that is at least so long; the [longest](Self::LONGEST) if there is none.
    // Most times are known when a program is compiled.
    #[inline(always)]
    pub const fn at_least(microseconds: u64) -> Self {
        if microseconds == 0 {
            return Self::ZERO;
        }
        let bits = u64::BITS - microseconds.leading_zeros();
        let mut exponent = bits.saturating_sub(EXPONENT_SHIFT);
        let mut mantissa = ((microseconds - 1) >> exponent) + 1;
        if mantissa > MANTISSA as u64 {
            (mantissa, exponent) = (mantissa.div_ceil(2), exponent + 1);
        }
        if exponent > 31 {
            return Self::LONGEST;
        }
        // One microsecond would be none.
        let value = (exponent as u16) << EXPONENT_SHIFT | mantissa as u16;
        Self(if value < 2 { 2 } else { value })
    }

    /// Until the time in a buffer register; `None` if there is no such one.
    pub const fn until(register: usize) -> Option<Self> {
        if register + REGISTERS_PER_TIME <= BUFFER_REGISTERS {
            Some(Self(ABSOLUTE | register as u16))
        } else {
            None
        }
    }

    /// What it says; `None` if nothing.
    #[inline]
    pub const fn limit(self) -> Option<Limit> {
        Some(match self.0 {
            0 => Limit::Never,
            1 => Limit::Zero,
            value if value & ABSOLUTE == 0 => {
                let mantissa = value & MANTISSA;
                if mantissa == 0 {
                    return None;
                }
                Limit::Within((mantissa as u64) << (value >> EXPONENT_SHIFT))
            }
            value if value == Self::BEGUN.0 => Limit::Begun,
            value => {
                let register = (value & REGISTER) as usize;
                if value & !(ABSOLUTE | REGISTER) != 0
                    || register + REGISTERS_PER_TIME > BUFFER_REGISTERS
                {
                    return None;
                }
                Limit::Until(register)
            }
        })
    }
}

impl From<Duration> for Timeout {
    /// Of at least that time; see [`Timeout::at_least`].
    #[inline(always)]
    fn from(time: Duration) -> Self {
        let microseconds = time.as_nanos().div_ceil(1000);
        Self::at_least(u64::try_from(microseconds).unwrap_or(u64::MAX))
    }
}

/// A time in two words or one, as it stands in buffer registers from the one of a [`Limit::Until`] on.
pub fn time_in(registers: &[Word]) -> Option<u64> {
    let words = registers.get(..REGISTERS_PER_TIME)?;
    let joined = words.iter().rev().fold(0, |time, word| time << (Word::BITS % 64) | *word as u64);
    Some(joined)
}

/// Writes a time there; the reverse of [`time_in`].
pub fn set_time_in(registers: &mut [Word], time: u64) {
    for (number, word) in registers.iter_mut().take(REGISTERS_PER_TIME).enumerate() {
        *word = (time >> (number as u32 * Word::BITS)) as Word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_valid_stays_valid() {
        assert_eq!((Timeouts::NEVER.0, Timeouts::ZERO.0), (0, 0x1_0001));
        assert!(Timeouts::NEVER.is_valid() && Timeouts::ZERO.is_valid());
        assert_eq!(Timeout::LONGEST.limit(), Some(Limit::Within(1023 << 31)));
        assert_eq!(Timeout::at_least(u64::MAX), Timeout::LONGEST);
        assert_eq!(Timeout::BEGUN.limit(), Some(Limit::Begun));
    }

    #[test]
    fn a_time_stands_in_registers() {
        let mut registers = [0; BUFFER_REGISTERS];
        let time = 0x1234_5678_9abc_def0;
        set_time_in(&mut registers[30..], time);
        assert_eq!(time_in(&registers[30..]), Some(time));
        assert_eq!(time_in(&registers[32..]), None);
        assert_eq!(Timeout::until(30).and_then(Timeout::limit), Some(Limit::Until(30)));
        assert_eq!(Timeout::until(32), None);
    }

    proptest! {
        #[test]
        fn a_relative_timeout_is_no_shorter_and_hardly_longer(time in 2..1023_u64 << 31) {
            let Some(Limit::Within(limit)) = Timeout::at_least(time).limit() else {
                panic!("no time");
            };
            prop_assert!(limit >= time && limit - time <= time / 512, "{time} {limit}");
        }

        #[test]
        fn whatever_the_bits_are_they_are_understood_or_not(bits: u16) {
            if let Some(Limit::Until(register)) = Timeout(bits).limit() {
                prop_assert_eq!(Timeout::until(register), Some(Timeout(bits)));
            }
        }
    }
}

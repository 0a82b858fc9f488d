//! Sizes, times and ports as people write them on a command line and in scenarios.

use machine::{RamSize, RamSizeError, bundle::PortRange};
use std::{num::ParseIntError, time::Duration};
use thiserror::Error;

/// Why a size can't be understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SizeError {
    /// Not a number with a unit.
    #[error("write a number with M or G, such as 256M")]
    NotASize,
    /// Not a size for a guest's memory.
    #[error(transparent)]
    Ram(#[from] RamSizeError),
}

/// Reads `256M` or `1G`.
pub fn ram_size(text: &str) -> Result<RamSize, SizeError> {
    let shift = match text.chars().last() {
        Some('M' | 'm') => 20,
        Some('G' | 'g') => 30,
        _ => return Err(SizeError::NotASize),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| SizeError::NotASize)?;
    // Far too large is as wrong as too large.
    let bytes = number.saturating_mul(1 << shift);
    Ok(RamSize::new(bytes)?)
}

/// Why a quota can't be understood.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("write a quota as a number with K or M, such as 64K")]
pub struct QuotaError;

/// Reads `64K` or `1M`, in KiB.
pub fn quota(text: &str) -> Result<u32, QuotaError> {
    let (number, factor) = match (text.strip_suffix(['K', 'k']), text.strip_suffix(['M', 'm'])) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 1024),
        _ => return Err(QuotaError),
    };
    let number: u32 = number.parse().map_err(|_| QuotaError)?;
    // Far too large is as wrong as too large.
    Ok(number.saturating_mul(factor))
}

/// Why ports can't be understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PortsError {
    /// Not ports.
    #[error("write a port such as 0x60, or a range such as 0x3f8-0x3ff, up to 0xffff")]
    NotPorts,
    /// A range of nothing.
    #[error("the range ends before it begins: write the lower port first")]
    Reversed,
}

/// Reads `0x60` or `0x3f8-0x3ff`.
pub fn ports(text: &str) -> Result<PortRange, PortsError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = PortRange { first: port(first)?, last: port(last)? };
    if range.first > range.last { Err(PortsError::Reversed) } else { Ok(range) }
}

fn port(text: &str) -> Result<u16, PortsError> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| PortsError::NotPorts)
}

/// Why a time can't be understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TimeError {
    /// Not a number with a unit.
    #[error("write a number with ms, s or m, such as 20s")]
    NotATime(#[from] ParseIntError),
    /// A guest that may not even start.
    #[error("a timeout of 0 leaves the guest no time")]
    Zero,
}

/// Reads `20s`, `500ms`, `2m` or `20`, which is seconds.
pub fn timeout(text: &str) -> Result<Duration, TimeError> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let with_unit =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = with_unit.unwrap_or((text, &1000));
    match number.parse::<u64>()?.saturating_mul(*factor) {
        0 => Err(TimeError::Zero),
        milliseconds => Ok(Duration::from_millis(milliseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_fit_a_guest() {
        assert_eq!(ram_size("256M").map(RamSize::bytes), Ok(256 << 20));
        assert_eq!(ram_size("3G").map(RamSize::bytes), Ok(3 << 30));
        for text in ["", "256", "M", "-1M", "1.5G", "256MB", "ä", "M256"] {
            assert_eq!(ram_size(text), Err(SizeError::NotASize), "{text}");
        }
        for text in ["15M", "0M", "4G", "18446744073709551615G"] {
            assert!(matches!(ram_size(text), Err(SizeError::Ram(_))), "{text}");
        }
    }

    #[test]
    fn quotas_are_in_kib() {
        assert_eq!([quota("64K"), quota("1M"), quota("0K")], [Ok(64), Ok(1024), Ok(0)]);
        assert_eq!(quota("4294967295M"), Ok(u32::MAX));
        for text in ["", "64", "K", "-4K", "1G", "4294967296K", "64 K"] {
            assert_eq!(quota(text), Err(QuotaError), "{text}");
        }
    }

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!(ports("0x3f8-0x3ff"), Ok(PortRange { first: 0x3f8, last: 0x3ff }));
        assert_eq!(ports("96"), Ok(PortRange { first: 96, last: 96 }));
        assert_eq!(ports("0-0xffff"), Ok(PortRange { first: 0, last: 0xffff }));
        assert_eq!(ports("0x3ff-0x3f8"), Err(PortsError::Reversed));
        for text in ["", "-", "1-", "-1", "0x", "0x10000", "65536", "1-2-3", "com1"] {
            assert_eq!(ports(text), Err(PortsError::NotPorts), "{text}");
        }
    }

    #[test]
    fn times_are_seconds_unless_they_say_otherwise() {
        let times = [("20s", 20_000), ("500ms", 500), ("2m", 120_000), ("7", 7000)];
        for (text, milliseconds) in times {
            assert_eq!(timeout(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(timeout("0s"), Err(TimeError::Zero));
        for text in ["", "s", "soon", "1h", "-1s", "1.5s"] {
            assert!(matches!(timeout(text), Err(TimeError::NotATime(_))), "{text}");
        }
    }
}

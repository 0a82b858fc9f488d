//! Which I/O ports a program may have.

use protocol::{PAGE_ORDER, boot::PortRange, flexpage::Flexpage};

/// Whether all ports of the flexpage lie in these ranges.
pub fn are_among(ranges: &[PortRange], flexpage: Flexpage) -> bool {
    let Some(area) = flexpage.port_area().filter(|_| !flexpage.is_whole_space()) else {
        return false;
    };
    let first = area.base() >> PAGE_ORDER;
    let has = |port: &usize| {
        ranges.iter().any(|range| (range.first.into()..=range.last.into()).contains(port))
    };
    (first..first + (1 << flexpage.order())).all(|port| has(&port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::flexpage::Rights;

    #[test]
    fn a_flexpage_must_lie_in_the_ranges_as_a_whole() {
        let ranges = [(0x60, 0x60), (0x3f8, 0x3fb), (0x3fc, 0x3fe), (0xffff, 0xffff)];
        let ranges = ranges.map(|(first, last)| PortRange { first, last });
        for (port, order, expected) in [
            (0x60, 0, true),
            (0x61, 0, false),
            (0x3f8, 2, true),
            // In two ranges that touch each other
            (0x3fa, 1, true),
            (0x3fc, 1, true),
            (0x3f8, 3, false),
            (0xffff, 0, true),
            (0, 16, false),
        ] {
            let found = are_among(&ranges, Flexpage::io_ports(port, order));
            assert_eq!(found, expected, "{port:#x} order {order}");
        }
        assert!(!are_among(&ranges, Flexpage::WHOLE_SPACE));
        assert!(!are_among(&ranges, Flexpage::memory(0x60 << 12, 12, Rights::READ)));
        assert!(!are_among(&[], Flexpage::io_ports(0x60, 0)));
    }
}

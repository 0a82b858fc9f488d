//! Draws where a flexpage went that was not of the receive window's size, as on the lecture's slides
//! "Flexpage offset": the send base chooses the place in the larger of the two.

use super::words::Numbers;
use crate::event::Mapping;
use protocol::{flexpage::WHOLE_SPACE_ORDER, introspection::record::MapStatus};

/// The most cells that the larger side is drawn with.
const MOST_CELLS: u64 = 16;

/// Width of the cell's text and of the bar before it.
const CELL: usize = 3;

/// The drawing's lines. None if there is nothing to choose: both sizes are equal, or the window is the
/// whole space, where the send base is the address itself.
pub(super) fn lines(mapping: &Mapping) -> Option<[String; 3]> {
    let (sent, window) = (mapping.sent, u32::from(mapping.window));
    let (smaller, larger) = (sent.order().min(window), sent.order().max(window));
    let is_drawn = mapping.status == MapStatus::Done
        && window != WHOLE_SPACE_ORDER
        && smaller != larger
        && smaller == u32::from(mapping.order)
        && larger < WHOLE_SPACE_ORDER;
    if !is_drawn {
        return None;
    }
    let start = |address: u64, order: u32| address >> order << order;
    let send_start = start(sent.address() as u64, sent.order());
    let window_start = start(mapping.destination, window);
    let is_send_smaller = sent.order() < window;
    let offset = match is_send_smaller {
        true => mapping.destination - window_start,
        false => mapping.source.checked_sub(send_start).filter(|offset| offset >> larger == 0)?,
    };
    let cells = 1u64.checked_shl(larger - smaller)?.min(MOST_CELLS);
    let marked = offset >> (larger - cells.ilog2());
    let column = marked as usize * CELL;
    let row: Vec<_> = (0..cells).map(|cell| if cell == marked { "##" } else { "--" }).collect();
    let large = format!("[{}]", row.join("|"));
    let small = format!("{:column$}[##]", "");
    let (above, below) = if is_send_smaller { (small, large) } else { (large, small) };
    let send = Numbers(sent.kind(), send_start, sent.order()).to_string();
    let receive = Numbers(sent.kind(), window_start, window).to_string();
    let base = format!("chooses offset {offset:#x}");
    Some([
        format!("send flexpage  {send:<24}{above}"),
        format!("send base      {base:<24}{:column$} ||", ""),
        format!("window         {receive:<24}{below}"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Event,
        scenario::{ROOT, WORDS, events, guest, placed},
    };
    use protocol::{
        PAGE_ORDER,
        flexpage::{Area, Flexpage, Kind, Rights},
    };

    /// What the kernel writes of a map of `sent` with that send base into that window.
    fn mapping(sent: Flexpage, base: usize, window: Flexpage) -> Mapping {
        let area = |flexpage: Flexpage| -> Option<Area> {
            match sent.kind() {
                Kind::IoPorts => flexpage.port_area(),
                _ => flexpage.memory_area(),
            }
        };
        let counted = if sent.kind() == Kind::IoPorts { PAGE_ORDER } else { 0 };
        let place = area(sent).unwrap().place(base, area(window).unwrap()).unwrap();
        let [destination, source] =
            [place.destination, place.source].map(|place| (place >> counted) as u32);
        let sizes = [place.order - counted, window.order()];
        let record = placed(100, WORDS, ROOT, sent, [sizes[0], sizes[1], destination, source]);
        match &events(guest(4), [record])[..] {
            [Event::Map(mapping)] => mapping.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn memory(address: usize, order: u32) -> Flexpage {
        Flexpage::memory(address, order, Rights::READ_WRITE)
    }

    #[test]
    fn a_smaller_flexpage_has_its_place_in_the_window_from_the_send_base() {
        let drawn = lines(&mapping(memory(0x1000_3000, 12), 0x7_5000, memory(0x5000_0000, 15)));
        assert_eq!(
            drawn.unwrap(),
            [
                "send flexpage  0x10003000,2^12                        [##]",
                "send base      chooses offset 0x5000                   ||",
                "window         0x50000000,2^15         [--|--|--|--|--|##|--|--]",
            ]
        );
    }

    #[test]
    fn of_a_larger_flexpage_the_send_base_chooses_the_part() {
        let drawn = lines(&mapping(memory(0x1000_0000, 15), 0x2000, memory(0x5000_5000, 12)));
        assert_eq!(
            drawn.unwrap(),
            [
                "send flexpage  0x10000000,2^15         [--|--|##|--|--|--|--|--]",
                "send base      chooses offset 0x2000          ||",
                "window         0x50005000,2^12               [##]",
            ]
        );
    }

    #[test]
    fn ports_are_drawn_by_their_numbers() {
        let window = Flexpage::io_ports(0x3f8, 3);
        let drawn = lines(&mapping(Flexpage::io_ports(0x3fc, 1), 0x3fc << 12, window));
        assert_eq!(
            drawn.unwrap(),
            [
                "send flexpage  ports 0x3fc-0x3fd             [##]",
                "send base      chooses offset 0x4             ||",
                "window         ports 0x3f8-0x3ff       [--|--|##|--]",
            ]
        );
    }

    #[test]
    fn many_pieces_share_a_cell() {
        let drawn = lines(&mapping(memory(0x1000_0000, 12), 0x1f_f000, memory(0x5000_0000, 21)));
        let [_, _, window] = drawn.unwrap();
        assert!(window.ends_with("|--|##]") && window.matches('|').count() == 15, "{window}");
    }

    #[test]
    fn where_nothing_is_chosen_nothing_is_drawn() {
        let page = memory(0x1000_0000, 12);
        assert_eq!(lines(&mapping(page, 0x7_5000, memory(0x5000_0000, 12))), None);
        assert_eq!(lines(&mapping(page, 0x7_5000, Flexpage::WHOLE_SPACE)), None);
    }

    #[test]
    fn nonsense_is_not_drawn() {
        let sound = mapping(memory(0x1000_0000, 15), 0x2000, memory(0x5000_5000, 12));
        for (order, window, source) in
            [(12, 200, 0), (13, 12, 0x1000_2000), (12, 12, 0), (12, 12, u64::MAX), (0, 0, 0)]
        {
            assert_eq!(lines(&Mapping { order, window, source, ..sound.clone() }), None);
        }
    }
}

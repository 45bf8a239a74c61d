//! Computes the fingerprint by table, at one or four places at a time.

use super::{DEGREE, MASK, Polynomial, WINDOW_BYTES};

/// The effects of a byte on the fingerprint when it enters and when it leaves.
#[derive(Debug)]
pub(super) struct Tables {
    /// The correction for each byte shifted out at the top: it brings the fingerprint back below
    /// the degree and removes the shifted byte itself.
    reduce: [u64; 256],
    /// The contribution of each leaving byte to the fingerprint after the next byte has entered.
    leave: [u64; 256],
}

const TOP: u32 = DEGREE - 8;

#[expect(
    clippy::indexing_slicing,
    reason = "tables of 256 entries are indexed by bytes"
)]
impl Tables {
    pub(super) fn new(polynomial: Polynomial) -> Self {
        let mut tables = Tables {
            reduce: [0; 256],
            leave: [0; 256],
        };
        for byte in 0..=255_u8 {
            let high = u64::from(byte) << DEGREE;
            tables.reduce[usize::from(byte)] = polynomial.reduce(high) | high;
            tables.leave[usize::from(byte)] = polynomial.shift(u64::from(byte), 512);
        }
        tables
    }

    #[inline(always)]
    fn enter(&self, print: u64, byte: u8) -> u64 {
        let top = (print >> TOP).to_le_bytes()[0];
        (print << 8 | u64::from(byte)) ^ self.reduce[usize::from(top)]
    }

    #[inline(always)]
    fn slide(&self, print: u64, byte: u8, leaving: u8) -> u64 {
        self.enter(print, byte) ^ self.leave[usize::from(leaving)]
    }

    /// The fingerprint of a whole window.
    fn window(&self, window: &[u8]) -> u64 {
        window
            .iter()
            .fold(0, |print, &byte| self.enter(print, byte))
    }

    /// Searches the places from `from` to `to`, both included; `64 <= from <= to <= data.len()`.
    pub(super) fn one_lane(&self, data: &[u8], from: usize, to: usize, found: &mut Vec<usize>) {
        let mut print = self.window(&data[from - WINDOW_BYTES..from]);
        if print & MASK == 0 {
            found.push(from);
        }
        let entering = &data[from..to];
        let leaving = &data[from - WINDOW_BYTES..];
        for (place, (&byte, &left)) in entering.iter().zip(leaving).enumerate() {
            print = self.slide(print, byte, left);
            if print & MASK == 0 {
                found.push(from + place + 1);
            }
        }
    }

    /// Searches the same places in four stretches at once: each step waits for the one before it,
    /// so four together cost little more than one.
    pub(super) fn four_lanes(&self, data: &[u8], from: usize, to: usize, found: &mut Vec<usize>) {
        const LANES: usize = 4;
        let stretch = (to - from + 1) / LANES;
        if stretch < 4 * WINDOW_BYTES {
            return self.one_lane(data, from, to, found);
        }
        let first = found.len();
        let start = |lane: usize| from + lane * stretch;
        let lanes: [&[u8]; LANES] =
            std::array::from_fn(|l| &data[start(l) - WINDOW_BYTES..start(l) + stretch - 1]);
        let mut prints = lanes.map(|lane| self.window(&lane[..WINDOW_BYTES]));
        let note = |prints: &[u64; LANES], place: usize, found: &mut Vec<usize>| {
            for (lane, print) in prints.iter().enumerate() {
                if print & MASK == 0 {
                    found.push(start(lane) + place);
                }
            }
        };
        note(&prints, 0, found);
        let [a, b, c, d] = lanes.map(|lane| lane.iter().zip(&lane[WINDOW_BYTES..]));
        for (place, (((a, b), c), d)) in a.zip(b).zip(c).zip(d).enumerate() {
            let mut hit = false;
            for (print, (&left, &byte)) in prints.iter_mut().zip([a, b, c, d]) {
                *print = self.slide(*print, byte, left);
                hit |= *print & MASK == 0;
            }
            if hit {
                note(&prints, place + 1, found);
            }
        }
        if let Some(new) = found.get_mut(first..) {
            new.sort_unstable();
        }
        let rest = from + LANES * stretch;
        if rest <= to {
            self.one_lane(data, rest, to, found);
        }
    }
}

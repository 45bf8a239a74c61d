//! Computes the fingerprint in 64 lanes at once, on processors with AVX-512 and GFNI.
//!
//! Sliding the window is linear over GF(2): `H' = x⁸·H + entering + x⁵¹²·leaving` modulo the
//! polynomial. With `D = x³·H`, the 53 bits of the fingerprint end at the top of the seventh byte,
//! so that a lane's state is seven bytes; each of them is a plane of 64 lanes in one register. A
//! step moves every plane up by one and adds what the top plane and the leaving byte contribute,
//! each an 8×8 matrix of bits, for which there is one instruction.

use super::{DEGREE, MASK, Polynomial, WINDOW_BYTES};
use std::arch::x86_64::{
    __m512i, _mm_set_epi64x, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_gf2p8affine_epi64_epi8, _mm512_mask_broadcast_i32x4, _mm512_set1_epi8,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_ternarylogic_epi64, _mm512_testn_epi8_mask,
    _mm512_unpackhi_epi8, _mm512_unpacklo_epi8, _mm512_xor_si512,
};

/// The number of lanes, and the bytes of each lane that are turned into planes at a time.
const LANES: usize = 64;
/// Bytes of a lane's state.
const PLANES: usize = 7;
/// `a ^ b ^ c` and `a | b | c` as truth tables.
const XOR: i32 = 0x96;
const OR: i32 = 0xfe;

/// The matrices of a polynomial.
#[derive(Debug)]
pub(super) struct Lanes {
    /// The contribution of the top plane to each plane.
    top: [i64; PLANES],
    /// The contribution of the leaving byte to each plane.
    leave: [i64; PLANES],
    /// The contribution of the entering byte to the lowest two planes.
    enter: [i64; 2],
    /// The bits of the third plane that must be zero at a cut.
    third: i8,
}

impl Lanes {
    /// Prepares the matrices; `None` if this processor lacks an instruction.
    pub(super) fn new(polynomial: Polynomial) -> Option<Self> {
        let capable = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("gfni");
        if !capable {
            return None;
        }
        let plane = |value: u64, plane: usize| -> u8 {
            (value << 3).to_le_bytes().get(plane).copied().unwrap_or(0)
        };
        let top = |byte: u8| polynomial.shift(u64::from(byte) << (DEGREE - 8), 8);
        let leave = |byte: u8| polynomial.shift(u64::from(byte), 512);
        Some(Lanes {
            top: std::array::from_fn(|j| matrix(|byte| plane(top(byte), j))),
            leave: std::array::from_fn(|j| matrix(|byte| plane(leave(byte), j))),
            enter: [matrix(|byte| byte << 3), matrix(|byte| byte >> 5)],
            third: ((MASK << 3).to_le_bytes()[2]).cast_signed(),
        })
    }

    /// Works like [`super::Chunker::candidates`] on the part of `from..=to` that the lanes divide
    /// evenly. Returns the first place that was not examined.
    pub(super) fn candidates(
        &self,
        data: &[u8],
        from: usize,
        to: usize,
        found: &mut Vec<usize>,
    ) -> usize {
        // Rounded down: a block is loaded whole, also the byte after a lane's last place.
        let stretch = (to - from) / LANES / LANES * LANES;
        if stretch == 0 {
            return from;
        }
        let first = found.len();
        #[expect(
            unsafe_code,
            reason = "the one way to call code for a certain processor"
        )]
        // SAFETY: a value of this type exists only where `new` found these features.
        unsafe {
            self.scan(data, from, stretch, found);
        }
        if let Some(new) = found.get_mut(first..) {
            new.sort_unstable();
        }
        from + LANES * stretch
    }

    /// Searches `stretch` places in each lane; lane `l` starts at `from + l * stretch`. `stretch`
    /// is a multiple of 64.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn scan(&self, data: &[u8], from: usize, stretch: usize, found: &mut Vec<usize>) {
        let top = self.top.map(|matrix| _mm512_set1_epi64(matrix));
        let leave = self.leave.map(|matrix| _mm512_set1_epi64(matrix));
        let enter = self.enter.map(|matrix| _mm512_set1_epi64(matrix));
        let third = _mm512_set1_epi8(self.third);
        let zero = _mm512_setzero_si512();
        let mut state = [zero; PLANES];
        let mut leaving = [zero; LANES];
        let mut entering = [zero; LANES];

        // The first window of each lane: no byte leaves it yet.
        planes(data, from - WINDOW_BYTES, stretch, &mut leaving);
        for &byte in &leaving {
            step(&mut state, byte, zero, &top, &enter, &leave);
        }
        let mut place = 0;
        loop {
            note(&state, third, from + place, stretch, found);
            if place + LANES >= stretch {
                // The last block: its last byte would lead to the next lane's first place.
                planes(data, from + place, stretch, &mut entering);
                for (k, (&byte, &left)) in entering.iter().zip(&leaving).take(LANES - 1).enumerate()
                {
                    step(&mut state, byte, left, &top, &enter, &leave);
                    note(&state, third, from + place + k + 1, stretch, found);
                }
                return;
            }
            planes(data, from + place, stretch, &mut entering);
            let last = LANES - 1;
            for (k, (&byte, &left)) in entering.iter().zip(&leaving).enumerate() {
                step(&mut state, byte, left, &top, &enter, &leave);
                if k < last {
                    note(&state, third, from + place + k + 1, stretch, found);
                }
            }
            std::mem::swap(&mut entering, &mut leaving);
            place += LANES;
        }
    }
}

/// Advances every lane by one byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[expect(clippy::indexing_slicing, reason = "constant indices into arrays")]
fn step(
    state: &mut [__m512i; PLANES],
    byte: __m512i,
    left: __m512i,
    top: &[__m512i; PLANES],
    enter: &[__m512i; 2],
    leave: &[__m512i; PLANES],
) {
    let [s0, s1, s2, s3, s4, s5, highest] = *state;
    let up = [s0, s1, s2, s3, s4, s5];
    let apply = |value, matrix| _mm512_gf2p8affine_epi64_epi8::<0>(value, matrix);
    let add = |a, b, c| _mm512_ternarylogic_epi64::<XOR>(a, b, c);
    let share = |j: usize| (apply(highest, top[j]), apply(left, leave[j]));
    let (t, o) = share(0);
    state[0] = add(t, o, apply(byte, enter[0]));
    let (t, o) = share(1);
    state[1] = add(t, o, _mm512_xor_si512(up[0], apply(byte, enter[1])));
    for j in 2..PLANES {
        let (t, o) = share(j);
        state[j] = add(t, o, up[j - 1]);
    }
}

/// Records the lanes whose fingerprint ends in zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn note(
    state: &[__m512i; PLANES],
    third: __m512i,
    place: usize,
    stretch: usize,
    found: &mut Vec<usize>,
) {
    let bits =
        _mm512_ternarylogic_epi64::<OR>(state[0], state[1], _mm512_and_si512(state[2], third));
    let mut lanes = _mm512_testn_epi8_mask(bits, bits);
    while lanes != 0 {
        let lane = lanes.trailing_zeros() as usize;
        lanes &= lanes - 1;
        found.push(place + lane * stretch);
    }
}

/// Turns 64 bytes of each lane, from `at + lane * stretch`, into 64 planes: byte `l` of plane `c`
/// is byte `c` of lane `l`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(clippy::indexing_slicing, reason = "constant indices into arrays")]
fn planes(data: &[u8], at: usize, stretch: usize, out: &mut [__m512i; LANES]) {
    for (quarter, out) in out.chunks_exact_mut(16).enumerate() {
        let mut rows = [_mm512_setzero_si512(); 16];
        for (i, row) in rows.iter_mut().enumerate() {
            // Lanes i, i + 16, i + 32 and i + 48, in the four quarters of a register.
            let load = |lane: usize| {
                let start = at + lane * stretch + quarter * 16;
                let bytes = data
                    .get(start..start + 16)
                    .and_then(|b| b.as_chunks().0.first());
                let [low, high] = halves(bytes.copied().unwrap_or_default());
                _mm_set_epi64x(high, low)
            };
            let joined = _mm512_broadcast_i32x4(load(i));
            let joined = _mm512_mask_broadcast_i32x4(joined, 0x00f0, load(i + 16));
            let joined = _mm512_mask_broadcast_i32x4(joined, 0x0f00, load(i + 32));
            *row = _mm512_mask_broadcast_i32x4(joined, 0xf000, load(i + 48));
        }
        // Interleaving rows i and i + 8 four times transposes rows and columns.
        for _ in 0..4 {
            let before = rows;
            for i in 0..8 {
                rows[2 * i] = _mm512_unpacklo_epi8(before[i], before[i + 8]);
                rows[2 * i + 1] = _mm512_unpackhi_epi8(before[i], before[i + 8]);
            }
        }
        out.copy_from_slice(&rows);
    }
}

fn halves(bytes: [u8; 16]) -> [i64; 2] {
    let value = u128::from_le_bytes(bytes);
    [value, value >> 64]
        .map(|half| i64::from_le_bytes(*half.to_le_bytes().first_chunk().unwrap_or(&[0; 8])))
}

/// Encodes a linear function of bits as the instruction expects it: bit `i` of the result is the
/// parity of the value and row `i`, and row `i` is byte `7 - i`.
fn matrix(function: impl Fn(u8) -> u8) -> i64 {
    let mut rows = [0_u8; 8];
    for (i, row) in rows.iter_mut().rev().enumerate() {
        for j in 0..8 {
            *row |= (function(1 << j) >> i & 1) << j;
        }
    }
    i64::from_le_bytes(rows)
}

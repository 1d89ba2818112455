//! Triple DES in CBC mode (FIPS 46-3, RFC 2898 padding).
//!
//! The `des` crate takes twice as long as Go's, since it permutes bit by bit; here a round is eight look-ups in tables
//! that combine S-boxes and permutation P. Triple DES protects nothing any more: it is here because old programs read
//! nothing newer, so the cache timing of look-ups is no concern.

/// Key schedule of 48 rounds, each as the two words that [`feistel`] takes.
pub(super) struct TripleDes([[u32; 2]; 48]);

impl TripleDes {
    /// Computes the schedule of a key of three DES keys.
    pub(super) fn new(key: &[u8; 24]) -> TripleDes {
        let mut rounds = [[0; 2]; 48];
        for (stage, (rounds, key)) in rounds.as_chunks_mut::<16>().0.iter_mut().zip(key.as_chunks::<8>().0).enumerate()
        {
            *rounds = schedule(u64::from_be_bytes(*key));
            if stage == 1 {
                rounds.reverse();
            }
        }
        TripleDes(rounds)
    }

    /// Encrypts in CBC mode with the padding of PKCS#7.
    pub(super) fn encrypt(&self, iv: [u8; 8], plain: &[u8]) -> Vec<u8> {
        let (blocks, rest) = plain.as_chunks::<8>();
        let missing = 8 - rest.len();
        let mut last = [missing.to_le_bytes()[0]; 8];
        last[..rest.len()].copy_from_slice(rest);

        let mut out = Vec::with_capacity(plain.len() + missing);
        let mut chain = u64::from_be_bytes(iv);
        for block in blocks.iter().chain([&last]) {
            chain = self.block(chain ^ u64::from_be_bytes(*block));
            out.extend_from_slice(&chain.to_be_bytes());
        }
        out
    }

    /// Decrypts the output of [`encrypt`](TripleDes::encrypt).
    ///
    /// Returns `None` if the length or the padding is wrong, as is nearly always the case under another key.
    pub(super) fn decrypt(mut self, iv: [u8; 8], cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.reverse();
        let (blocks, []) = cipher.as_chunks::<8>() else {
            return None;
        };
        let mut out = Vec::with_capacity(cipher.len());
        let mut chain = u64::from_be_bytes(iv);
        for block in blocks {
            let block = u64::from_be_bytes(*block);
            out.extend_from_slice(&(self.block(block) ^ chain).to_be_bytes());
            chain = block;
        }
        let padding = *out.last().filter(|padding| (1..=8).contains(*padding))?;
        let (plain, padded) = out.split_at(out.len() - usize::from(padding));
        let length = plain.len();
        padded.iter().all(|octet| *octet == padding).then(|| {
            out.truncate(length);
            out
        })
    }

    fn block(&self, block: u64) -> u64 {
        let [mut left, mut right] = initial_permutation(block);
        for stage in self.0.as_chunks::<16>().0 {
            for [even, odd] in stage.as_chunks::<2>().0 {
                left ^= feistel(right, *even);
                right ^= feistel(left, *odd);
            }
            (left, right) = (right, left);
        }
        final_permutation([left, right])
    }
}

/// Computes function f.
///
/// The six-bit groups of expansion E overlap, so each word of the key has every other one of the eight, in the upper
/// bits of its octets.
#[inline]
fn feistel(half: u32, [even, odd]: [u32; 2]) -> u32 {
    let groups = |word: u32| word.to_be_bytes().map(|octet| usize::from(octet >> 2));
    let [g1, g3, g5, g7] = groups(half.rotate_right(1) ^ even);
    let [g2, g4, g6, g8] = groups(half.rotate_left(3) ^ odd);
    let [s1, s2, s3, s4, s5, s6, s7, s8] = &SUBSTITUTE_AND_PERMUTE;
    s1[g1] ^ s2[g2] ^ s3[g3] ^ s4[g4] ^ s5[g5] ^ s6[g6] ^ s7[g7] ^ s8[g8]
}

/// The round keys of one DES key.
fn schedule(key: u64) -> [[u32; 2]; 16] {
    const SHIFTS: [u32; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
    const HALF: u64 = (1 << 28) - 1;
    let halves = permute(key, 64, &PERMUTED_CHOICE_1);
    let (mut c, mut d) = (halves >> 28, halves & HALF);
    SHIFTS.map(|shift| {
        let rotate = |half: u64| (half << shift | half >> (28 - shift)) & HALF;
        (c, d) = (rotate(c), rotate(d));
        let key = permute(c << 28 | d, 56, &PERMUTED_CHOICE_2);
        let group = |n: u32| u32::try_from(key >> (42 - 6 * n) & 63).expect("six bits") << 2;
        let word = |first: u32| (0..4).fold(0, |word, n| word << 8 | group(first + 2 * n));
        [word(0), word(1)]
    })
}

/// The bits of a number of `width` bits that `table` names, counted from 1 at the most significant one.
const fn permute(number: u64, width: u8, table: &[u8]) -> u64 {
    let mut out = 0;
    let mut at = 0;
    while at < table.len() {
        out = out << 1 | number >> (width - table[at]) & 1;
        at += 1;
    }
    out
}

/// Permutation IP, as five exchanges of bits between the halves.
fn initial_permutation(block: u64) -> [u32; 2] {
    let half = |number: u64| u32::try_from(number & 0xffff_ffff).expect("32 bits");
    let (mut left, mut right) = (half(block >> 32), half(block));
    exchange(&mut left, &mut right, 4, 0x0f0f_0f0f);
    exchange(&mut left, &mut right, 16, 0x0000_ffff);
    exchange(&mut right, &mut left, 2, 0x3333_3333);
    exchange(&mut right, &mut left, 8, 0x00ff_00ff);
    exchange(&mut left, &mut right, 1, 0x5555_5555);
    [left, right]
}

/// The inverse of IP.
fn final_permutation([mut left, mut right]: [u32; 2]) -> u64 {
    exchange(&mut left, &mut right, 1, 0x5555_5555);
    exchange(&mut right, &mut left, 8, 0x00ff_00ff);
    exchange(&mut right, &mut left, 2, 0x3333_3333);
    exchange(&mut left, &mut right, 16, 0x0000_ffff);
    exchange(&mut left, &mut right, 4, 0x0f0f_0f0f);
    u64::from(left) << 32 | u64::from(right)
}

/// Exchanges the bits `mask` of `low` with those of `high` that are `shift` bits further up.
fn exchange(high: &mut u32, low: &mut u32, shift: u32, mask: u32) {
    let different = (*high >> shift ^ *low) & mask;
    *low ^= different;
    *high ^= different << shift;
}

static SUBSTITUTE_AND_PERMUTE: [[u32; 64]; 8] = substitute_and_permute();

#[expect(clippy::cast_possible_truncation, reason = "32 bits go in and 32 bits come out")]
const fn substitute_and_permute() -> [[u32; 64]; 8] {
    let mut tables = [[0; 64]; 8];
    let mut table = 0;
    while table < 8 {
        let mut input = 0;
        while input < 64 {
            let (row, column) = ((input >> 4 & 2) | (input & 1), input >> 1 & 15);
            let nibble = S_BOXES[table][row] >> (60 - 4 * column) & 15;
            tables[table][input] = permute(nibble << (28 - 4 * table), 32, &PERMUTATION) as u32;
            input += 1;
        }
        table += 1;
    }
    tables
}

/// One row of an S-box per number, one column per hexadecimal digit.
const S_BOXES: [[u64; 4]; 8] = [
    [0xe4d1_2fb8_3a6c_5907, 0x0f74_e2d1_a6cb_9538, 0x41e8_d62b_fc97_3a50, 0xfc82_4917_5b3e_a06d],
    [0xf18e_6b34_972d_c05a, 0x3d47_f28e_c01a_69b5, 0x0e7b_a4d1_58c6_932f, 0xd8a1_3f42_b67c_05e9],
    [0xa09e_63f5_1dc7_b428, 0xd709_346a_285e_cbf1, 0xd649_8f30_b12c_5ae7, 0x1ad0_6987_4fe3_b52c],
    [0x7de3_069a_1285_bc4f, 0xd8b5_6f03_472c_1ae9, 0xa690_cb7d_f13e_5284, 0x3f06_a1d8_945b_c72e],
    [0x2c41_7ab6_853f_d0e9, 0xeb2c_47d1_50fa_3986, 0x421b_ad78_f9c5_630e, 0xb8c7_1e2d_6f09_a453],
    [0xc1af_9268_0d34_e75b, 0xaf42_7c95_61de_0b38, 0x9ef5_28c3_704a_1db6, 0x432c_95fa_be17_608d],
    [0x4b2e_f08d_3c97_5a61, 0xd0b7_491a_e35c_2f86, 0x14bd_c37e_af68_0592, 0x6bd8_14a7_950f_e23c],
    [0xd284_6fb1_a93e_50c7, 0x1fd8_a374_c56b_0e92, 0x7b41_9ce2_06ad_f358, 0x21e7_4a8d_fc90_356b],
];

const PERMUTATION: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4,
    25,
];

const PERMUTED_CHOICE_1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36, 63, 55,
    47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
];

const PERMUTED_CHOICE_2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37, 47, 55, 30,
    40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];

#[cfg(test)]
mod tests {
    use cbc::cipher::block_padding::Pkcs7;
    use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn it_agrees_with_the_des_crate() {
        for length in 0_u8..64 {
            let [a, b, c, d] = [1, 2, 3, 4].map(|part| <[u8; 32]>::from(Sha256::digest([length, part])));
            let (key, iv) = (*a.first_chunk().unwrap(), *b.first_chunk().unwrap());
            let plain = &[c, d].concat()[..length.into()];
            let theirs =
                cbc::Encryptor::<des::TdesEde3>::new(&key.into(), &iv.into()).encrypt_padded_vec::<Pkcs7>(plain);
            assert_eq!(TripleDes::new(&key).encrypt(iv, plain), theirs);
            assert_eq!(TripleDes::new(&key).decrypt(iv, &theirs).as_deref(), Some(plain));
        }
    }

    #[test]
    fn what_has_no_whole_blocks_or_no_padding_is_not_decrypted() {
        let plain = |last: [u8; 8]| {
            let cipher = TripleDes::new(&[7; 24]).encrypt([0; 8], &last);
            TripleDes::new(&[7; 24]).decrypt([0; 8], &cipher[..8])
        };
        assert_eq!(plain([1, 2, 3, 4, 5, 6, 2, 2]), Some(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(plain([8; 8]), Some(vec![]));
        for last in [[0; 8], [9; 8], [1, 2, 3, 4, 5, 6, 3, 2]] {
            assert_eq!(plain(last), None, "{last:?}");
        }
        for cipher in [&[][..], &[1; 7], &[1; 9]] {
            assert_eq!(TripleDes::new(&[7; 24]).decrypt([0; 8], cipher), None);
        }
    }
}

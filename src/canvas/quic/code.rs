//! Golomb-Rice codes with a limited length, and what they are chosen by.

use super::bits::BitReader;

/// No code word is longer than so many bits.
const LONGEST: u32 = 26;

/// One code: small numbers get short words, and the code says what is small.
#[derive(Clone, Copy, Debug)]
struct Code {
    /// Zeros that begin a word without a one; fewer end with one.
    escape: u32,
    /// Bits behind the zeros of such a word.
    rest: u32,
    /// The first number that is coded so.
    first: u32,
}

/// The codes for numbers of one depth.
#[derive(Debug)]
pub(super) struct Family {
    /// Bits of a number.
    pub(super) depth: u32,
    codes: [Code; 8],
    /// Length of the word of each number in each code.
    lengths: [[u8; 8]; 256],
}

/// For channels of eight bits.
pub(super) static EIGHT: Family = Family::new(8);
/// For channels of five bits.
pub(super) static FIVE: Family = Family::new(5);

impl Family {
    const fn new(depth: u32) -> Self {
        let numbers = 1 << depth;
        let mut codes = [Code { escape: 0, rest: 0, first: 0 }; 8];
        let mut lengths = [[0; 8]; 256];
        let mut low = 0;
        while low < depth {
            let most = (1 << (depth - low)) - 1;
            let escape = if LONGEST - depth < most { LONGEST - depth } else { most };
            let first = escape << low;
            let others: u32 = numbers - first;
            let rest = others.next_power_of_two().ilog2();
            codes[low as usize] = Code { escape, rest, first };
            let mut number = 0;
            while number < numbers {
                let length = if number < first { (number >> low) + 1 + low } else { escape + rest };
                lengths[number as usize][low as usize] = length as u8;
                number += 1;
            }
            low += 1;
        }
        Self { depth, codes, lengths }
    }

    /// Reads a number of the code with so many `low` bits.
    pub(super) fn read(&self, low: usize, bits: &mut BitReader<'_>) -> u8 {
        let code = self.codes[low];
        let zeros = bits.peek().leading_zeros();
        let number = if zeros < code.escape {
            bits.skip(zeros + 1);
            zeros << low | bits.take(low as u32)
        } else {
            bits.skip(code.escape);
            code.first + bits.take(code.rest)
        };
        // Only numbers that no encoder writes are cut.
        number as u8 & self.mask()
    }

    /// All bits of a number.
    pub(super) fn mask(&self) -> u8 {
        0xff >> (8 - self.depth)
    }
}

/// What is expected of the numbers that follow those of one range.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// What all numbers so far would have cost in each code; halved from time to time.
    costs: [u32; 8],
    /// The code that would have cost least.
    best: usize,
}

/// What is expected of a channel's numbers by the number before each.
#[derive(Debug)]
pub(super) struct Model {
    buckets: [Bucket; 8],
    family: &'static Family,
}

impl Model {
    /// Nothing is known.
    pub(super) fn new(family: &'static Family) -> Self {
        let bucket = Bucket { costs: [0; 8], best: family.depth as usize - 1 };
        Self { buckets: [bucket; 8], family }
    }

    /// Ranges double: 0, 1 and 2, 3 to 6; the last one has what is left.
    fn bucket(&mut self, before: u8) -> &mut Bucket {
        let range = (u32::from(before) + 1).ilog2().min(self.family.depth - 1);
        &mut self.buckets[range as usize]
    }

    /// The code for a number behind another one.
    pub(super) fn code(&mut self, before: u8) -> usize {
        self.bucket(before).best
    }

    /// Learns from a number behind another one. Beyond `trigger` bits what was learned
    /// counts half.
    pub(super) fn learn(&mut self, before: u8, number: u8, trigger: u32) {
        let family = self.family;
        let bucket = self.bucket(before);
        let costs = &mut bucket.costs[..family.depth as usize];
        for (cost, length) in costs.iter_mut().zip(family.lengths[usize::from(number)]) {
            *cost += u32::from(length);
        }
        // Of equally good codes the one with the most low bits.
        let best = costs.iter().enumerate().rev().min_by_key(|(_, cost)| **cost);
        let (best, cost) = best.map_or((0, 0), |(code, cost)| (code, *cost));
        if cost > trigger {
            for cost in costs {
                *cost /= 2;
            }
        }
        bucket.best = best;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_too_long_and_none_is_missing() {
        for family in [&EIGHT, &FIVE] {
            for low in 0..family.depth as usize {
                let lengths: Vec<u32> = (0..1_usize << family.depth)
                    .map(|number| u32::from(family.lengths[number][low]))
                    .collect();
                assert!(lengths.iter().all(|length| (1..=LONGEST).contains(length)));
                // Kraft: a code without gaps or with a few.
                let used: u64 = lengths.iter().map(|length| 1 << (LONGEST - length)).sum();
                assert!(used <= 1 << LONGEST, "code {low}");
            }
        }
    }

    #[test]
    fn words_of_both_forms_are_read() {
        // Code 1: 0000 1 1 is 9; 18 zeros and the number's rest.
        let mut bits = BitReader::new(&[0, 0, 0, 0b0000_1100]);
        assert_eq!(EIGHT.read(1, &mut bits), 9);
        let escaped = (5_u32 << 6).to_le_bytes();
        let mut bits = BitReader::new(&escaped);
        assert_eq!(EIGHT.codes[0].rest, 8);
        assert_eq!(EIGHT.read(0, &mut bits), 18 + 5);
    }

    #[test]
    fn the_cheapest_code_is_chosen_and_the_past_fades() {
        let mut model = Model::new(&EIGHT);
        assert_eq!(model.code(0), 7);
        model.learn(0, 0, 110);
        assert_eq!(model.code(0), 0);
        assert_eq!(model.code(1), 7, "another range");
        for _ in 0..100 {
            model.learn(0, 200, 110);
        }
        assert!(model.code(0) > 4);
    }
}

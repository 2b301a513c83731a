//! Channels that are coded together: the three colours of a pixel, or alpha alone.

use super::QuicError;
use super::bits::BitReader;
use super::code::{Family, Model};

/// How often the models learn: after 2,048 pixels each more rarely, up to every 64th pixel on
/// the average. The pairs: the bits of the distance that is drawn by lot, and from which cost
/// on a model forgets.
const STAGES: [(u8, u32); 7] =
    [(0, 110), (1, 550), (3, 900), (7, 800), (15, 550), (31, 400), (63, 350)];
const STAGE_PIXELS: usize = 2048;

/// Lengths that a run is counted in, as powers of two; each step taken goes one on, and each
/// run's end one back.
const RUN_STEPS: [u8; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// Numbers drawn by lot, of which both ends know the order; their lowest six bits.
const LOTS: [u8; 256] = [
    2, 23, 19, 21, 7, 18, 40, 14, 12, 32, 47, 44, 36, 6, 18, 11, //
    4, 19, 42, 29, 16, 63, 57, 51, 16, 3, 5, 14, 15, 30, 20, 9, //
    36, 45, 3, 57, 61, 0, 8, 5, 41, 14, 43, 27, 43, 59, 31, 35, //
    39, 60, 42, 38, 13, 54, 62, 1, 26, 3, 11, 61, 52, 34, 7, 48, //
    4, 59, 22, 12, 22, 8, 50, 4, 10, 6, 44, 8, 11, 46, 31, 51, //
    53, 17, 1, 43, 46, 60, 36, 54, 10, 27, 39, 44, 22, 41, 23, 2, //
    44, 0, 40, 53, 40, 48, 16, 43, 32, 28, 33, 12, 20, 2, 56, 62, //
    55, 58, 18, 20, 13, 55, 38, 29, 57, 19, 49, 33, 47, 63, 59, 0, //
    35, 61, 19, 25, 46, 38, 60, 4, 35, 1, 26, 40, 28, 10, 5, 14, //
    25, 18, 48, 49, 20, 59, 62, 34, 46, 7, 33, 52, 34, 58, 9, 29, //
    8, 55, 62, 60, 37, 36, 37, 50, 6, 3, 10, 28, 48, 24, 26, 61, //
    57, 30, 11, 54, 2, 6, 50, 47, 7, 17, 35, 53, 32, 12, 23, 17, //
    5, 21, 49, 55, 51, 45, 52, 27, 39, 25, 39, 63, 22, 24, 42, 52, //
    56, 38, 41, 41, 56, 32, 13, 24, 26, 51, 27, 56, 58, 37, 24, 42, //
    15, 28, 17, 30, 31, 15, 16, 23, 25, 54, 33, 34, 1, 29, 31, 50, //
    53, 21, 49, 15, 47, 9, 0, 58, 37, 45, 30, 13, 9, 45, 63, 21, //
];

/// Channels, and how far they have come.
#[derive(Debug)]
pub(super) struct Group<const N: usize> {
    family: &'static Family,
    models: [Model; N],
    /// The line that comes next, as far as it is there; above it in `above`.
    line: Vec<[u8; N]>,
    above: Vec<[u8; N]>,
    /// The number that was read for each pixel of this line or, where it lies in a run, of
    /// one of those above.
    numbers: Vec<[u8; N]>,
    is_first: bool,
    pace: Pace,
    run: usize,
}

/// When the models learn next.
#[derive(Debug)]
struct Pace {
    stage: usize,
    /// Pixels left of this stage.
    left: usize,
    /// Pixels before the next one to learn from.
    wait: u8,
    /// The next lot.
    lot: u8,
}

impl Pace {
    /// Whether to learn from this pixel.
    fn is_due(&mut self) -> bool {
        let due = self.wait == 0;
        if due {
            self.wait = LOTS[usize::from(self.lot)] & STAGES[self.stage].0;
            self.lot = self.lot.wrapping_add(1);
        } else {
            self.wait -= 1;
        }
        due
    }

    /// Of so many pixels, how many belong to this stage.
    fn stretch(&self, pixels: usize) -> usize {
        if self.stage + 1 == STAGES.len() { pixels } else { self.left.min(pixels) }
    }

    fn advance(&mut self, pixels: usize) {
        if self.stage + 1 == STAGES.len() {
            return;
        }
        self.left -= pixels;
        if self.left == 0 {
            self.stage += 1;
            self.left = STAGE_PIXELS;
        }
    }
}

impl<const N: usize> Group<N> {
    /// Before the first line.
    pub(super) fn new(family: &'static Family, width: u32) -> Self {
        let blank = vec![[0; N]; width as usize];
        Self {
            family,
            models: std::array::from_fn(|_| Model::new(family)),
            line: blank.clone(),
            above: blank.clone(),
            numbers: blank,
            is_first: true,
            pace: Pace { stage: 0, left: STAGE_PIXELS, wait: 0, lot: 0 },
            run: 0,
        }
    }

    /// Bits of a channel.
    pub(super) fn depth(&self) -> u32 {
        self.family.depth
    }

    /// Reads the next line.
    pub(super) fn line(&mut self, bits: &mut BitReader<'_>) -> Result<&[[u8; N]], QuicError> {
        std::mem::swap(&mut self.line, &mut self.above);
        // What stands before the first number of a line: that of the line above.
        let before = if self.is_first { [0; N] } else { self.numbers[0] };
        let mut from = 0;
        while from < self.line.len() {
            let to = from + self.pace.stretch(self.line.len() - from);
            self.stretch(from, to, before, bits)?;
            self.pace.advance(to - from);
            from = to;
        }
        self.is_first = false;
        Ok(&self.line)
    }

    /// Pixels of one stage.
    fn stretch(
        &mut self,
        from: usize,
        to: usize,
        before: [u8; N],
        bits: &mut BitReader<'_>,
    ) -> Result<(), QuicError> {
        let (mut at, mut last_run) = (from, 0);
        while at < to {
            if at != last_run && self.is_run_expected(at) {
                last_run = at;
                let length = self.run_length(to - at, bits)?;
                let pixel = self.line[at - 1];
                self.line[at..at + length].fill(pixel);
                at += length;
                continue;
            }
            let before = if at == 0 { before } else { self.numbers[at - 1] };
            self.pixel(at, before, bits);
            if self.pace.is_due() {
                let trigger = STAGES[self.pace.stage].1;
                for (channel, model) in self.models.iter_mut().enumerate() {
                    model.learn(before[channel], self.numbers[at][channel], trigger);
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// Where two pixels above are the same, and the last two of this line, a run's length
    /// comes first, which may be 0.
    fn is_run_expected(&self, at: usize) -> bool {
        !self.is_first
            && at > 2
            && self.above[at - 1] == self.above[at]
            && self.line[at - 1] == self.line[at - 2]
    }

    fn pixel(&mut self, at: usize, before: [u8; N], bits: &mut BitReader<'_>) {
        let mask = self.family.mask();
        for (channel, before) in before.into_iter().enumerate() {
            let code = self.models[channel].code(before);
            let number = self.family.read(code, bits);
            // Odd numbers are differences below zero.
            let difference = if number & 1 == 0 { number / 2 } else { mask - number / 2 };
            let left = at.checked_sub(1).map(|left| self.line[left][channel]);
            let above = (!self.is_first).then(|| self.above[at][channel]);
            let guess = match (left, above) {
                (Some(left), Some(above)) => left.midpoint(above),
                (one, other) => one.or(other).unwrap_or(0),
            };
            self.numbers[at][channel] = number;
            self.line[at][channel] = difference.wrapping_add(guess) & mask;
        }
    }

    /// Reads the length of a run of at most `most` pixels.
    fn run_length(&mut self, most: usize, bits: &mut BitReader<'_>) -> Result<usize, QuicError> {
        let mut length = 0;
        while bits.take(1) == 1 {
            length += 1 << RUN_STEPS[self.run];
            self.run = (self.run + 1).min(RUN_STEPS.len() - 1);
            if length > most {
                return Err(QuicError::Run);
            }
        }
        length += bits.take(RUN_STEPS[self.run].into()) as usize;
        self.run = self.run.saturating_sub(1);
        if length > most {
            return Err(QuicError::Run);
        }
        Ok(length)
    }
}

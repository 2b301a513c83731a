//! Bits of words: the words little endian, the bits of each from the highest on.

/// Reads bits. Behind the last one come zeros, and it is remembered that they were taken.
#[derive(Debug)]
pub(super) struct BitReader<'data> {
    /// Words that are not in the window yet.
    words: &'data [[u8; 4]],
    /// What comes next, from the highest bit on.
    window: u64,
    /// Bits in the window, always 32 at least.
    count: u32,
    /// So many of them, the last ones, are made up.
    invented: u32,
}

impl<'data> BitReader<'data> {
    /// At the first bit. Bytes that make no whole word at the end are not looked at.
    pub(super) fn new(data: &'data [u8]) -> Self {
        let mut bits = Self { words: data.as_chunks::<4>().0, window: 0, count: 0, invented: 0 };
        bits.fill();
        bits
    }

    /// The next 32 bits, the first one as the highest.
    pub(super) fn peek(&self) -> u32 {
        (self.window >> 32) as u32
    }

    /// Goes on by at most 32 bits.
    pub(super) fn skip(&mut self, count: u32) {
        self.window <<= count;
        self.count -= count;
        self.fill();
    }

    /// The next bits as a number; at most 31.
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let value = u32::try_from(u64::from(self.peek()) >> (32 - count)).unwrap_or(0);
        self.skip(count);
        value
    }

    /// The next 32 bits.
    pub(super) fn take_word(&mut self) -> u32 {
        let word = self.peek();
        self.skip(32);
        word
    }

    /// Whether more was taken than there was.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.invented > self.count
    }

    fn fill(&mut self) {
        while self.count <= 32 {
            if let Some((word, rest)) = self.words.split_first() {
                self.window |= u64::from(u32::from_le_bytes(*word)) << (32 - self.count);
                self.words = rest;
            } else {
                self.invented = self.invented.saturating_add(32);
            }
            self.count += 32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_from_the_highest_of_each_word() {
        let data = [0x78, 0x56, 0x34, 0x12, 0xef, 0xcd, 0xab, 0x90, 0xff];
        let mut bits = BitReader::new(&data);
        assert_eq!(bits.peek(), 0x1234_5678);
        assert_eq!((bits.take(4), bits.take(0), bits.take(12)), (1, 0, 0x234));
        assert_eq!(bits.take_word(), 0x5678_90ab);
        assert_eq!(bits.take(16), 0xcdef);
        assert!(!bits.is_overdrawn(), "exactly all");
        assert_eq!(bits.take(1), 0);
        assert!(bits.is_overdrawn());
        for _ in 0..100 {
            bits.skip(32);
        }
        assert!(bits.is_overdrawn());
    }
}

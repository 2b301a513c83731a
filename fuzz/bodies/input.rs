//! Reads numbers and bytes off the front; zeros when nothing is left.

/// The rest of a script.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// At the beginning.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(crate) fn long(&mut self) -> u32 {
        u32::from(self.word()) | u32::from(self.word()) << 16
    }

    /// As many bytes as the next one says.
    pub(crate) fn run(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.take(count.into())
    }
}

/// `length` bytes that say `unit` again and again.
pub(crate) fn repeated(unit: &[u8], length: usize) -> Vec<u8> {
    let unit = if unit.is_empty() { &[7] } else { unit };
    let mut bytes = unit.repeat(length / unit.len() + 1);
    bytes.truncate(length);
    bytes
}

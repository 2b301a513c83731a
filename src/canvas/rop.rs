//! Raster operations: bits of the result as a function of bits of the operands.

/// A function of two bits, source and target, by its truth table: bit `2s + d` is the
/// result for source `s` and target `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rop(u8);

/// A function of three bits, brush, source and target, by its truth table, which is the
/// code that guests pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rop3(pub u8);

/// Which of a descriptor's three inversions applies to an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// The bitmap.
    Source,
    /// The brush.
    Brush,
    /// The surface.
    Target,
}

impl Rop {
    /// The result is the source.
    pub const COPY: Self = Self(SOURCE);
    /// The result is the inverted target.
    pub const INVERT: Self = Self(!TARGET & 0xf);

    /// The function that a descriptor (`SPICE_ROPD_*` bits) means when the one operand
    /// is this, the other that. The first operation wins if there are several; without
    /// any the result is the source.
    pub fn from_descriptor(bits: u16, source: Operand, target: Operand) -> Self {
        let has = |flag| bits & flag != 0;
        let inverted = |operand, table: u8| if has(inversion(operand)) { !table } else { table };
        let (s, d) = (inverted(source, SOURCE), inverted(target, TARGET));
        let result = |table: u8| if has(INVERT_RESULT) { !table } else { table };
        let table = match () {
            () if has(OP_PUT) => result(s),
            () if has(OP_OR) => result(s | d),
            () if has(OP_AND) => result(s & d),
            () if has(OP_XOR) => result(s ^ d),
            () if has(OP_BLACKNESS) => 0,
            () if has(OP_WHITENESS) => 0xf,
            () if has(OP_INVERT) => !TARGET,
            () => SOURCE,
        };
        Self(table & 0xf)
    }

    /// The result for pixels of bits.
    pub fn apply(self, source: u32, target: u32) -> u32 {
        let term = |bit: u8, value| if self.0 & bit == 0 { 0 } else { value };
        term(8, source & target)
            | term(4, source & !target)
            | term(2, !source & target)
            | term(1, !source & !target)
    }

    /// Whether the target stays as it is.
    pub fn is_nothing(self) -> bool {
        self.0 == TARGET
    }

    /// Whether the source decides alone.
    pub fn is_copy(self) -> bool {
        self == Self::COPY
    }
}

impl Rop3 {
    /// The result for pixels of bits.
    pub fn apply(self, brush: u32, source: u32, target: u32) -> u32 {
        let with_brush = Rop(self.0 >> 4).apply(source, target);
        let without = Rop(self.0 & 0xf).apply(source, target);
        (brush & with_brush) | (!brush & without)
    }
}

fn inversion(operand: Operand) -> u16 {
    match operand {
        Operand::Source => 1,
        Operand::Brush => 2,
        Operand::Target => 4,
    }
}

/// The truth table of "source", that of "target".
const SOURCE: u8 = 0b1100;
const TARGET: u8 = 0b1010;

const OP_PUT: u16 = 8;
const OP_OR: u16 = 16;
const OP_AND: u16 = 32;
const OP_XOR: u16 = 64;
const OP_BLACKNESS: u16 = 128;
const OP_WHITENESS: u16 = 256;
const OP_INVERT: u16 = 512;
const INVERT_RESULT: u16 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_mean_what_they_say() {
        let (s, d) = (0x0f0f_1234, 0x3333_abcd);
        let rop = |bits| Rop::from_descriptor(bits, Operand::Source, Operand::Target).apply(s, d);
        assert_eq!(rop(OP_PUT), s);
        assert_eq!(rop(OP_PUT | 1), !s);
        assert_eq!(rop(OP_PUT | 2), s, "the brush's inversion");
        assert_eq!(rop(OP_OR | 1 | 4), !s | !d);
        assert_eq!(rop(OP_AND | 4), s & !d);
        assert_eq!(rop(OP_XOR | INVERT_RESULT), !(s ^ d));
        assert_eq!(rop(OP_XOR | INVERT_RESULT | 1), s ^ d);
        assert_eq!(rop(OP_BLACKNESS | INVERT_RESULT), 0);
        assert_eq!(rop(OP_WHITENESS), u32::MAX);
        assert_eq!(rop(OP_INVERT | 4), !d);
        assert_eq!(rop(0), s);
        assert_eq!(rop(OP_PUT | OP_XOR), s);
        assert!(Rop(TARGET).is_nothing() && Rop::COPY.is_copy());
        assert_eq!(Rop::INVERT.apply(s, d), !d);
    }

    #[test]
    fn three_operands_follow_the_code() {
        let (p, s, d) = (0xf0, 0xcc, 0xaa);
        for code in 0..=255 {
            assert_eq!(Rop3(code).apply(p, s, d) & 0xff, u32::from(code));
        }
    }
}

//! What is particular to each kind of drawable.

use super::super::surface::Surfaces;
use super::reader::{Reader, point, rect};
use super::{DrawableError, value};
use crate::canvas::{
    Blend, Brush, Composite, DrawError, Glyph, GlyphDepth, Image, Operand, Operation, Operator,
    Part, Path, Raster, Rect, Repeat, Rop, Rop3, ScaleMode, Segment, Text, TextBrushes, Turned,
};
use crate::host::guest_memory::GuestRange;

/// Reads the details of one drawable.
pub(super) struct Details<'a, 'memory> {
    pub(super) reader: &'a Reader<'memory>,
    pub(super) surfaces: &'a Surfaces,
    pub(super) target: &'a Raster<'memory>,
    pub(super) command: &'a GuestRange<'memory>,
    /// Where they begin.
    pub(super) start: usize,
    /// The part of the target that takes the place of an image without address.
    pub(super) own_picture: Option<Rect>,
    /// Whether colours have 16 bits.
    pub(super) colours_16: bool,
    /// Whether the layout is that of old drivers.
    pub(super) compat: bool,
}

impl<'memory> Details<'_, 'memory> {
    /// What is drawn.
    pub(super) fn operation(&self, kind: u8) -> Result<Operation<'memory>, DrawableError> {
        Ok(match kind {
            NOP => Operation::Nothing,
            FILL => Operation::Fill(self.brush(0)?, self.rop(20, Operand::Brush, Operand::Target)),
            OPAQUE => Operation::Opaque(
                self.part(46)?,
                self.brush(24)?,
                self.rop(44, Operand::Brush, Operand::Source),
            ),
            COPY | BLEND => {
                Operation::Copy(self.whole_part()?, self.rop(24, Operand::Source, Operand::Target))
            }
            COPY_BITS => {
                let (x, y) = point(self.command, self.start);
                Operation::CopyBits(x, y)
            }
            BLACKNESS => Operation::Fill(Brush::None, Rop::COPY),
            WHITENESS => Operation::Fill(Brush::Solid(u32::MAX), Rop::COPY),
            INVERS => Operation::Fill(Brush::None, Rop::INVERT),
            ROP3 => Operation::Rop3(self.part(45)?, self.brush(24)?, Rop3(self.byte(44))),
            STROKE => self.stroke()?,
            TEXT => self.text()?,
            TRANSPARENT => {
                Operation::Transparent(self.part_with(0, ScaleMode::Nearest)?, self.u32(28))
            }
            ALPHA_BLEND => self.alpha_blend()?,
            COMPOSITE if !self.compat => Operation::Composite(Box::new(self.composite()?)),
            other => return Err(value("it is of unknown kind", other)),
        })
    }

    /// Which pixels change.
    pub(super) fn mask(
        &self,
        kind: u8,
    ) -> Result<Option<crate::canvas::Mask<'memory>>, DrawableError> {
        let at = match kind {
            FILL => 22,
            OPAQUE => 47,
            COPY | BLEND => 27,
            BLACKNESS | WHITENESS | INVERS => 0,
            ROP3 => 46,
            _ => return Ok(None),
        };
        self.mask_at(self.start + at)
    }

    fn byte(&self, at: usize) -> u8 {
        let [byte] = self.command.read(self.start + at);
        byte
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.command.read(self.start + at))
    }

    fn u32(&self, at: usize) -> u32 {
        self.command.read_u32(self.start + at)
    }

    fn u64(&self, at: usize) -> u64 {
        self.command.read_u64(self.start + at)
    }

    fn rop(&self, at: usize, source: Operand, target: Operand) -> Rop {
        Rop::from_descriptor(self.u16(at), source, target)
    }

    /// The image that details begin with and the part of it; `at` says how it is scaled.
    fn part(&self, at: usize) -> Result<Part<'memory>, DrawableError> {
        let mode = scale_mode(self.byte(at))?;
        self.part_with(0, mode)
    }

    fn part_with(&self, at: usize, mode: ScaleMode) -> Result<Part<'memory>, DrawableError> {
        let image = self.image(self.u64(at))?;
        Ok(Part { image, area: rect(self.command, self.start + at + 8), mode })
    }

    /// As [`Self::part`] of copies, whose part must be one of its bitmap.
    fn whole_part(&self) -> Result<Part<'memory>, DrawableError> {
        // Copies have no use for a picture of the target, though drivers ask for it.
        if self.u64(0) == 0 {
            return Err(DrawError::Source.into());
        }
        let part = self.part(26)?;
        let Rect { left, top, right, bottom } = part.area;
        let ordered = 0 <= left && left <= right && 0 <= top && top <= bottom;
        let inside = match &part.image {
            Image::Bitmap(bitmap, _) => {
                right <= bitmap.bounds().right && bottom <= bitmap.bounds().bottom
            }
            _ => true,
        };
        if ordered && inside { Ok(part) } else { Err(DrawError::Source.into()) }
    }

    fn brush(&self, at: usize) -> Result<Brush<'memory>, DrawableError> {
        match self.u32(at) {
            0 => Ok(Brush::None),
            1 => Ok(Brush::Solid(self.colour(self.u32(at + 4)))),
            2 => {
                let address = self.u64(at + 4);
                if address == 0 {
                    return Err(DrawError::Source.into());
                }
                let (x, y) = point(self.command, self.start + at + 12);
                Ok(Brush::Pattern(self.image(address)?, x, y))
            }
            other => Err(value("brush of unknown type", other)),
        }
    }

    fn alpha_blend(&self) -> Result<Operation<'memory>, DrawableError> {
        // The old layout lacks the flags.
        let (flags, start) = if self.compat { (0, 0) } else { (self.u16(0), 2) };
        let blend = Blend {
            alpha: self.byte(start),
            target_has_alpha: flags & 1 != 0,
            source_has_alpha: flags & 2 != 0,
        };
        if blend.alpha == 0 {
            return Ok(Operation::Nothing);
        }
        let part = self.part_with(start + 1, ScaleMode::Nearest)?;
        Ok(Operation::Blend(part, blend))
    }

    fn stroke(&self) -> Result<Operation<'memory>, DrawableError> {
        let data = self.reader.small_chunks(self.u64(0).wrapping_add(4))?;
        let mut path = Path::default();
        let mut rest = &data[..];
        // A segment without points at the very end does not count.
        while let Some((head, tail)) = rest.split_at_checked(8).filter(|(_, tail)| !tail.is_empty())
        {
            let words: [u32; 2] = words(head);
            let size = u64::from(words[1]) * 8;
            let (points, tail) = usize::try_from(size)
                .ok()
                .and_then(|size| tail.split_at_checked(size))
                .ok_or_else(|| value("path segment with too many points:", words[1]))?;
            let points: Vec<(i32, i32)> = points
                .chunks_exact(8)
                .map(|point| {
                    let [x, y]: [u32; 2] = self::words(point);
                    (x.cast_signed(), y.cast_signed())
                })
                .collect();
            path.add(Segment { flags: words[0], points: &points })?;
            rest = tail;
        }
        let flags = self.byte(8);
        if flags & STYLED != 0 {
            let count = usize::from(self.byte(11));
            let lengths = self.reader.at(self.u64(20), count * 4)?;
            let lengths: Vec<i32> =
                (0..count).map(|at| lengths.read_u32(at * 4).cast_signed()).collect();
            path.dash(&lengths, flags & GAP_FIRST != 0);
        }
        let rop = self.rop(48, Operand::Brush, Operand::Target);
        Ok(Operation::Stroke(path, self.brush(28)?, rop))
    }

    fn text(&self) -> Result<Operation<'memory>, DrawableError> {
        let address = self.u64(0);
        let string = self.reader.at(address, 8)?;
        let (size, count) = (string.read_u32(0), u16::from_le_bytes(string.read(4)));
        let depth = match u16::from_le_bytes(string.read(6)) {
            flags if flags & 1 != 0 => GlyphDepth::One,
            flags if flags & 2 != 0 => GlyphDepth::Four,
            flags if flags & 4 != 0 => GlyphDepth::Eight,
            flags => return Err(value("string with flags", flags)),
        };
        let data = self.reader.small_chunks(address.wrapping_add(8))?;
        let glyphs = glyphs(&data, depth)?;
        if data.len() as u64 != u64::from(size) || glyphs.len() != usize::from(count) {
            return Err(value("string with other than its glyphs, number:", count));
        }
        let area = rect(self.command, self.start + 8);
        let back = if area.is_empty() { None } else { Some((area, self.brush(44)?)) };
        // With a background no other operation makes sense.
        if back.is_some() && self.u16(64) != PUT {
            return Err(value("text drawn with operation", self.u16(64)));
        }
        let text = Text::new(depth, &glyphs)?;
        Ok(Operation::Text(text, TextBrushes { fore: self.brush(24)?, back }))
    }

    fn composite(&self) -> Result<Composite<'memory>, DrawableError> {
        let flags = self.u32(0);
        let bits = |from: u32, count: u32| flags >> from & ((1 << count) - 1);
        let number = bits(0, 8) as u8;
        let operator = Operator::from_number(number)
            .ok_or_else(|| value("composition with operation", number))?;
        let turned = |image: usize, filter: u32, repeat: u32, origin: usize, opaque: u32| {
            Ok::<_, DrawableError>(Turned {
                image: self.image(self.u64(image))?,
                opaque: bits(opaque, 1) != 0,
                transform: self.transform(self.u64(image + 8))?,
                filter: filter_mode(bits(filter, 3))?,
                repeat: repeat_mode(bits(repeat, 2)),
                origin: (self.u16(origin).cast_signed(), self.u16(origin + 2).cast_signed()),
            })
        };
        let has_mask = self.u64(20) != 0;
        Ok(Composite {
            operator,
            source: turned(4, 8, 14, 36, 22)?,
            mask: has_mask.then(|| turned(20, 11, 16, 40, 23)).transpose()?,
            component_alpha: bits(18, 1) != 0,
        })
    }

    fn transform(&self, address: u64) -> Result<Option<[i32; 6]>, DrawableError> {
        if address == 0 {
            return Ok(None);
        }
        let matrix = self.reader.at(address, 24)?;
        Ok(Some(std::array::from_fn(|at| matrix.read_u32(at * 4).cast_signed())))
    }
}

fn glyphs(mut data: &[u8], depth: GlyphDepth) -> Result<Vec<Glyph<'_>>, DrawableError> {
    let mut glyphs = Vec::new();
    while !data.is_empty() {
        let cut = || value("string that ends within a glyph, after", glyphs.len() as u64);
        let (head, rest) = data.split_at_checked(20).ok_or_else(cut)?;
        let [x, y, origin_x, origin_y, size]: [u32; 5] = words(head);
        let (width, height) = (size as u16, (size >> 16) as u16);
        let (rows, rest) =
            rest.split_at_checked(depth.row_bytes(width) * usize::from(height)).ok_or_else(cut)?;
        let sum = |a: u32, b: u32| i64::from(a.cast_signed()) + i64::from(b.cast_signed());
        let position = (sum(x, origin_x), sum(y, origin_y));
        glyphs.push(Glyph { position, size: (width, height), rows });
        data = rest;
    }
    Ok(glyphs)
}

/// Little-endian words.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    std::array::from_fn(|at| u32::from_le_bytes(bytes.as_chunks().0[at]))
}

fn scale_mode(number: u8) -> Result<ScaleMode, DrawableError> {
    match number {
        0 => Ok(ScaleMode::Interpolate),
        1 => Ok(ScaleMode::Nearest),
        other => Err(value("scale mode", other)),
    }
}

/// The filters of pixman: fast, good, best, nearest, bilinear.
fn filter_mode(number: u32) -> Result<ScaleMode, DrawableError> {
    match number {
        0 | 3 => Ok(ScaleMode::Nearest),
        1 | 2 | 4 => Ok(ScaleMode::Interpolate),
        other => Err(value("filter", other)),
    }
}

fn repeat_mode(bits: u32) -> Repeat {
    match bits {
        0 => Repeat::None,
        1 => Repeat::Normal,
        2 => Repeat::Pad,
        _ => Repeat::Reflect,
    }
}

const NOP: u8 = 0;
const FILL: u8 = 1;
const OPAQUE: u8 = 2;
const COPY: u8 = 3;
const COPY_BITS: u8 = 4;
const BLEND: u8 = 5;
const BLACKNESS: u8 = 6;
const WHITENESS: u8 = 7;
const INVERS: u8 = 8;
const ROP3: u8 = 9;
const STROKE: u8 = 10;
const TEXT: u8 = 11;
const TRANSPARENT: u8 = 12;
const ALPHA_BLEND: u8 = 13;
const COMPOSITE: u8 = 14;

/// `SPICE_ROPD_OP_PUT`.
const PUT: u16 = 8;

/// Flags of lines.
const GAP_FIRST: u8 = 4;
const STYLED: u8 = 8;

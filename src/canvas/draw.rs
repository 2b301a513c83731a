//! Drawing: what happens to the pixels of a surface.

use super::bitmap::BitmapFormat;
use super::colour::{OPAQUE, from_argb, over, scale, to_argb};
use super::image::Image;
use super::limits::SOURCE_SIDE;
use super::operation::{
    Blend, Brush, DrawError, Drawing, Mask, MaskBits, Operation, Part, TextBrushes,
};
use super::pixels::{Format, Raster};
use super::placed::{Placed, read_tiled};
use super::region::{Rect, Region};
use super::rop::{Rop, Rop3};
use super::text::Text;
use super::{composite, copy_bits, stroke};

impl Drawing<'_> {
    /// Draws, and says what may have changed.
    pub fn draw(&self, target: &Raster<'_>) -> Result<Region, DrawError> {
        let Rect { left, top, right, bottom } = self.bounds;
        if left.min(top).min(right).min(bottom) < 0
            || right > target.bounds().right
            || bottom > target.bounds().bottom
        {
            return Err(DrawError::Outside);
        }
        let region = match &self.clip {
            None => Region::from(self.bounds),
            Some(clip) => Region::exact(clip, &self.bounds).ok_or(DrawError::TooLarge)?,
        };
        if region.is_empty() {
            return Ok(region);
        }
        let mask = self.mask.as_ref().map(|mask| mask.over(&self.bounds)).transpose()?;
        let painter = Painter { target, bounds: self.bounds, region: &region, mask };
        match &self.operation {
            Operation::Nothing => return Ok(Region::new()),
            Operation::Fill(brush, rop) => painter.fill(brush, *rop),
            Operation::Copy(part, rop) => painter.copy(part, *rop)?,
            Operation::Opaque(part, brush, rop) => {
                painter.copy(part, Rop::COPY)?;
                painter.fill(brush, *rop);
            }
            Operation::CopyBits(x, y) => copy_bits::copy(target, &region, &self.bounds, (*x, *y)),
            Operation::Rop3(part, brush, rop) => painter.rop3(part, brush, *rop)?,
            Operation::Transparent(part, colour) => painter.transparent(part, *colour)?,
            Operation::Blend(part, blend) => painter.blend(part, *blend)?,
            Operation::Composite(operation) => composite::draw(&painter, operation)?,
            Operation::Stroke(path, brush, rop) => stroke::draw(&painter, path, brush, *rop),
            Operation::Text(text, brushes) => painter.text(text, brushes),
        }
        Ok(region)
    }
}

/// Changes the pixels of a region, as far as a mask lets it.
pub(super) struct Painter<'a> {
    pub(super) target: &'a Raster<'a>,
    pub(super) bounds: Rect,
    pub(super) region: &'a Region,
    mask: Option<PlacedMask<'a>>,
}

impl Painter<'_> {
    /// Passes each line of pixels to be changed, with its first column and its line.
    pub(super) fn each_line(&self, change: impl FnMut(i32, i32, &mut [u32])) {
        self.each_line_of(self.region, change);
    }

    /// The same for a part of the region.
    pub(super) fn each_line_of(
        &self,
        region: &Region,
        mut change: impl FnMut(i32, i32, &mut [u32]),
    ) {
        let mut row = Vec::new();
        for rect in region.iter() {
            row.resize(rect.width() as usize, 0);
            for y in rect.top..rect.bottom {
                self.target.read_row(rect.left as u32, y as u32, &mut row);
                match &self.mask {
                    None => change(rect.left, y, &mut row),
                    Some(mask) => {
                        let before = row.clone();
                        change(rect.left, y, &mut row);
                        mask.restore(rect.left, y, &mut row, &before);
                    }
                }
                self.target.write_row(rect.left as u32, y as u32, &row);
            }
        }
    }

    pub(super) fn format(&self) -> Format {
        self.target.format()
    }

    fn fill(&self, brush: &Brush<'_>, rop: Rop) {
        self.fill_region(self.region, brush, rop);
    }

    fn fill_region(&self, region: &Region, brush: &Brush<'_>, rop: Rop) {
        if let Brush::Solid(bits) = brush
            && rop.is_copy()
            && self.mask.is_none()
        {
            region.iter().for_each(|rect| self.target.fill(&rect, *bits));
            return;
        }
        let mut source = Vec::new();
        self.each_line_of(region, |x, y, row| {
            brush.read(self.format(), (x, y), row.len(), &mut source);
            row.iter_mut().zip(&source).for_each(|(pixel, source)| {
                *pixel = rop.apply(*source, *pixel);
            });
        });
    }

    fn placed<'part, 'memory>(
        &self,
        part: &'part Part<'memory>,
        original: bool,
    ) -> Result<Placed<'part, 'memory>, DrawError> {
        let Rect { left, top, right, bottom } = part.area;
        if left > right || top > bottom || part.area.width().max(part.area.height()) > SOURCE_SIDE {
            return Err(DrawError::Source);
        }
        let areas = (&part.area, &self.bounds);
        Ok(Placed::new(&part.image, self.format(), original, areas, part.mode))
    }

    fn copy(&self, part: &Part<'_>, rop: Rop) -> Result<(), DrawError> {
        let source = self.placed(part, false)?;
        if rop.is_copy() && self.mask.is_none() {
            for rect in self.region.iter() {
                match source.plain(&rect) {
                    Some(at) => self.copy_plain(part, &rect, at),
                    None => self.copy_lines(&Region::from(rect), &source, rop),
                }
            }
        } else {
            self.copy_lines(self.region, &source, rop);
        }
        Ok(())
    }

    /// Copies bytes as they are.
    fn copy_plain(&self, part: &Part<'_>, rect: &Rect, (x, y): (u32, u32)) {
        let mut row = vec![0; rect.width() as usize * self.format().bits() as usize / 8];
        for (line, y) in (rect.top..rect.bottom).zip(y..) {
            part.image.read_bytes(x, y, &mut row);
            self.target.write_bytes(rect.left as u32, line as u32, &row);
        }
    }

    fn copy_lines(&self, region: &Region, placed: &Placed<'_, '_>, rop: Rop) {
        let mut source = Vec::new();
        self.each_line_of(region, |x, y, row| {
            source.resize(row.len(), 0);
            let valid = placed.read(x, y, &mut source);
            row[valid.clone()].iter_mut().zip(&source[valid]).for_each(|(pixel, source)| {
                *pixel = rop.apply(*source, *pixel);
            });
        });
    }

    fn rop3(&self, part: &Part<'_>, brush: &Brush<'_>, rop: Rop3) -> Result<(), DrawError> {
        let placed = self.placed(part, false)?;
        let (mut source, mut pattern) = (Vec::new(), Vec::new());
        self.each_line(|x, y, row| {
            source.resize(row.len(), 0);
            placed.read(x, y, &mut source);
            brush.read(self.format(), (x, y), row.len(), &mut pattern);
            for (pixel, (source, pattern)) in row.iter_mut().zip(source.iter().zip(&pattern)) {
                *pixel = rop.apply(*pattern, *source, *pixel);
            }
        });
        Ok(())
    }

    fn transparent(&self, part: &Part<'_>, colour: u32) -> Result<(), DrawError> {
        let placed = self.placed(part, false)?;
        let (key, mask) = match self.format() {
            Format::Xrgb | Format::Argb => (colour, 0x00ff_ffff),
            format @ (Format::X555 | Format::X565) => (from_argb(format, colour), format.mask()),
            format => (0, format.mask()),
        };
        let mut source = Vec::new();
        self.each_line(|x, y, row| {
            source.resize(row.len(), 0);
            let valid = placed.read(x, y, &mut source);
            for (pixel, source) in row[valid.clone()].iter_mut().zip(&source[valid]) {
                if source & mask != key & mask {
                    *pixel = *source;
                }
            }
        });
        Ok(())
    }

    fn blend(&self, part: &Part<'_>, blend: Blend) -> Result<(), DrawError> {
        let placed = self.placed(part, true)?;
        let with_alpha = |format, has| match format {
            Format::Xrgb if has => Format::Argb,
            format => format,
        };
        let own = matches!(part.image, Image::Surface(_));
        let from = with_alpha(placed.format(), own && blend.source_has_alpha);
        let to = with_alpha(self.format(), blend.target_has_alpha);
        let mut source = Vec::new();
        self.each_line(|x, y, row| {
            source.resize(row.len(), 0);
            let valid = placed.read(x, y, &mut source);
            let pixels = row[valid.clone()].iter_mut().zip(&source[valid]);
            // What guests blend nearly always, without a decision for each pixel.
            if (from, to, blend.alpha) == (Format::Argb, Format::Xrgb, 0xff) {
                pixels.for_each(|(pixel, source)| *pixel = over(*source, *pixel) & !OPAQUE);
                return;
            }
            for (pixel, source) in pixels {
                let source = scale(to_argb(from, *source), u32::from(blend.alpha));
                *pixel = from_argb(to, over(source, to_argb(to, *pixel)));
            }
        });
        Ok(())
    }

    fn text(&self, text: &Text, brushes: &TextBrushes<'_>) {
        if let Some((area, brush)) = &brushes.back {
            let mut region = self.region.clone();
            region.intersect(area);
            self.fill_region(&region, brush, Rop::COPY);
        }
        let area = text.bounds();
        let mut region = self.region.clone();
        region.intersect(&area);
        let (mut weights, mut source) = (Vec::new(), Vec::new());
        self.each_line_of(&region, |x, y, row| {
            weights.clear();
            weights.resize(row.len(), 0);
            text.read(x, y, &mut weights);
            // The pattern lies relative to the string, not to the surface.
            let at = (x - area.left, y - area.top);
            let format = brushes.fore.read_colours(self.format(), at, row.len(), &mut source);
            for (pixel, (source, weight)) in row.iter_mut().zip(source.iter().zip(&weights)) {
                if *weight != 0 {
                    let source = scale(to_argb(format, *source), u32::from(*weight));
                    let result = over(source, to_argb(self.format(), *pixel));
                    *pixel = from_argb(self.format(), result);
                }
            }
        });
    }
}

impl Brush<'_> {
    /// The bits for a line of a surface.
    pub(super) fn read(&self, format: Format, at: (i32, i32), len: usize, into: &mut Vec<u32>) {
        into.resize(len, 0);
        match self {
            Self::None => into.fill(0),
            Self::Solid(bits) => into.fill(bits & format.mask()),
            Self::Pattern(image, left, top) => read_tiled(image, format, (*left, *top), at, into),
        }
    }

    /// As `read`, and the format of what was read, for blending: colours are those of
    /// 555 on all 16-bit surfaces.
    fn read_colours(
        &self,
        format: Format,
        at: (i32, i32),
        len: usize,
        into: &mut Vec<u32>,
    ) -> Format {
        self.read(format, at, len, into);
        match (self, format) {
            (Self::Solid(_), Format::X555 | Format::X565) => Format::X555,
            (Self::Solid(bits), Format::A8 | Format::A1) => {
                into.fill(*bits);
                Format::Xrgb
            }
            (Self::Solid(_), _) => Format::Xrgb,
            (Self::Pattern(image, ..), _) => image.format_on(format),
            // Nothing is drawn with nothing.
            (Self::None, _) => Format::Argb,
        }
    }
}

/// A mask and where it lies on the surface.
struct PlacedMask<'a> {
    mask: &'a Mask<'a>,
    size: Rect,
    /// What to add to a column and a line of the surface.
    offset: (i64, i64),
}

impl Mask<'_> {
    fn over(&self, bounds: &Rect) -> Result<PlacedMask<'_>, DrawError> {
        let size = match &self.bits {
            MaskBits::Bitmap(bitmap) => match bitmap.format {
                BitmapFormat::Indexed1Low | BitmapFormat::Indexed1High => bitmap.bounds(),
                _ => return Err(DrawError::Mask),
            },
            MaskBits::Surface(raster) if raster.format() == Format::A1 => raster.bounds(),
            MaskBits::Surface(_) => return Err(DrawError::Mask),
        };
        let offset = (
            i64::from(self.position.0) - i64::from(bounds.left),
            i64::from(self.position.1) - i64::from(bounds.top),
        );
        Ok(PlacedMask { mask: self, size, offset })
    }
}

impl PlacedMask<'_> {
    /// Takes back the changes of a line's pixels that the mask does not allow. What lies
    /// outside the mask does not change.
    fn restore(&self, x: i32, y: i32, row: &mut [u32], before: &[u32]) {
        let (x, y) = (i64::from(x) + self.offset.0, i64::from(y) + self.offset.1);
        let from = (-x).clamp(0, row.len() as i64) as usize;
        let to = (i64::from(self.size.right) - x).clamp(from as i64, row.len() as i64) as usize;
        let inside = (0..i64::from(self.size.bottom)).contains(&y);
        let (from, to) = if inside { (from, to) } else { (0, 0) };
        row[..from].copy_from_slice(&before[..from]);
        row[to..].copy_from_slice(&before[to..]);
        if from == to {
            return;
        }
        let first = (x + from as i64) as u32;
        let mut bits = vec![0; to - from];
        match &self.mask.bits {
            MaskBits::Surface(raster) => raster.read_row(first, y as u32, &mut bits),
            MaskBits::Bitmap(bitmap) => bitmap.read_bits(first, y as u32, &mut bits),
        }
        for ((pixel, before), bit) in row[from..to].iter_mut().zip(&before[from..to]).zip(bits) {
            if (bit == 0) != self.mask.inverted {
                *pixel = *before;
            }
        }
    }
}

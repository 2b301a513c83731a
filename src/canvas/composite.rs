//! Porter and Duff's operations on two images and a surface, turned and repeated.

use super::colour::{byte, each, from_argb, multiply, to_argb};
use super::draw::Painter;
use super::image::Image;
use super::limits::TURNED_PIXELS;
use super::operation::DrawError;
use super::pixels::Format;
use super::placed::{ScaleMode, mix};

/// One operation. The surface's pixels are the second operand.
#[derive(Debug)]
pub struct Composite<'memory> {
    /// What is done.
    pub operator: Operator,
    /// The first operand.
    pub source: Turned<'memory>,
    /// What the first operand is multiplied with.
    pub mask: Option<Turned<'memory>>,
    /// Whether each channel of the mask is for that channel of the operand, instead of
    /// its alpha for all.
    pub component_alpha: bool,
}

/// An image that may be turned and may go on beyond its edges.
#[derive(Debug)]
pub struct Turned<'memory> {
    /// The image.
    pub image: Image<'memory>,
    /// Whether its alpha does not count.
    pub opaque: bool,
    /// From the surface's positions to the image's, in 1/65536: the two rows of a matrix.
    pub transform: Option<[i32; 6]>,
    /// How pixels between those of the image come about.
    pub filter: ScaleMode,
    /// What is beyond the edges.
    pub repeat: Repeat,
    /// The position for the first of the bounds.
    pub origin: (i16, i16),
}

/// What is beyond the edges of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing.
    None,
    /// The image again.
    Normal,
    /// Its edge.
    Pad,
    /// Its mirror image.
    Reflect,
}

/// What is done with two pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Factors for both.
    Factors(Factor, Factor),
    /// As much of the source as the target has room for.
    Saturate,
    /// A blend mode of PDF.
    Mode(Mode),
}

/// What a pixel is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// 0.
    Zero,
    /// 1.
    One,
    /// The other's alpha.
    Alpha,
    /// 1 less the other's alpha.
    Rest,
}

/// The blend modes of PDF that treat each channel on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of PDF say it")]
pub enum Mode {
    Multiply,
    Screen,
    Overlay,
    Darken,
    Lighten,
    ColourDodge,
    ColourBurn,
    HardLight,
    SoftLight,
    Difference,
    Exclusion,
}

impl Operator {
    /// The operation of a protocol number, if it is one that is drawn.
    pub fn from_number(number: u8) -> Option<Self> {
        use Factor::{Alpha, One, Rest, Zero};
        let (source, target) = match number {
            0x00 => (Zero, Zero),
            0x01 => (One, Zero),
            0x02 => (Zero, One),
            0x03 => (One, Rest),
            0x04 => (Rest, One),
            0x05 => (Alpha, Zero),
            0x06 => (Zero, Alpha),
            0x07 => (Rest, Zero),
            0x08 => (Zero, Rest),
            0x09 => (Alpha, Rest),
            0x0a => (Rest, Alpha),
            0x0b => (Rest, Rest),
            0x0c => (One, One),
            0x0d => return Some(Self::Saturate),
            0x30..=0x3a => return Some(Self::Mode(MODES[usize::from(number) - 0x30])),
            _ => return None,
        };
        Some(Self::Factors(source, target))
    }

    /// The result for a source, its alpha for each channel, and a target.
    fn apply(self, source: u32, alphas: u32, target: u32) -> u32 {
        let target_alpha = byte(target, 24);
        each(|shift| {
            let (s, sa, d) = (byte(source, shift), byte(alphas, shift), byte(target, shift));
            match self {
                Self::Factors(first, second) => first.times(s, target_alpha) + second.times(d, sa),
                Self::Saturate => {
                    let room = 0xff - target_alpha;
                    let share = if sa <= room { s } else { (s * room + sa / 2) / sa.max(1) };
                    share + d
                }
                Self::Mode(mode) => mode.apply(shift == 24, s, sa, d, target_alpha),
            }
        })
    }
}

const MODES: [Mode; 11] = [
    Mode::Multiply,
    Mode::Screen,
    Mode::Overlay,
    Mode::Darken,
    Mode::Lighten,
    Mode::ColourDodge,
    Mode::ColourBurn,
    Mode::HardLight,
    Mode::SoftLight,
    Mode::Difference,
    Mode::Exclusion,
];

impl Factor {
    fn times(self, value: u32, alpha: u32) -> u32 {
        match self {
            Self::Zero => 0,
            Self::One => value,
            Self::Alpha => multiply(value, alpha),
            Self::Rest => multiply(value, 0xff - alpha),
        }
    }
}

impl Mode {
    fn apply(self, alpha: bool, s: u32, sa: u32, d: u32, da: u32) -> u32 {
        let part = |value: u32| value as f32 / 255.0;
        let (s, sa, d, da) = (part(s), part(sa), part(d), part(da));
        let value = if alpha {
            sa + da - sa * da
        } else {
            (1.0 - sa) * d + (1.0 - da) * s + self.both(s, sa, d, da)
        };
        (value.clamp(0.0, 1.0) * 255.0).round() as u32
    }

    /// What both have a part in.
    fn both(self, s: f32, sa: f32, d: f32, da: f32) -> f32 {
        let hard = |s: f32, sa: f32, d: f32, da: f32| {
            if 2.0 * s < sa { 2.0 * s * d } else { sa * da - 2.0 * (da - d) * (sa - s) }
        };
        match self {
            Self::Multiply => s * d,
            Self::Screen => s * da + d * sa - s * d,
            Self::Overlay => hard(d, da, s, sa),
            Self::Darken => (s * da).min(d * sa),
            Self::Lighten => (s * da).max(d * sa),
            Self::ColourDodge => match () {
                () if d <= 0.0 => 0.0,
                () if d * sa >= sa * da - s * da => sa * da,
                () => sa * sa * d / (sa - s),
            },
            Self::ColourBurn => match () {
                () if d >= da => sa * da,
                () if sa * (da - d) >= s * da => 0.0,
                () => sa * (da - sa * (da - d) / s),
            },
            Self::HardLight => hard(s, sa, d, da),
            Self::SoftLight => soft(s, sa, d, da),
            Self::Difference => (s * da - d * sa).abs(),
            Self::Exclusion => s * da + d * sa - 2.0 * s * d,
        }
    }
}

fn soft(s: f32, sa: f32, d: f32, da: f32) -> f32 {
    if da <= 0.0 {
        return d * sa;
    }
    if 2.0 * s <= sa {
        return d * sa - d * (da - d) * (sa - 2.0 * s) / da;
    }
    let more = if 4.0 * d <= da {
        let ratio = d / da;
        (2.0 * s - sa) * d * ((16.0 * ratio - 12.0) * ratio + 3.0)
    } else {
        ((d * da).sqrt() - d) * (2.0 * s - sa)
    };
    d * sa + more
}

pub(super) fn draw(painter: &Painter<'_>, composite: &Composite<'_>) -> Result<(), DrawError> {
    let format = painter.format();
    let source = Loaded::new(&composite.source, format)?;
    let mask = composite.mask.as_ref().map(|mask| Loaded::new(mask, format)).transpose()?;
    let (mut first, mut weights) = (Vec::new(), Vec::new());
    painter.each_line(|x, y, row| {
        let (x, y) = (x - painter.bounds.left, y - painter.bounds.top);
        source.read(x, y, row.len(), &mut first);
        weights.clear();
        match &mask {
            Some(mask) => mask.read(x, y, row.len(), &mut weights),
            None => weights.resize(row.len(), u32::MAX),
        }
        for ((pixel, source), weight) in row.iter_mut().zip(&first).zip(&weights) {
            let weight = |shift| byte(*weight, if composite.component_alpha { shift } else { 24 });
            let alpha = byte(*source, 24);
            let alphas = each(|shift| multiply(alpha, weight(shift)));
            let source = each(|shift| multiply(byte(*source, shift), weight(shift)));
            let result = composite.operator.apply(source, alphas, to_argb(format, *pixel));
            *pixel = from_argb(format, result);
        }
    });
    Ok(())
}

/// An image all of whose pixels are at hand, in the common form, if that is needed.
struct Loaded<'a, 'memory> {
    turned: &'a Turned<'memory>,
    target: Format,
    format: Format,
    width: i64,
    height: i64,
    pixels: Option<Vec<u32>>,
}

impl<'a, 'memory> Loaded<'a, 'memory> {
    fn new(turned: &'a Turned<'memory>, target: Format) -> Result<Self, DrawError> {
        let format = match turned.image.own_format(target) {
            Format::Argb if turned.opaque => Format::Xrgb,
            format => format,
        };
        let bounds = turned.image.bounds();
        if bounds.is_empty() {
            return Err(DrawError::Source);
        }
        let (width, height) = (i64::from(bounds.right), i64::from(bounds.bottom));
        let mut loaded = Self { turned, target, format, width, height, pixels: None };
        if turned.transform.is_some() || turned.repeat != Repeat::None {
            if (width * height) as u64 > TURNED_PIXELS {
                return Err(DrawError::TooLarge);
            }
            let mut pixels = vec![0; (width * height) as usize];
            for (row, y) in pixels.chunks_mut(width as usize).zip(0..) {
                loaded.read_inside(0, y, row);
            }
            loaded.pixels = Some(pixels);
        }
        Ok(loaded)
    }

    fn read_inside(&self, x: u32, y: u32, into: &mut [u32]) {
        self.turned.image.read_own(self.target, x, y, into);
        into.iter_mut().for_each(|pixel| *pixel = to_argb(self.format, *pixel));
    }

    /// The pixels for a line of the bounds.
    fn read(&self, x: i32, y: i32, len: usize, into: &mut Vec<u32>) {
        into.clear();
        into.resize(len, 0);
        let (x, y) = (
            i64::from(x) + i64::from(self.turned.origin.0),
            i64::from(y) + i64::from(self.turned.origin.1),
        );
        match (&self.pixels, &self.turned.transform) {
            (None, _) => {
                let from = (-x).clamp(0, len as i64);
                let to = (self.width - x).clamp(from, len as i64);
                if (0..self.height).contains(&y) && from < to {
                    let part = &mut into[from as usize..to as usize];
                    self.read_inside((x + from) as u32, y as u32, part);
                }
            }
            (Some(pixels), None) => {
                for (pixel, x) in into.iter_mut().zip(x..) {
                    *pixel = self.at(pixels, x, y);
                }
            }
            (Some(pixels), Some(matrix)) => {
                for (pixel, x) in into.iter_mut().zip(x..) {
                    let (x, y) = transform(matrix, x, y);
                    *pixel = self.between(pixels, x, y);
                }
            }
        }
    }

    /// The pixel at a position in 1/65536.
    fn between(&self, pixels: &[u32], x: i64, y: i64) -> u32 {
        match self.turned.filter {
            ScaleMode::Nearest => self.at(pixels, (x - 1) >> 16, (y - 1) >> 16),
            ScaleMode::Interpolate => {
                let (x, y) = (x - 0x8000, y - 0x8000);
                let (column, line) = (x >> 16, y >> 16);
                let corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
                    .map(|(right, below)| self.at(pixels, column + right, line + below));
                mix(corners, x, y)
            }
        }
    }

    /// The pixel at a whole position, which may be beyond the edges.
    fn at(&self, pixels: &[u32], x: i64, y: i64) -> u32 {
        let repeat = self.turned.repeat;
        match (repeat.inside(x, self.width), repeat.inside(y, self.height)) {
            (Some(x), Some(y)) => pixels[(y * self.width + x) as usize],
            _ => 0,
        }
    }
}

impl Repeat {
    fn inside(self, at: i64, size: i64) -> Option<i64> {
        match self {
            Self::None => (0..size).contains(&at).then_some(at),
            Self::Normal => Some(at.rem_euclid(size)),
            Self::Pad => Some(at.clamp(0, size - 1)),
            Self::Reflect => {
                let at = at.rem_euclid(2 * size);
                Some(if at < size { at } else { 2 * size - 1 - at })
            }
        }
    }
}

/// Where the middle of a pixel comes to lie, in 1/65536.
fn transform(matrix: &[i32; 6], x: i64, y: i64) -> (i64, i64) {
    let (x, y) = (i128::from(x << 16 | 0x8000), i128::from(y << 16 | 0x8000));
    let row = |at: usize| {
        let sum = i128::from(matrix[at]) * x
            + i128::from(matrix[at + 1]) * y
            + (i128::from(matrix[at + 2]) << 16);
        ((sum + 0x8000) >> 16) as i64
    };
    (row(0), row(3))
}

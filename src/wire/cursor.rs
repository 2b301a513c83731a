//! Messages of the cursor channel (docs/protocol/stream.md).
//!
//! Clients send nothing but common messages here.

use bytes::BufMut;

/// The channel's type.
pub const CHANNEL: u8 = 4;

/// Server to client message types.
pub mod to_client {
    /// The pointer, at the start of a channel.
    pub const INIT: u16 = 101;
    /// The pointer is forgotten.
    pub const RESET: u16 = 102;
    /// A new pointer.
    pub const SET: u16 = 103;
    /// The pointer's place.
    pub const MOVE: u16 = 104;
    /// The pointer is not to be seen.
    pub const HIDE: u16 = 105;
    /// What the pointer leaves behind it: u16 length, u16 frequency.
    pub const TRAIL: u16 = 106;
    /// Forget all pointers that were to be remembered.
    pub const INVAL_ALL: u16 = 108;
}

/// Types of pointers.
pub mod kind {
    /// 32 bits for a pixel, one of four bytes says how much of it is seen.
    pub const ALPHA: u8 = 0;
    /// Two masks of one bit for a pixel: what stays, and what is inverted.
    pub const MONO: u8 = 1;
    /// Four bits for a pixel, a palette of 16 colours of 32 bits, a mask of one bit each.
    pub const COLOR4: u8 = 2;
    /// Eight bits for a pixel, a palette of 256, a mask.
    pub const COLOR8: u8 = 3;
    /// 16 bits for a pixel, then a mask of one bit each.
    pub const COLOR16: u8 = 4;
    /// 24 bits for a pixel, then a mask of one bit each.
    pub const COLOR24: u8 = 5;
    /// 32 bits for a pixel, then a mask of one bit each.
    pub const COLOR32: u8 = 6;
}

/// Where the pointer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Pixels from the left.
    pub x: i16,
    /// Pixels from the top.
    pub y: i16,
}

/// What a pointer looks like, without its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// One of [`kind`].
    pub kind: u8,
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
    /// The pixel that points.
    pub hot_x: u16,
    /// The pixel that points.
    pub hot_y: u16,
}

/// What a pointer leaves behind it when it moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// How many pointers.
    pub length: u16,
    /// How often one is left, in milliseconds.
    pub frequency: u16,
}

/// Bytes of a pointer's picture; `None` for an unknown type. Lines of a mask, and those of
/// four bits for a pixel, begin with a byte.
pub fn picture_bytes(kind: u8, width: u16, height: u16) -> Option<usize> {
    let (width, height) = (usize::from(width), usize::from(height));
    let mask = width.div_ceil(8) * height;
    Some(match kind {
        kind::ALPHA => 4 * width * height,
        kind::MONO => 2 * mask,
        kind::COLOR4 => width.div_ceil(2) * height + 16 * 4 + mask,
        kind::COLOR8 => width * height + 256 * 4 + mask,
        kind::COLOR16 => 2 * width * height + mask,
        kind::COLOR24 => 3 * width * height + mask,
        kind::COLOR32 => 4 * width * height + mask,
        _ => return None,
    })
}

/// INIT up to the picture: place, u16 length and u16 frequency of the trail, u8 visible,
/// and the pointer, if there is one.
pub fn init(place: Point, trail: Trail, visible: bool, shape: Option<Shape>) -> Vec<u8> {
    /// There is no pointer.
    const NONE: u16 = 1;
    let mut body = Vec::with_capacity(28);
    put_point(&mut body, place);
    body.put_u16_le(trail.length);
    body.put_u16_le(trail.frequency);
    body.put_u8(visible.into());
    match shape {
        Some(shape) => put_shape(&mut body, shape),
        None => body.put_u16_le(NONE),
    }
    body
}

/// SET up to the picture: place, u8 visible, the pointer.
pub fn set(place: Point, visible: bool, shape: Shape) -> Vec<u8> {
    let mut body = Vec::with_capacity(24);
    put_point(&mut body, place);
    body.put_u8(visible.into());
    put_shape(&mut body, shape);
    body
}

/// MOVE: i16 x, i16 y.
pub fn moved(place: Point) -> Vec<u8> {
    let mut body = Vec::with_capacity(4);
    put_point(&mut body, place);
    body
}

/// TRAIL: u16 length, u16 frequency.
pub fn trail(trail: Trail) -> Vec<u8> {
    [trail.length.to_le_bytes(), trail.frequency.to_le_bytes()].concat()
}

fn put_point(body: &mut Vec<u8>, point: Point) {
    body.put_i16_le(point.x);
    body.put_i16_le(point.y);
}

/// u16 flags, u64 name in the client's cache, u8 type, u16 width, height, hot x, hot y.
fn put_shape(body: &mut Vec<u8>, shape: Shape) {
    body.put_u16_le(0);
    body.put_u64_le(0);
    body.put_u8(shape.kind);
    for field in [shape.width, shape.height, shape.hot_x, shape.hot_y] {
        body.put_u16_le(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The bytes are what Debian's library sent.

    #[test]
    fn messages_up_to_the_picture() {
        let shape = Shape { kind: kind::COLOR24, width: 4, height: 3, hot_x: 1, hot_y: 2 };
        let place = Point { x: 0x1170, y: -16 };
        let cursor = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 4, 0, 3, 0, 1, 0, 2, 0];
        let with = |head: &[u8]| [head, &cursor].concat();
        let left = Trail { length: 3, frequency: 4 };
        assert_eq!(
            init(place, left, true, Some(shape)),
            with(&[0x70, 0x11, 0xf0, 0xff, 3, 0, 4, 0, 1])
        );
        assert_eq!(trail(left), [3, 0, 4, 0]);
        assert_eq!(
            init(Point::default(), Trail::default(), true, None),
            [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]
        );
        assert_eq!(set(Point::default(), true, shape), with(&[0, 0, 0, 0, 1]));
        assert_eq!(moved(place), [0x70, 0x11, 0xf0, 0xff]);
    }

    #[test]
    fn each_type_has_its_picture() {
        let bytes = |kind| picture_bytes(kind, 9, 2);
        let expected = [72, 8, 10 + 64 + 4, 18 + 1024 + 4, 40, 58, 76].map(Some);
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(bytes), expected);
        assert_eq!(bytes(7), None);
    }
}

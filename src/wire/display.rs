//! Messages of the display channel (docs/protocol/display.md, stream.md), all but images.

use bytes::BufMut;

use super::common::Malformed;
use super::image::Place;
use super::{ChannelKey, Reader};

/// Capabilities of both sides, by bit number.
pub mod capability {
    /// The client takes frames of other sizes than their stream's.
    pub const SIZED_STREAM: u32 = 0;
    /// The client takes MONITORS_CONFIG.
    pub const MONITORS_CONFIG: u32 = 1;
    /// The client takes what the guest composes.
    pub const COMPOSITE: u32 = 2;
    /// The client knows surfaces of alpha only.
    pub const A8_SURFACE: u32 = 3;
    /// The client reports how a stream arrives.
    pub const STREAM_REPORT: u32 = 4;
    /// The client takes images of LZ4.
    pub const LZ4_COMPRESSION: u32 = 5;
    /// The client can say how it likes images compressed.
    pub const PREF_COMPRESSION: u32 = 6;
    /// The client takes a picture in a buffer of a graphics card.
    pub const GL_SCANOUT: u32 = 7;
    /// The client tells which of the codecs below it has.
    pub const MULTI_CODEC: u32 = 8;
    /// Among them MJPEG.
    pub const CODEC_MJPEG: u32 = 9;
    /// The client can say which codec it likes.
    pub const PREF_VIDEO_CODEC_TYPE: u32 = 12;
    /// The client takes a picture in several planes, with a modifier.
    pub const GL_SCANOUT2: u32 = 15;
}

/// How images may be compressed, as clients and the C API number it.
pub mod compression {
    /// Not at all.
    pub const OFF: u8 = 1;
    /// By content, with GLZ.
    pub const AUTO_GLZ: u8 = 2;
    /// QUIC.
    pub const QUIC: u8 = 4;
    /// LZ4.
    pub const LZ4: u8 = 7;
}

/// The number of the codec that every client has which does not say otherwise.
pub const MJPEG: u8 = 1;

/// The other codecs: number, and the client's capability.
pub const CODECS: [(u8, u32); 4] = [(2, 10), (3, 11), (4, 13), (5, 14)];

/// Server to client message types.
pub mod to_client {
    /// The surface shows what it is meant to show.
    pub const MARK: u16 = 102;
    /// Images that were kept are worthless; first wait for other channels.
    pub const INVAL_ALL_PIXMAPS: u16 = 106;
    /// Palettes that were kept are worthless.
    pub const INVAL_ALL_PALETTES: u16 = 108;
    /// A stream begins.
    pub const STREAM_CREATE: u16 = 122;
    /// A frame of a stream.
    pub const STREAM_DATA: u16 = 123;
    /// What of a stream is shown.
    pub const STREAM_CLIP: u16 = 124;
    /// A stream ends.
    pub const STREAM_DESTROY: u16 = 125;
    /// Draw an image.
    pub const DRAW_COPY: u16 = 304;
    /// Fill an area with a colour.
    pub const DRAW_FILL: u16 = 302;
    /// A surface appears.
    pub const SURFACE_CREATE: u16 = 314;
    /// A surface vanishes.
    pub const SURFACE_DESTROY: u16 = 315;
    /// A frame of a stream that covers another area, or has another size, than the stream.
    pub const STREAM_DATA_SIZED: u16 = 316;
    /// Which parts of which surface are on which monitor.
    pub const MONITORS_CONFIG: u16 = 317;
    /// Report how this stream arrives.
    pub const STREAM_ACTIVATE_REPORT: u16 = 319;
    /// A picture in a buffer of a graphics card, whose descriptor comes along.
    pub const GL_SCANOUT_UNIX: u16 = 320;
    /// Part of that picture was drawn.
    pub const GL_DRAW: u16 = 321;
    /// As `GL_SCANOUT_UNIX`, in several planes.
    pub const GL_SCANOUT2_UNIX: u16 = 323;
}

/// Client to server message types.
mod from_client {
    pub(super) const INIT: u16 = 101;
    pub(super) const STREAM_REPORT: u16 = 102;
    pub(super) const PREFERRED_COMPRESSION: u16 = 103;
    pub(super) const GL_DRAW_DONE: u16 = 104;
    pub(super) const PREFERRED_VIDEO_CODEC_TYPE: u16 = 105;
}

/// What a client says on its display channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// The sizes of its caches.
    Init(Caches),
    /// How a stream arrives.
    StreamReport(StreamReport),
    /// How it likes images compressed: a number of [`compression`].
    PreferredCompression(u8),
    /// It has shown what a GL device drew.
    GlDrawDone,
    /// The codecs that it likes, best first.
    PreferredCodecs,
}

/// What a client keeps for its display channels: INIT's u8 number and i64 pixels of its
/// cache of images, u8 number and u32 pixels of its window of GLZ images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// Number of the cache.
    pub cache: u8,
    /// Its size in pixels.
    pub cache_size: i64,
    /// Number of the window.
    pub glz: u8,
    /// Its size in pixels.
    pub glz_size: u32,
}

impl Caches {
    fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        Some(Self {
            cache: reader.u8().ok()?,
            cache_size: i64::from_le_bytes(reader.array().ok()?),
            glz: reader.u8().ok()?,
            glz_size: reader.u32().ok()?,
        })
    }
}

/// How a stream has arrived since the report before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// The stream.
    pub stream: u32,
    /// The number that the report was given when it was asked for.
    pub unique: u32,
    /// Frames that came.
    pub frames: u32,
    /// Of them those that were not shown; `u32::MAX` if nearly none is.
    pub drops: u32,
    /// How long before it was to be shown the last frame came, in milliseconds.
    pub delay: i32,
}

impl StreamReport {
    /// u32 stream, u32 unique, u32 start, u32 end (multimedia times), u32 frames, u32 drops,
    /// i32 delay, u32 delay of sound.
    fn parse(body: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*body.get(at..)?.first_chunk()?));
        Some(Self {
            stream: word(0)?,
            unique: word(4)?,
            frames: word(16)?,
            drops: word(20)?,
            delay: word(24)?.cast_signed(),
        })
    }
}

/// Takes a message of the display channel itself.
pub fn parse(kind: u16, body: &[u8]) -> Result<FromClient, Malformed> {
    use from_client as c;
    let (parsed, needs) = match kind {
        c::INIT => (FromClient::Init(Caches::parse(body).unwrap_or_default()), 14),
        c::STREAM_REPORT => {
            (FromClient::StreamReport(StreamReport::parse(body).unwrap_or_default()), 32)
        }
        c::PREFERRED_COMPRESSION => {
            (FromClient::PreferredCompression(body.first().copied().unwrap_or(0)), 1)
        }
        c::GL_DRAW_DONE => (FromClient::GlDrawDone, 0),
        c::PREFERRED_VIDEO_CODEC_TYPE => {
            (FromClient::PreferredCodecs, 1 + body.first().map_or(0, |&count| count.into()))
        }
        _ => return Err(Malformed::Unknown(kind)),
    };
    if body.len() < needs { Err(Malformed::Short(kind)) } else { Ok(parsed) }
}

/// Surface formats.
pub mod surface_format {
    /// 32 bits for a pixel, of which 24 are used.
    pub const XRGB_32: u32 = 32;
}

/// Flags of SURFACE_CREATE.
pub mod surface_flag {
    /// The surface that monitors show.
    pub const PRIMARY: u32 = 1;
    /// Nothing but one stream is drawn on it.
    pub const STREAMING_MODE: u32 = 2;
}

/// SURFACE_CREATE: u32 id, width, height, format, flags.
pub fn surface_create(id: u32, (width, height): (u32, u32), format: u32, flags: u32) -> Vec<u8> {
    words(&[id, width, height, format, flags])
}

/// `INVAL_ALL_PIXMAPS`: u8 count, then for each channel that the client first has to have
/// come so far on u8 type, u8 id, u64 serial.
pub fn inval_all_pixmaps(wait: impl Iterator<Item = (u8, u64)>) -> Vec<u8> {
    let mut body = vec![0];
    for (id, serial) in wait {
        body[0] += 1;
        body.extend_from_slice(&[ChannelKey::DISPLAY, id]);
        body.put_u64_le(serial);
    }
    body
}

/// SURFACE_DESTROY: u32 id.
pub fn surface_destroy(id: u32) -> Vec<u8> {
    words(&[id])
}

/// MONITORS_CONFIG for one monitor that shows a whole surface: u16 count, u16 largest
/// count, then u32 id, surface, width, height, x, y, flags.
pub fn one_monitor(surface: u32, (width, height): (u32, u32)) -> Vec<u8> {
    let mut body = Vec::with_capacity(32);
    body.put_u16_le(1);
    body.put_u16_le(1);
    body.extend(words(&[0, surface, width, height, 0, 0, 0]));
    body
}

/// A monitor and the part of a surface that it shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub id: u32,
    /// The surface.
    pub surface: u32,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Where it is among the others, in pixels from the left and from the top.
    pub at: (u32, u32),
}

/// MONITORS_CONFIG: as [`one_monitor`], for several, of which clients may want `max`.
pub fn monitors_config(heads: &[Head], max: u16) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + heads.len() * 28);
    body.put_u16_le(heads.len() as u16);
    body.put_u16_le(max);
    for Head { id, surface, size, at } in heads {
        body.extend(words(&[*id, *surface, size.0, size.1, at.0, at.1, 0]));
    }
    body
}

/// DRAW_FILL of a whole surface in black.
pub fn fill_black(surface: u32, size: (u32, u32)) -> Vec<u8> {
    /// The brush paints over what is there.
    const ROP_PUT: u16 = 8;
    /// One colour everywhere.
    const BRUSH_SOLID: u8 = 1;
    let mut body = words(&[surface]);
    body.extend(whole(size));
    body.put_u8(CLIP_NONE);
    body.put_u8(BRUSH_SOLID);
    body.put_u32_le(0);
    body.put_u16_le(ROP_PUT);
    // No mask: u8 flags, i32 x and y, u32 where its picture would be.
    body.put_u8(0);
    body.extend([0; 12]);
    body
}

/// The fields of STREAM_CREATE that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCreate {
    /// Where it is drawn.
    pub surface: u32,
    /// Its name, below [`STREAMS`].
    pub id: u32,
    /// The codec's number.
    pub codec: u8,
    /// What it covers. Its frames have the same size.
    pub place: Place,
    /// What of it is shown.
    pub clip: Clip,
}

/// What is shown of something that is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clip {
    /// All of it.
    Nothing,
    /// What lies in these places of the surface.
    Places(Vec<Place>),
}

/// How many streams a channel may have; ids are below.
pub const STREAMS: u32 = 50;

impl StreamCreate {
    /// The body: u32 surface, u32 id, u8 flags, u8 codec, u64 stamp, u32 width and height
    /// of the stream, u32 width and height of its source, the area it covers, the clip.
    pub fn encode(&self) -> Vec<u8> {
        const TOP_DOWN: u8 = 1;
        let Place { width, height, .. } = self.place;
        let mut body = words(&[self.surface, self.id]);
        body.put_u8(TOP_DOWN);
        body.put_u8(self.codec);
        body.put_u64_le(0);
        body.extend(words(&[width, height, width, height]));
        body.extend(rectangle(self.place));
        self.clip.encode(&mut body);
        body
    }
}

/// A picture in buffers of a graphics card, all but the buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlPicture {
    /// In pixels.
    pub size: (u32, u32),
    /// DRM's number of the format.
    pub format: u32,
    /// DRM's number of how pixels are laid out.
    pub modifier: u64,
    /// The first line is the uppermost one.
    pub top_down: bool,
    /// Of each plane: where it begins in its buffer, and the length of a line, in bytes.
    pub planes: Vec<(u32, u32)>,
}

impl GlPicture {
    /// `GL_SCANOUT_UNIX`: u32 width, height, length of a line, format, flags. It can tell of
    /// one plane only, and not where that begins.
    pub fn encode(&self) -> Vec<u8> {
        let stride = self.planes.first().map_or(0, |plane| plane.1);
        words(&[self.size.0, self.size.1, stride, self.format, u32::from(self.top_down)])
    }

    /// `GL_SCANOUT2_UNIX`: u32 width, height, format, flags, u8 planes, u64 modifier; of each
    /// plane u32 beginning and length of a line.
    pub fn encode_planes(&self) -> Vec<u8> {
        let mut body = words(&[self.size.0, self.size.1, self.format, u32::from(self.top_down)]);
        body.put_u8(self.planes.len() as u8);
        body.put_u64_le(self.modifier);
        for (offset, stride) in &self.planes {
            body.extend(words(&[*offset, *stride]));
        }
        body
    }
}

/// What was drawn of a picture in a graphics card's buffer, in pixels. Numbers are the
/// host's, and mean nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlArea {
    /// The left edge.
    pub x: u32,
    /// The upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl GlArea {
    /// `GL_DRAW`: u32 x, y, width, height.
    pub fn encode(self) -> Vec<u8> {
        words(&[self.x, self.y, self.width, self.height])
    }

    /// The smallest area with both in it.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let end = |at: u32, length: u32| u64::from(at) + u64::from(length);
        let span =
            |at: u32, a: u64, b: u64| u32::try_from(a.max(b) - u64::from(at)).unwrap_or(u32::MAX);
        let width = span(x, end(self.x, self.width), end(other.x, other.width));
        let height = span(y, end(self.y, self.height), end(other.y, other.height));
        Self { x, y, width, height }
    }
}

impl Clip {
    /// u8 type; for type 1 u32 count and the rectangles.
    fn encode(&self, body: &mut Vec<u8>) {
        const RECTS: u8 = 1;
        match self {
            Self::Nothing => body.put_u8(CLIP_NONE),
            Self::Places(places) => {
                body.put_u8(RECTS);
                body.put_u32_le(places.len() as u32);
                for place in places {
                    body.extend(rectangle(*place));
                }
            }
        }
    }
}

/// STREAM_CLIP: u32 id, the clip.
pub fn stream_clip(id: u32, clip: &Clip) -> Vec<u8> {
    let mut body = words(&[id]);
    clip.encode(&mut body);
    body
}

/// STREAM_DESTROY: u32 id.
pub fn stream_destroy(id: u32) -> Vec<u8> {
    words(&[id])
}

/// What stands before a frame in STREAM_DATA: u32 id, u32 multimedia time, u32 length of
/// the frame.
pub fn stream_data(id: u32, time: u32, length: u32) -> Vec<u8> {
    words(&[id, time, length])
}

/// What stands before a frame in STREAM_DATA_SIZED: u32 id, u32 multimedia time, u32 width
/// and height of the frame, the area it covers, u32 length of the frame.
pub fn stream_data_sized(id: u32, time: u32, place: Place, length: u32) -> Vec<u8> {
    let mut head = words(&[id, time, place.width, place.height]);
    head.extend(rectangle(place));
    head.put_u32_le(length);
    head
}

/// STREAM_ACTIVATE_REPORT: u32 id, u32 a number for the report, u32 after how many
/// frames and u32 after how many milliseconds a report is due.
pub fn activate_report(id: u32, unique: u32, frames: u32, milliseconds: u32) -> Vec<u8> {
    words(&[id, unique, frames, milliseconds])
}

/// All of it is drawn.
const CLIP_NONE: u8 = 0;

/// The rectangle of a whole surface: top, left, bottom, right.
fn whole((width, height): (u32, u32)) -> Vec<u8> {
    words(&[0, 0, height, width])
}

/// A rectangle: top, left, bottom, right.
fn rectangle(Place { left, top, width, height }: Place) -> Vec<u8> {
    words(&[top, left, top + height, left + width])
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_messages_need_their_bytes() {
        for (kind, needs) in [(101, 14), (102, 32), (103, 1)] {
            assert!(parse(kind, &vec![0; needs]).is_ok());
            assert_eq!(parse(kind, &vec![0; needs - 1]), Err(Malformed::Short(kind)));
        }
        assert_eq!(parse(104, &[]), Ok(FromClient::GlDrawDone));
        assert_eq!(parse(105, &[2, 1, 3]), Ok(FromClient::PreferredCodecs));
        assert_eq!(parse(105, &[2, 1]), Err(Malformed::Short(105)));
        assert_eq!(parse(105, &[]), Err(Malformed::Short(105)));
        assert_eq!(parse(106, &[0; 99]), Err(Malformed::Unknown(106)));
    }

    // The bytes are what Debian's library sent.

    #[test]
    fn a_surface_and_its_monitor() {
        let create = surface_create(0, (640, 480), surface_format::XRGB_32, 3);
        assert_eq!(create, [0, 0, 0, 0, 0x80, 2, 0, 0, 0xe0, 1, 0, 0, 32, 0, 0, 0, 3, 0, 0, 0]);
        let mut monitors = vec![1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 2, 0, 0, 0xe0, 1, 0, 0];
        monitors.resize(32, 0);
        assert_eq!(one_monitor(0, (640, 480)), monitors);
        let head = Head { size: (640, 480), ..Head::default() };
        assert_eq!(monitors_config(&[head], 1), monitors);
        let fill = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc8, 0, 0, 0, 0x40, 1, 0, 0, 0, 1, 0, 0, 0, 0, 8,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(fill_black(0, (320, 200)), fill);
    }

    #[test]
    fn a_picture_in_a_graphics_card() {
        let mut picture = GlPicture {
            size: (64, 48),
            format: 0x3432_5258,
            modifier: 7,
            top_down: true,
            planes: vec![(0, 256)],
        };
        let bytes = [64, 0, 0, 0, 48, 0, 0, 0, 0, 1, 0, 0, b'X', b'R', b'2', b'4', 1, 0, 0, 0];
        assert_eq!(picture.encode(), bytes);
        picture.planes.push((5, 128));
        let bytes = [
            64, 0, 0, 0, 48, 0, 0, 0, b'X', b'R', b'2', b'4', 1, 0, 0, 0, 2, 7, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 1, 0, 0, 5, 0, 0, 0, 128, 0, 0, 0,
        ];
        assert_eq!(picture.encode_planes(), bytes);
        let area = |x, y, width, height| GlArea { x, y, width, height };
        assert_eq!(area(1, 2, 3, 4).encode()[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(area(1, 2, 3, 4).hull(area(10, 0, 1, 1)), area(1, 0, 10, 6));
        let huge = area(u32::MAX, 0, u32::MAX, 1);
        assert_eq!(huge.hull(area(0, 0, 1, 1)), area(0, 0, u32::MAX, 1));
    }

    #[test]
    fn a_stream() {
        let place = Place { left: 0, top: 0, width: 320, height: 200 };
        let clip = Clip::Nothing;
        let create = StreamCreate { surface: 0, id: 2, codec: 2, place, clip };
        let bytes = [
            0, 0, 0, 0, 2, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0, 0xc8, 0, 0, 0,
            0x40, 1, 0, 0, 0xc8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc8, 0, 0, 0, 0x40, 1, 0, 0, 0,
        ];
        assert_eq!(create.encode(), bytes);
        assert_eq!(stream_data(1, 2, 3), [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    }
}

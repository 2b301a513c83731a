//! What comes out of a stream device, cut into messages.
//!
//! Bytes arrive in pieces of any size. Every announced length is compared with a limit
//! first, and memory grows with what has arrived, not with what was announced.

use bytes::{Bytes, BytesMut};

use crate::config::limits;
use crate::wire::cursor::{Point, Shape, kind};
use crate::wire::stream_device::{self as wire, CursorSet, DisplayInfo, Format, Header, message};

/// What the guest said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A stream begins.
    Format(Format),
    /// A frame of it, and the multimedia time at which it began to arrive.
    Frame(u32, Bytes),
    /// The pointer looks like this.
    Pointer(Shape, Bytes),
    /// The pointer is there.
    PointerAt(Point),
    /// Which output of which graphics device the stream shows.
    DisplayInfo(DisplayInfo),
    /// Something that is worth a line in the log.
    Ignored(&'static str),
}

/// The guest broke the protocol; the text is told to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub &'static str);

/// The receiving side of one device.
#[derive(Debug, Default)]
pub struct Intake {
    /// The header that is arriving, or the body.
    buffer: BytesMut,
    /// The header of the body that is arriving.
    header: Option<Header>,
    /// When the message began to arrive, by the multimedia time.
    began: Option<u32>,
    /// After a fault nothing makes sense until the guest begins anew.
    faulty: bool,
    /// Counts how often the guest began anew.
    life: u32,
}

/// Room for the next bytes: [`Loan::room`] wants to be filled from its beginning.
#[derive(Debug)]
pub struct Loan {
    buffer: BytesMut,
    filled: usize,
    life: u32,
}

impl Loan {
    /// As many bytes as are wanted next, at least one.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }
}

impl Intake {
    /// The guest begins anew.
    pub fn reset(&mut self) {
        *self = Self { life: self.life.wrapping_add(1), ..Self::default() };
    }

    /// Whether the guest broke the protocol and has not begun anew.
    pub fn is_faulty(&self) -> bool {
        self.faulty
    }

    /// Gives out room to read into. Nothing else may be lent before it is settled.
    pub fn lend(&mut self) -> Loan {
        let mut buffer = std::mem::take(&mut self.buffer);
        let filled = buffer.len();
        let wanted = if self.faulty {
            limits::STREAM_DISCARD
        } else {
            let length = self.header.map_or(wire::HEADER, |header| header.size as usize);
            length.saturating_sub(filled).min(limits::STREAM_READ)
        };
        buffer.resize(filled + wanted, 0);
        Loan { buffer, filled, life: self.life }
    }

    /// Takes the room back with `count` bytes in it, at the multimedia time `now`.
    /// What was read before the guest began anew is dropped.
    pub fn settle(&mut self, loan: Loan, count: usize, now: u32) -> Result<Option<Event>, Fault> {
        if loan.life != self.life {
            return Ok(None);
        }
        self.buffer = loan.buffer;
        if self.faulty {
            self.buffer.clear();
            return Ok(None);
        }
        self.buffer.truncate(loan.filled.saturating_add(count));
        let result = self.advance(now);
        if result.is_err() {
            self.faulty = true;
            // It may be large.
            self.buffer = BytesMut::new();
        }
        result
    }

    /// Goes on with what has arrived.
    fn advance(&mut self, now: u32) -> Result<Option<Event>, Fault> {
        if !self.buffer.is_empty() {
            self.began.get_or_insert(now);
        }
        let header = if let Some(header) = self.header {
            header
        } else {
            let Some(bytes) = self.buffer.first_chunk() else {
                return Ok(None);
            };
            let header = Header::parse(*bytes);
            check_size(header)?;
            self.buffer.clear();
            self.header = Some(header);
            header
        };
        if self.buffer.len() < header.size as usize {
            return Ok(None);
        }
        self.header = None;
        let time = self.began.take().unwrap_or(now);
        let body = std::mem::take(&mut self.buffer).freeze();
        understand(header.kind, body, time)
    }
}

/// Compares what is announced with what the message may have.
fn check_size(header: Header) -> Result<(), Fault> {
    let size = header.size as usize;
    let (sizes, fault) = match header.kind {
        message::CAPABILITIES => (0..=limits::STREAM_CAPABILITIES, "capabilities are too large"),
        message::FORMAT => (wire::FORMAT..=wire::FORMAT, "wrong size of a format"),
        message::DATA => (0..=limits::STREAM_FRAME, "a frame is too large"),
        message::CURSOR_SET => {
            (wire::CURSOR_SET..=wire::CURSOR_SET + LARGEST_POINTER, "wrong size of a cursor")
        }
        message::CURSOR_MOVE => {
            (wire::CURSOR_MOVE..=wire::CURSOR_MOVE, "wrong size of a cursor's move")
        }
        message::DEVICE_DISPLAY_INFO => {
            (0..=wire::DISPLAY_INFO + limits::DEVICE_ADDRESS, "display information is too large")
        }
        _ => return Err(Fault("no message of this type is expected")),
    };
    if sizes.contains(&size) { Ok(()) } else { Err(Fault(fault)) }
}

/// Reads a whole message, whose size fits its type.
fn understand(kind: u16, body: Bytes, time: u32) -> Result<Option<Event>, Fault> {
    const SHORT: Fault = Fault("a message is too short");
    match kind {
        message::FORMAT => {
            let format = Format::parse(&body).map_err(|_| SHORT)?;
            check_format(format)?;
            Ok(Some(Event::Format(format)))
        }
        // An empty frame shows nothing.
        message::DATA => Ok((!body.is_empty()).then_some(Event::Frame(time, body))),
        message::CURSOR_SET => {
            let set = CursorSet::parse(&body).map_err(|_| SHORT)?;
            let picture = body.slice(wire::CURSOR_SET..);
            pointer(set, &picture).map(Some)
        }
        message::CURSOR_MOVE => {
            let (x, y) = wire::cursor_move(&body).map_err(|_| SHORT)?;
            Ok(Some(Event::PointerAt(Point { x, y })))
        }
        message::DEVICE_DISPLAY_INFO => {
            // One byte of the limit is the NUL's.
            let info = DisplayInfo::parse(&body, limits::DEVICE_ADDRESS - 1);
            let wrong = Event::Ignored("display information without a usable address");
            Ok(Some(info.map_or(wrong, Event::DisplayInfo)))
        }
        // Of the guest's capabilities none changes anything.
        _ => Ok(None),
    }
}

/// A surface of this size must be possible.
fn check_format(format: Format) -> Result<(), Fault> {
    let pixels = u64::from(format.width) * u64::from(format.height);
    let bytes = pixels.saturating_mul(4);
    if bytes == 0 || bytes > limits::SURFACE {
        return Err(Fault("no surface has this size"));
    }
    Ok(())
}

/// Bits of a pixel with its part of the mask, for the types that may be used.
fn bits(pointer: u8) -> Option<usize> {
    match pointer {
        kind::ALPHA => Some(32),
        kind::COLOR24 => Some(25),
        kind::COLOR32 => Some(33),
        _ => None,
    }
}

fn pointer(set: CursorSet, picture: &Bytes) -> Result<Event, Fault> {
    let bits = bits(set.kind).ok_or(Fault("a cursor of this type is not expected"))?;
    if set.width > limits::POINTER_SIDE || set.height > limits::POINTER_SIDE {
        return Err(Fault("a cursor is too large"));
    }
    let length = (usize::from(set.width) * usize::from(set.height) * bits).div_ceil(8);
    if picture.len() < length {
        return Err(Fault("a cursor lacks a part of its picture"));
    }
    let CursorSet { width, height, hot_x, hot_y, kind } = set;
    let shape = Shape { kind, width, height, hot_x, hot_y };
    // What is behind it has no meaning.
    Ok(Event::Pointer(shape, picture.slice(..length)))
}

/// Bytes of the largest picture: 32 bits for a pixel, and for each line as many bytes of
/// mask as upstream allows.
const LARGEST_POINTER: usize =
    (limits::POINTER_SIDE as usize * 4 + 128) * limits::POINTER_SIDE as usize;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
        [&Header { kind, size: body.len() as u32 }.encode(), body].concat()
    }

    /// Feeds `bytes` in pieces of at most so many; what comes out.
    fn feed(
        intake: &mut Intake,
        mut bytes: &[u8],
        cuts: &mut impl Iterator<Item = usize>,
    ) -> Vec<Result<Event, Fault>> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let mut loan = intake.lend();
            let count =
                loan.room().len().min(bytes.len()).min(cuts.next().expect("goes on for ever"));
            loan.room()[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            out.extend(intake.settle(loan, count, 5).transpose());
        }
        out
    }

    fn all(bytes: &[u8]) -> Vec<Result<Event, Fault>> {
        feed(&mut Intake::default(), bytes, &mut std::iter::repeat(usize::MAX))
    }

    fn cursor(width: u16, height: u16, kind: u8, data: usize) -> Vec<u8> {
        let mut body: Vec<u8> =
            [width, height, 1, 2].iter().flat_map(|field| field.to_le_bytes()).collect();
        body.extend([kind, 0, 0, 0]);
        body.resize(wire::CURSOR_SET + data, 7);
        framed(message::CURSOR_SET, &body)
    }

    fn format(width: u32, height: u32) -> Vec<u8> {
        let body = [&width.to_le_bytes()[..], &height.to_le_bytes(), &[1, 0, 0, 0]].concat();
        framed(message::FORMAT, &body)
    }

    fn is_refused(bytes: &[u8]) -> bool {
        all(bytes).iter().any(Result::is_err)
    }

    #[test]
    fn each_message_is_understood() {
        let mut stream = framed(message::CAPABILITIES, &[0]);
        stream.extend(format(640, 480));
        stream.extend(framed(message::DATA, b"frame"));
        stream.extend(framed(message::DATA, b""));
        stream.extend(cursor(2, 2, kind::ALPHA, 17));
        stream.extend(framed(message::CURSOR_MOVE, &[1, 0, 0, 0, 2, 0, 0, 0]));
        stream.extend(framed(
            message::DEVICE_DISPLAY_INFO,
            &[1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'x', 0],
        ));
        stream.extend(framed(message::DEVICE_DISPLAY_INFO, &[0; 11]));
        let shape = Shape { kind: kind::ALPHA, width: 2, height: 2, hot_x: 1, hot_y: 2 };
        let info = DisplayInfo { stream_id: 1, device_display_id: 2, address: b"x".to_vec() };
        assert_eq!(
            all(&stream),
            [
                Ok(Event::Format(Format { width: 640, height: 480, codec: 1 })),
                Ok(Event::Frame(5, Bytes::from_static(b"frame"))),
                Ok(Event::Pointer(shape, Bytes::from_static(&[7; 16]))),
                Ok(Event::PointerAt(Point { x: 1, y: 2 })),
                Ok(Event::DisplayInfo(info)),
                Ok(Event::Ignored("display information without a usable address")),
            ]
        );
    }

    #[test]
    fn a_frame_has_the_time_of_its_first_byte() {
        let mut intake = Intake::default();
        let mut event = None;
        for (at, byte) in (100..).zip(framed(message::DATA, b"ab")) {
            let mut loan = intake.lend();
            loan.room()[0] = byte;
            event = intake.settle(loan, 1, at).expect("a good message");
        }
        assert_eq!(event, Some(Event::Frame(100, Bytes::from_static(b"ab"))));
    }

    #[test]
    fn sizes_are_refused_by_the_header_alone() {
        let sizes: [(u16, &[usize], &[usize]); 6] = [
            (message::CAPABILITIES, &[0, 1024], &[1025]),
            (message::FORMAT, &[12], &[0, 11, 13]),
            (message::DATA, &[0, 32 << 20], &[(32 << 20) + 1]),
            (message::CURSOR_SET, &[12, 12 + 4224 * 1024], &[11, 12 + 4224 * 1024 + 1]),
            (message::CURSOR_MOVE, &[8], &[7, 9]),
            (message::DEVICE_DISPLAY_INFO, &[0, 268], &[269]),
        ];
        for (kind, good, bad) in sizes {
            for &size in good {
                assert_eq!(check_size(Header { kind, size: size as u32 }), Ok(()), "{kind} {size}");
            }
            for &size in bad {
                let header = Header { kind, size: size as u32 };
                assert!(is_refused(&header.encode()), "{kind} {size}");
            }
        }
        for kind in [0, message::START_STOP, message::NOTIFY_ERROR, 9, 10, u16::MAX] {
            assert!(is_refused(&Header { kind, size: 0 }.encode()), "{kind}");
        }
    }

    #[test]
    fn pointers_need_their_picture() {
        for (kind, bits) in [(kind::ALPHA, 32), (kind::COLOR24, 25), (kind::COLOR32, 33)] {
            let length = (3usize * 5 * bits).div_ceil(8);
            assert!(!is_refused(&cursor(3, 5, kind, length)));
            assert!(is_refused(&cursor(3, 5, kind, length - 1)));
        }
        for kind in [1, 2, 3, 4, 7, 255] {
            assert!(is_refused(&cursor(2, 2, kind, 100)), "type {kind}");
        }
        assert!(!is_refused(&cursor(1024, 1024, kind::COLOR32, 4224 * 1024)));
        assert!(!is_refused(&cursor(0, 0, kind::ALPHA, 0)));
        assert!(is_refused(&cursor(1025, 0, kind::ALPHA, 0)));
        assert!(is_refused(&cursor(0, 1025, kind::ALPHA, 0)));
    }

    #[test]
    fn formats_must_be_surfaces() {
        assert!(!is_refused(&format(1, 1)));
        assert!(!is_refused(&format(0x1000_0000, 1)));
        for (width, height) in [(0, 5), (5, 0), (0x2000_0000, 1), (u32::MAX, u32::MAX)] {
            assert!(is_refused(&format(width, height)), "{width} x {height}");
        }
    }

    #[test]
    fn after_a_fault_everything_is_dropped_until_the_guest_begins_anew() {
        let mut intake = Intake::default();
        let mut cuts = std::iter::repeat(usize::MAX);
        let bad = Header { kind: 9, size: 0 }.encode();
        assert_eq!(feed(&mut intake, &bad, &mut cuts).len(), 1);
        assert!(intake.is_faulty());
        assert_eq!(feed(&mut intake, &format(1, 1), &mut cuts), []);
        assert_eq!(intake.lend().room().len(), limits::STREAM_DISCARD);
        intake.reset();
        assert!(!intake.is_faulty());
        assert_eq!(feed(&mut intake, &format(1, 1), &mut cuts).len(), 1);
    }

    #[test]
    fn what_was_lent_before_the_guest_began_anew_is_dropped() {
        let mut intake = Intake::default();
        let loan = intake.lend();
        intake.reset();
        assert_eq!(intake.settle(loan, 8, 0), Ok(None));
        let mut cuts = std::iter::repeat(usize::MAX);
        assert_eq!(feed(&mut intake, &format(1, 1), &mut cuts).len(), 1, "from the start");
    }

    #[test]
    fn memory_grows_with_what_arrives() {
        let mut intake = Intake::default();
        let mut stream = Header { kind: message::DATA, size: 32 << 20 }.encode().to_vec();
        stream.resize(1000, 0);
        feed(&mut intake, &stream, &mut std::iter::repeat(usize::MAX));
        assert!(intake.buffer.capacity() <= 4 * limits::STREAM_READ);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            picks in prop::collection::vec((0u8..8, 0usize..3000), 0..12),
            cuts in prop::collection::vec(1usize..4000, 1..40),
        ) {
            let mut stream = Vec::new();
            for (pick, size) in picks {
                stream.extend(match pick {
                    0 => framed(message::CAPABILITIES, &vec![0; size % 1025]),
                    1 => format(1 + size as u32, 100),
                    2 | 3 => framed(message::DATA, &vec![pick; size]),
                    4 => cursor(10, 10, kind::ALPHA, 400 + size % 10),
                    5 => framed(message::CURSOR_MOVE, &[size as u8; 8]),
                    6 => framed(message::DEVICE_DISPLAY_INFO, &vec![size as u8; size % 269]),
                    _ => cursor(10, 10, kind::COLOR32, size % 600),
                });
            }
            let whole = all(&stream);
            let mut intake = Intake::default();
            let cut = feed(&mut intake, &stream, &mut cuts.iter().copied().cycle());
            prop_assert_eq!(cut, whole);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(
            bytes in prop::collection::vec(prop_oneof![0u8..10, any::<u8>()], 0..400),
        ) {
            let faults = all(&bytes).iter().filter(|result| result.is_err()).count();
            prop_assert!(faults <= 1);
        }
    }
}

//! Messages on the port `org.spice-space.stream.0`, between the server and the program
//! in the guest that sends it pictures (docs/protocol/stream.md).

use super::{Reader, Truncated};

/// Bytes of the header before each message.
pub const HEADER: usize = 8;
/// The protocol's version; the guest's is not looked at.
const VERSION: u8 = 1;

/// Bytes of FORMAT.
pub const FORMAT: usize = 12;
/// Bytes of CURSOR_SET before the picture.
pub const CURSOR_SET: usize = 12;
/// Bytes of CURSOR_MOVE.
pub const CURSOR_MOVE: usize = 8;
/// Bytes of DEVICE_DISPLAY_INFO before the address.
pub const DISPLAY_INFO: usize = 12;

/// Message types.
pub mod message {
    /// Both ways: what the sender knows, a bit set.
    pub const CAPABILITIES: u16 = 1;
    /// From the guest: a stream begins.
    pub const FORMAT: u16 = 2;
    /// From the guest: one frame of it.
    pub const DATA: u16 = 3;
    /// To the guest: send a new stream in one of these codecs, or nothing more.
    pub const START_STOP: u16 = 4;
    /// To the guest: what it sent makes no sense.
    pub const NOTIFY_ERROR: u16 = 5;
    /// From the guest: a pointer.
    pub const CURSOR_SET: u16 = 6;
    /// From the guest: the pointer's place.
    pub const CURSOR_MOVE: u16 = 7;
    /// From the guest: which graphics device the pictures come from.
    pub const DEVICE_DISPLAY_INFO: u16 = 8;
}

/// What stands before each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Message type.
    pub kind: u16,
    /// Bytes that follow.
    pub size: u32,
}

/// FORMAT: the stream that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The codec's number, as on the display channel.
    pub codec: u8,
}

/// The fixed part of CURSOR_SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorSet {
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
    /// The pixel that points.
    pub hot_x: u16,
    /// The pixel that points.
    pub hot_y: u16,
    /// The type's number, as on the cursor channel.
    pub kind: u8,
}

/// DEVICE_DISPLAY_INFO: which output of which graphics device the stream shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayInfo {
    /// The guest's number for the stream.
    pub stream_id: u32,
    /// The output of the device.
    pub device_display_id: u32,
    /// The device, as in `pci/0000/02.0`, without the NUL.
    pub address: Vec<u8>,
}

impl Header {
    /// Takes a header apart.
    pub fn parse(bytes: [u8; HEADER]) -> Self {
        let all = u64::from_le_bytes(bytes);
        // The low 16 bits are version and padding.
        Self { kind: (all >> 16) as u16, size: (all >> 32) as u32 }
    }

    /// The bytes of a header.
    pub fn encode(self) -> [u8; HEADER] {
        let all = u64::from(self.size) << 32 | u64::from(self.kind) << 16 | u64::from(VERSION);
        all.to_le_bytes()
    }
}

impl Format {
    /// Takes the body of FORMAT.
    pub fn parse(body: &[u8]) -> Result<Self, Truncated> {
        let mut body = Reader::new(body);
        Ok(Self { width: body.u32()?, height: body.u32()?, codec: body.u8()? })
    }
}

impl CursorSet {
    /// Takes the fixed part of CURSOR_SET.
    pub fn parse(body: &[u8]) -> Result<Self, Truncated> {
        let mut body = Reader::new(body);
        Ok(Self {
            width: body.u16()?,
            height: body.u16()?,
            hot_x: body.u16()?,
            hot_y: body.u16()?,
            kind: body.u8()?,
        })
    }
}

/// Takes CURSOR_MOVE: x and y. The cursor channel has 16 bits for each; what does not
/// fit loses its upper half, as upstream has it.
pub fn cursor_move(body: &[u8]) -> Result<(i16, i16), Truncated> {
    let mut body = Reader::new(body);
    Ok((body.u32()? as i16, body.u32()? as i16))
}

impl DisplayInfo {
    /// Takes DEVICE_DISPLAY_INFO. `None` when the address is announced empty or longer
    /// than the message; it ends at its NUL, and is cut to `longest` bytes.
    pub fn parse(body: &[u8], longest: usize) -> Option<Self> {
        let mut reader = Reader::new(body);
        let (stream_id, device_display_id) = (reader.u32().ok()?, reader.u32().ok()?);
        let length = usize::try_from(reader.u32().ok()?).ok()?;
        let address = reader.bytes(length).ok().filter(|address| !address.is_empty())?;
        let end = address.iter().position(|&byte| byte == 0).unwrap_or(address.len());
        let address = address[..end.min(longest)].to_vec();
        Some(Self { stream_id, device_display_id, address })
    }
}

/// CAPABILITIES: none of those that have a bit.
pub fn capabilities() -> Vec<u8> {
    to_guest(message::CAPABILITIES, &[0])
}

/// START_STOP: the codecs that a new stream may have; none of them: no stream.
pub fn start_stop(codecs: &[u8]) -> Vec<u8> {
    let codecs = &codecs[..codecs.len().min(u8::MAX.into())];
    to_guest(message::START_STOP, &[&[codecs.len() as u8], codecs].concat())
}

/// NOTIFY_ERROR: u32 code, of which there is none but 0, and a text with its NUL.
pub fn notify_error(text: &str) -> Vec<u8> {
    to_guest(message::NOTIFY_ERROR, &[&[0; 4], text.as_bytes(), &[0]].concat())
}

fn to_guest(kind: u16, body: &[u8]) -> Vec<u8> {
    let header = Header { kind, size: body.len() as u32 };
    [&header.encode(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_to_the_guest_have_their_header() {
        assert_eq!(capabilities(), [1, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(start_stop(&[1, 3]), [1, 0, 4, 0, 3, 0, 0, 0, 2, 1, 3]);
        assert_eq!(start_stop(&[]), [1, 0, 4, 0, 1, 0, 0, 0, 0]);
        assert_eq!(notify_error("no"), [1, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'n', b'o', 0]);
    }

    #[test]
    fn a_header_comes_back_whatever_its_version() {
        let header = Header { kind: 0x0102, size: 0x0304_0506 };
        let mut bytes = header.encode();
        assert_eq!(Header::parse(bytes), header);
        bytes[0] = 9;
        bytes[1] = 9;
        assert_eq!(Header::parse(bytes), header);
    }

    #[test]
    fn bodies_need_their_bytes() {
        assert_eq!(
            Format::parse(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]),
            Ok(Format { width: 1, height: 2, codec: 3 })
        );
        assert_eq!(Format::parse(&[0; 8]), Err(Truncated));
        assert_eq!(
            CursorSet::parse(&[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 0, 0]),
            Ok(CursorSet { width: 1, height: 2, hot_x: 3, hot_y: 4, kind: 5 })
        );
        assert_eq!(CursorSet::parse(&[0; 8]), Err(Truncated));
        assert_eq!(cursor_move(&[0; 7]), Err(Truncated));
    }

    #[test]
    fn the_cursor_moves_within_16_bits() {
        assert_eq!(cursor_move(&[7, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff]), Ok((7, -16)));
        assert_eq!(cursor_move(&[0x70, 0x11, 1, 0, 0, 0, 0, 0]), Ok((0x1170, 0)));
    }

    fn info(length: u32, address: &[u8]) -> Vec<u8> {
        [&[1, 0, 0, 0, 2, 0, 0, 0][..], &length.to_le_bytes(), address].concat()
    }

    #[test]
    fn an_address_ends_at_its_nul_and_at_the_limit() {
        let address = |length, bytes: &[u8], longest| {
            DisplayInfo::parse(&info(length, bytes), longest).map(|info| info.address)
        };
        assert_eq!(address(4, b"pci\0", 255), Some(b"pci".to_vec()));
        assert_eq!(address(3, b"pci/0000", 255), Some(b"pci".to_vec()));
        assert_eq!(address(8, b"pci/0000", 5), Some(b"pci/0".to_vec()));
        assert_eq!(address(0, b"pci\0", 255), None, "announced empty");
        assert_eq!(address(5, b"pci\0", 255), None, "longer than the message");
        assert_eq!(address(u32::MAX, b"pci\0", 255), None);
        assert_eq!(DisplayInfo::parse(&[0; 11], 255), None, "too short for its fields");
    }
}

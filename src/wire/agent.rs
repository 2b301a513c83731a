//! What the guest's agent, the server and clients say to each other
//! (docs/protocol/agent.md): chunk headers, message heads, and the bodies that the
//! server reads or makes.

use bytes::BufMut;

use super::{Reader, Truncated};

/// Whose business a chunk is.
pub mod port {
    /// The client's: the server passes it on.
    pub const CLIENT: u32 = 1;
    /// The server's own.
    pub const SERVER: u32 = 2;
}

/// Message types.
pub mod kind {
    /// Server to agent: where the pointer is.
    pub const MOUSE_STATE: u32 = 1;
    /// Client to agent or server: the monitors that the client has.
    pub const MONITORS_CONFIG: u32 = 2;
    /// Both ways: what was copied.
    pub const CLIPBOARD: u32 = 4;
    /// Both ways: what the sender can do.
    pub const ANNOUNCE_CAPABILITIES: u32 = 6;
    /// Both ways: something was copied, and can be asked for.
    pub const CLIPBOARD_GRAB: u32 = 7;
    /// Both ways: asks for what was copied.
    pub const CLIPBOARD_REQUEST: u32 = 8;
    /// Both ways: what was copied is no longer there.
    pub const CLIPBOARD_RELEASE: u32 = 9;
    /// Client to agent: a file begins.
    pub const FILE_XFER_START: u32 = 10;
    /// Both ways: how a file stands.
    pub const FILE_XFER_STATUS: u32 = 11;
    /// Client to agent: a part of a file.
    pub const FILE_XFER_DATA: u32 = 12;
    /// Whether something is copied by messages of this type.
    pub fn is_transfer(kind: u32) -> bool {
        matches!(
            kind,
            CLIPBOARD
                | CLIPBOARD_GRAB
                | CLIPBOARD_REQUEST
                | CLIPBOARD_RELEASE
                | FILE_XFER_START
                | FILE_XFER_STATUS
                | FILE_XFER_DATA
        )
    }

    /// Server to agent: nobody is there any more.
    pub const CLIENT_DISCONNECTED: u32 = 13;
    /// Server to agent: which display is which device in the guest.
    pub const GRAPHICS_DEVICE_INFO: u32 = 16;
}

/// Capabilities, by bit number.
pub mod capability {
    /// The clipboard as it was before it was sent on demand only.
    pub const CLIPBOARD: u32 = 3;
    /// The clipboard is sent on demand.
    pub const CLIPBOARD_BY_DEMAND: u32 = 5;
    /// Clipboard messages begin with the selection.
    pub const CLIPBOARD_SELECTION: u32 = 6;
    /// Files are not taken.
    pub const FILE_XFER_DISABLED: u32 = 13;
    /// FILE_XFER_STATUS may have the results from NOT_ENOUGH_SPACE on, and details.
    pub const FILE_XFER_DETAILED_ERRORS: u32 = 14;
    /// The agent takes GRAPHICS_DEVICE_INFO.
    pub const GRAPHICS_DEVICE_INFO: u32 = 15;
}

/// Results in FILE_XFER_STATUS.
pub mod file_status {
    /// The client may send.
    pub const CAN_SEND_DATA: u32 = 0;
    /// The transfer was called off.
    pub const CANCELLED: u32 = 1;
    /// It failed.
    pub const ERROR: u32 = 2;
    /// The file is there.
    pub const SUCCESS: u32 = 3;
    /// Transfers are switched off. Only for peers with the detailed errors.
    pub const DISABLED: u32 = 7;
}

/// The type of a content that has none.
pub const CLIPBOARD_NONE: u32 = 0;

/// Stands in front of each run of bytes between server and guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// See [`port`].
    pub port: u32,
    /// How many bytes follow.
    pub size: u32,
}

impl ChunkHeader {
    /// Length on the wire.
    pub const BYTES: usize = 8;

    /// Reads a header.
    pub fn parse(bytes: [u8; Self::BYTES]) -> Self {
        let [p0, p1, p2, p3, s0, s1, s2, s3] = bytes;
        Self {
            port: u32::from_le_bytes([p0, p1, p2, p3]),
            size: u32::from_le_bytes([s0, s1, s2, s3]),
        }
    }

    /// Writes it.
    pub fn put(self, to: &mut impl BufMut) {
        to.put_u32_le(self.port);
        to.put_u32_le(self.size);
    }
}

/// The head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// [`Head::PROTOCOL`], or the message is not one.
    pub protocol: u32,
    /// See [`kind`].
    pub kind: u32,
    /// Given back in replies; nobody uses it.
    pub opaque: u64,
    /// How many bytes of body follow.
    pub size: u32,
}

impl Head {
    /// Length on the wire.
    pub const BYTES: usize = 20;
    /// The only version of the protocol.
    pub const PROTOCOL: u32 = 1;

    /// The head of a message of the server's.
    pub fn new(kind: u32, size: u32) -> Self {
        Self { protocol: Self::PROTOCOL, kind, opaque: 0, size }
    }

    /// Reads a head off the front.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let (protocol, kind) = (reader.u32()?, reader.u32()?);
        Ok(Self { protocol, kind, opaque: reader.u64()?, size: reader.u32()? })
    }

    /// Writes it.
    pub fn put(&self, to: &mut impl BufMut) {
        to.put_u32_le(self.protocol);
        to.put_u32_le(self.kind);
        to.put_u64_le(self.opaque);
        to.put_u32_le(self.size);
    }
}

/// A whole message: head and body.
pub fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(Head::BYTES + body.len());
    Head::new(kind, body.len() as u32).put(&mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

/// The same in a chunk of its own.
pub fn chunk(port: u32, kind: u32, body: &[u8]) -> Vec<u8> {
    let size = Head::BYTES + body.len();
    let mut bytes = Vec::with_capacity(ChunkHeader::BYTES + size);
    ChunkHeader { port, size: size as u32 }.put(&mut bytes);
    Head::new(kind, body.len() as u32).put(&mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

/// The body of MOUSE_STATE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MouseState {
    /// Pixels from the left.
    pub x: u32,
    /// Pixels from the top.
    pub y: u32,
    /// Pressed buttons: left 2, middle 4, right 8, wheel up 0x10, wheel down 0x20, side
    /// 0x40, extra 0x80.
    pub buttons: u32,
    /// Which display.
    pub display: u8,
}

impl MouseState {
    /// The 13 bytes of the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(13);
        for word in [self.x, self.y, self.buttons] {
            body.put_u32_le(word);
        }
        body.put_u8(self.display);
        body
    }
}

/// One display in GRAPHICS_DEVICE_INFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayInfo {
    /// Id of the display channel.
    pub channel: u32,
    /// Number of the monitor on that channel.
    pub monitor: u32,
    /// Number of the display on the device.
    pub device_display: u32,
    /// Hardware address of the device, e.g. "pci/0000/02.0".
    pub address: Vec<u8>,
}

/// The body of GRAPHICS_DEVICE_INFO.
pub fn graphics_device_info(displays: &[DisplayInfo]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u32_le(displays.len() as u32);
    for display in displays {
        body.put_u32_le(display.channel);
        body.put_u32_le(display.monitor);
        body.put_u32_le(display.device_display);
        // The NUL counts.
        body.put_u32_le(display.address.len() as u32 + 1);
        body.extend_from_slice(&display.address);
        body.put_u8(0);
    }
    body
}

/// The body of FILE_XFER_STATUS, without details.
pub fn file_status(id: u32, result: u32) -> [u8; 8] {
    let mut body = [0; 8];
    body[..4].copy_from_slice(&id.to_le_bytes());
    body[4..].copy_from_slice(&result.to_le_bytes());
    body
}

/// The body of a CLIPBOARD without data; with the selection if that was agreed upon.
pub fn empty_clipboard(selection: Option<u8>, kind: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(8);
    if let Some(selection) = selection {
        body.extend_from_slice(&[selection, 0, 0, 0]);
    }
    body.put_u32_le(kind);
    body
}

/// One monitor of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Pixels; 0 for a monitor that is off.
    pub height: u32,
    /// Pixels; 0 for a monitor that is off.
    pub width: u32,
    /// Bits per pixel.
    pub depth: u32,
    /// Pixels from the left, if positions count.
    pub x: i32,
    /// Pixels from the top, if positions count.
    pub y: i32,
}

/// The body of MONITORS_CONFIG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorsConfig {
    /// [`MonitorsConfig::USE_POSITION`] and [`MonitorsConfig::PHYSICAL_SIZE`].
    pub flags: u32,
    /// The monitors, in the client's order.
    pub monitors: Vec<Monitor>,
    /// Height and width of each in millimetres, if the flag says that they are there.
    pub sizes_mm: Option<Vec<(u16, u16)>>,
}

impl MonitorsConfig {
    /// Positions count.
    pub const USE_POSITION: u32 = 1;
    /// Sizes in millimetres stand behind the monitors.
    pub const PHYSICAL_SIZE: u32 = 2;

    /// Reads a body. Flags that nobody knows are dropped, and so is what stands behind
    /// the last member.
    pub fn parse(body: &[u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(body);
        let count = reader.u32()? as usize;
        let flags = reader.u32()? & (Self::USE_POSITION | Self::PHYSICAL_SIZE);
        let with_sizes = flags & Self::PHYSICAL_SIZE != 0;
        let each = if with_sizes { 24 } else { 20 };
        // Before memory is taken for them.
        if count > reader.rest().len() / each {
            return Err(Truncated);
        }
        let mut monitors = Vec::with_capacity(count);
        for _ in 0..count {
            monitors.push(Monitor {
                height: reader.u32()?,
                width: reader.u32()?,
                depth: reader.u32()?,
                x: reader.u32()?.cast_signed(),
                y: reader.u32()?.cast_signed(),
            });
        }
        let sizes_mm = with_sizes
            .then(|| (0..count).map(|_| Ok((reader.u16()?, reader.u16()?))).collect())
            .transpose()?;
        Ok(Self { flags, monitors, sizes_mm })
    }

    /// The bytes of the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(8 + 24 * self.monitors.len());
        body.put_u32_le(self.monitors.len() as u32);
        body.put_u32_le(self.flags);
        for monitor in &self.monitors {
            body.put_u32_le(monitor.height);
            body.put_u32_le(monitor.width);
            body.put_u32_le(monitor.depth);
            body.put_i32_le(monitor.x);
            body.put_i32_le(monitor.y);
        }
        for (height, width) in self.sizes_mm.iter().flatten() {
            body.put_u16_le(*height);
            body.put_u16_le(*width);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_monitors(flags: u32) -> MonitorsConfig {
        let monitor = Monitor { height: 768, width: 1024, depth: 32, x: -5, y: 7 };
        let sizes_mm = (flags & 2 != 0).then(|| vec![(200, 300), (0, 0)]);
        MonitorsConfig { flags, monitors: vec![monitor, Monitor { x: 1024, ..monitor }], sizes_mm }
    }

    #[test]
    fn chunk_headers_and_heads_have_their_layout() {
        let bytes = chunk(port::SERVER, kind::CLIENT_DISCONNECTED, &[]);
        assert_eq!(bytes[..8], [2, 0, 0, 0, 20, 0, 0, 0]);
        assert_eq!(bytes[8..], [1, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let header = ChunkHeader::parse(*bytes.first_chunk().expect("8 bytes"));
        assert_eq!(header, ChunkHeader { port: 2, size: 20 });
        let mut reader = Reader::new(&bytes[8..]);
        assert_eq!(Head::read(&mut reader), Ok(Head::new(13, 0)));
        assert_eq!(Head::read(&mut Reader::new(&bytes[9..])), Err(Truncated));
    }

    #[test]
    fn monitors_survive_the_way_to_bytes_and_back() {
        for flags in 0..4 {
            let config = two_monitors(flags);
            assert_eq!(MonitorsConfig::parse(&config.encode()), Ok(config));
        }
    }

    #[test]
    fn monitors_that_are_announced_have_to_be_there() {
        for flags in 0..4 {
            let body = two_monitors(flags).encode();
            assert_eq!(MonitorsConfig::parse(&body[..body.len() - 1]), Err(Truncated));
        }
        let endless = [&[0xff; 4][..], &[0; 24]].concat();
        assert_eq!(MonitorsConfig::parse(&endless), Err(Truncated));
        assert_eq!(MonitorsConfig::parse(&[0; 7]), Err(Truncated));
    }

    #[test]
    fn unknown_flags_and_surplus_are_dropped() {
        let config = two_monitors(1);
        let mut body = config.encode();
        body[4] |= 0xfc;
        body.push(9);
        assert_eq!(MonitorsConfig::parse(&body), Ok(config));
    }

    #[test]
    fn bodies_of_the_server_have_their_layout() {
        let state = MouseState { x: 1, y: 2, buttons: 3, display: 4 };
        assert_eq!(state.encode(), [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
        let info = DisplayInfo { channel: 1, monitor: 2, device_display: 3, address: b"a".into() };
        let body = graphics_device_info(&[info]);
        assert_eq!(body[..12], [1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(body[12..], [3, 0, 0, 0, 2, 0, 0, 0, b'a', 0]);
        assert_eq!(empty_clipboard(None, CLIPBOARD_NONE), [0; 4]);
        assert_eq!(empty_clipboard(Some(1), 2), [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(file_status(9, file_status::DISABLED), [9, 0, 0, 0, 7, 0, 0, 0]);
    }
}

//! WebSocket (RFC 6455) as bytes: the request that begins one, the answers to it, and the
//! headers of frames (docs/protocol/websocket.md).
//!
//! What may follow what is `net::websocket`'s business.

use bytes::BufMut;
use openssl::base64;
use openssl::sha::sha1;

/// What a request begins with; the link's own magic is as long.
const GET: [u8; 4] = *b"GET ";

/// Ends a request.
const END: &[u8] = b"\r\n\r\n";

/// What a server's hash is made with besides the client's key (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The protocol inside that is spoken here.
const BINARY: &[u8] = b"binary";

/// A client's wish to go on with a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the answer must prove to have read.
    key: Vec<u8>,
    /// Whether the client named a protocol, which was ours.
    protocol: bool,
    /// The pages from which it comes; programs other than browsers need not say.
    pub origins: Vec<Vec<u8>>,
}

/// The request is of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoWebSocket;

impl Request {
    /// How long the request at the start of `bytes` is; `None`: its end is not there yet.
    /// In the first `searched` bytes it is known not to be.
    pub fn length(bytes: &[u8], searched: usize) -> Result<Option<usize>, NoWebSocket> {
        let begun = bytes.len().min(GET.len());
        if bytes[..begun] != GET[..begun] {
            return Err(NoWebSocket);
        }
        let from = searched.min(bytes.len()).saturating_sub(END.len() - 1);
        let end = bytes[from..].windows(END.len()).position(|window| window == END);
        Ok(end.map(|end| from + end + END.len()))
    }

    /// Reads a whole request.
    ///
    /// As little is looked at as the reference library does, so that its clients get in:
    /// neither the version nor what the first line asks for.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoWebSocket> {
        let (mut key, mut protocol, mut origins) = (None, None, Vec::new());
        for line in lines(bytes).skip(1) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"Sec-WebSocket-Key") {
                key.get_or_insert(value);
            } else if name.eq_ignore_ascii_case(b"Sec-WebSocket-Protocol") {
                protocol.get_or_insert(value);
            } else if name.eq_ignore_ascii_case(b"Origin") {
                origins.push(value.to_vec());
            }
        }
        // The first of the client's protocols, and whatever follows: as the reference.
        if protocol.is_some_and(|wanted| !wanted.starts_with(BINARY)) {
            return Err(NoWebSocket);
        }
        let key = key.ok_or(NoWebSocket)?.to_vec();
        Ok(Self { key, protocol: protocol.is_some(), origins })
    }

    /// The answer that begins the WebSocket.
    pub fn accept(&self) -> Vec<u8> {
        let hash = sha1(&[&self.key, GUID].concat());
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n"
            .to_vec();
        answer.put_slice(b"Sec-WebSocket-Accept: ");
        answer.put_slice(base64::encode_block(&hash).as_bytes());
        if self.protocol {
            answer.put_slice(b"\r\nSec-WebSocket-Protocol: ");
            answer.put_slice(BINARY);
        }
        answer.put_slice(END);
        answer
    }
}

/// The answer to a page that may not come in.
pub const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\n\
    Connection: close\r\n\
    Content-Length: 0\r\n\r\n";

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message.
    Continuation,
    /// Begins a message.
    Text,
    /// Begins a message.
    Binary,
    /// Nothing will follow.
    Close,
    /// Wants a pong.
    Ping,
    /// Answers a ping, or comes unasked.
    Pong,
}

impl Opcode {
    const ALL: [(Self, u8); 6] = [
        (Self::Continuation, 0),
        (Self::Text, 1),
        (Self::Binary, 2),
        (Self::Close, 8),
        (Self::Ping, 9),
        (Self::Pong, 10),
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == number).map(|(opcode, _)| *opcode)
    }

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(opcode, _)| *opcode == self).map_or(0, |(_, number)| *number)
    }

    /// Whether it stands for itself, also between the frames of a message.
    pub fn is_control(self) -> bool {
        self.number() >= 8
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is.
    pub opcode: Opcode,
    /// No frame of the same message follows.
    pub last: bool,
    /// With what the payload is hidden from machines on the way, if it is.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub length: u64,
}

/// Why a header cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Nothing that these bits could mean was agreed on.
    #[error("reserved bits are set in a frame")]
    ReservedBits,
    /// There is no such opcode.
    #[error("a frame has opcode {0}, which there is not")]
    Opcode(u8),
    /// A control frame that is not the whole of its message.
    #[error("a control frame is a fragment")]
    FragmentedControl,
    /// A control frame's length must fit into seven bits.
    #[error("a control frame announces more than {} bytes", FrameHeader::CONTROL_MAX)]
    LongControl,
    /// The most significant bit of a length must be 0.
    #[error("a frame announces 2^63 bytes or more")]
    Length,
}

impl FrameHeader {
    /// Largest payload of a control frame.
    pub const CONTROL_MAX: u64 = 125;

    /// Reads the header at the start of `bytes`, and how long it is; `None`: it is not all
    /// there yet. Lengths may be written longer than they need be.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, BadFrame> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(BadFrame::ReservedBits);
        }
        let number = first & 0x0f;
        let opcode = Opcode::from_number(number).ok_or(BadFrame::Opcode(number))?;
        let last = first & 0x80 != 0;
        if opcode.is_control() && !last {
            return Err(BadFrame::FragmentedControl);
        }
        let (length, rest) = match second & 0x7f {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u16::from_be_bytes(*length).into(), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest)
            }
            short => (short.into(), rest),
        };
        if opcode.is_control() && length > Self::CONTROL_MAX {
            return Err(BadFrame::LongControl);
        }
        if length >= 1 << 63 {
            return Err(BadFrame::Length);
        }
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Some(*mask), rest)
        };
        Ok(Some((Self { opcode, last, mask, length }, bytes.len() - rest.len())))
    }

    /// Appends the header.
    pub fn encode(&self, out: &mut impl BufMut) {
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        out.put_u8(u8::from(self.last) << 7 | self.opcode.number());
        match self.length {
            short @ 0..126 => out.put_u8(mask_bit + short as u8),
            medium @ 126..0x1_0000 => {
                out.put_u8(mask_bit + 126);
                out.put_u16(medium as u16);
            }
            long => {
                out.put_u8(mask_bit + 127);
                out.put_u64(long);
            }
        }
        if let Some(mask) = self.mask {
            out.put_slice(&mask);
        }
    }
}

/// Appends a whole message in one frame without a mask, as servers send it.
pub fn encode_frame(opcode: Opcode, payload: &[u8], out: &mut impl BufMut) {
    let length = payload.len() as u64;
    FrameHeader { opcode, last: true, mask: None, length }.encode(out);
    out.put_slice(payload);
}

/// Hides payload, or shows it again. Returns the mask for the bytes that follow.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) -> [u8; 4] {
    let mut wide = [0; 16];
    for (byte, mask) in wide.iter_mut().zip(mask.iter().cycle()) {
        *byte = *mask;
    }
    // Sixteen at a time: a compiler makes one instruction of it.
    let mut chunks = payload.chunks_exact_mut(wide.len());
    for chunk in &mut chunks {
        for (byte, mask) in chunk.iter_mut().zip(wide) {
            *byte ^= mask;
        }
    }
    let rest = chunks.into_remainder();
    for (byte, mask) in rest.iter_mut().zip(wide) {
        *byte ^= mask;
    }
    let mut next = mask;
    next.rotate_left(rest.len() % mask.len());
    next
}

/// Why a connection is closed, in a close frame (RFC 6455, 7.4).
pub mod close_code {
    /// It has done what it was for.
    pub const NORMAL: u16 = 1000;
    /// The peer broke the rules.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Text that is no UTF-8.
    pub const INVALID_DATA: u16 = 1007;

    /// Whether it may stand in a frame.
    pub fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What a close frame with this payload is answered with: the client's own code, or why it
/// is none.
pub fn answer_to_close(payload: &[u8]) -> Option<u16> {
    match payload {
        [] => None,
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            Some(if !close_code::may_be_sent(code) {
                close_code::PROTOCOL_ERROR
            } else if str::from_utf8(reason).is_err() {
                close_code::INVALID_DATA
            } else {
                code
            })
        }
        [_] => Some(close_code::PROTOCOL_ERROR),
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

    fn request(headers: &[&str]) -> Result<Request, NoWebSocket> {
        let text = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n"));
        assert_eq!(Request::length(text.as_bytes(), 0), Ok(Some(text.len())));
        Request::parse(text.as_bytes())
    }

    /// The answer to a good request, as text.
    fn answer(headers: &[&str]) -> Option<String> {
        Some(String::from_utf8(request(headers).ok()?.accept()).expect("text"))
    }

    #[test]
    fn the_example_of_the_rfc() {
        let expected = "HTTP/1.1 101 Switching Protocols\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert_eq!(answer(&[KEY]), Some(format!("{expected}\r\n\r\n")));
        let with_protocol = format!("{expected}\r\nSec-WebSocket-Protocol: binary\r\n\r\n");
        assert_eq!(answer(&[KEY, "Sec-WebSocket-Protocol: binary"]), Some(with_protocol));
    }

    #[test]
    fn headers_are_read_as_http_has_them() {
        let rfc = answer(&[KEY]);
        for headers in [
            &["sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ=="][..],
            &["SEC-WEBSOCKET-KEY: \t dGhlIHNhbXBsZSBub25jZQ== \t"],
            &["Host: example.org", "no header", KEY, "Sec-WebSocket-Key: another"],
            &["Sec-WebSocket-Key-Not: x", KEY, "Sec-WebSocket-Version: 8"],
        ] {
            assert_eq!(answer(headers), rfc, "{headers:?}");
        }
        let read = request(&["Origin: http://a", KEY, "origin:  http://b "]).expect("a WebSocket");
        assert_eq!(read.origins, [b"http://a", b"http://b"]);
    }

    #[test]
    fn what_is_no_websocket() {
        assert_eq!(request(&["Host: example.org"]), Err(NoWebSocket));
        for protocol in ["base64", "base64, binary", "Binary", "", "bin"] {
            let protocol = format!("Sec-WebSocket-Protocol: {protocol}");
            assert_eq!(request(&[KEY, &protocol]), Err(NoWebSocket), "{protocol}");
        }
        let protocols = ["Sec-WebSocket-Protocol: base64", "Sec-WebSocket-Protocol: binary"];
        assert_eq!(request(&[KEY, protocols[0], protocols[1]]), Err(NoWebSocket));
        // As the reference library has it.
        for protocol in ["binary, base64", "binaryish"] {
            let protocol = format!("Sec-WebSocket-Protocol: {protocol}");
            assert!(request(&[KEY, &protocol]).is_ok(), "{protocol}");
        }
    }

    #[test]
    fn a_request_begins_with_get_and_ends_with_an_empty_line() {
        for bytes in [&b"REDQ"[..], b"P", b"get / HTTP/1.1\r\n\r\n", b"GETTING"] {
            assert_eq!(Request::length(bytes, 0), Err(NoWebSocket));
        }
        for bytes in [&b""[..], b"G", b"GET", b"GET /\r\n", b"GET /\n\n"] {
            assert_eq!(Request::length(bytes, 0), Ok(None));
        }
        let whole = b"GET / HTTP/1.1\r\n\r\nbehind";
        for searched in 0..18 {
            assert_eq!(Request::length(whole, searched), Ok(Some(18)), "from {searched}");
        }
        assert_eq!(Request::length(&whole[..17], 900), Ok(None));
    }

    #[test]
    fn headers_of_frames_read_as_they_were_written() {
        for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, (1 << 63) - 1] {
            for mask in [None, Some([1, 2, 3, 4])] {
                for opcode in [Opcode::Binary, Opcode::Text, Opcode::Continuation] {
                    let header = FrameHeader { opcode, last: length % 2 == 0, mask, length };
                    let mut bytes = Vec::new();
                    header.encode(&mut bytes);
                    assert!(bytes.len() <= 14);
                    assert_eq!(FrameHeader::parse(&bytes), Ok(Some((header, bytes.len()))));
                    for end in 0..bytes.len() {
                        assert_eq!(FrameHeader::parse(&bytes[..end]), Ok(None));
                    }
                }
            }
        }
    }
}

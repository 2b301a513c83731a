//! A client's WebSocket, as far as a server can tell: a request, frames without masks, and
//! what of the server's frames is inside. Such connections live on the I/O thread.

use spice_server::wire::websocket::{FrameHeader, Opcode, encode_frame};

pub(super) const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: binary\r\n\r\n";
const END_OF_ANSWER: &[u8] = b"\r\n\r\n";

#[derive(Default)]
pub(super) struct Web {
    /// Bytes of the socket that have not been looked at.
    raw: Vec<u8>,
    answered: bool,
    /// The server has said goodbye.
    closed: bool,
}

impl Web {
    /// Puts bytes into a frame.
    pub(super) fn wrap(bytes: &[u8], out: &mut Vec<u8>) {
        encode_frame(Opcode::Binary, bytes, out);
    }

    /// Takes what came and gives what is inside.
    pub(super) fn unwrap(&mut self, bytes: &[u8], inside: &mut Vec<u8>) {
        self.raw.extend_from_slice(bytes);
        if !self.answered {
            let Some(end) = self.raw.windows(4).position(|four| four == END_OF_ANSWER) else {
                return;
            };
            assert!(self.raw.starts_with(b"HTTP/1.1 101 "), "a good request is refused");
            self.raw.drain(..end + 4);
            self.answered = true;
        }
        while let Some((header, length)) = FrameHeader::parse(&self.raw).expect("a good frame") {
            assert!(!self.closed, "something follows a goodbye");
            assert!(header.last && header.mask.is_none(), "no frame of a server's");
            let whole = length + usize::try_from(header.length).expect("a length");
            let Some(payload) = self.raw.get(length..whole) else {
                return;
            };
            match header.opcode {
                Opcode::Binary => inside.extend_from_slice(payload),
                Opcode::Close => self.closed = true,
                Opcode::Pong => {}
                other => panic!("{other:?} of a server"),
            }
            self.raw.drain(..whole);
        }
    }
}

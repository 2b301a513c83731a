//! WebSocket on one connection (docs/protocol/websocket.md): told from other connections
//! by its first bytes, then a layer between the socket and the link.
//!
//! No I/O. Bytes to frames and requests is `wire::websocket`; here is what may follow what.
//! Whichever thread has the connection.

#[cfg(test)]
mod tests;

use std::io;

use bytes::{Buf, BytesMut};

use super::layers::{Layer, State};
use crate::config::limits;
use crate::config::websocket::WebSocketPolicy;
use crate::fault;
use crate::wire::websocket::{
    FORBIDDEN, FrameHeader, Opcode, Request, answer_to_close, apply_mask, close_code, encode_frame,
};

/// The first bytes of a connection, until it is known what they begin.
#[derive(Debug, Default)]
pub struct Opening {
    bytes: BytesMut,
    /// So many of them do not hold the end of a request.
    searched: usize,
}

/// What a connection turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// More bytes are needed.
    Unknown,
    /// A link, or nothing that is known here: the link says so.
    Link(BytesMut),
    /// A WebSocket. A [`WebSocket`] gets the bytes behind the request.
    WebSocket {
        /// To be sent first.
        answer: Vec<u8>,
        /// What the client did not wait with.
        rest: BytesMut,
    },
    /// A WebSocket of a page that may not come in.
    Refused {
        /// To be sent before the connection is closed.
        answer: &'static [u8],
        /// For the log.
        reason: String,
    },
}

impl Opening {
    /// Bytes that are kept until it is known what they are.
    pub fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes arrived. What is kept is bounded by [`limits::WEBSOCKET_REQUEST`] and one read.
    pub fn handle_bytes(&mut self, bytes: &[u8], policy: &WebSocketPolicy) -> Opened {
        self.bytes.extend_from_slice(bytes);
        let opened = if policy.enabled { self.open(policy) } else { None };
        opened.unwrap_or_else(|| Opened::Link(std::mem::take(&mut self.bytes)))
    }

    /// `None`: not a WebSocket.
    fn open(&mut self, policy: &WebSocketPolicy) -> Option<Opened> {
        let Some(length) = Request::length(&self.bytes, self.searched).ok()? else {
            self.searched = self.bytes.len();
            return (self.searched < limits::WEBSOCKET_REQUEST).then_some(Opened::Unknown);
        };
        if length > limits::WEBSOCKET_REQUEST {
            return None;
        }
        let request = Request::parse(&self.bytes[..length]).ok()?;
        if let Some(origin) = request.origins.iter().find(|origin| !policy.admits(origin)) {
            let shown = &origin[..origin.len().min(limits::ORIGIN)];
            let reason = format!(
                "a WebSocket from a page of \"{}\", which the configuration does not admit",
                shown.escape_ascii()
            );
            return Some(Opened::Refused { answer: FORBIDDEN, reason });
        }
        self.bytes.advance(length);
        let rest = std::mem::take(&mut self.bytes);
        Some(Opened::WebSocket { answer: request.accept(), rest })
    }
}

/// The server's end of a WebSocket after the answer: its messages are one run of bytes,
/// wherever they are cut.
#[derive(Debug, Default)]
pub struct WebSocket {
    /// Bytes of the frame whose payload is passing.
    payload: u64,
    mask: Option<[u8; 4]>,
    /// A message has begun, and more frames of it follow.
    in_message: bool,
    /// A close frame was said, and nothing may follow it.
    closed: bool,
}

/// How the frames are wrong.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("a frame goes on with a message that was not begun")]
    NothingToContinue,
    #[error("a message begins inside another one")]
    MessageInMessage,
}

impl WebSocket {
    /// Goes through what is complete, and through payload as it arrives.
    fn read(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> io::Result<State> {
        loop {
            if self.payload > 0 {
                if wire.is_empty() {
                    return Ok(State::Open);
                }
                self.pass(wire, plain);
                continue;
            }
            let Some((header, length)) = FrameHeader::parse(wire).map_err(io::Error::other)? else {
                return Ok(State::Open);
            };
            if header.opcode.is_control() {
                let whole = length + header.length as usize;
                if wire.len() < whole {
                    return Ok(State::Open);
                }
                let mut frame = wire.split_to(whole);
                frame.advance(length);
                apply_mask(&mut frame, header.mask.unwrap_or_default());
                match header.opcode {
                    Opcode::Close => {
                        self.close(answer_to_close(&frame), answer);
                        return Ok(State::Ended);
                    }
                    Opcode::Ping => encode_frame(Opcode::Pong, &frame, answer),
                    _ => {}
                }
            } else {
                self.begin(header)?;
                wire.advance(length);
            }
        }
    }

    /// A frame of a message begins.
    fn begin(&mut self, header: FrameHeader) -> io::Result<()> {
        match (header.opcode == Opcode::Continuation, self.in_message) {
            (true, false) => return Err(io::Error::other(Broken::NothingToContinue)),
            (false, true) => return Err(io::Error::other(Broken::MessageInMessage)),
            _ => {}
        }
        self.in_message = !header.last;
        self.payload = header.length;
        self.mask = header.mask;
        Ok(())
    }

    /// Payload passes, as much as is there.
    fn pass(&mut self, wire: &mut BytesMut, plain: &mut BytesMut) {
        let here = usize::try_from(self.payload).unwrap_or(usize::MAX).min(wire.len());
        let before = plain.len();
        plain.extend_from_slice(&wire[..here]);
        wire.advance(here);
        self.payload -= here as u64;
        if let Some(mask) = &mut self.mask {
            *mask = apply_mask(&mut plain[before..], *mask);
        }
    }

    fn close(&mut self, code: Option<u16>, wire: &mut BytesMut) {
        if !self.closed {
            self.closed = true;
            let payload = code.map(u16::to_be_bytes);
            encode_frame(Opcode::Close, payload.as_ref().map_or(&[], |code| &code[..]), wire);
        }
    }
}

impl Layer for WebSocket {
    fn unwrap(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> io::Result<State> {
        fault::point("WebSocket layer");
        if self.closed {
            wire.clear();
            return Ok(State::Ended);
        }
        self.read(wire, plain, answer).map_err(|error| {
            self.close(Some(close_code::PROTOCOL_ERROR), answer);
            io::Error::other(format!("WebSocket: {error}"))
        })
    }

    fn wrap(&mut self, plain: &[u8], wire: &mut BytesMut) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !plain.is_empty() {
            encode_frame(Opcode::Binary, plain, wire);
        }
        Ok(plain.len())
    }

    fn farewell(&mut self, wire: &mut BytesMut) {
        self.close(Some(close_code::NORMAL), wire);
    }

    fn description(&self) -> String {
        "WebSocket".to_owned()
    }
}

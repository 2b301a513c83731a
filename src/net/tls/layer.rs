//! TLS on one connection: OpenSSL between two buffers, without a socket.

use std::io::{self, Read, Write};

use bytes::{Buf, BytesMut};
use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslStream};

use super::super::layers::{Layer, State};
use super::super::sys;
use super::reasons;
use crate::config::limits;
use crate::fault;

/// The server's end of a TLS connection.
#[derive(Debug)]
pub(in crate::net) struct TlsLayer {
    tls: SslStream<Pipe>,
    accepted: bool,
}

/// What OpenSSL takes for the network.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) arrived: BytesMut,
    pub(super) leaving: BytesMut,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        fault::point("inside OpenSSL, reading");
        if self.arrived.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.arrived.len());
        self.arrived.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        fault::point("inside OpenSSL, writing");
        self.leaving.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsLayer {
    /// Waits for the client's hello.
    pub(in crate::net) fn new(context: &SslContext) -> io::Result<Self> {
        let ssl = Ssl::new(context)?;
        Ok(Self { tls: SslStream::new(ssl, Pipe::default())?, accepted: false })
    }

    /// What OpenSSL says of a call it reads from the thread's queue of errors. On the host's
    /// thread others may have left something there that would be taken for ours.
    fn forget_errors() {
        drop(ErrorStack::get());
    }

    /// Goes on with the handshake; true once it is done.
    fn accept(&mut self) -> io::Result<bool> {
        if !self.accepted {
            match self.tls.accept() {
                Ok(()) => self.accepted = true,
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(self.accepted)
    }

    /// Reads whole records; what has arrived of another one waits inside OpenSSL.
    fn read(&mut self, plain: &mut BytesMut) -> io::Result<State> {
        while !self.tls.get_ref().arrived.is_empty() || self.tls.ssl().pending() > 0 {
            plain.reserve(limits::TLS_RECORD);
            match sys::tls_read_append(&mut self.tls, plain) {
                Ok(_) => {}
                Err(error) => match error.code() {
                    ErrorCode::WANT_READ => break,
                    ErrorCode::ZERO_RETURN => return Ok(State::Ended),
                    _ => return Err(failed(&error)),
                },
            }
        }
        Ok(State::Open)
    }
}

impl Layer for TlsLayer {
    fn unwrap(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> io::Result<State> {
        let arrived = &mut self.tls.get_mut().arrived;
        if arrived.is_empty() {
            std::mem::swap(arrived, wire);
        } else {
            arrived.extend_from_slice(wire);
        }
        wire.clear();
        Self::forget_errors();
        let result = match self.accept() {
            Ok(true) => self.read(plain),
            Ok(false) => Ok(State::Open),
            Err(error) => Err(error),
        };
        let leaving = &mut self.tls.get_mut().leaving;
        answer.extend_from_slice(leaving);
        leaving.clear();
        result
    }

    fn wrap(&mut self, plain: &[u8], wire: &mut BytesMut) -> io::Result<usize> {
        let mut taken = 0;
        Self::forget_errors();
        while self.accepted && taken < plain.len() {
            match self.tls.ssl_write(&plain[taken..]) {
                Ok(count) => taken += count,
                Err(error) => return Err(failed(&error)),
            }
        }
        let leaving = &mut self.tls.get_mut().leaving;
        if wire.is_empty() {
            std::mem::swap(wire, leaving);
        } else {
            wire.extend_from_slice(leaving);
        }
        leaving.clear();
        Ok(taken)
    }

    fn farewell(&mut self, wire: &mut BytesMut) {
        if self.accepted {
            // A connection that broke has nothing to say.
            fault::point("TLS goodbye");
            let _ = self.tls.shutdown();
        }
        let leaving = &mut self.tls.get_mut().leaving;
        wire.extend_from_slice(leaving);
        leaving.clear();
    }

    fn description(&self) -> String {
        let ssl = self.tls.ssl();
        let cipher = ssl.current_cipher().map_or("no cipher yet", |cipher| cipher.name());
        format!("{} {cipher}", ssl.version_str())
    }

    fn strength(&self) -> Option<u32> {
        let cipher = self.tls.ssl().current_cipher();
        Some(cipher.map_or(0, |cipher| u32::try_from(cipher.bits().secret).unwrap_or(0)))
    }
}

fn failed(error: &openssl::ssl::Error) -> io::Error {
    let reason = error.ssl_error().map_or_else(|| error.to_string(), reasons);
    io::Error::other(format!("TLS: {reason}"))
}

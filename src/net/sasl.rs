//! SASL on one connection: the authentication during the link, and the security layer
//! afterwards. On the thread that has the connection; a step may read the system's
//! password database.

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;

use super::layers::{Layer, State};
use super::stream::Stream;
use super::sys::sasl::{Cover, Exchange, LEAST_STRENGTH, Step};
use crate::fault;
use crate::link::sasl::Answer;

pub use super::sys::sasl::{AVAILABLE, SaslError, begin};

/// One client's authentication.
#[derive(Debug)]
pub(super) struct Authentication {
    exchange: Exchange,
    cover: Cover,
}

impl Authentication {
    /// For the client at the other end of `stream`.
    pub(super) fn new(stream: &Stream) -> Result<Self, SaslError> {
        let cover = stream.strength().map_or(Cover::None, Cover::Tls);
        let (local, remote) = stream.ends();
        let (local, remote) = (local.map(named), remote.map(named));
        let exchange = Exchange::new(local.as_deref(), remote.as_deref(), cover)?;
        Ok(Self { exchange, cover })
    }

    /// The mechanisms that would do, as `,a,b,`.
    pub(super) fn mechanisms(&mut self) -> Result<Vec<u8>, SaslError> {
        self.exchange.mechanisms()
    }

    /// The client's choice.
    pub(super) fn start(&mut self, name: &str, data: Option<&[u8]>) -> Result<Answer, SaslError> {
        let step = self.exchange.start(name, data)?;
        Ok(self.judge(step))
    }

    /// The client's next data.
    pub(super) fn step(&mut self, data: Option<&[u8]>) -> Result<Answer, SaslError> {
        let step = self.exchange.step(data)?;
        Ok(self.judge(step))
    }

    /// Who the client is.
    pub(super) fn user(&self) -> Option<String> {
        self.exchange.user()
    }

    /// The security layer that was agreed on.
    pub(super) fn into_layer(self) -> SaslLayer {
        SaslLayer { block: self.exchange.block().max(1), exchange: self.exchange }
    }

    fn judge(&self, step: Step) -> Answer {
        let Step { reply, complete } = step;
        if !complete {
            return Answer::Continue(reply);
        }
        let covered = match self.cover {
            Cover::Tls(_) => true,
            Cover::None => self.exchange.strength() >= LEAST_STRENGTH,
        };
        if covered { Answer::Complete(reply) } else { Answer::TooWeak(reply) }
    }
}

/// An address as SASL writes it.
fn named(address: SocketAddr) -> CString {
    let text = format!("{};{}", address.ip(), address.port());
    CString::new(text).expect("an address has no NUL in it")
}

/// Wraps bytes as the mechanism does it.
#[derive(Debug)]
pub(super) struct SaslLayer {
    exchange: Exchange,
    /// Plain bytes that are wrapped at a time.
    block: usize,
}

impl Layer for SaslLayer {
    fn unwrap(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
        _answer: &mut BytesMut,
    ) -> io::Result<State> {
        fault::point("SASL layer");
        if !wire.is_empty() {
            let decoded = self.exchange.decode(wire, |bytes| plain.extend_from_slice(bytes));
            // What is not whole yet is kept by the library.
            wire.clear();
            decoded.map_err(io::Error::other)?;
        }
        Ok(State::Open)
    }

    fn wrap(&mut self, plain: &[u8], wire: &mut BytesMut) -> io::Result<usize> {
        for part in plain.chunks(self.block) {
            self.exchange
                .encode(part, |bytes| wire.extend_from_slice(bytes))
                .map_err(io::Error::other)?;
        }
        Ok(plain.len())
    }

    fn farewell(&mut self, _wire: &mut BytesMut) {}

    fn description(&self) -> String {
        format!("SASL layer of {} bits", self.exchange.strength())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_sasl_wants_them() {
        let written = |text: &str| named(text.parse().expect("an address"));
        assert_eq!(written("127.0.0.1:5900").as_c_str(), c"127.0.0.1;5900");
        assert_eq!(written("[fe80::1]:65535").as_c_str(), c"fe80::1;65535");
    }
}

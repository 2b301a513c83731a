//! Stands for `sys/opus.rs` in a build without libopus: nobody can get an [`Encoder`] or a
//! [`Decoder`].

/// Whether this build knows Opus.
pub const AVAILABLE: bool = false;

/// Why there is no Opus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Opus: this library was built without it")]
pub struct OpusError;

/// Makes packets; there is none.
#[derive(Debug)]
pub enum Encoder {}

/// Takes packets apart; there is none.
#[derive(Debug)]
pub enum Decoder {}

impl Encoder {
    /// Fails.
    pub fn new(_rate: u32) -> Result<Self, OpusError> {
        Err(OpusError)
    }

    /// Nobody can call it.
    pub fn encode(&mut self, _samples: &[i16], _packet: &mut [u8]) -> Result<usize, OpusError> {
        match *self {}
    }
}

impl Decoder {
    /// Fails.
    pub fn new(_rate: u32) -> Result<Self, OpusError> {
        Err(OpusError)
    }

    /// Nobody can call it.
    pub fn decode(&mut self, _packet: &[u8], _samples: &mut [i16]) -> Result<usize, OpusError> {
        match *self {}
    }
}

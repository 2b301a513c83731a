//! Stands for `sys/sasl.rs` in a build without libsasl2: nobody can get an [`Exchange`].

use std::ffi::CStr;

/// Whether this build knows SASL.
pub const AVAILABLE: bool = false;
/// As in the real one.
pub const LEAST_STRENGTH: u32 = 56;

/// What protects the connection besides SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Nothing.
    None,
    /// TLS with a cipher of so many bits.
    Tls(u32),
}

/// Why there is no SASL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SASL: this library was built without it")]
pub struct SaslError;

/// One step's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the client is to be sent.
    pub reply: Option<Vec<u8>>,
    /// The client is authenticated.
    pub complete: bool,
}

/// One client's authentication; there is none.
#[derive(Debug)]
pub enum Exchange {}

/// Fails.
pub fn begin(_application: &CStr) -> Result<(), SaslError> {
    Err(SaslError)
}

impl Exchange {
    /// Fails.
    pub fn new(_: Option<&CStr>, _: Option<&CStr>, _cover: Cover) -> Result<Self, SaslError> {
        Err(SaslError)
    }

    /// Never called, as all that follow.
    pub fn mechanisms(&mut self) -> Result<Vec<u8>, SaslError> {
        match *self {}
    }

    /// Never called.
    pub fn start(&mut self, _mechanism: &str, _input: Option<&[u8]>) -> Result<Step, SaslError> {
        match *self {}
    }

    /// Never called.
    pub fn step(&mut self, _input: Option<&[u8]>) -> Result<Step, SaslError> {
        match *self {}
    }

    /// Never called.
    pub fn strength(&self) -> u32 {
        match *self {}
    }

    /// Never called.
    pub fn user(&self) -> Option<String> {
        match *self {}
    }

    /// Never called.
    pub fn block(&self) -> usize {
        match *self {}
    }

    /// Never called.
    pub fn encode<T>(&mut self, _plain: &[u8], _: impl FnOnce(&[u8]) -> T) -> Result<T, SaslError> {
        match *self {}
    }

    /// Never called.
    pub fn decode<T>(&mut self, _wire: &[u8], _: impl FnOnce(&[u8]) -> T) -> Result<T, SaslError> {
        match *self {}
    }
}

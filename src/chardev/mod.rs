//! The char-device core: a state machine without I/O that holds the rules of
//! writing to and reading from a device (docs/protocol/char-device.md).
//!
//! The driver calls the device and feeds the result back, so that a device may
//! call into the library again from inside its callbacks: it then finds the
//! machine at rest. The host serialises all calls; time is a parameter.
#![forbid(unsafe_code)]

mod client;
mod device;
mod migration;
mod passes;
#[cfg(test)]
mod tests;

pub use client::{ClientKey, FlowControl};
pub use device::{
    Action, AddRefusal, Device, Origin, Parameters, Pending, ReadStep, TokenRefusal, UnknownClient,
    Write, WriteStep,
};
pub use migration::{Block, BlockError, MigrateRefusal, Moving, RestoreRefusal};

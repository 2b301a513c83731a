//! The char-device core: a state machine without I/O that holds the rules of
//! writing to and reading from a device (docs/protocol/char-device.md).
//!
//! The driver calls the device and feeds the result back, so that a device may
//! call into the library again from inside its callbacks: it then finds the
//! machine at rest. The host serialises all calls.
#![forbid(unsafe_code)]

mod device;

pub use device::{Device, NoToken, ReadStep, WriteStep};

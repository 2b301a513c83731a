//! What each channel says: its limits, and what a client's message asks for.
//!
//! Pure translation from message to request; the acting is done in `server`.
#![forbid(unsafe_code)]

pub mod agent;
pub mod cursor;
pub mod display;
pub mod inputs;
pub mod main;
pub mod playback;
pub mod record;
pub mod smartcard;
pub mod sound;
pub mod spicevmc;
pub mod stream_device;

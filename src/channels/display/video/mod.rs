//! Areas of a screen that change like a video, which clients get as streams of JPEG frames
//! (docs/protocol/display.md, "Video"): where they are (`activity`), and at what pace and
//! quality a client's network carries them (`rate`).
//!
//! Pure; time is a parameter. What each client is told of them is in `viewers`.

pub mod activity;
pub mod rate;

/// Which areas are to be streamed, as the host has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streaming {
    /// None.
    #[default]
    Off,
    /// All that change often enough.
    All,
    /// Of those the ones that are large and look like photographs.
    Filter,
}

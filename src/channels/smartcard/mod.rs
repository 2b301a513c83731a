//! The smartcard channel (docs/protocol/smartcard.md): what a client's messages ask
//! for, and what the device says.

mod device_stream;
mod request;

pub use device_stream::DeviceStream;
pub use request::{Refused, Request, Standing, handle};

use crate::channel::framing::BodyRule;
use crate::config::limits;

/// How large a client's messages may be.
pub fn rules(_kind: u16) -> BodyRule {
    BodyRule::Whole(limits::SMARTCARD_MESSAGE)
}

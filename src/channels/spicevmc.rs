//! The usbredir, port and webdav channels (docs/protocol/spicevmc.md).

use bytes::Bytes;

use crate::channel::framing::{BodyRule, Message};
use crate::config::limits;
use crate::wire::common::{self, Malformed};
use crate::wire::spicevmc::{self, FromClient};

/// How large a client's messages may be. Data may be any run of bytes, so a
/// long one is passed on while it arrives.
pub fn rules(kind: u16) -> BodyRule {
    if matches!(kind, spicevmc::DATA | spicevmc::COMPRESSED_DATA) {
        BodyRule::Stream(limits::DATA_MESSAGE)
    } else {
        BodyRule::Whole(limits::SPICEVMC_CONTROL)
    }
}

/// What a client's message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bytes for the device.
    Data(Bytes),
    /// A port event for the device.
    PortEvent(u8),
    /// Nothing.
    Nothing,
}

/// Understands one message; `is_port` when the channel has port events.
pub fn handle(message: Message, is_port: bool) -> Result<Request, Malformed> {
    if let Some(common) = common::parse(message.kind, &message.body) {
        return common.map(|_| Request::Nothing);
    }
    match spicevmc::parse(message.kind, &message.body, is_port)? {
        FromClient::Data => Ok(Request::Data(message.body)),
        FromClient::PortEvent(event) => Ok(Request::PortEvent(event)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_keeps_its_buffer() {
        let body = Bytes::from_static(b"abc");
        let message = Message { kind: 101, body: body.clone() };
        let Ok(Request::Data(data)) = handle(message, true) else {
            panic!("data");
        };
        assert_eq!(data.as_ptr(), body.as_ptr(), "not copied");
    }
}

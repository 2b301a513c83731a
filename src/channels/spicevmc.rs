//! The usbredir, port and webdav channels (docs/protocol/spicevmc.md).

use bytes::Bytes;

use crate::channel::framing::{BodyRule, Message};
use crate::config::limits;
use crate::wire::common::{self, Malformed};
use crate::wire::spicevmc::{self, FromClient, channel};

/// How large a client's messages may be. Data may be any run of bytes, so a
/// long one is passed on while it arrives.
pub fn rules(kind: u16) -> BodyRule {
    if kind == spicevmc::DATA {
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

/// Understands one message on a channel of this type.
pub fn handle(kind: u8, message: Message) -> Result<Request, Malformed> {
    if let Some(common) = common::parse(message.kind, &message.body) {
        return common.map(|_| Request::Nothing);
    }
    match spicevmc::parse(message.kind, &message.body, kind != channel::USBREDIR)? {
        FromClient::Data => Ok(Request::Data(message.body)),
        FromClient::PortEvent(event) => Ok(Request::PortEvent(event)),
    }
}

/// The channel type for a char device of this subtype and port name; `None` when
/// it is no spicevmc device.
pub fn channel_type(subtype: &[u8], port_name: Option<&[u8]>) -> Option<u8> {
    match (subtype, port_name) {
        (b"usbredir", _) => Some(channel::USBREDIR),
        (b"port", Some(b"org.spice-space.webdav.0")) => Some(channel::WEBDAV),
        // A device with a protocol of its own, not a plain port.
        (b"port", Some(b"org.spice-space.stream.0") | None) => None,
        (b"port", Some(_)) => Some(channel::PORT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_the_channel_type() {
        assert_eq!(channel_type(b"usbredir", None), Some(9));
        assert_eq!(channel_type(b"port", Some(b"org.spice-space.fs.0")), Some(10));
        assert_eq!(channel_type(b"port", Some(b"org.spice-space.webdav.0")), Some(11));
        assert_eq!(channel_type(b"port", None), None);
        assert_eq!(channel_type(b"vdagent", None), None);
        assert_eq!(channel_type(b"Port", Some(b"x")), None, "case counts");
    }

    #[test]
    fn data_keeps_its_buffer() {
        let body = Bytes::from_static(b"abc");
        let message = Message { kind: 101, body: body.clone() };
        let Ok(Request::Data(data)) = handle(10, message) else {
            panic!("data");
        };
        assert_eq!(data.as_ptr(), body.as_ptr(), "not copied");
    }
}

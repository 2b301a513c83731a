//! Display channels: what their clients may send, and in `viewers` what those of a
//! graphics device are told (docs/protocol/display.md).

pub mod compression;
pub mod video;
pub mod viewers;

use crate::channel::framing::{BodyRule, Message};
use crate::config::limits;
use crate::wire::common::{self, Common, Malformed};
use crate::wire::display::{self, Caches, FromClient, StreamReport};

/// How large a client's messages may be.
pub fn rules(_kind: u16) -> BodyRule {
    BodyRule::Whole(limits::GRAPHICS_MESSAGE)
}

/// What a client's message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Count: the client follows the SET_ACK of this generation.
    Sync(u32),
    /// Count: the client has got a window's worth of messages.
    Ack,
    /// The client has shown what a GL device drew.
    GlDrawDone,
    /// The client is ready: it has made its caches.
    Init(Caches),
    /// The client likes images compressed like this.
    Compression(u8),
    /// This is how a stream arrives.
    Report(StreamReport),
    /// Nothing: answers and wishes that nothing here depends on.
    Nothing,
}

/// Understands one message.
pub fn handle(message: &Message) -> Result<Request, Malformed> {
    if let Some(common) = common::parse(message.kind, &message.body) {
        return common.map(|common| match common {
            Common::AckSync(generation) => Request::Sync(generation),
            Common::Ack => Request::Ack,
            Common::Pong { .. } | Common::Ignored => Request::Nothing,
        });
    }
    display::parse(message.kind, &message.body).map(|parsed| match parsed {
        FromClient::GlDrawDone => Request::GlDrawDone,
        FromClient::Init(caches) => Request::Init(caches),
        FromClient::PreferredCompression(preferred) => Request::Compression(preferred),
        FromClient::StreamReport(report) => Request::Report(report),
        // There is one codec.
        FromClient::PreferredCodecs => Request::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn requests_come_out_of_messages() {
        let handle =
            |kind, body: &'static [u8]| handle(&Message { kind, body: Bytes::from_static(body) });
        assert_eq!(handle(1, &[3, 0, 0, 0]), Ok(Request::Sync(3)));
        assert_eq!(handle(2, &[]), Ok(Request::Ack));
        let caches = Caches { cache: 1, cache_size: 2, glz: 3, glz_size: 4 };
        let init = b"\x01\x02\0\0\0\0\0\0\0\x03\x04\0\0\0";
        assert_eq!(handle(101, init), Ok(Request::Init(caches)));
        let report = [[3, 0, 0, 0], [1, 0, 0, 0], [0; 4], [9; 4], [5, 0, 0, 0], [2, 0, 0, 0]];
        let report = [report.as_flattened(), &[0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0]].concat();
        let report = handle(102, Vec::leak(report));
        let expected = StreamReport { stream: 3, unique: 1, frames: 5, drops: 2, delay: -2 };
        assert_eq!(report, Ok(Request::Report(expected)));
        assert_eq!(handle(103, &[7]), Ok(Request::Compression(7)));
        assert_eq!(handle(104, &[]), Ok(Request::GlDrawDone));
        assert_eq!(handle(5, &[]), Err(Malformed::Unexpected(5)));
        assert_eq!(handle(111, &[]), Err(Malformed::Unknown(111)));
    }
}

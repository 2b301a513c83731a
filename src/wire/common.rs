//! Messages that every channel has (docs/protocol/channel.md, "Common messages").

/// Server to client: SET_ACK, u32 generation and u32 window.
pub const SET_ACK: u16 = 3;
/// Server to client: PING.
pub const PING: u16 = 4;
/// Server to client: NOTIFY.
pub const NOTIFY: u16 = 7;

/// Client to server: ACK_SYNC, u32 generation.
pub const ACK_SYNC: u16 = 1;
/// Client to server: ACK.
pub const ACK: u16 = 2;
/// Client to server: PONG, u32 id and u64 time stamp.
pub const PONG: u16 = 3;
/// Client to server: MIGRATE_FLUSH_MARK.
pub const MIGRATE_FLUSH_MARK: u16 = 4;
/// Client to server: MIGRATE_DATA.
pub const MIGRATE_DATA: u16 = 5;
/// Client to server: DISCONNECTING, u64 time and u32 reason.
pub const DISCONNECTING: u16 = 6;

/// A common message from the client, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// The answer to a PING with this id and the time stamp that it carried.
    Pong {
        /// The id that the PING carried.
        id: u32,
        /// The time stamp that the PING carried.
        time: u64,
    },
    /// The client follows the SET_ACK of this generation.
    AckSync(u32),
    /// The client has got a window's worth of messages.
    Ack,
    /// Nothing to do: DISCONNECTING.
    Ignored,
}

/// Why a message cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body is shorter than the message's fields.
    #[error("message type {0} is too short")]
    Short(u16),
    /// The channel has no such message.
    #[error("unknown message type {0}")]
    Unknown(u16),
    /// A message that is only allowed in a situation we are not in.
    #[error("message type {0} was not expected")]
    Unexpected(u16),
}

/// Takes a common message; `None` when `kind` belongs to the channel itself.
pub fn parse(kind: u16, body: &[u8]) -> Option<Result<Common, Malformed>> {
    let enough =
        |length: usize| if body.len() < length { Err(Malformed::Short(kind)) } else { Ok(()) };
    Some(match kind {
        ACK_SYNC => enough(4).map(|()| Common::AckSync(u32_at(body, 0))),
        ACK => Ok(Common::Ack),
        PONG => enough(12).map(|()| Common::Pong { id: u32_at(body, 0), time: u64_at(body, 4) }),
        // Upstream aborts the process at a mark that nobody asked for; it is a
        // protocol error of this client and ends this connection only.
        MIGRATE_FLUSH_MARK | MIGRATE_DATA => Err(Malformed::Unexpected(kind)),
        DISCONNECTING => enough(12).map(|()| Common::Ignored),
        _ => return None,
    })
}

/// The little-endian u32 at `at`; the caller has checked the length.
pub(crate) fn u32_at(body: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]])
}

fn u64_at(body: &[u8], at: usize) -> u64 {
    u64::from(u32_at(body, at)) | (u64::from(u32_at(body, at + 4)) << 32)
}

/// The body of a PING: id, time stamp, and `padding` zero bytes.
pub fn ping(id: u32, time: u64, padding: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(12 + padding);
    body.extend_from_slice(&id.to_le_bytes());
    body.extend_from_slice(&time.to_le_bytes());
    body.resize(12 + padding, 0);
    body
}

/// How bad it is what a NOTIFY tells, and how much it is to be seen.
pub mod notify {
    /// Severity: a warning.
    pub const WARNING: u32 = 1;
    /// Visibility: high.
    pub const HIGH: u32 = 2;
}

/// The body of a NOTIFY: u64 nanoseconds of the monotonic clock, severity, visibility, a
/// number that says what it is about (0: nothing that has a number), u32 length of the
/// text, the text and a NUL that is not counted.
pub fn notification(time: u64, severity: u32, visibility: u32, text: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(25 + text.len());
    body.extend_from_slice(&time.to_le_bytes());
    for number in [severity, visibility, 0, text.len() as u32] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.extend_from_slice(text.as_bytes());
    body.push(0);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_returns_what_the_ping_carried() {
        let body = ping(5, 0x1_0000_0002, 3);
        assert_eq!(body.len(), 15);
        assert_eq!(parse(PONG, &body), Some(Ok(Common::Pong { id: 5, time: 0x1_0000_0002 })));
        assert_eq!(parse(PONG, &body[..11]), Some(Err(Malformed::Short(PONG))));
    }

    #[test]
    fn acknowledgements_tell_their_generation() {
        assert_eq!(parse(ACK_SYNC, &[1, 2, 0, 0]), Some(Ok(Common::AckSync(0x0201))));
        assert_eq!(parse(ACK_SYNC, &[1, 2, 0]), Some(Err(Malformed::Short(ACK_SYNC))));
        assert_eq!(parse(ACK, &[]), Some(Ok(Common::Ack)));
    }

    #[test]
    fn an_unasked_flush_mark_is_an_error_not_an_abort() {
        assert_eq!(parse(MIGRATE_FLUSH_MARK, &[]), Some(Err(Malformed::Unexpected(4))));
    }

    #[test]
    fn a_notification_counts_its_text_without_the_end() {
        let body = notification(0x0102, notify::WARNING, notify::HIGH, "ab");
        assert_eq!(body[..8], 0x0102u64.to_le_bytes());
        assert_eq!(body[8..], [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'a', b'b', 0]);
    }

    #[test]
    fn channel_messages_are_left_to_the_channel() {
        assert_eq!(parse(101, &[]), None);
        assert_eq!(parse(0, &[]), None);
    }
}

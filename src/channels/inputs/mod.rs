//! The inputs channel (docs/protocol/inputs.md): what its messages do to the keyboard and
//! to the pointer.

pub mod keyboard;
pub mod pointer;

use crate::channel::framing::{BodyRule, Message};
use crate::config::limits;
use crate::wire::common::{self, Malformed};
use crate::wire::inputs::{self, FromClient};

/// How large a client's messages may be.
pub fn rules(_kind: u16) -> BodyRule {
    BodyRule::Whole(limits::INPUTS_MESSAGE)
}

/// Understands one message; `None` when there is nothing to do.
pub fn handle(message: &Message) -> Result<Option<FromClient<'_>>, Malformed> {
    match common::parse(message.kind, &message.body) {
        Some(common) => common.map(|_| None),
        None => inputs::parse(message.kind, &message.body).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(kind: u16, body: &'static [u8]) -> Message {
        Message { kind, body: Bytes::from_static(body) }
    }

    #[test]
    fn common_messages_ask_for_nothing() {
        assert_eq!(handle(&message(3, &[0; 12])), Ok(None));
        assert_eq!(handle(&message(103, &[1, 0])), Ok(Some(FromClient::Locks(1))));
        assert_eq!(handle(&message(4, b"")), Err(Malformed::Unexpected(4)));
    }

    #[test]
    fn two_kilobytes_are_enough_for_each() {
        assert_eq!(rules(104), BodyRule::Whole(2048));
    }
}

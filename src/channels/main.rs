//! The main channel (docs/protocol/main.md).

use crate::channel::framing::{BodyRule, Message};
use crate::config::limits;
use crate::wire::common::{self, Common, Malformed};
use crate::wire::main::{self, FromClient, MigrateAnswer};

/// How large a client's messages may be.
pub fn rules(kind: u16) -> BodyRule {
    BodyRule::Whole(if kind == main::AGENT_DATA {
        limits::AGENT_DATA
    } else {
        limits::MAIN_MESSAGE
    })
}

/// What a client's message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send the channel list.
    ChannelsList,
    /// Change the mouse mode, if it is allowed.
    MouseMode(u16),
    /// Begin with the agent; the client takes so many messages of it.
    AgentStart(u32),
    /// The body is for the agent.
    AgentData,
    /// The client takes so many more messages of the agent.
    AgentToken(u32),
    /// A PONG with its id and time stamp.
    Pong(u32, u64),
    /// How the host that the VM goes to was reached.
    MigrateAnswer(MigrateAnswer),
    /// The client has come from another host, and begins here.
    MigrateEnd,
    /// The client asks whether its session can go on here, with what has this version.
    DoSeamless(u32),
    /// Nothing at all.
    Nothing,
}

/// Understands one message.
pub fn handle(message: &Message) -> Result<Request, Malformed> {
    if let Some(common) = common::parse(message.kind, &message.body) {
        return common.map(|common| match common {
            Common::Pong { id, time } => Request::Pong(id, time),
            // The channel counts no acknowledgements.
            Common::AckSync(_) | Common::Ack | Common::Ignored => Request::Nothing,
        });
    }
    main::parse(message.kind, &message.body).map(|parsed| match parsed {
        FromClient::AttachChannels => Request::ChannelsList,
        FromClient::MouseModeRequest(mode) => Request::MouseMode(mode),
        FromClient::AgentStart(tokens) => Request::AgentStart(tokens),
        FromClient::AgentData => Request::AgentData,
        FromClient::AgentToken(tokens) => Request::AgentToken(tokens),
        FromClient::MigrateAnswer(answer) => Request::MigrateAnswer(answer),
        FromClient::MigrateEnd => Request::MigrateEnd,
        FromClient::DoSeamless(version) => Request::DoSeamless(version),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(kind: u16, body: &'static [u8]) -> Message {
        Message { kind, body: Bytes::from_static(body) }
    }

    #[test]
    fn requests_come_out_of_messages() {
        assert_eq!(handle(&message(104, b"")), Ok(Request::ChannelsList));
        assert_eq!(handle(&message(105, &[2, 0])), Ok(Request::MouseMode(2)));
        assert_eq!(handle(&message(106, &[9, 0, 0, 0])), Ok(Request::AgentStart(9)));
        assert_eq!(handle(&message(107, b"x")), Ok(Request::AgentData));
        assert_eq!(handle(&message(108, &[9, 0, 0, 0])), Ok(Request::AgentToken(9)));
        assert_eq!(handle(&message(1, &[0; 4])), Ok(Request::Nothing));
        assert_eq!(handle(&message(4, b"")), Err(Malformed::Unexpected(4)));
        assert_eq!(handle(&message(999, b"")), Err(Malformed::Unknown(999)));
    }

    #[test]
    fn agent_data_has_its_own_limit() {
        assert_eq!(rules(107), BodyRule::Whole(2048));
        assert_eq!(rules(104), BodyRule::Whole(26_624));
    }
}

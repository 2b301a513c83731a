//! Main channel messages (docs/protocol/main.md).

use super::common::{self, Malformed};

/// Main channel capabilities, by bit number.
pub mod capability {
    /// The peer can connect to the other host before the VM is there.
    pub const SEMI_SEAMLESS_MIGRATE: u32 = 0;
    /// The peer understands NAME and UUID.
    pub const NAME_AND_UUID: u32 = 1;
    /// The peer understands AGENT_CONNECTED_TOKENS.
    pub const AGENT_CONNECTED_TOKENS: u32 = 2;
    /// The peer can move a session from host to host.
    pub const SEAMLESS_MIGRATE: u32 = 3;
}

/// Server to client message types.
pub mod to_client {
    /// The VM is going to another host: connect there (`wire::migration::announcement`).
    pub const MIGRATE_BEGIN: u16 = 101;
    /// Forget the other host.
    pub const MIGRATE_CANCEL: u16 = 102;
    /// The first message of a session.
    pub const INIT: u16 = 103;
    /// The channels a client may link to.
    pub const CHANNELS_LIST: u16 = 104;
    /// Supported and current mouse mode.
    pub const MOUSE_MODE: u16 = 105;
    /// u32: the multimedia time in milliseconds.
    pub const MULTI_MEDIA_TIME: u16 = 106;
    /// The agent is there; for clients without the capability for the next one.
    pub const AGENT_CONNECTED: u16 = 107;
    /// The agent is gone: u32 reason, always 0.
    pub const AGENT_DISCONNECTED: u16 = 108;
    /// Bytes of the agent.
    pub const AGENT_DATA: u16 = 109;
    /// The client may send so many AGENT_DATA more.
    pub const AGENT_TOKEN: u16 = 110;
    /// The VM has gone to another host: connect there, anew.
    pub const MIGRATE_SWITCH_HOST: u16 = 111;
    /// The VM has gone to the other host: go on there.
    pub const MIGRATE_END: u16 = 112;
    /// The VM's name.
    pub const NAME: u16 = 113;
    /// The VM's UUID.
    pub const UUID: u16 = 114;
    /// The agent is there, and the client may send so many AGENT_DATA.
    pub const AGENT_CONNECTED_TOKENS: u16 = 115;
    /// As `MIGRATE_BEGIN`: the session may go on there.
    pub const MIGRATE_BEGIN_SEAMLESS: u16 = 116;
    /// To a client that arrives: its session can go on here.
    pub const MIGRATE_DST_SEAMLESS_ACK: u16 = 117;
    /// It cannot.
    pub const MIGRATE_DST_SEAMLESS_NACK: u16 = 118;
}

/// Mouse modes; a set of them is the sum.
pub mod mouse_mode {
    /// The client sends movements, and the guest has the pointer.
    pub const SERVER: u16 = 1;
    /// The client has the pointer and sends positions.
    pub const CLIENT: u16 = 2;
}

/// Client to server message types.
mod from_client {
    pub(super) const MIGRATE_CONNECTED: u16 = 102;
    pub(super) const MIGRATE_CONNECT_ERROR: u16 = 103;
    pub(super) const ATTACH_CHANNELS: u16 = 104;
    pub(super) const MOUSE_MODE_REQUEST: u16 = 105;
    pub(super) const AGENT_START: u16 = 106;
    pub(super) const AGENT_DATA: u16 = 107;
    pub(super) const AGENT_TOKEN: u16 = 108;
    pub(super) const MIGRATE_END: u16 = 109;
    pub(super) const MIGRATE_DST_DO_SEAMLESS: u16 = 110;
    pub(super) const MIGRATE_CONNECTED_SEAMLESS: u16 = 111;
}

/// Type number of the client's `ATTACH_CHANNELS`, which is nothing to one that has not
/// moved yet.
pub const ATTACH_CHANNELS: u16 = from_client::ATTACH_CHANNELS;

/// Type number of the client's AGENT_DATA, which has a size limit of its own.
pub const AGENT_DATA: u16 = from_client::AGENT_DATA;

/// What a client says on its main channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// It wants the list of channels.
    AttachChannels,
    /// It wants this mouse mode.
    MouseModeRequest(u16),
    /// It wants to talk to the agent and takes so many AGENT_DATA.
    AgentStart(u32),
    /// Bytes for the agent: the whole body.
    AgentData,
    /// It takes so many AGENT_DATA more.
    AgentToken(u32),
    /// It has reached the other host, or has not.
    MigrateAnswer(MigrateAnswer),
    /// It has come from another host, and begins here.
    MigrateEnd,
    /// It comes from another host, and asks whether its session can go on here. The
    /// number is the version of what it would bring.
    DoSeamless(u32),
}

/// What a client says of the host that its VM goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrateAnswer {
    /// It cannot be reached.
    Error,
    /// It is connected; the session will begin anew.
    Connected,
    /// It is connected, and the session can go on.
    Seamless,
}

/// Whether a client that has not arrived yet may say this.
pub fn is_arrivals_word(kind: u16) -> bool {
    [from_client::MIGRATE_END, from_client::MIGRATE_DST_DO_SEAMLESS].contains(&kind)
}

/// Takes a message of the main channel itself.
pub fn parse(kind: u16, body: &[u8]) -> Result<FromClient, Malformed> {
    use from_client as c;
    let needs =
        |length: usize| if body.len() < length { Err(Malformed::Short(kind)) } else { Ok(()) };
    match kind {
        c::ATTACH_CHANNELS => Ok(FromClient::AttachChannels),
        c::MOUSE_MODE_REQUEST => {
            needs(2).map(|()| FromClient::MouseModeRequest(u16::from_le_bytes([body[0], body[1]])))
        }
        c::AGENT_START => needs(4).map(|()| FromClient::AgentStart(common::u32_at(body, 0))),
        c::AGENT_DATA => needs(1).map(|()| FromClient::AgentData),
        c::AGENT_TOKEN => needs(4).map(|()| FromClient::AgentToken(common::u32_at(body, 0))),
        c::MIGRATE_CONNECTED => Ok(FromClient::MigrateAnswer(MigrateAnswer::Connected)),
        c::MIGRATE_CONNECT_ERROR => Ok(FromClient::MigrateAnswer(MigrateAnswer::Error)),
        c::MIGRATE_CONNECTED_SEAMLESS => Ok(FromClient::MigrateAnswer(MigrateAnswer::Seamless)),
        c::MIGRATE_END => Ok(FromClient::MigrateEnd),
        c::MIGRATE_DST_DO_SEAMLESS => {
            needs(4).map(|()| FromClient::DoSeamless(common::u32_at(body, 0)))
        }
        _ => Err(Malformed::Unknown(kind)),
    }
}

/// The fields of INIT, all u32 on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    /// What the other channels present as `connection_id`.
    pub session_id: u32,
    /// How many displays to expect.
    pub display_channels: u32,
    /// Bit set of mouse modes.
    pub supported_mouse_modes: u32,
    /// The mouse mode now.
    pub current_mouse_mode: u32,
    /// Whether an agent is attached.
    pub agent_connected: bool,
    /// How many AGENT_DATA the client may send before it must wait for tokens.
    pub agent_tokens: u32,
    /// Milliseconds of the monotonic clock, wrapped.
    pub multi_media_time: u32,
    /// Video memory of the newest display in bytes, 0 without one.
    pub ram_hint: u32,
}

impl Init {
    /// The 32 bytes of the body.
    pub fn encode(&self) -> [u8; 32] {
        let fields = [
            self.session_id,
            self.display_channels,
            self.supported_mouse_modes,
            self.current_mouse_mode,
            u32::from(self.agent_connected),
            self.agent_tokens,
            self.multi_media_time,
            self.ram_hint,
        ];
        let mut body = [0; 32];
        for (out, field) in body.chunks_exact_mut(4).zip(fields) {
            out.copy_from_slice(&field.to_le_bytes());
        }
        body
    }
}

/// CHANNELS_LIST: u32 count, then type and id of each.
pub fn channels_list(channels: &[(u8, u8)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + 2 * channels.len());
    body.extend_from_slice(&(channels.len() as u32).to_le_bytes());
    for &(kind, id) in channels {
        body.extend_from_slice(&[kind, id]);
    }
    body
}

/// MOUSE_MODE: u16 supported, u16 current.
pub fn mouse_mode(supported: u16, current: u16) -> [u8; 4] {
    let (s, c) = (supported.to_le_bytes(), current.to_le_bytes());
    [s[0], s[1], c[0], c[1]]
}

/// NAME: u32 length with the NUL, the bytes, the NUL.
pub fn name(name: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(name.len() + 5);
    body.extend_from_slice(&(name.len() as u32 + 1).to_le_bytes());
    body.extend_from_slice(name);
    body.push(0);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_is_eight_words_in_order() {
        let init = Init {
            session_id: 1,
            display_channels: 2,
            supported_mouse_modes: 3,
            current_mouse_mode: 4,
            agent_connected: true,
            agent_tokens: 10,
            multi_media_time: 6,
            ram_hint: 7,
        };
        let words: Vec<u32> = init
            .encode()
            .chunks_exact(4)
            .map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
            .collect();
        assert_eq!(words, [1, 2, 3, 4, 1, 10, 6, 7]);
    }

    #[test]
    fn client_messages_need_their_bytes() {
        assert_eq!(parse(105, &[2, 0]), Ok(FromClient::MouseModeRequest(2)));
        assert_eq!(parse(105, &[2]), Err(Malformed::Short(105)));
        assert_eq!(parse(106, &[1, 2, 0, 0]), Ok(FromClient::AgentStart(0x201)));
        assert_eq!(parse(106, &[1, 2, 0]), Err(Malformed::Short(106)));
        assert_eq!(parse(107, &[0]), Ok(FromClient::AgentData));
        assert_eq!(parse(107, &[]), Err(Malformed::Short(107)));
        assert_eq!(parse(108, &[3, 0, 0, 0, 9]), Ok(FromClient::AgentToken(3)));
        assert_eq!(parse(108, &[]), Err(Malformed::Short(108)));
        assert_eq!(parse(109, &[]), Ok(FromClient::MigrateEnd));
        assert_eq!(parse(110, &[1, 0, 0, 0]), Ok(FromClient::DoSeamless(1)));
        assert_eq!(parse(110, &[1, 0, 0]), Err(Malformed::Short(110)));
        for (kind, answer) in [
            (102, MigrateAnswer::Connected),
            (103, MigrateAnswer::Error),
            (111, MigrateAnswer::Seamless),
        ] {
            assert_eq!(parse(kind, &[]), Ok(FromClient::MigrateAnswer(answer)));
        }
        // CLIENT_INFO and QUALITY_INDICATOR parse upstream but nobody handles them.
        assert_eq!(parse(101, &[0; 8]), Err(Malformed::Unknown(101)));
        assert_eq!(parse(112, &[0; 8]), Err(Malformed::Unknown(112)));
    }

    #[test]
    fn lists_and_names_carry_their_lengths() {
        assert_eq!(channels_list(&[(10, 0), (9, 1)]), [2, 0, 0, 0, 10, 0, 9, 1]);
        assert_eq!(name(b"vm"), [3, 0, 0, 0, b'v', b'm', 0]);
    }
}

//! The client's side of the link handshake (docs/protocol/link.md), from the first byte
//! to the link result. Sans-IO; SASL is not spoken.

use openssl::rsa::{Padding, Rsa};

use spice_server::wire::ChannelKey;
use spice_server::wire::header::HeaderForm;
use spice_server::wire::link::{
    CapSet, LinkError, LinkHeader, LinkMess, LinkReply, MAGIC, MAJOR, MECHANISM_SPICE,
    TICKET_BYTES, common_cap,
};

/// A link under way.
pub(crate) struct Link {
    state: State,
    input: Vec<u8>,
    output: Vec<u8>,
    password: Vec<u8>,
    form: HeaderForm,
    channel_caps: CapSet,
}

enum State {
    Reply,
    Result,
    Linked,
}

/// What the link has come to.
#[derive(Debug)]
pub(crate) struct Linked {
    /// The header of the messages that follow.
    pub(crate) form: HeaderForm,
    /// What the server knows on this channel.
    pub(crate) channel_caps: CapSet,
    /// What came behind the link result.
    pub(crate) rest: Vec<u8>,
}

/// Why there is no link.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkFailure {
    /// The server does not want it.
    #[error("{}", reason(*.0))]
    Refused(LinkError),
    /// The server lets in only whom SASL lets in.
    #[error("the server wants SASL, which spice-port does not speak")]
    Sasl,
    /// The other end does not keep to the protocol.
    #[error("this is no SPICE server: {0}")]
    Nonsense(&'static str),
    /// More than a ticket can carry.
    #[error("the password is longer than {PASSWORD_MAX} bytes")]
    PasswordTooLong,
}

/// No server keeps more of a password than this.
const PASSWORD_MAX: usize = 60;

/// The largest reply that is read: room for more capabilities than anybody has.
const REPLY_MAX: usize = 4096;

impl Link {
    /// Asks for a channel; `connection_id` is the session's, 0 for a new one. An empty
    /// password is for servers that do not ask for one.
    pub(crate) fn new(
        channel: ChannelKey,
        connection_id: u32,
        channel_caps: CapSet,
        password: &[u8],
    ) -> Result<Self, LinkFailure> {
        if password.len() > PASSWORD_MAX {
            return Err(LinkFailure::PasswordTooLong);
        }
        let common_caps = [common_cap::AUTH_SELECTION, common_cap::AUTH_SPICE];
        let common_caps = common_caps.into_iter().chain([common_cap::MINI_HEADER]).collect();
        let mut output = Vec::new();
        LinkMess { connection_id, channel, common_caps, channel_caps }.encode(&mut output);
        Ok(Self {
            state: State::Reply,
            input: Vec::new(),
            output,
            password: [password, &[0]].concat(),
            form: HeaderForm::Full,
            channel_caps: CapSet::default(),
        })
    }

    /// What is to be sent now.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes bytes of the server's.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), LinkFailure> {
        self.input.extend_from_slice(bytes);
        if matches!(self.state, State::Reply)
            && let Some(reply) = self.poll_reply()?
        {
            self.answer(&reply)?;
            self.state = State::Result;
        }
        if matches!(self.state, State::Result)
            && let Some((result, rest)) = self.input.split_first_chunk()
        {
            match LinkError::from_wire(u32::from_le_bytes(*result)) {
                Some(LinkError::Ok) => self.state = State::Linked,
                Some(error) => return Err(LinkFailure::Refused(error)),
                None => return Err(LinkFailure::Nonsense("its link result has no meaning")),
            }
            self.input = rest.to_vec();
        }
        Ok(())
    }

    /// The link, once it is complete.
    pub(crate) fn finish(self) -> Result<Linked, Self> {
        match self.state {
            State::Linked => {
                Ok(Linked { form: self.form, channel_caps: self.channel_caps, rest: self.input })
            }
            State::Reply | State::Result => Err(self),
        }
    }

    fn poll_reply(&mut self) -> Result<Option<LinkReply>, LinkFailure> {
        let magic = self.input.len().min(MAGIC.len());
        if self.input[..magic] != MAGIC[..magic] {
            return Err(LinkFailure::Nonsense("it does not begin with REDQ"));
        }
        let Some((header, rest)) = self.input.split_first_chunk::<{ LinkHeader::BYTES }>() else {
            return Ok(None);
        };
        let fields = header.last_chunk().expect("the fields are the end of the header");
        let header = LinkHeader::parse_after_magic(*fields);
        if header.major != MAJOR {
            return Err(LinkFailure::Nonsense("it speaks another version of the protocol"));
        }
        let size = header.size as usize;
        if size > REPLY_MAX {
            return Err(LinkFailure::Nonsense("its link reply is too long"));
        }
        let Some((reply, rest)) = rest.split_at_checked(size) else {
            return Ok(None);
        };
        let parsed = parse_reply(reply)?;
        self.input = rest.to_vec();
        Ok(Some(parsed))
    }

    /// The mechanism, where it is asked for, and the password.
    fn answer(&mut self, reply: &LinkReply) -> Result<(), LinkFailure> {
        let caps = &reply.common_caps;
        if caps.has(common_cap::AUTH_SASL) && !caps.has(common_cap::AUTH_SPICE) {
            return Err(LinkFailure::Sasl);
        }
        if caps.has(common_cap::AUTH_SELECTION) {
            self.output.extend_from_slice(&MECHANISM_SPICE.to_le_bytes());
        }
        if caps.has(common_cap::MINI_HEADER) {
            self.form = HeaderForm::Mini;
        }
        self.channel_caps = reply.channel_caps.clone();
        let wrong = |_| LinkFailure::Nonsense("its key is none");
        let key = Rsa::public_key_from_der(&reply.public_key).map_err(wrong)?;
        if key.size() as usize != TICKET_BYTES {
            return Err(LinkFailure::Nonsense("its key has another size"));
        }
        let mut ticket = [0; TICKET_BYTES];
        key.public_encrypt(&self.password, &mut ticket, Padding::PKCS1_OAEP).map_err(wrong)?;
        self.output.extend_from_slice(&ticket);
        Ok(())
    }
}

/// A refusal may come with nothing but its number.
fn parse_reply(bytes: &[u8]) -> Result<LinkReply, LinkFailure> {
    let number = bytes.first_chunk().map(|number| u32::from_le_bytes(*number));
    match number.and_then(LinkError::from_wire) {
        Some(LinkError::Ok) => {
            LinkReply::parse(bytes).ok_or(LinkFailure::Nonsense("its link reply is cut off"))
        }
        Some(error) => Err(LinkFailure::Refused(error)),
        None => Err(LinkFailure::Nonsense("its link reply has no meaning")),
    }
}

fn reason(error: LinkError) -> &'static str {
    match error {
        LinkError::Ok => "no error",
        LinkError::Error => "the server refuses, without a reason",
        LinkError::InvalidMagic | LinkError::InvalidData => "the server does not understand us",
        LinkError::VersionMismatch => "the server speaks another version of the protocol",
        LinkError::NeedSecured => "the server wants TLS for this channel (spice+tls://)",
        LinkError::NeedUnsecured => "the server wants no TLS for this channel (spice://)",
        LinkError::PermissionDenied => "the password is wrong or has expired",
        LinkError::BadConnectionId => "the session has ended",
        LinkError::ChannelNotAvailable => "the channel is not there",
    }
}

#[cfg(test)]
mod tests {
    use spice_server::link::ticket::TicketKey;

    use super::*;

    const PORT: ChannelKey = ChannelKey { kind: 10, id: 3 };

    fn link(password: &[u8]) -> Link {
        Link::new(PORT, 77, [0].into_iter().collect(), password).expect("it is short")
    }

    fn reply(key: &TicketKey, common: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let reply = LinkReply {
            error: LinkError::Ok,
            public_key: *key.public_der(),
            common_caps: common.iter().copied().collect(),
            channel_caps: [0].into_iter().collect(),
        };
        reply.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_link_in_single_bytes() {
        let key = TicketKey::generate().expect("OpenSSL works");
        let mut link = link(b"secret");
        let sent = link.take_output();
        let mess = LinkMess::parse(&sent[LinkHeader::BYTES..]).expect("a link message");
        assert_eq!((mess.connection_id, mess.channel), (77, PORT));
        assert!(mess.channel_caps.has(0) && mess.common_caps.has(3));
        for byte in reply(&key, &[0, 1, 3]) {
            assert!(link.take_output().is_empty());
            link.handle_bytes(&[byte]).expect("a good reply");
        }
        let sent = link.take_output();
        let (mechanism, ticket) = sent.split_first_chunk::<4>().expect("a mechanism");
        assert_eq!(*mechanism, [1, 0, 0, 0]);
        let ticket = ticket.try_into().expect("nothing but the ticket follows");
        assert_eq!(key.decrypt(ticket).as_deref(), Some(&b"secret\0"[..]));
        let mut link = link.finish().expect_err("the result is missing");
        link.handle_bytes(&[0, 0, 0, 0, 9, 8]).expect("a good result");
        let linked = link.finish().ok().expect("a link");
        assert_eq!((linked.form, &*linked.rest), (HeaderForm::Mini, &[9, 8][..]));
        assert!(linked.channel_caps.has(0));
    }

    #[test]
    fn an_old_server_gets_no_mechanism_and_long_headers() {
        let key = TicketKey::generate().expect("OpenSSL works");
        let mut link = link(b"");
        let _mess = link.take_output();
        link.handle_bytes(&[&reply(&key, &[])[..], &[0; 4]].concat()).expect("a good reply");
        assert_eq!(link.take_output().len(), TICKET_BYTES);
        assert_eq!(link.finish().ok().expect("a link").form, HeaderForm::Full);
    }

    #[test]
    fn refusals_are_told_apart() {
        let key = TicketKey::generate().expect("OpenSSL works");
        let mut refused = Vec::new();
        LinkReply::encode_refusal(LinkError::NeedSecured, &mut refused);
        let wrong = [&reply(&key, &[0, 1])[..], &7u32.to_le_bytes()].concat();
        for (bytes, failure) in [
            (refused, LinkFailure::Refused(LinkError::NeedSecured)),
            (wrong, LinkFailure::Refused(LinkError::PermissionDenied)),
            (reply(&key, &[0, 2]), LinkFailure::Sasl),
            (b"HTTP".to_vec(), LinkFailure::Nonsense("it does not begin with REDQ")),
            (
                [&MAGIC[..], &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
                LinkFailure::Nonsense("it speaks another version of the protocol"),
            ),
            (
                [&MAGIC[..], &[2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0]].concat(),
                LinkFailure::Nonsense("its link reply is too long"),
            ),
        ] {
            assert_eq!(link(b"x").handle_bytes(&bytes), Err(failure));
        }
    }

    #[test]
    fn a_password_that_no_ticket_carries_is_refused_here() {
        let refused = Link::new(PORT, 0, CapSet::default(), &[b'x'; 61]).err();
        assert_eq!(refused, Some(LinkFailure::PasswordTooLong));
    }
}

//! The link handshake, from the first byte: a client that says good and bad things, in
//! any pieces, with the key early or late, and with a SASL library that says anything. The
//! outcome does not depend on the pieces; nobody comes in whom the settings keep out;
//! nothing follows the end.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use openssl::rsa::{Padding, Rsa};
use spice_server::link::sasl::{Answer, Ask};
use spice_server::link::ticket::{TicketKey, TicketRefusal, Ticketing};
use spice_server::link::{Action, ChannelSecurity, INPUT_MAX, Link, LinkOptions, Offer, Policy};
use spice_server::wire::ChannelKey;
use spice_server::wire::link::{
    LinkHeader, LinkMess, LinkReply, MAGIC, MECHANISM_SASL, MECHANISM_SPICE, TICKET_BYTES,
};

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "link", run, seeds };

const PASSWORD: &[u8] = b"secret";
const MECHANISMS: &[u8] = b",ONE,TWO,";

static KEY: LazyLock<Arc<TicketKey>> =
    LazyLock::new(|| Arc::new(TicketKey::generate().expect("OpenSSL works")));
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Under that key: the right password and a wrong one.
static TICKETS: LazyLock<[Vec<u8>; 2]> =
    LazyLock::new(|| [PASSWORD, b"wrong"].map(|text| encrypted(&[text, &[0]].concat())));

fn encrypted(text: &[u8]) -> Vec<u8> {
    let public = Rsa::public_key_from_der(KEY.public_der()).expect("a key");
    let mut ticket = vec![0; TICKET_BYTES];
    public.public_encrypt(text, &mut ticket, Padding::PKCS1_OAEP).expect("it fits");
    ticket
}

/// A server: types up to 9 are there, some for TLS only.
struct Server {
    ticketing: Ticketing,
    sasl: bool,
}

impl Policy for Server {
    fn offer(&self, channel: ChannelKey) -> Option<Offer> {
        let there = channel.is_main() || (channel.kind < 10 && channel.id < 2);
        there.then(|| Offer {
            common_caps: [0, 1, 3].into_iter().collect(),
            channel_caps: [u32::from(channel.kind) * 9].into_iter().collect(),
        })
    }

    fn security(&self, kind: u8) -> ChannelSecurity {
        match kind % 4 {
            2 => ChannelSecurity::SECURED,
            3 => ChannelSecurity::PLAIN,
            _ => ChannelSecurity::all(),
        }
    }

    fn ticketing(&self) -> bool {
        self.ticketing.is_required()
    }

    fn sasl(&self) -> bool {
        self.sasl
    }

    fn check_ticket(&self, password: &[u8], now: Instant) -> Result<(), TicketRefusal> {
        self.ticketing.check(password, now)
    }
}

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.byte();
    let options = LinkOptions { secured: flags & 1 != 0, skip_auth: flags & 2 != 0 };
    let mut ticketing = Ticketing::default();
    match flags >> 2 & 3 {
        0 | 1 => ticketing.set_noauth(),
        2 => ticketing.set_ticket(Some(PASSWORD), 10, *NOW).expect("it is short"),
        _ => {}
    }
    // Password settings that do not matter then say what SASL does.
    let server = Server { sasl: flags & 0x0c == 0x04, ticketing };
    let patience = usize::from(flags >> 4);
    let cuts: Vec<usize> = input.run().iter().map(|cut| usize::from(*cut)).collect();
    let (wire, may_enter) = wire(&mut input);
    let whole = play(options, &server, &wire, &[wire.len()], 0);
    assert!(whole == play(options, &server, &wire, &cuts, patience), "the pieces matter");
    let Some(Action::Authenticated(request)) = whole.actions.last() else {
        return;
    };
    if server.sasl && !options.skip_auth {
        let complete =
            |action: &Action| matches!(action, Action::Send(sent) if sent[..] == COMPLETE);
        assert!(whole.actions.iter().any(complete), "without SASL");
        assert!(options.secured != whole.actions.contains(&Action::Wrap), "what protects it?");
    } else {
        assert!(may_enter || options.skip_auth || !server.ticketing(), "without a password");
        assert!(!whole.actions.contains(&Action::Wrap), "nothing was agreed on");
    }
    assert!(server.offer(request.channel).is_some(), "to a channel that is not there");
    let transport = if options.secured { ChannelSecurity::SECURED } else { ChannelSecurity::PLAIN };
    assert!(server.security(request.channel.kind).contains(transport), "on the wrong transport");
}

/// The end of an exchange that went well: no data, complete, and the result.
const COMPLETE: [u8; 9] = [0, 0, 0, 0, 1, 0, 0, 0, 0];

/// A SASL library that does as the client says.
fn judge(data: Option<&[u8]>) -> Result<Answer, String> {
    let rest = data.and_then(<[u8]>::split_first);
    match rest {
        None => Ok(Answer::Continue(None)),
        Some((b'c', data)) => Ok(Answer::Continue(Some(data.to_vec()))),
        Some((b'w', data)) => Ok(Answer::TooWeak(Some(data.to_vec()))),
        Some((b'k', _)) => Ok(Answer::Complete(None)),
        Some(_) => Err("no".to_owned()),
    }
}

/// The client's bytes, and whether the right password is among them.
fn wire(input: &mut Input<'_>) -> (Vec<u8>, bool) {
    let (mut wire, mut right) = (Vec::new(), false);
    while !input.is_empty() && wire.len() < 4 * INPUT_MAX {
        match input.byte() % 10 {
            0 => wire.extend_from_slice(input.run()),
            1 | 2 => LinkMess {
                connection_id: input.long(),
                channel: ChannelKey { kind: input.byte() % 12, id: input.byte() % 3 },
                common_caps: (0..4).filter(|_| input.flag()).collect(),
                channel_caps: (0..3).map(|_| u32::from(input.byte())).collect(),
            }
            .encode(&mut wire),
            3 => {
                let good = input.flag();
                right |= good;
                wire.extend(MECHANISM_SPICE.to_le_bytes());
                wire.extend_from_slice(&TICKETS[usize::from(!good)]);
            }
            4 => {
                let good = input.flag();
                right |= good;
                wire.extend_from_slice(&TICKETS[usize::from(!good)]);
            }
            5 => {
                LinkHeader { major: input.long() % 4, minor: 2, size: input.long() % 4200 }
                    .encode(&mut wire);
            }
            6 => wire.extend(std::iter::repeat_n(input.byte(), usize::from(input.word()) / 8)),
            7 => wire.extend(MECHANISM_SASL.to_le_bytes()),
            8 => {
                // A mechanism's name or data, with the right length in front.
                let run = input.run();
                wire.extend((run.len() as u32).to_le_bytes());
                wire.extend_from_slice(run);
            }
            _ => {
                // A byte that was said is another one.
                let (at, with) = (usize::from(input.word()), input.byte());
                if let Some(byte) = wire.get_mut(at) {
                    *byte ^= with;
                }
            }
        }
    }
    (wire, right)
}

/// What a run comes to, however its input was cut.
#[derive(Debug, PartialEq)]
struct Outcome {
    actions: Vec<Action>,
    /// The input behind the ticket, taken and not taken together.
    behind: Vec<u8>,
}

/// Feeds `wire` in pieces, and the key after `patience` more of them.
fn play(
    options: LinkOptions,
    server: &Server,
    wire: &[u8],
    cuts: &[usize],
    patience: usize,
) -> Outcome {
    let mut link = Link::new(options);
    let mut outcome = Outcome { actions: Vec::new(), behind: Vec::new() };
    let (mut rest, mut cuts) = (wire, cuts.iter());
    let (mut key_in, mut in_sasl) = (None, false);
    loop {
        while let Some(mut action) = link.poll_action() {
            let ended =
                matches!(outcome.actions.last(), Some(Action::Close(_) | Action::Authenticated(_)));
            assert!(!ended, "{action:?} after the end");
            match &mut action {
                Action::NeedKey => key_in = Some(patience),
                Action::Authenticated(request) => {
                    outcome.behind = std::mem::take(&mut request.leftover);
                    assert!(outcome.behind.len() <= wire.len());
                    outcome.behind.extend(rest);
                }
                Action::Send(sent) => {
                    assert!(in_sasl || check_sent(sent), "{}", sent.escape_ascii());
                }
                Action::Sasl(Ask::Mechanisms) => {
                    in_sasl = true;
                    link.handle_mechanisms(Ok(MECHANISMS.to_vec()), server, *NOW);
                }
                Action::Sasl(Ask::Start(name, data)) => {
                    assert!(name == "ONE" || name == "TWO", "{name} is not offered");
                    link.handle_sasl(judge(data.as_deref()), server, *NOW);
                }
                Action::Sasl(Ask::Step(data)) => {
                    link.handle_sasl(judge(data.as_deref()), server, *NOW);
                }
                Action::Wrap => assert!(in_sasl),
                Action::Close(reason) => assert!(!reason.to_string().is_empty()),
            }
            outcome.actions.push(action);
        }
        assert!(in_sasl || outcome.actions.len() <= 4, "{:?}", outcome.actions);
        if key_in == Some(0) || (key_in.is_some() && (rest.is_empty() || !link.wants_input())) {
            key_in = None;
            link.handle_key(Arc::clone(&KEY), server, *NOW);
            continue;
        }
        key_in = key_in.map(|pieces| pieces - 1);
        if rest.is_empty() || !link.wants_input() {
            return outcome;
        }
        let size = cuts.next().map_or(rest.len().min(999), |size| (*size).min(rest.len()));
        link.handle_bytes(&rest[..size], server, *NOW);
        rest = &rest[size..];
    }
}

/// Whether it is a link reply or a link result.
fn check_sent(sent: &[u8]) -> bool {
    if sent.len() == 4 {
        return true;
    }
    let (magic, fields) = sent.split_at(MAGIC.len());
    assert_eq!(magic, MAGIC);
    let header = LinkHeader::parse_after_magic(fields[..12].try_into().expect("twelve bytes"));
    assert_eq!(header.size as usize, sent.len() - LinkHeader::BYTES);
    LinkReply::parse(&sent[LinkHeader::BYTES..]).is_some()
}

fn seeds() -> Vec<Vec<u8>> {
    let hello = |kind: u8| [&[1, 1, 2, 3, 4, kind, 0][..], &[1, 1, 0, 1], &[0, 1, 2]].concat();
    let old = |kind: u8| [&[1, 1, 2, 3, 4, kind, 0][..], &[0, 1, 0, 1], &[0, 1, 2]].concat();
    let script =
        |flags: u8, parts: &[&[u8]]| [&[flags, 5, 1, 2, 30, 0, 200][..], &parts.concat()].concat();
    let sasl = |kind: u8| [&[1, 1, 2, 3, 4, kind, 0][..], &[1, 1, 1, 1], &[0, 1, 2]].concat();
    let choice = [7, 8, 3, b'O', b'N', b'E'];
    let (right, wrong, data) = ([3, 1], [3, 0], [0, 4, 1, 2, 3, 4]);
    vec![
        script(0x30, &[&hello(1), &right, &data]),
        script(0x38, &[&hello(9), &right, &data]),
        script(0x48, &[&hello(9), &wrong, &data]),
        script(0x0b, &[&hello(6), &wrong, &data]),
        script(0x2c, &[&hello(4), &right]),
        script(0x38, &[&old(1), &[4, 1], &data]),
        script(0x30, &[&hello(2), &right]),
        script(0x31, &[&hello(3), &right]),
        script(0x30, &[&[5, 2, 0, 0, 0, 18, 0, 0, 0], &[6, 7, 200, 9]]),
        script(0x34, &[&sasl(1), &choice, &[8, 2, b'c', 9], &[8, 2, b'k', 0], &data]),
        script(0x35, &[&sasl(4), &choice, &[8, 2, b'k', 0], &data]),
        script(0x34, &[&sasl(4), &choice, &[8, 2, b'w', 0], &data]),
        script(0x34, &[&sasl(1), &[7, 8, 4, b'F', b'O', b'U', b'R']]),
        script(0xf0, &[&hello(8), &[6, 7, 200, 255], &[6, 7, 200, 255]]),
    ]
}

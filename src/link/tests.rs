//! A small client against the machine, without sockets.

use std::sync::OnceLock;

use bytes::BufMut;
use openssl::rsa::{Padding, Rsa};
use proptest::prelude::*;

use super::ticket::Ticketing;
use super::*;
use crate::wire::link::BadLinkMess;

pub(super) const PORT: ChannelKey = ChannelKey { kind: 10, id: 0 };
const MAIN: ChannelKey = ChannelKey { kind: ChannelKey::MAIN, id: 0 };
const DISPLAY: ChannelKey = ChannelKey { kind: 2, id: 0 };
const INPUTS: ChannelKey = ChannelKey { kind: 3, id: 0 };

/// A server with these channels; display wants TLS and inputs wants none.
pub(super) struct Server {
    ticketing: Ticketing,
    pub(super) sasl: bool,
    channels: Vec<ChannelKey>,
}

impl Server {
    pub(super) fn open() -> Self {
        let mut ticketing = Ticketing::default();
        ticketing.set_noauth();
        Self { ticketing, sasl: false, channels: vec![PORT, DISPLAY, INPUTS] }
    }

    fn with_password(password: &[u8]) -> Self {
        let mut server = Self::open();
        server.ticketing.set_ticket(Some(password), 10, epoch()).expect("it is short");
        server
    }
}

impl Policy for Server {
    fn offer(&self, channel: ChannelKey) -> Option<Offer> {
        (channel.is_main() || self.channels.contains(&channel)).then(|| Offer {
            common_caps: [0, 3].into_iter().collect(),
            channel_caps: if channel == PORT {
                [0].into_iter().collect()
            } else {
                CapSet::default()
            },
        })
    }

    fn security(&self, kind: u8) -> ChannelSecurity {
        match kind {
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
        assert!(self.ticketing(), "the password is not asked for");
        self.ticketing.check(password, now)
    }
}

/// One key for all tests: making one is slow.
pub(super) fn key() -> Arc<TicketKey> {
    static KEY: OnceLock<Arc<TicketKey>> = OnceLock::new();
    Arc::clone(KEY.get_or_init(|| Arc::new(TicketKey::generate().expect("OpenSSL works"))))
}

/// The only moment of these tests unless they say otherwise.
pub(super) fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

pub(super) fn hello(channel: ChannelKey) -> LinkMess {
    LinkMess {
        connection_id: 0x1122_3344,
        channel,
        common_caps: [0, 1, 3].into_iter().collect(),
        channel_caps: CapSet::default(),
    }
}

pub(super) fn bytes_of(mess: &LinkMess) -> Vec<u8> {
    let mut bytes = Vec::new();
    mess.encode(&mut bytes);
    bytes
}

fn header(major: u32, size: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    LinkHeader { major, minor: 2, size }.encode(&mut bytes);
    bytes
}

/// A ticket as a client makes it from the key of the link reply.
pub(super) fn encrypt(public_der: &[u8], text: &[u8]) -> Vec<u8> {
    let public = Rsa::public_key_from_der(public_der).expect("the reply carries a key");
    let mut ticket = vec![0; TICKET_BYTES];
    public.public_encrypt(text, &mut ticket, Padding::PKCS1_OAEP).expect("it fits");
    ticket
}

/// Mechanism and ticket.
fn login(text: &[u8]) -> Vec<u8> {
    [MECHANISM_SPICE.to_le_bytes().to_vec(), encrypt(key().public_der(), text)].concat()
}

pub(super) fn refusal(error: u8) -> Action {
    let mut bytes = b"REDQ\x02\0\0\0\x02\0\0\0\xb2\0\0\0".to_vec();
    bytes.extend([error, 0, 0, 0]);
    bytes.extend([0; 174]);
    Action::Send(bytes)
}

fn denied() -> Action {
    Action::Send(vec![7, 0, 0, 0])
}

fn accepted(channel: ChannelKey) -> Action {
    let channel_caps: &[u32] = if channel == PORT { &[1] } else { &[] };
    let mut bytes = b"REDQ\x02\0\0\0\x02\0\0\0".to_vec();
    bytes.put_u32_le(178 + 4 + 4 * channel_caps.len() as u32);
    bytes.put_u32_le(0);
    bytes.extend(key().public_der());
    bytes.put_u32_le(1);
    bytes.put_u32_le(channel_caps.len() as u32);
    bytes.put_u32_le(178);
    bytes.put_u32_le(0b1011);
    for word in channel_caps {
        bytes.put_u32_le(*word);
    }
    Action::Send(bytes)
}

pub(super) fn drain(link: &mut Link) -> Vec<Action> {
    std::iter::from_fn(|| link.poll_action()).collect()
}

/// Everything that a link does which gets `input` at once and a key when it
/// wants one.
fn run_at(options: LinkOptions, server: &Server, input: &[u8], now: Instant) -> Vec<Action> {
    let mut link = Link::new(options);
    link.handle_bytes(input, server, now);
    let mut actions = drain(&mut link);
    if actions.contains(&Action::NeedKey) {
        link.handle_key(key(), server, now);
        actions.extend(drain(&mut link));
    }
    actions
}

fn run(server: &Server, input: &[u8]) -> Vec<Action> {
    run_at(LinkOptions::default(), server, input, epoch())
}

pub(super) fn authenticated(mess: LinkMess, leftover: &[u8]) -> Action {
    Action::Authenticated(Request {
        connection_id: mess.connection_id,
        channel: mess.channel,
        common_caps: mess.common_caps,
        channel_caps: mess.channel_caps,
        leftover: leftover.to_vec(),
    })
}

#[test]
fn a_client_comes_in_step_by_step() {
    let server = Server::with_password(b"secret");
    let mut link = Link::new(LinkOptions::default());
    link.handle_bytes(&bytes_of(&hello(PORT)), &server, epoch());
    assert_eq!(drain(&mut link), [Action::NeedKey]);
    let fresh = Arc::new(TicketKey::generate().expect("OpenSSL works"));
    link.handle_key(fresh, &server, epoch());
    let actions = drain(&mut link);
    let [Action::Send(sent)] = &actions[..] else { panic!("one reply, not {actions:?}") };
    let reply = LinkReply::parse(&sent[LinkHeader::BYTES..]).expect("a whole reply");
    assert_eq!(reply.error, LinkError::Ok);
    assert!(reply.channel_caps.has(0));
    assert!(link.wants_input());

    link.handle_bytes(&1u32.to_le_bytes(), &server, epoch());
    assert_eq!(drain(&mut link), []);
    link.handle_bytes(&encrypt(&reply.public_key, b"secret\0"), &server, epoch());
    assert_eq!(drain(&mut link), [authenticated(hello(PORT), b"")]);
    assert!(!link.wants_input());
}

#[test]
fn what_follows_the_ticket_is_handed_on() {
    let input = [bytes_of(&hello(PORT)), login(b"\0"), b"channel data".to_vec()].concat();
    let expected = [Action::NeedKey, accepted(PORT), authenticated(hello(PORT), b"channel data")];
    assert_eq!(run(&Server::open(), &input), expected);
}

#[test]
fn a_client_without_auth_selection_sends_its_ticket_at_once() {
    let mess = LinkMess { common_caps: [1, 3].into_iter().collect(), ..hello(MAIN) };
    let input = [bytes_of(&mess), encrypt(key().public_der(), b"secret\0")].concat();
    let expected = [Action::NeedKey, accepted(MAIN), authenticated(mess, b"")];
    assert_eq!(run(&Server::with_password(b"secret"), &input), expected);
}

#[test]
fn the_main_channel_is_there_under_every_id() {
    let mess = hello(ChannelKey { id: 7, ..MAIN });
    assert_eq!(run(&Server::open(), &bytes_of(&mess)), [Action::NeedKey, accepted(MAIN)]);
}

#[test]
fn the_minor_version_is_not_looked_at() {
    let mut input = bytes_of(&hello(MAIN));
    input[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(run(&Server::open(), &input), [Action::NeedKey, accepted(MAIN)]);
}

#[test]
fn each_wrong_beginning_has_its_answer() {
    let caps = |common: u32, channel: u32, offset: u32| {
        let mut bytes = header(2, 18);
        bytes.extend([0, 0, 0, 0, 1, 0]);
        bytes.put_u32_le(common);
        bytes.put_u32_le(channel);
        bytes.put_u32_le(offset);
        bytes
    };
    let words_outside = BadLinkMess::CapsOutside { offset: 18, words: 1, size: 18 };
    let many = BadLinkMess::TooManyCaps { common: 1025, channel: 0 };
    let unknown = ChannelKey { kind: 9, id: 0 };
    let close = Action::Close;
    let cases = [
        (b"GET ".to_vec(), vec![refusal(2), close(CloseReason::NotSpice(*b"GET "))]),
        (header(1, 18), vec![refusal(4), close(CloseReason::Version { major: 1 })]),
        (header(3, 0), vec![refusal(4), close(CloseReason::Version { major: 3 })]),
        (header(u32::MAX, 18), vec![refusal(4), close(CloseReason::Version { major: u32::MAX })]),
        (header(0, 18), vec![close(CloseReason::Version { major: 0 })]),
        (header(2, 0), vec![refusal(3), close(CloseReason::MessageSize(0))]),
        (header(2, 17), vec![refusal(3), close(CloseReason::MessageSize(17))]),
        (header(2, 4097), vec![refusal(3), close(CloseReason::MessageSize(4097))]),
        (header(2, u32::MAX), vec![refusal(3), close(CloseReason::MessageSize(u32::MAX))]),
        (caps(1, 0, 18), vec![refusal(3), close(CloseReason::BadMessage(words_outside))]),
        (caps(1025, 0, 18), vec![refusal(3), close(CloseReason::BadMessage(many))]),
        (bytes_of(&hello(DISPLAY)), vec![refusal(5), close(CloseReason::NeedSecured(DISPLAY))]),
        (bytes_of(&hello(unknown)), vec![close(CloseReason::NoSuchChannel(unknown))]),
    ];
    for (input, expected) in cases {
        assert_eq!(run(&Server::open(), &input), expected, "{}", input.escape_ascii());
    }
}

#[test]
fn every_size_from_18_to_4096_is_waited_for() {
    for size in [18, 19, 4096] {
        let mut link = Link::new(LinkOptions::default());
        link.handle_bytes(&header(2, size), &Server::open(), epoch());
        link.handle_bytes(&vec![0; size as usize - 1], &Server::open(), epoch());
        assert_eq!(drain(&mut link), []);
        assert!(link.wants_input());
        link.handle_bytes(&[0], &Server::open(), epoch());
        assert_eq!(
            drain(&mut link),
            [Action::Close(CloseReason::NoSuchChannel(ChannelKey { kind: 0, id: 0 }))]
        );
    }
}

#[test]
fn the_transport_decides_before_the_channel_is_looked_for() {
    let tls = LinkOptions { secured: true, skip_auth: false };
    let server = Server { channels: vec![DISPLAY], ..Server::open() };
    let on = |options, channel| run_at(options, &server, &bytes_of(&hello(channel)), epoch());
    assert_eq!(on(tls, DISPLAY), [Action::NeedKey, accepted(DISPLAY)]);
    assert_eq!(
        on(tls, INPUTS),
        [refusal(6), Action::Close(CloseReason::NeedUnsecured(INPUTS))],
        "there is no inputs channel here at all"
    );
    assert_eq!(
        on(LinkOptions::default(), DISPLAY),
        [refusal(5), Action::Close(CloseReason::NeedSecured(DISPLAY))]
    );
}

#[test]
fn other_mechanisms_are_refused() {
    for mechanism in [0, 2, 3, u32::MAX] {
        let input = [bytes_of(&hello(MAIN)), mechanism.to_le_bytes().to_vec()].concat();
        let expected = [
            Action::NeedKey,
            accepted(MAIN),
            refusal(3),
            Action::Close(CloseReason::Mechanism(mechanism)),
        ];
        assert_eq!(run(&Server::open(), &input), expected);
    }
}

#[test]
fn a_ticket_must_be_decipherable_even_without_a_password() {
    let skip_auth = LinkOptions { secured: false, skip_auth: true };
    let garbage = [&1u32.to_le_bytes()[..], &[0x55; TICKET_BYTES]].concat();
    let input = [bytes_of(&hello(MAIN)), garbage].concat();
    let expected =
        [Action::NeedKey, accepted(MAIN), denied(), Action::Close(CloseReason::Undecipherable)];
    assert_eq!(run(&Server::open(), &input), expected);
    assert_eq!(run_at(skip_auth, &Server::open(), &input, epoch()), expected);
}

#[test]
fn passwords_decide() {
    let skip = LinkOptions { secured: false, skip_auth: true };
    let ask = LinkOptions::default();
    let (set, none) = (
        Server::with_password(b"secret"),
        Server { ticketing: Ticketing::default(), ..Server::open() },
    );
    let late = epoch() + std::time::Duration::from_secs(10);
    let cases: [(_, _, &[u8], _, _); 10] = [
        (ask, &set, b"secret\0", epoch(), None),
        (ask, &set, b"secret", epoch(), None),
        (ask, &set, b"secret\0behind", epoch(), None),
        (ask, &set, b"Secret\0", epoch(), Some(TicketRefusal::Wrong)),
        (ask, &set, b"\0secret\0", epoch(), Some(TicketRefusal::Wrong)),
        (ask, &set, b"secret\0", late, Some(TicketRefusal::Expired)),
        (ask, &none, b"\0", epoch(), Some(TicketRefusal::NoPassword)),
        (ask, &Server::open(), b"anything", epoch(), None),
        (skip, &set, b"wrong\0", late, None),
        (skip, &none, b"", epoch(), None),
    ];
    for (options, server, text, now, refused) in cases {
        let input = [bytes_of(&hello(PORT)), login(text)].concat();
        let mut expected = vec![Action::NeedKey, accepted(PORT)];
        match refused {
            None => expected.push(authenticated(hello(PORT), b"")),
            Some(why) => expected.extend([denied(), Action::Close(CloseReason::Ticket(why))]),
        }
        assert_eq!(run_at(options, server, &input, now), expected, "{}", text.escape_ascii());
    }
}

#[test]
fn a_channel_that_goes_while_the_key_is_made_is_refused_silently() {
    let mut server = Server::open();
    let mut link = Link::new(LinkOptions::default());
    link.handle_bytes(&bytes_of(&hello(PORT)), &server, epoch());
    assert_eq!(drain(&mut link), [Action::NeedKey]);
    server.channels.clear();
    link.handle_key(key(), &server, epoch());
    assert_eq!(drain(&mut link), [Action::Close(CloseReason::NoSuchChannel(PORT))]);
}

#[test]
fn a_key_that_nobody_waits_for_changes_nothing() {
    let server = Server::open();
    let mut link = Link::new(LinkOptions::default());
    link.handle_key(key(), &server, epoch());
    assert_eq!(drain(&mut link), []);
    link.handle_bytes(&bytes_of(&hello(PORT)), &server, epoch());
    assert_eq!(drain(&mut link), [Action::NeedKey]);
    link.handle_bytes(&[], &server, epoch());
    assert_eq!(drain(&mut link), [], "a key is asked for once");
    link.handle_key(key(), &server, epoch());
    link.handle_key(Arc::new(TicketKey::generate().expect("OpenSSL works")), &server, epoch());
    link.handle_bytes(&login(b"\0"), &server, epoch());
    assert_eq!(drain(&mut link), [accepted(PORT), authenticated(hello(PORT), b"")]);
    link.handle_key(key(), &server, epoch());
    link.handle_bytes(b"REDQ", &server, epoch());
    assert_eq!(drain(&mut link), []);
}

#[test]
fn input_that_waits_for_a_key_is_bounded_and_not_lost() {
    let server = Server::open();
    let mut link = Link::new(LinkOptions::default());
    link.handle_bytes(&bytes_of(&hello(PORT)), &server, epoch());
    link.handle_bytes(&login(b"\0"), &server, epoch());
    let mut sent = Vec::new();
    while link.wants_input() {
        let block = vec![sent.len() as u8; 1000];
        link.handle_bytes(&block, &server, epoch());
        sent.extend(block);
        assert!(sent.len() < INPUT_MAX + 1000, "the machine takes input without end");
    }
    link.handle_key(key(), &server, epoch());
    let expected = [Action::NeedKey, accepted(PORT), authenticated(hello(PORT), &sent)];
    assert_eq!(drain(&mut link), expected);
}

#[test]
fn reasons_read_well() {
    let texts = [
        (
            CloseReason::NotSpice(*b"\x16\x03\x01\x02"),
            r#"the peer does not speak SPICE: it began with "\x16\x03\x01\x02""#,
        ),
        (
            CloseReason::MessageSize(9999),
            "the client announced a link message of 9999 bytes; 18 to 4096 are allowed",
        ),
        (
            CloseReason::NeedSecured(DISPLAY),
            "the client asked for channel type 2 id 0 on a plain connection, but it needs TLS",
        ),
        (CloseReason::Ticket(TicketRefusal::Expired), "the password has expired"),
    ];
    for (reason, text) in texts {
        assert_eq!(reason.to_string(), text);
    }
}

/// What a run of the machine comes to, however its input was cut.
#[derive(Debug, PartialEq)]
struct Outcome {
    actions: Vec<Action>,
    /// The input behind the ticket, taken and not taken together.
    behind: Vec<u8>,
}

/// Feeds `input` in blocks of `sizes` (then bytewise), and the key after
/// `patience` further blocks.
fn fed_in_blocks(server: &Server, input: &[u8], sizes: &[usize], patience: usize) -> Outcome {
    let mut link = Link::new(LinkOptions::default());
    let mut outcome = Outcome { actions: Vec::new(), behind: Vec::new() };
    let (mut rest, mut sizes) = (input, sizes.iter());
    let mut key_in = None;
    loop {
        for mut action in drain(&mut link) {
            assert!(
                !matches!(
                    outcome.actions.last(),
                    Some(Action::Close(_) | Action::Authenticated(_))
                ),
                "{action:?} after the end"
            );
            match &mut action {
                Action::NeedKey => key_in = Some(patience),
                Action::Authenticated(request) => {
                    outcome.behind = std::mem::take(&mut request.leftover);
                    outcome.behind.extend(rest);
                }
                Action::Send(_) | Action::Close(_) => {}
                Action::Sasl(_) | Action::Wrap => panic!("this server has no SASL"),
            }
            outcome.actions.push(action);
        }
        if key_in == Some(0) || (key_in.is_some() && (rest.is_empty() || !link.wants_input())) {
            key_in = None;
            link.handle_key(key(), server, epoch());
            continue;
        }
        key_in = key_in.map(|blocks| blocks - 1);
        if rest.is_empty() || !link.wants_input() {
            return outcome;
        }
        let size = sizes.next().map_or(1, |size| (*size).min(rest.len()));
        link.handle_bytes(&rest[..size], server, epoch());
        assert!(link.input.len() <= INPUT_MAX + size, "more is held than was promised");
        assert!(link.actions.len() <= 3, "{:?}", link.actions);
        rest = &rest[size..];
    }
}

/// Handshakes that end in all possible ways.
fn conversations() -> Vec<Vec<u8>> {
    let old = LinkMess { common_caps: CapSet::default(), ..hello(PORT) };
    let join = |parts: &[&[u8]]| parts.concat();
    let hello = |channel| bytes_of(&hello(channel));
    vec![
        join(&[&hello(PORT), &login(b"secret\0"), &[7; 3000]]),
        join(&[&hello(MAIN), &login(b"wrong\0"), &[7; 30]]),
        join(&[&bytes_of(&old), &encrypt(key().public_der(), b"secret\0"), b"data"]),
        join(&[&hello(MAIN), &[2; 300]]),
        join(&[&hello(MAIN), &1u32.to_le_bytes(), &[0x55; 300]]),
        join(&[&hello(DISPLAY), &login(b"secret\0")]),
        join(&[&header(2, 4096), &[1; 4096], &[1; 30]]),
        join(&[&header(0, 18), &[1; 30]]),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

#[test]
fn the_conversations_end_in_all_ways() {
    let server = Server::with_password(b"secret");
    let ends: Vec<_> = conversations()
        .iter()
        .map(|input| fed_in_blocks(&server, input, &[input.len()], 0).actions.pop())
        .collect();
    let close = |reason| Some(Action::Close(reason));
    assert_eq!(ends[1], close(CloseReason::Ticket(TicketRefusal::Wrong)));
    assert_eq!(ends[3], close(CloseReason::Mechanism(0x0202_0202)));
    assert_eq!(ends[4], close(CloseReason::Undecipherable));
    assert_eq!(ends[5], close(CloseReason::NeedSecured(DISPLAY)));
    assert!(matches!(ends[6], Some(Action::Close(CloseReason::BadMessage(_)))));
    assert_eq!(ends[7], close(CloseReason::Version { major: 0 }));
    assert_eq!(ends[8], close(CloseReason::NotSpice(*b"GET ")));
    for end in [&ends[0], &ends[2]] {
        assert!(matches!(end, Some(Action::Authenticated(_))), "{end:?}");
    }
}

proptest! {
    #[test]
    fn cutting_the_input_changes_nothing(
        which in 0usize..9,
        sizes in prop::collection::vec(0usize..400, 0..40),
        patience in 0usize..20,
    ) {
        let server = Server::with_password(b"secret");
        let input = &conversations()[which];
        let whole = fed_in_blocks(&server, input, &[input.len()], 0);
        prop_assert_eq!(fed_in_blocks(&server, input, &sizes, patience), whole);
    }

    #[test]
    fn random_bytes_end_in_a_close_or_in_waiting(
        prefix in 0usize..4,
        bytes in prop::collection::vec(any::<u8>(), 0..6000),
        sizes in prop::collection::vec(0usize..2000, 0..10),
    ) {
        let starts = [vec![], MAGIC.to_vec(), header(2, 40), bytes_of(&hello(PORT))];
        let input = [&starts[prefix][..], &bytes].concat();
        let server = Server::with_password(b"secret");
        let outcome = fed_in_blocks(&server, &input, &sizes, 3);
        let authenticated =
            outcome.actions.iter().any(|action| matches!(action, Action::Authenticated(_)));
        prop_assert!(!authenticated);
        let closed = matches!(outcome.actions.last(), Some(Action::Close(_)));
        // The longest wait is for a whole link message.
        prop_assert!(closed || input.len() < LinkHeader::BYTES + LinkMess::MAX_BYTES);
    }

    #[test]
    fn a_spoilt_conversation_never_panics(
        which in 0usize..9,
        place in any::<prop::sample::Index>(),
        value in any::<u8>(),
        end in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(0usize..400, 0..10),
    ) {
        let mut input = conversations().swap_remove(which);
        let place = place.index(input.len());
        input[place] = value;
        let end = end.index(input.len() + 1);
        let server = Server::with_password(b"secret");
        let whole = fed_in_blocks(&server, &input[..end], &[end], 0);
        prop_assert_eq!(fed_in_blocks(&server, &input[..end], &sizes, 1), whole);
    }
}

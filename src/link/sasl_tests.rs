//! The SASL handshake against a made-up library.

use super::sasl::{Answer, Ask, SaslRefusal};
use super::tests::{
    PORT, Server, authenticated, bytes_of, drain, encrypt, epoch, hello, key, refusal,
};
use super::*;

const PLAIN: LinkOptions = LinkOptions { secured: false, skip_auth: false };
const LIST: &[u8] = b",SCRAM-SHA-256,DIGEST-MD5,";

fn server() -> Server {
    let mut server = Server::open();
    server.sasl = true;
    server
}

/// A client of today's: it knows both ways.
fn client() -> LinkMess {
    LinkMess { common_caps: [0, 1, 2, 3].into_iter().collect(), ..hello(PORT) }
}

/// A length in front of bytes.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

/// The link, up to the mechanism list.
fn begun(options: LinkOptions, server: &Server) -> Link {
    let mut link = Link::new(options);
    link.handle_bytes(&bytes_of(&client()), server, epoch());
    let actions = drain(&mut link);
    let [Action::Send(reply)] = &actions[..] else { panic!("one reply, not {actions:?}") };
    let reply = LinkReply::parse(&reply[LinkHeader::BYTES..]).expect("a reply");
    assert_eq!(reply.public_key, [0; PUBLIC_KEY_BYTES], "nobody needs a key");
    assert!(reply.common_caps.has(2) && !reply.common_caps.has(1));
    link.handle_bytes(&2_u32.to_le_bytes(), server, epoch());
    assert_eq!(drain(&mut link), [Action::Sasl(Ask::Mechanisms)]);
    link.handle_mechanisms(Ok(LIST.to_vec()), server, epoch());
    assert_eq!(drain(&mut link), [Action::Send(counted(LIST))]);
    link
}

fn say(link: &mut Link, bytes: &[u8]) -> Vec<Action> {
    link.handle_bytes(bytes, &server(), epoch());
    drain(link)
}

fn answer(link: &mut Link, answer: Result<Answer, String>) -> Vec<Action> {
    link.handle_sasl(answer, &server(), epoch());
    drain(link)
}

fn closed(refusal: SaslRefusal) -> Action {
    Action::Close(CloseReason::Sasl(refusal))
}

#[test]
fn a_client_comes_in_by_sasl() {
    for (options, wrap) in [(PLAIN, true), (LinkOptions { secured: true, ..PLAIN }, false)] {
        let mut link = begun(options, &server());
        let choice = [counted(b"DIGEST-MD5"), counted(b"hello\0")].concat();
        let start = Ask::Start("DIGEST-MD5".to_owned(), Some(b"hello".to_vec()));
        assert_eq!(say(&mut link, &choice), [Action::Sasl(start)]);
        let challenge = Answer::Continue(Some(b"who?".to_vec()));
        let sent = b"\x05\0\0\0who?\0\0".to_vec();
        assert_eq!(answer(&mut link, Ok(challenge)), [Action::Send(sent)]);
        let step = Ask::Step(Some(b"me".to_vec()));
        assert_eq!(say(&mut link, &counted(b"me\0")), [Action::Sasl(step)]);
        // What comes behind waits.
        assert_eq!(say(&mut link, b"wrapped"), []);
        let mut expected = vec![Action::Send(vec![0, 0, 0, 0, 1, 0, 0, 0, 0])];
        expected.extend(wrap.then_some(Action::Wrap));
        expected.push(authenticated(client(), b"wrapped"));
        assert_eq!(answer(&mut link, Ok(Answer::Complete(None))), expected);
        assert!(!link.wants_input());
    }
}

#[test]
fn a_client_need_not_wait_for_the_list() {
    let mut link = Link::new(PLAIN);
    let choice = [counted(b"DIGEST-MD5"), counted(b"hello\0")].concat();
    let all = [bytes_of(&client()), 2_u32.to_le_bytes().to_vec(), choice].concat();
    let actions = say(&mut link, &all);
    assert_eq!(actions[1..], [Action::Sasl(Ask::Mechanisms)]);
    link.handle_mechanisms(Ok(LIST.to_vec()), &server(), epoch());
    let start = Ask::Start("DIGEST-MD5".to_owned(), Some(b"hello".to_vec()));
    assert_eq!(drain(&mut link), [Action::Send(counted(LIST)), Action::Sasl(start)]);
}

#[test]
fn data_may_be_missing_or_empty() {
    let mut link = begun(PLAIN, &server());
    let choice = [counted(b"SCRAM-SHA-256"), counted(b"")].concat();
    let start = Ask::Start("SCRAM-SHA-256".to_owned(), None);
    assert_eq!(say(&mut link, &choice), [Action::Sasl(start)]);
    let sent = Action::Send(vec![1, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&mut link, Ok(Answer::Continue(Some(vec![])))), [sent]);
    assert_eq!(say(&mut link, &counted(b"\0")), [Action::Sasl(Ask::Step(Some(vec![])))]);
    let sent = Action::Send(vec![0, 0, 0, 0, 0]);
    assert_eq!(answer(&mut link, Ok(Answer::Continue(None))), [sent]);
}

#[test]
fn each_wrong_message_has_its_end() {
    let cases = [
        (0_u32.to_le_bytes().to_vec(), vec![closed(SaslRefusal::NameLength(0))]),
        (101_u32.to_le_bytes().to_vec(), vec![closed(SaslRefusal::NameLength(101))]),
        (counted(b"PLAIN"), vec![refusal(3), closed(SaslRefusal::Mechanism)]),
        (counted(b"DIGEST"), vec![refusal(3), closed(SaslRefusal::Mechanism)]),
        (counted(b"DIGEST-MD5,"), vec![refusal(3), closed(SaslRefusal::Mechanism)]),
        (counted(b"SCRAM-SHA-256,DIGEST-MD5"), vec![refusal(3), closed(SaslRefusal::Mechanism)]),
        (counted(b","), vec![refusal(3), closed(SaslRefusal::Mechanism)]),
        (counted(&[0xff; 100]), vec![refusal(3), closed(SaslRefusal::Mechanism)]),
        (
            [counted(b"DIGEST-MD5"), 1_048_577_u32.to_le_bytes().to_vec()].concat(),
            vec![refusal(3), closed(SaslRefusal::FirstLength(1_048_577))],
        ),
    ];
    for (input, expected) in cases {
        let mut link = begun(PLAIN, &server());
        assert_eq!(say(&mut link, &input), expected, "{}", input.escape_ascii());
        assert!(!link.wants_input());
    }
    let mut link = begun(PLAIN, &server());
    say(&mut link, &[counted(b"DIGEST-MD5"), counted(b"")].concat());
    answer(&mut link, Ok(Answer::Continue(None)));
    let expected = [closed(SaslRefusal::Length(u32::MAX))];
    assert_eq!(say(&mut link, &u32::MAX.to_le_bytes()), expected, "later steps get no reply");
}

#[test]
fn the_longest_data_are_taken() {
    let mut link = begun(PLAIN, &server());
    say(&mut link, &counted(b"DIGEST-MD5"));
    say(&mut link, &(1_u32 << 20).to_le_bytes());
    let half = vec![b'x'; 1 << 19];
    assert_eq!(say(&mut link, &half), []);
    assert!(link.wants_input(), "the step is longer than what is kept of others");
    let actions = say(&mut link, &half);
    let [Action::Sasl(Ask::Start(_, Some(data)))] = &actions[..] else { panic!("a start") };
    assert_eq!(data.len(), (1 << 20) - 1);
}

#[test]
fn a_refusal_of_the_library_ends_the_link_without_a_word() {
    let mut link = begun(PLAIN, &server());
    say(&mut link, &[counted(b"DIGEST-MD5"), counted(b"")].concat());
    let expected = [closed(SaslRefusal::Failed("wrong password".to_owned()))];
    assert_eq!(answer(&mut link, Err("wrong password".to_owned())), expected);
    let mut link = Link::new(PLAIN);
    link.handle_bytes(&bytes_of(&client()), &server(), epoch());
    link.handle_bytes(&2_u32.to_le_bytes(), &server(), epoch());
    drain(&mut link);
    link.handle_mechanisms(Err("no database".to_owned()), &server(), epoch());
    assert_eq!(drain(&mut link), [closed(SaslRefusal::Failed("no database".to_owned()))]);
}

#[test]
fn a_layer_that_is_too_weak_is_told() {
    let mut link = begun(PLAIN, &server());
    say(&mut link, &[counted(b"DIGEST-MD5"), counted(b"")].concat());
    let told = b"\x01\0\0\0\x16\0\0\0Authentication failed\0".to_vec();
    let expected =
        [Action::Send(vec![0, 0, 0, 0, 1]), Action::Send(told), closed(SaslRefusal::TooWeak)];
    assert_eq!(answer(&mut link, Ok(Answer::TooWeak(None))), expected);
}

#[test]
fn passwords_and_sasl_exclude_each_other() {
    let spice = [bytes_of(&client()), 1_u32.to_le_bytes().to_vec()].concat();
    let mut link = Link::new(PLAIN);
    let actions = say(&mut link, &spice);
    assert_eq!(actions[1..], [refusal(3), Action::Close(CloseReason::Mechanism(1))]);
    // A client that cannot choose cannot come in.
    let old = LinkMess { common_caps: [1].into_iter().collect(), ..client() };
    let mut link = Link::new(PLAIN);
    link.handle_bytes(&bytes_of(&old), &server(), epoch());
    assert_eq!(drain(&mut link), [Action::NeedKey]);
    link.handle_key(key(), &server(), epoch());
    let actions = drain(&mut link);
    assert_eq!(actions[1..], [refusal(4), Action::Close(CloseReason::SaslRequired)]);
}

#[test]
fn a_client_that_the_host_vouches_for_needs_no_sasl() {
    let options = LinkOptions { secured: false, skip_auth: true };
    let mut link = Link::new(options);
    link.handle_bytes(&bytes_of(&client()), &server(), epoch());
    link.handle_key(key(), &server(), epoch());
    let ticket = [1_u32.to_le_bytes().to_vec(), encrypt(key().public_der(), b"\0")].concat();
    drain(&mut link);
    assert_eq!(say(&mut link, &ticket), [authenticated(client(), b"")]);
}

//! The messages of every channel: each is understood, refused, or the channel's own.

use spice_server::wire::common::{
    ACK, ACK_SYNC, Common, MIGRATE_FLUSH_MARK, Malformed, PONG, parse,
};

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "common_messages", run, seeds };

/// Least length of the body, by message type 1 to 6.
const LEAST: [usize; 6] = [4, 0, 12, 0, 0, 12];

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = if input.flag() { input.word() } else { u16::from(input.byte() % 10) };
    let body = input.rest();
    let parsed = parse(kind, body);
    let own = (1..=6).contains(&kind);
    assert_eq!(parsed.is_some(), own, "type {kind}");
    let Some(parsed) = parsed else {
        return;
    };
    if kind == MIGRATE_FLUSH_MARK || kind == MIGRATE_FLUSH_MARK + 1 {
        return assert_eq!(parsed, Err(Malformed::Unexpected(kind)));
    }
    if body.len() < LEAST[usize::from(kind) - 1] {
        return assert_eq!(parsed, Err(Malformed::Short(kind)));
    }
    if kind == PONG {
        let id = u32::from_le_bytes(body[..4].try_into().expect("four bytes"));
        let time = u64::from_le_bytes(body[4..12].try_into().expect("eight bytes"));
        return assert_eq!(parsed, Ok(Common::Pong { id, time }));
    }
    let expected = match kind {
        ACK_SYNC => Common::AckSync(u32::from_le_bytes(body[..4].try_into().expect("four bytes"))),
        ACK => Common::Ack,
        _ => Common::Ignored,
    };
    assert_eq!(parsed, Ok(expected));
}

fn seeds() -> Vec<Vec<u8>> {
    (0..8).map(|kind| [&[0, kind][..], &[7; 12]].concat()).collect()
}

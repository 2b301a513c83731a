//! A client's messages on the main channel.

use bytes::Bytes;
use spice_server::channel::framing::{BodyRule, Message};
use spice_server::channels::main::{Request, handle, rules};
use spice_server::wire::common;

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "main_messages", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = if input.flag() { input.word() } else { u16::from(input.byte()) };
    let body = Bytes::copy_from_slice(input.rest());
    let limit = match rules(kind) {
        BodyRule::Whole(limit) => limit,
        BodyRule::Stream(_) => panic!("no message of the main channel comes in pieces"),
    };
    assert!((2048..=26_624).contains(&limit));
    let handled = handle(&Message { kind, body: body.clone() });
    match handled {
        Ok(Request::ChannelsList) => assert_eq!(kind, 104),
        Ok(Request::MouseMode(mode)) => {
            assert_eq!((kind, mode.to_le_bytes()), (105, [body[0], body[1]]));
        }
        Ok(Request::AgentStart(tokens)) => assert_eq!((kind, tokens), (106, word(&body))),
        Ok(Request::AgentData) => assert!(kind == 107 && !body.is_empty()),
        Ok(Request::AgentToken(tokens)) => assert_eq!((kind, tokens), (108, word(&body))),
        Ok(Request::Pong(..)) => assert_eq!(kind, common::PONG),
        Ok(Request::MigrateAnswer(_)) => assert!([102, 103, 111].contains(&kind)),
        Ok(Request::MigrateEnd) => assert_eq!(kind, 109),
        Ok(Request::DoSeamless(version)) => assert_eq!((kind, version), (110, word(&body))),
        Ok(Request::Nothing) => assert!(kind < 100),
        Err(malformed) => assert!(malformed.to_string().contains(&kind.to_string())),
    }
}

fn word(body: &[u8]) -> u32 {
    u32::from_le_bytes([body[0], body[1], body[2], body[3]])
}

fn seeds() -> Vec<Vec<u8>> {
    let kinds = (1..8).chain(99..114);
    kinds.map(|kind| [&[0, kind][..], &[1; 20]].concat()).collect()
}

//! A client's messages on display and cursor channels.

use bytes::Bytes;
use spice_server::channel::framing::{BodyRule, Message};
use spice_server::channels::{cursor, display};

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "graphics_messages", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = if input.flag() { input.word() } else { u16::from(input.byte()) };
    let message = Message { kind, body: Bytes::copy_from_slice(input.rest()) };
    assert_eq!(display::rules(kind), BodyRule::Whole(1024));
    assert_eq!(cursor::rules(kind), BodyRule::Whole(1024));
    let on_display = display::handle(&message);
    let on_cursor = cursor::handle(&message);
    let common = (1..=6).contains(&kind);
    assert!(common || on_cursor.is_err(), "the cursor channel has no messages of its own");
    assert!(common || (101..=105).contains(&kind) || on_display.is_err());
    let generation =
        message.body.first_chunk().filter(|_| kind == 1).map(|word| u32::from_le_bytes(*word));
    let sync = |request| match request {
        Ok(display::Request::Sync(generation)) => Some(generation),
        _ => None,
    };
    assert_eq!(sync(on_display), generation);
    assert_eq!(on_display.is_ok_and(|request| request == display::Request::Ack), kind == 2);
    assert_eq!(on_cursor.is_ok_and(|request| request == cursor::Request::Ack), kind == 2);
}

fn seeds() -> Vec<Vec<u8>> {
    let kinds = [1, 2, 3, 5, 101, 102, 103, 104, 105, 106];
    kinds.iter().map(|kind| [&[0, *kind][..], &[2; 32]].concat()).collect()
}

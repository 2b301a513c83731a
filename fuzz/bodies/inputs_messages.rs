//! A client's messages on the inputs channel, and what they do to keyboard and pointer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use spice_server::channel::framing::{BodyRule, Message};
use spice_server::channels::inputs::keyboard::{Keyboard, bytes_of};
use spice_server::channels::inputs::pointer::{Action, Movements, Mover, Pointer};
use spice_server::channels::inputs::{handle, rules};
use spice_server::wire::inputs::{FromClient, PointerEvent};

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "inputs_messages", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut keyboard = Keyboard::default();
    let mut pointer = Pointer::default();
    let mut movements = Movements::default();
    let (mut moved, mut acknowledged) = (0, 0);
    let mut now = Instant::now();
    while !input.is_empty() {
        let kind = if input.flag() { input.word() } else { u16::from(input.byte()) };
        let mover = [Mover::Mouse, Mover::Agent, Mover::Tablet][usize::from(input.byte()) % 3];
        assert_eq!(rules(kind), BodyRule::Whole(2048));
        let message = Message { kind, body: Bytes::copy_from_slice(input.run()) };
        match handle(&message) {
            Ok(Some(FromClient::Key(code))) => {
                bytes_of(code).for_each(|byte| keyboard.handle_byte(byte, now));
            }
            Ok(Some(FromClient::Scancodes(codes))) => {
                assert!(!codes.is_empty());
                for byte in codes {
                    keyboard.handle_byte(*byte, now);
                }
            }
            Ok(Some(FromClient::Locks(locks))) => {
                let pressed = keyboard.handle_locks(locks, now);
                assert!(pressed.len() <= 6 && pressed.len().is_multiple_of(2));
            }
            Ok(Some(FromClient::Pointer(event))) => {
                let is_movement =
                    matches!(event, PointerEvent::Motion { .. } | PointerEvent::Position { .. });
                moved += usize::from(is_movement);
                acknowledged += usize::from(movements.handle(&event, false));
                let told = pointer.handle(event, mover);
                assert!(told.is_some() || is_movement, "buttons always do something");
                if let Some(Action::Agent(told)) = told {
                    assert!(mover == Mover::Agent && told.buttons & 1 == 0);
                }
            }
            Ok(None) => assert!((1..=6).contains(&kind)),
            Err(_) => {}
        }
        assert!(keyboard.locks() <= 7);
        now += Duration::from_millis(500);
        if keyboard.handle_timeout(now) {
            assert_eq!(keyboard.deadline(), None);
        }
    }
    assert_eq!(acknowledged, moved / 4);
    // A prefix's end, and for each key at most a prefix and its byte.
    assert!(keyboard.release_all().len() <= 1 + 3 * 128);
    assert!(keyboard.release_all().is_empty(), "nothing is held twice");
}

fn seeds() -> Vec<Vec<u8>> {
    let codes = [0xe0, 0x1d, 0x1e, 0x3a, 0xba, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0xe0];
    let scancodes = [&[0, 104, 0, 12][..], &codes].concat();
    let script = [
        &[0, 101, 0, 4, 0x2a, 0, 0, 0][..],
        &[0, 102, 0, 4, 0xe0, 0xcb, 0, 0],
        &[0, 103, 0, 2, 5, 0],
        &[0, 111, 0, 10, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0],
        &[0, 112, 1, 11, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0],
        &[0, 112, 2, 11, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0],
        &[0, 113, 1, 3, 4, 8, 0],
        &[0, 114, 1, 3, 4, 0, 0],
        &[0, 3, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    vec![scancodes.clone(), script.clone(), [script, scancodes].concat()]
}

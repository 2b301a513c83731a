//! What a program in the guest sends through a stream device, in any pieces: the same
//! comes out of it, and what clients are told of it makes sense.

use bytes::Bytes;
use spice_server::channel::pipe::Outgoing;
use spice_server::channels::cursor::Pointer;
use spice_server::channels::stream_device::intake::{Event, Fault, Intake};
use spice_server::channels::stream_device::screen::Screen;
use spice_server::wire::display::to_client;
use spice_server::wire::link::CapSet;
use spice_server::wire::stream_device::{Header, message};

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "stream_device", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cut = usize::from(input.word()) + 1;
    let stream = stream(&mut input);
    let whole = events(&stream, usize::MAX);
    assert!(whole == events(&stream, cut), "the pieces make a difference");
    assert!(whole.iter().filter(|event| event.is_err()).count() <= 1, "nothing after a fault");
    show(whole.into_iter().flatten());
}

/// Messages, most of them with the size that they announce.
fn stream(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() {
        let kind = u16::from(input.byte() % 10);
        let body = match kind {
            message::FORMAT => [input.take(12), &[0; 12]].concat()[..12].to_vec(),
            message::CURSOR_MOVE => [input.take(8), &[0; 8]].concat()[..8].to_vec(),
            message::CURSOR_SET => {
                let fixed = [input.take(12), &[0; 12]].concat()[..12].to_vec();
                [fixed, repeated(&[7], usize::from(input.word()))].concat()
            }
            message::DATA => repeated(input.run(), usize::from(input.word()) * 4),
            _ => input.run().to_vec(),
        };
        let announced = if input.byte() == 1 { input.long() } else { body.len() as u32 };
        stream.extend(Header { kind, size: announced }.encode());
        stream.extend(body);
    }
    stream
}

fn events(mut stream: &[u8], cut: usize) -> Vec<Result<Event, Fault>> {
    let mut intake = Intake::default();
    let mut events = Vec::new();
    while !stream.is_empty() {
        let mut loan = intake.lend();
        let room = loan.room();
        let count = room.len().min(stream.len()).min(cut);
        assert!(count > 0, "there is always room");
        room[..count].copy_from_slice(&stream[..count]);
        stream = &stream[count..];
        events.extend(intake.settle(loan, count, 7).transpose());
        assert_eq!(intake.is_faulty(), events.last().is_some_and(Result::is_err));
    }
    events
}

/// One client that reads all, one that acknowledges nothing.
fn show(events: impl Iterator<Item = Event>) {
    let (mut screen, mut pointer) = (Screen::default(), Pointer::default());
    let all: CapSet = (0..16).collect();
    for key in [1, 2] {
        screen.join(key, &all);
        pointer.join(key, None);
        screen.handle_sync(1, 1);
        pointer.handle_sync(1, 1);
    }
    let (mut surface, mut streams) = (false, false);
    let mut unread = 0;
    for event in events {
        match event {
            Event::Format(format) => screen.begin(format),
            Event::Frame(time, frame) => screen.show(time, &frame),
            Event::Pointer(shape, picture) => pointer.set(shape, &picture),
            Event::PointerAt(place) => pointer.move_to(place),
            Event::DisplayInfo(info) => assert!(info.address.len() < 256),
            Event::Ignored(_) => {}
        }
        while let Some(Outgoing { kind, shared, .. }) = screen.poll(1, 0) {
            match kind {
                to_client::SURFACE_CREATE => assert!(!std::mem::replace(&mut surface, true)),
                to_client::SURFACE_DESTROY => {
                    assert!(!streams && std::mem::replace(&mut surface, false));
                }
                to_client::STREAM_CREATE => {
                    assert!(surface && !std::mem::replace(&mut streams, true));
                }
                to_client::STREAM_DESTROY => assert!(std::mem::replace(&mut streams, false)),
                to_client::STREAM_DATA => assert!(streams && !Bytes::is_empty(&shared)),
                _ => {}
            }
            screen.handle_ack(1);
        }
        while pointer.poll(1, 0).is_some() {
            pointer.handle_ack(1);
        }
        unread += std::iter::from_fn(|| pointer.poll(2, 0)).count();
    }
    assert!(unread <= 41, "{unread} messages without an acknowledgement");
}

fn seeds() -> Vec<Vec<u8>> {
    let format = |codec| [&[2, 64, 0, 0, 0, 48, 0, 0, 0, codec, 0, 0, 0, 0][..]].concat();
    let frame = vec![3, 2, 8, 9, 5, 0, 0];
    let cursor = vec![6, 2, 0, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0, 16, 0, 0];
    let place = vec![7, 1, 0, 0, 0, 2, 0, 0, 0, 0];
    let info = vec![8, 14, 1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'x', 0, 0];
    let caps = vec![1, 1, 0, 0];
    let all = [&[3, 0][..], &caps, &format(1), &frame, &cursor, &place, &frame, &info].concat();
    let again = [&[200, 0][..], &format(1), &frame, &format(2), &frame, &frame].concat();
    let too_large = [&[9, 0][..], &format(1), &[3, 0, 0, 0, 1, 1, 0, 0, 2], &frame].concat();
    vec![all, again, too_large]
}

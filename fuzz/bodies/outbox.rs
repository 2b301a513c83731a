//! What is queued for a client, compressed on the way or not, and sent in any pieces:
//! a client's own framer gets the same messages in the same order.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use spice_server::channel::compressor::Compressor;
use spice_server::channel::decompressor::Decompressor;
use spice_server::channel::framing::{BodyRule, Framer};
use spice_server::channel::outbox::{Outbox, SLICES};
use spice_server::stats::Counters;
use spice_server::wire::header::HeaderForm;
use spice_server::wire::spicevmc::{COMPRESSED_DATA, DATA};

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "outbox", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let form = if options & 1 == 0 { HeaderForm::Mini } else { HeaderForm::Full };
    let mut socket = Outbox::new(form, 4096);
    // The main thread's end, as on the I/O thread; or none.
    let mut crossing = (options & 2 == 0).then(|| socket.like());
    let counters = Arc::<Counters>::default();
    if options & 4 == 0 {
        socket = socket.with_compressor(Compressor::new(Arc::clone(&counters)));
    }
    let (mut expected, mut wire, mut queued) = (Vec::new(), Vec::new(), 0);
    while !input.is_empty() {
        let queue = crossing.as_mut().unwrap_or(&mut socket);
        let before = queue.len();
        match input.byte() % 8 {
            act @ (0 | 1) => {
                let (kind, body) = message(&mut input);
                if act == 0 {
                    queue.push(kind, &body);
                } else {
                    let (head, shared) = body.split_at(usize::from(input.byte()).min(body.len()));
                    queue.push_shared(kind, head, Bytes::copy_from_slice(shared));
                }
                expected.push((kind, body));
            }
            2..=4 => {
                let (_, body) = message(&mut input);
                let most = body.len() + usize::from(input.byte());
                let mut loan = queue.lend(most).expect("no other loan");
                assert!(queue.lend(1).is_none());
                loan.body()[..body.len()].copy_from_slice(&body);
                // Sent while the device is read: leaves behind its data.
                let event = input.flag();
                if event {
                    queue.push(202, &[1]);
                }
                queue.settle(loan, DATA, body.len());
                if !body.is_empty() {
                    expected.push((DATA, body));
                }
                if event {
                    expected.push((202, vec![1]));
                }
            }
            5 => {
                let taken = usize::from(input.word());
                wire.extend(sent(&mut socket, taken));
                continue;
            }
            _ => {
                if let Some(crossing) = &mut crossing {
                    fetch(&mut socket, crossing);
                }
                continue;
            }
        }
        queued += queue.len() - before;
    }
    if let Some(mut crossing) = crossing {
        fetch(&mut socket, &mut crossing);
        assert!(crossing.is_empty());
    }
    while !socket.is_empty() {
        wire.extend(sent(&mut socket, usize::MAX));
    }
    assert!(wire.len() <= queued, "compression has made more of it");
    check(form, &wire, &expected, options & 4 == 0, &counters);
}

/// A type and a body: short, long, of one byte or of the script's.
fn message(input: &mut Input<'_>) -> (u16, Vec<u8>) {
    let kind = if input.flag() { DATA } else { 202 };
    let length = usize::from(input.word()) % 3000;
    let unit = input.run();
    let body = match unit {
        [] => (0..length).map(|i| ((i * i * 31) >> 3) as u8).collect(),
        _ => repeated(unit, length),
    };
    (kind, body)
}

/// The I/O thread takes all that waits.
fn fetch(socket: &mut Outbox, crossing: &mut Outbox) {
    if !socket.packs() {
        return crossing.drain_into(socket);
    }
    while !crossing.is_empty() {
        let before = socket.len() + crossing.len();
        let saved = socket.press(crossing);
        assert_eq!(socket.len() + crossing.len() + saved, before);
    }
}

/// The socket takes up to `most` bytes; an odd one has a layer in front of it.
fn sent(socket: &mut Outbox, most: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = socket.slices(&mut slices, most % 2 == 1);
    let bytes: Vec<u8> = slices[..used].iter().flat_map(|s| s.to_vec()).take(most).collect();
    socket.consume(bytes.len());
    bytes
}

/// Neighbouring data are one run.
fn join(messages: &mut Vec<(u16, Vec<u8>)>, kind: u16, body: &[u8]) {
    match messages.last_mut() {
        Some((DATA, before)) if kind == DATA => before.extend_from_slice(body),
        _ => messages.push((kind, body.to_vec())),
    }
}

fn check(
    form: HeaderForm,
    wire: &[u8],
    expected: &[(u16, Vec<u8>)],
    compresses: bool,
    counters: &Counters,
) {
    let theirs = Arc::<Counters>::default();
    let mut framer = Framer::new(form, |_| BodyRule::Whole(u32::MAX));
    if compresses {
        framer = framer.with_decompressor(Decompressor::new(Arc::clone(&theirs)));
    }
    framer.input().extend_from_slice(wire);
    // Short compressed messages come out together.
    let (mut wanted, mut got) = (Vec::new(), Vec::new());
    for (kind, body) in expected {
        join(&mut wanted, *kind, body);
    }
    while let Some(message) = framer.poll_message().expect("good messages") {
        join(&mut got, message.kind, &message.body);
    }
    assert!(got == wanted, "other messages");
    let (ours, theirs) = (counters.totals(0), theirs.totals(0));
    assert_eq!(ours.out_compressed, theirs.in_compressed);
    assert_eq!(ours.out_uncompressed, theirs.in_decompressed);
    if form == HeaderForm::Full {
        let mut rest = wire;
        for serial in 1..=expected.len() as u64 {
            assert_eq!(rest[..8], serial.to_le_bytes());
            let header = form.parse(rest).expect("whole messages");
            assert!(compresses || header.kind != COMPRESSED_DATA);
            rest = &rest[form.bytes() + header.size as usize..];
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let script = |options: u8| {
        [
            &[options][..],
            &[0, 1, 200, 20, 3, 1, 2, 3],
            &[2, 1, 0, 40, 1, 9, 50, 0],
            &[2, 1, 0, 40, 0, 50, 1],
            &[6],
            &[1, 0, 10, 0, 2, 1, 1],
            &[5, 100, 0],
            &[3, 1, 100, 1, 1, 7, 0, 0],
            &[6, 5, 0xff, 0xff],
        ]
        .concat()
    };
    (0..8).map(script).collect()
}

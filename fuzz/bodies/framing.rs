//! Cuts a client's bytes into messages, in both header forms, with and without a
//! decompressor: however the bytes arrive, the same messages come out, none is larger
//! than its channel allows, and data come in bounded pieces.

use std::sync::Arc;

use lz4_flex::block::compress;
use spice_server::channel::decompressor::Decompressor;
use spice_server::channel::framing::{BodyRule, Framer, Refused, Rules};
use spice_server::channel::run::Parcel;
use spice_server::channels;
use spice_server::config::limits::WHOLE_MESSAGE;
use spice_server::stats::Counters;
use spice_server::wire::header::{Header, HeaderForm};
use spice_server::wire::spicevmc::{COMPRESSED_DATA, DATA, compressed_header};

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "framing", run, seeds };

struct Channel {
    form: HeaderForm,
    rules: Rules,
    compression: bool,
}

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let form = if options & 1 == 0 { HeaderForm::Mini } else { HeaderForm::Full };
    let rules: Rules =
        if options & 2 == 0 { channels::spicevmc::rules } else { channels::main::rules };
    // The main channel has none.
    let channel = Channel { form, rules, compression: options & 6 == 0 };
    let cuts: Vec<usize> = (0..options >> 4).map(|_| usize::from(input.word()) + 1).collect();
    let wire = wire(&mut input, form);
    let whole = received(&channel, &wire, &[usize::MAX]);
    let pieces = received(&channel, &wire, &cuts);
    assert_eq!(whole.end, pieces.end);
    if whole.end.is_none() {
        assert!(whole.messages == pieces.messages, "the messages depend on how they arrive");
    } else {
        // What comes out before an error in a long message depends on how it arrived.
        let (a, b) = (flat(&whole.messages), flat(&pieces.messages));
        assert!(a.starts_with(&b) || b.starts_with(&a), "other bytes before the error");
    }
}

/// What a client sends: good messages, odd ones, and anything.
fn wire(input: &mut Input<'_>, form: HeaderForm) -> Vec<u8> {
    let mut wire = Vec::new();
    let header = |kind: u16, size: u32, serial: usize| {
        let mut bytes = vec![0; form.bytes()];
        form.write(&mut bytes, Header { kind, size }, serial as u64);
        bytes
    };
    while !input.is_empty() && wire.len() < 2 << 20 {
        let serial = wire.len();
        match input.byte() % 8 {
            0 => wire.extend_from_slice(input.run()),
            1 | 2 => {
                let kind = [1, 3, 6, 102, 104, 107, 201][usize::from(input.byte()) % 7];
                let body = input.run();
                wire.extend(header(kind, body.len() as u32, serial));
                wire.extend_from_slice(body);
            }
            3 => {
                // Longer than what is kept whole, too.
                let size = length(input);
                wire.extend(header(DATA, size, serial));
                wire.extend(repeated(input.run(), size as usize));
            }
            4 | 5 => {
                let size = length(input);
                let data = repeated(input.run(), size as usize);
                let mut body = compressed_header(size).to_vec();
                body.extend(compress(&data));
                // Damage, or none.
                let (at, with) = (usize::from(input.word()), input.byte());
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= with;
                }
                wire.extend(header(COMPRESSED_DATA, body.len() as u32, serial));
                wire.extend(body);
            }
            6 => {
                let body = input.run();
                wire.extend(header(DATA, body.len() as u32, serial));
                wire.extend_from_slice(body);
            }
            _ => wire.extend(header(input.word(), input.long(), serial)),
        }
    }
    wire
}

/// Mostly short, now and then more than is kept whole.
fn length(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        250.. => input.long() % 700_000,
        _ => u32::from(input.word()) % 2000,
    }
}

struct Received {
    /// Neighbouring data are one run: pieces do not show.
    messages: Vec<(u16, Vec<u8>)>,
    end: Option<Refused>,
}

fn flat(messages: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let each = messages.iter().flat_map(|(kind, body)| [&kind.to_le_bytes()[..], body].concat());
    each.collect()
}

fn join(messages: &mut Vec<(u16, Vec<u8>)>, kind: u16, body: &[u8]) {
    match messages.last_mut() {
        Some((DATA, before)) if kind == DATA => before.extend_from_slice(body),
        _ => messages.push((kind, body.to_vec())),
    }
}

fn received(channel: &Channel, wire: &[u8], cuts: &[usize]) -> Received {
    let counters = Arc::<Counters>::default();
    let mut framer = Framer::new(channel.form, channel.rules).with_counters(Arc::clone(&counters));
    if channel.compression {
        framer = framer.with_decompressor(Decompressor::new(Arc::clone(&counters)));
    }
    let mut received = Received { messages: Vec::new(), end: None };
    let (mut rest, mut cuts) = (wire, cuts.iter().cycle());
    let mut counted = 0;
    while !rest.is_empty() && received.end.is_none() {
        let cut = cuts.next().map_or(1000, |cut| *cut);
        let (piece, behind) = rest.split_at(cut.min(rest.len()));
        rest = behind;
        framer.input().extend_from_slice(piece);
        loop {
            match framer.poll_parcel() {
                Ok(Some(Parcel::Run(mut run))) => {
                    while let Some(body) = run.peek() {
                        counted += body.len() as u64;
                        join(&mut received.messages, DATA, &run.bytes()[body.clone()]);
                        run.pass(body.end);
                    }
                    assert!(run.is_empty(), "only whole messages");
                }
                Ok(Some(Parcel::Message(message))) => {
                    let limit = match (channel.rules)(message.kind) {
                        BodyRule::Stream(_) => WHOLE_MESSAGE,
                        BodyRule::Whole(limit) => limit as usize,
                    };
                    assert!(message.body.len() <= limit, "type {}", message.kind);
                    if message.kind == DATA {
                        counted += message.body.len() as u64;
                    }
                    join(&mut received.messages, message.kind, &message.body);
                }
                Ok(None) => break,
                Err(refused) => {
                    received.end = Some(refused);
                    break;
                }
            }
        }
    }
    let totals = counters.totals(0);
    assert_eq!(totals.in_data + totals.in_decompressed, counted);
    received
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for options in [0x30, 0x31, 0x32, 0x37] {
        let (cuts, script) = (
            [options, 6, 0, 100, 0, 0xff, 0xff],
            [
                &[1, 6, 1, 2, 6, 3, 1, 2, 3][..],
                &[3, 0, 200, 1, 2, 5, 6],
                &[4, 1, 0x10, 4, 3, 7, 8, 9, 0xff, 0xff, 0],
                &[1, 1, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
                &[7, 101, 0, 0xff, 0xff, 0xff, 0xff],
            ],
        );
        seeds.push([&cuts[..], &script.concat()].concat());
        seeds.push([&cuts[..], &script[..4].concat()].concat());
        seeds.push([&cuts[..], script[1], script[2], script[2]].concat());
    }
    let long = [&[3, 255, 0, 0, 6, 0, 1, 5][..], &[4, 255, 0, 0, 6, 0, 1, 7, 0xff, 0xff, 0]];
    seeds.push([&[0x10, 0xff, 0xff][..], &long.concat()].concat());
    seeds
}

//! A connection's first bytes and the frames behind them, through the machine that tells a
//! WebSocket from a link and through the layer: whatever arrives, how it was cut does not
//! matter, nothing comes out that did not go in, and what is answered are good frames.

use bytes::BytesMut;
use spice_server::config::limits::WEBSOCKET_REQUEST;
use spice_server::config::websocket::{Origin, Origins, WebSocketPolicy};
use spice_server::net::layers::{Layer, State};
use spice_server::net::websocket::{Opened, Opening, WebSocket};
use spice_server::wire::websocket::{FrameHeader, Opcode, Request, apply_mask};

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "websocket", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let cuts: Vec<usize> = (0..options >> 4).map(|_| usize::from(input.byte()) + 1).collect();
    if options & 1 == 0 {
        opening(options, input.rest(), &cuts);
    } else {
        let wire = wire(&mut input);
        let whole = frames(&wire, &[usize::MAX]);
        let pieces = frames(&wire, &cuts);
        assert!(whole == pieces, "what comes of frames depends on how they arrive");
    }
}

/// The request, or what there is instead.
fn opening(options: u8, bytes: &[u8], cuts: &[usize]) {
    let list = Origin::from_text("https://a.example").expect("an origin");
    let policy = WebSocketPolicy {
        enabled: options & 2 == 0,
        origins: if options & 4 == 0 { Origins::Any } else { Origins::Only([list].into()) },
    };
    let mut machine = Opening::default();
    let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
    let mut taken = 0;
    while !rest.is_empty() {
        let cut = cuts.next().map_or(usize::MAX, |cut| *cut).min(rest.len());
        let (piece, behind) = rest.split_at(cut);
        rest = behind;
        taken += cut;
        match machine.handle_bytes(piece, &policy) {
            Opened::Unknown => assert!(taken < WEBSOCKET_REQUEST, "more than a request is kept"),
            Opened::Link(all) => {
                assert_eq!(&all[..], &bytes[..taken], "the link gets all of it");
                return;
            }
            Opened::WebSocket { answer, rest } => {
                assert!(policy.enabled && taken - rest.len() <= WEBSOCKET_REQUEST);
                let length = Request::length(bytes, 0).expect("a request").expect("all of it");
                let request = Request::parse(&bytes[..length]).expect("a WebSocket");
                assert_eq!(answer, request.accept());
                assert_eq!(&rest[..], &bytes[length..taken]);
                assert!(request.origins.iter().all(|origin| policy.admits(origin)));
                return;
            }
            Opened::Refused { answer, reason } => {
                assert!(policy.origins != Origins::Any && answer.starts_with(b"HTTP/1.1 403 "));
                assert!(reason.is_ascii() && !reason.contains(char::is_control));
                return;
            }
        }
    }
}

/// What a client sends: good frames, odd ones, and anything.
fn wire(input: &mut Input<'_>) -> Vec<u8> {
    const OPCODES: [Opcode; 6] = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ];
    let mut wire = Vec::new();
    while !input.is_empty() && wire.len() < 1 << 17 {
        let what = input.byte();
        if what % 8 == 7 {
            wire.extend_from_slice(input.run());
            continue;
        }
        let opcode = OPCODES[usize::from(what) % OPCODES.len()];
        let mask = input.flag().then(|| input.long().to_be_bytes());
        let length = match input.byte() {
            255 => 0x1_0000,
            250..255 => usize::from(input.word()) % 2000,
            short => usize::from(short) % 130,
        };
        let announced =
            if input.byte() == 255 { u64::from(input.long()) << 31 } else { length as u64 };
        let header = FrameHeader { opcode, last: what & 0x40 == 0, mask, length: announced };
        header.encode(&mut wire);
        let at = wire.len();
        wire.extend(repeated(input.run(), length));
        apply_mask(&mut wire[at..], mask.unwrap_or_default());
    }
    wire
}

#[derive(PartialEq)]
struct Outcome {
    plain: Vec<u8>,
    answer: Vec<u8>,
    end: Result<State, String>,
}

fn frames(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut layer = WebSocket::default();
    let (mut wire, mut plain, mut answer) = <(BytesMut, BytesMut, BytesMut)>::default();
    let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
    let mut end = Ok(State::Open);
    while !rest.is_empty() && end == Ok(State::Open) {
        let (piece, behind) = rest.split_at(cuts.next().map_or(7, |cut| *cut).min(rest.len()));
        rest = behind;
        wire.extend_from_slice(piece);
        end = layer.unwrap(&mut wire, &mut plain, &mut answer).map_err(|error| error.to_string());
        assert!(end != Ok(State::Open) || wire.len() < 14 + 125, "payload waits");
    }
    assert!(plain.len() <= bytes.len() && answer.len() <= bytes.len() + 4);
    // What is answered is a client's to read: good frames, the last of them perhaps a close.
    let mut read = &answer[..];
    while !read.is_empty() {
        let (header, length) = FrameHeader::parse(read).expect("good").expect("whole");
        assert!(header.mask.is_none() && header.opcode.is_control());
        read = &read[length + header.length as usize..];
        assert_eq!(header.opcode == Opcode::Close, read.is_empty() && end != Ok(State::Open));
    }
    let wrapped = layer.wrap(b"late", &mut BytesMut::new());
    assert_eq!(wrapped.is_ok(), end == Ok(State::Open), "nothing follows a close");
    Outcome { plain: plain.to_vec(), answer: answer.to_vec(), end }
}

fn seeds() -> Vec<Vec<u8>> {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\
        Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut seeds = Vec::new();
    for options in [0x20, 0x22, 0x24, 0x14, 0] {
        let cuts = vec![9; usize::from(options >> 4)];
        seeds.push([&[options][..], &cuts, request, b"\x82\x01x"].concat());
        seeds.push([&[options][..], &cuts, b"GET ", &vec![b'x'; WEBSOCKET_REQUEST]].concat());
        seeds.push([&[options][..], &cuts, b"REDQ\x02\0\0\0"].concat());
    }
    // Opcode, mask, length, whether it is true, payload.
    let binary = [2, 1, 1, 2, 3, 4, 100, 0, 2, 5, 6];
    let part = [0x42, 0, 60, 0, 1, 9];
    let rest = [0, 1, 9, 8, 7, 6, 255, 0, 3, 1, 2, 3];
    let ping = [4, 1, 1, 1, 1, 1, 125, 0, 1, 3];
    let close = [3, 0, 2, 0, 2, 3, 0xe8];
    let endless = [2, 0, 9, 255, 0xff, 0xff, 0xff, 0xff, 1, 4];
    let noise = [7, 4, 0xc2, 0x80, 1, 2];
    for script in [
        [&binary[..], &ping, &close, &binary].concat(),
        [&part[..], &ping, &rest, &binary, &noise].concat(),
        [&part[..], &part].concat(),
        [&rest[..], &close].concat(),
        [&ping[..], &endless, &binary].concat(),
    ] {
        seeds.push([&[0x31, 0, 4, 50][..], &script].concat());
    }
    seeds
}

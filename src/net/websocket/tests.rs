//! The cases of RFC 6455 as a table: what a client sends, and what comes of it.

use proptest::prelude::*;

use super::*;
use crate::config::websocket::{Origin, Origins};
use crate::net::layers::Layers;

/// How a case ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    Broken(&'static str),
}

/// What comes of bytes: what they carry, what is answered, and how it ends.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    plain: Vec<u8>,
    answer: Vec<u8>,
    end: Result<State, String>,
}

/// Feeds a layer of its own, in pieces that are `cuts` long, again and again.
fn feed(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut layers = Layers::default();
    layers.push(Box::<WebSocket>::default());
    let (mut plain, mut answer, mut end) = (BytesMut::new(), Vec::new(), Ok(State::Open));
    let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
    while !rest.is_empty() && end == Ok(State::Open) {
        let (piece, behind) = rest.split_at(cuts.next().map_or(1, |cut| *cut).min(rest.len()));
        rest = behind;
        layers.arrived().expect("a layer").extend_from_slice(piece);
        end = layers.unwrap(&mut plain).map_err(|error| error.to_string());
        answer.extend_from_slice(layers.unsent());
        layers.consume(usize::MAX);
    }
    Outcome { plain: plain.to_vec(), answer, end }
}

/// A frame with a mask, as browsers send it. `first`: FIN, the reserved bits, the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0xa2, 0x33, 0xc4];
    let header = FrameHeader {
        opcode: Opcode::Binary,
        last: true,
        mask: Some(mask),
        length: payload.len() as u64,
    };
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    bytes[0] = first;
    let at = bytes.len();
    bytes.extend_from_slice(payload);
    apply_mask(&mut bytes[at..], mask);
    bytes
}

/// A name, what arrives, what it carries, what is answered, how it ends.
type Case<'a> = (&'a str, Vec<u8>, &'a [u8], &'a [u8], End);

#[test]
fn cases() {
    let f = frame;
    let error = &[0x88, 2, 0x03, 0xea][..];
    let many = vec![0x5a; 70_000];
    let pings: Vec<_> = (0..10).flat_map(|n| f(0x89, &[n])).collect();
    let pongs: Vec<_> = (0..10).flat_map(|n| [0x8a, 1, n]).collect();
    let one_by_one: Vec<_> = (0..200).map(|n| f(u8::from(n == 199) << 7, &[n])).collect();
    let numbers: Vec<u8> = (0..200).collect();
    let long_pong = pong(&many[..125]);
    let reserved = "reserved bits are set in a frame";
    let fragment = "a control frame is a fragment";
    let long = "a control frame announces more than 125 bytes";
    let unbegun = "a frame goes on with a message that was not begun";
    let nested = "a message begins inside another one";
    let cases: Vec<Case<'_>> = vec![
        // Frames
        ("empty text", f(0x81, b""), b"", b"", End::Open),
        ("empty binary", f(0x82, b""), b"", b"", End::Open),
        ("text is payload", f(0x81, b"abc"), b"abc", b"", End::Open),
        ("text need not be UTF-8", f(0x81, b"\xff"), b"\xff", b"", End::Open),
        ("125 bytes", f(0x82, &many[..125]), &many[..125], b"", End::Open),
        ("126 bytes", f(0x82, &many[..126]), &many[..126], b"", End::Open),
        ("65535 bytes", f(0x82, &many[..65535]), &many[..65535], b"", End::Open),
        ("65536 bytes", f(0x82, &many[..65536]), &many[..65536], b"", End::Open),
        ("no mask", b"\x82\x03abc".to_vec(), b"abc", b"", End::Open),
        ("longer length than need be", b"\x82\x7e\0\x03abc".to_vec(), b"abc", b"", End::Open),
        ("longest length", b"\x82\x7f\0\0\0\0\0\0\0\x03abc".to_vec(), b"abc", b"", End::Open),
        (
            "2^63-1 bytes are only announced",
            b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffabc".to_vec(),
            b"abc",
            b"",
            End::Open,
        ),
        (
            "2^63 bytes",
            b"\x82\x7f\x80\0\0\0\0\0\0\0abc".to_vec(),
            b"",
            error,
            End::Broken("a frame announces 2^63 bytes or more"),
        ),
        // Pings and pongs
        ("ping", f(0x89, b"Hello"), b"", b"\x8a\x05Hello", End::Open),
        ("empty ping", f(0x89, b""), b"", b"\x8a\0", End::Open),
        ("ping of 125 bytes", f(0x89, &many[..125]), b"", &long_pong, End::Open),
        ("ping of 126 bytes", f(0x89, &many[..126]), b"", error, End::Broken(long)),
        ("ping without mask", b"\x89\x02hi".to_vec(), b"", b"\x8a\x02hi", End::Open),
        ("ten pings", pings, b"", &pongs, End::Open),
        ("pong that nobody asked for", f(0x8a, b"x"), b"", b"", End::Open),
        // Reserved bits and opcodes
        ("reserved bit 1", f(0xc2, b"a"), b"", error, End::Broken(reserved)),
        ("reserved bit 2", f(0xa2, b"a"), b"", error, End::Broken(reserved)),
        ("reserved bit 3", f(0x92, b"a"), b"", error, End::Broken(reserved)),
        ("reserved bit in a ping", f(0xc9, b"a"), b"", error, End::Broken(reserved)),
        (
            "what came before is there",
            [f(0x82, b"abc"), f(0xc2, b"d")].concat(),
            b"abc",
            error,
            End::Broken(reserved),
        ),
        (
            "opcode 3",
            f(0x83, b""),
            b"",
            error,
            End::Broken("a frame has opcode 3, which there is not"),
        ),
        (
            "opcode 7",
            f(0x87, b""),
            b"",
            error,
            End::Broken("a frame has opcode 7, which there is not"),
        ),
        (
            "opcode 11",
            f(0x8b, b""),
            b"",
            error,
            End::Broken("a frame has opcode 11, which there is not"),
        ),
        (
            "opcode 15",
            f(0x8f, b""),
            b"",
            error,
            End::Broken("a frame has opcode 15, which there is not"),
        ),
        // Fragments
        ("two fragments", [f(0x02, b"ab"), f(0x80, b"c")].concat(), b"abc", b"", End::Open),
        (
            "empty fragments",
            [f(0x01, b""), f(0x00, b""), f(0x00, b"abc"), f(0x80, b"")].concat(),
            b"abc",
            b"",
            End::Open,
        ),
        (
            "200 fragments",
            [vec![f(0x02, b"")], one_by_one].concat().concat(),
            &numbers,
            b"",
            End::Open,
        ),
        (
            "ping between fragments",
            [f(0x02, b"ab"), f(0x89, b"p"), f(0x80, b"c")].concat(),
            b"abc",
            b"\x8a\x01p",
            End::Open,
        ),
        (
            "close between fragments",
            [f(0x02, b"ab"), f(0x88, b"\x03\xe8"), f(0x80, b"c")].concat(),
            b"ab",
            b"\x88\x02\x03\xe8",
            End::Closed,
        ),
        ("fragment of a ping", f(0x09, b"a"), b"", error, End::Broken(fragment)),
        ("fragment of a pong", f(0x0a, b"a"), b"", error, End::Broken(fragment)),
        ("fragment of a close", f(0x08, b""), b"", error, End::Broken(fragment)),
        ("nothing to go on with", f(0x80, b"a"), b"", error, End::Broken(unbegun)),
        ("nothing, not the last", f(0x00, b"a"), b"", error, End::Broken(unbegun)),
        (
            "goes on after the last",
            [f(0x02, b"a"), f(0x80, b"b"), f(0x80, b"c")].concat(),
            b"ab",
            error,
            End::Broken(unbegun),
        ),
        (
            "binary in binary",
            [f(0x02, b"a"), f(0x82, b"b")].concat(),
            b"a",
            error,
            End::Broken(nested),
        ),
        (
            "text in binary",
            [f(0x02, b"a"), f(0x01, b"b")].concat(),
            b"a",
            error,
            End::Broken(nested),
        ),
        // Close
        ("close", f(0x88, b""), b"", b"\x88\0", End::Closed),
        ("close 1000", f(0x88, b"\x03\xe8"), b"", b"\x88\x02\x03\xe8", End::Closed),
        ("close with a reason", f(0x88, b"\x03\xe9bye"), b"", b"\x88\x02\x03\xe9", End::Closed),
        ("close 3000", f(0x88, b"\x0b\xb8"), b"", b"\x88\x02\x0b\xb8", End::Closed),
        ("close 4999", f(0x88, b"\x13\x87"), b"", b"\x88\x02\x13\x87", End::Closed),
        ("half a code", f(0x88, b"\x03"), b"", error, End::Closed),
        ("close 0", f(0x88, b"\0\0"), b"", error, End::Closed),
        ("close 999", f(0x88, b"\x03\xe7"), b"", error, End::Closed),
        ("close 1005, for no frame", f(0x88, b"\x03\xed"), b"", error, End::Closed),
        ("close 1006, for no frame", f(0x88, b"\x03\xee"), b"", error, End::Closed),
        ("close 1100", f(0x88, b"\x04\x4c"), b"", error, End::Closed),
        ("close 5000", f(0x88, b"\x13\x88"), b"", error, End::Closed),
        (
            "reason that is no UTF-8",
            f(0x88, b"\x03\xe8\xff"),
            b"",
            b"\x88\x02\x03\xef",
            End::Closed,
        ),
        ("close of 126 bytes", f(0x88, &many[..126]), b"", error, End::Broken(long)),
        (
            "nothing after a close",
            [f(0x88, b""), f(0x89, b"late"), f(0x82, b"late")].concat(),
            b"",
            b"\x88\0",
            End::Closed,
        ),
    ];
    for (name, bytes, plain, answer, end) in cases {
        let end = match end {
            End::Open => Ok(State::Open),
            End::Closed => Ok(State::Ended),
            End::Broken(why) => Err(format!("WebSocket: {why}")),
        };
        let expected = Outcome { plain: plain.to_vec(), answer: answer.to_vec(), end };
        for cuts in [&[usize::MAX][..], &[1], &[3, 5]] {
            assert_eq!(feed(&bytes, cuts), expected, "{name}, in pieces of {cuts:?}");
        }
    }
}

fn pong(payload: &[u8]) -> Vec<u8> {
    [&[0x8a, payload.len() as u8], payload].concat()
}

#[test]
fn memory_does_not_follow_what_is_announced() {
    let mut layer = WebSocket::default();
    let (mut plain, mut answer) = (BytesMut::new(), BytesMut::new());
    let mut wire = BytesMut::from(&b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"[..]);
    for _ in 0..100 {
        wire.extend_from_slice(&[1; 1000]);
        layer.unwrap(&mut wire, &mut plain, &mut answer).expect("payload");
        assert!(wire.is_empty(), "payload does not wait for the end of its frame");
        assert_eq!(plain.len(), 1000);
        plain.clear();
    }
}

#[test]
fn each_write_is_a_frame() {
    let mut layer = WebSocket::default();
    let mut wire = BytesMut::new();
    assert_eq!(layer.wrap(b"abc", &mut wire).expect("wrapped"), 3);
    assert_eq!(layer.wrap(b"", &mut wire).expect("wrapped"), 0);
    assert_eq!(layer.wrap(b"d", &mut wire).expect("wrapped"), 1);
    assert_eq!(&wire[..], b"\x82\x03abc\x82\x01d");
    wire.clear();
    for (length, header) in [(126, &b"\x82\x7e\0\x7e"[..]), (65_536, b"\x82\x7f\0\0\0\0\0\x01\0\0")]
    {
        assert_eq!(layer.wrap(&vec![7; length], &mut wire).expect("wrapped"), length);
        assert_eq!(wire.len(), header.len() + length);
        assert!(wire.starts_with(header));
        wire.clear();
    }
}

#[test]
fn a_close_frame_is_the_last_word() {
    let mut layer = WebSocket::default();
    let (mut wire, mut answer) = (BytesMut::new(), BytesMut::new());
    layer.farewell(&mut wire);
    layer.farewell(&mut wire);
    assert_eq!(&wire[..], b"\x88\x02\x03\xe8");
    assert_eq!(
        layer.wrap(b"late", &mut wire).expect_err("closed").kind(),
        io::ErrorKind::BrokenPipe
    );
    let mut late = BytesMut::from(&frame(0x89, b"late")[..]);
    let state = layer.unwrap(&mut late, &mut BytesMut::new(), &mut answer).expect("no error");
    assert_eq!(state, State::Ended);
    assert!(answer.is_empty());
}

const REQUEST: &[u8] = b"GET /any HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: https://example.org\r\nSec-WebSocket-Protocol: binary\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn open(bytes: &[u8], policy: &WebSocketPolicy) -> Opened {
    Opening::default().handle_bytes(bytes, policy)
}

fn only(origins: &[&str]) -> WebSocketPolicy {
    let origins = origins.iter().map(|text| Origin::from_text(text).expect("good")).collect();
    WebSocketPolicy { enabled: true, origins: Origins::Only(origins) }
}

#[test]
fn a_request_is_collected_and_what_is_behind_it_kept() {
    let any = WebSocketPolicy::default();
    for split in 0..REQUEST.len() {
        let mut opening = Opening::default();
        assert_eq!(opening.handle_bytes(&REQUEST[..split], &any), Opened::Unknown, "{split}");
        let behind = [&REQUEST[split..], b"behind"].concat();
        let Opened::WebSocket { answer, rest } = opening.handle_bytes(&behind, &any) else {
            panic!("no WebSocket with a split at {split}");
        };
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        assert_eq!(&rest[..], b"behind");
    }
}

#[test]
fn everything_else_is_the_links_as_soon_as_it_can_be_told() {
    let any = WebSocketPolicy::default();
    for bytes in
        [&b"R"[..], b"REDQ", b"GEX", b"\0", b"POST / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
    {
        assert_eq!(open(bytes, &any), Opened::Link(bytes.into()), "{}", bytes.escape_ascii());
    }
    let off = WebSocketPolicy { enabled: false, ..any };
    for bytes in [REQUEST, b"G", b"REDQ"] {
        assert_eq!(open(bytes, &off), Opened::Link(bytes.into()));
    }
}

#[test]
fn a_request_has_a_longest_length() {
    let any = WebSocketPolicy::default();
    let padded = |length: usize| {
        let (first, rest) = REQUEST.split_at(REQUEST.len() - 2);
        let header = format!("X: {}\r\n", "x".repeat(length - REQUEST.len() - 5));
        [first, header.as_bytes(), rest].concat()
    };
    let longest = padded(limits::WEBSOCKET_REQUEST);
    assert_eq!(longest.len(), limits::WEBSOCKET_REQUEST);
    assert!(matches!(open(&longest, &any), Opened::WebSocket { .. }));
    let longer = padded(limits::WEBSOCKET_REQUEST + 1);
    assert_eq!(open(&longer, &any), Opened::Link(longer[..].into()));
    let endless = &longer[..limits::WEBSOCKET_REQUEST];
    assert_eq!(open(endless, &any), Opened::Link(endless.into()));
    assert_eq!(open(&endless[1..], &any), Opened::Link(endless[1..].into()));
    assert_eq!(open(&endless[..endless.len() - 1], &any), Opened::Unknown);
}

#[test]
fn a_list_of_origins_keeps_other_pages_out() {
    assert!(matches!(open(REQUEST, &only(&["https://example.org"])), Opened::WebSocket { .. }));
    let refused = Opened::Refused {
        answer: b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        reason: "a WebSocket from a page of \"https://example.org\", which the configuration \
            does not admit"
            .to_owned(),
    };
    assert_eq!(open(REQUEST, &only(&["https://example.com"])), refused);
    assert_eq!(open(REQUEST, &only(&[])), refused);
    let text = str::from_utf8(REQUEST).expect("text");
    let without = text.replace("Origin: https://example.org\r\n", "");
    let program = open(without.as_bytes(), &only(&[]));
    assert!(matches!(program, Opened::WebSocket { .. }), "who is no browser need not say");
    let two = text.replace("Sec-WebSocket-V", "Origin: http://evil\r\nSec-WebSocket-V");
    assert!(matches!(
        open(two.as_bytes(), &only(&["https://example.org"])),
        Opened::Refused { .. }
    ));
    let long = text.replace("https://example.org", &"\u{e9}\x1b[2J".repeat(300));
    let Opened::Refused { reason, .. } = open(long.as_bytes(), &only(&[])) else {
        panic!("admitted");
    };
    assert!(reason.is_ascii() && !reason.contains('\x1b') && reason.len() < 1200, "{reason}");
}

proptest! {
    /// However bytes are cut into frames, and the frames into reads, the same bytes come out.
    #[test]
    fn cuts_do_not_show(
        payload in prop::collection::vec(any::<u8>(), 0..2000),
        frames in prop::collection::vec((0..300_usize, any::<Option<[u8; 4]>>(), 0..4_u8), 1..20),
        cuts in prop::collection::vec(1..200_usize, 1..10),
    ) {
        let mut wire = Vec::new();
        let (mut rest, mut frames, mut begun) = (&payload[..], frames.iter().cycle(), false);
        let mut pongs = Vec::new();
        while !rest.is_empty() {
            let &(length, mask, what) = frames.next().expect("without end");
            let (part, behind) = rest.split_at(length.max(1).min(rest.len()));
            rest = behind;
            if what == 3 {
                wire.extend(frame(0x89, &part[..part.len().min(125)]));
                pongs.extend(pong(&part[..part.len().min(125)]));
            }
            let opcode = if begun { Opcode::Continuation } else { Opcode::Binary };
            begun = what != 0;
            let header = FrameHeader { opcode, last: !begun, mask, length: part.len() as u64 };
            header.encode(&mut wire);
            let at = wire.len();
            wire.extend_from_slice(part);
            apply_mask(&mut wire[at..], mask.unwrap_or_default());
        }
        let expected = Outcome { plain: payload, answer: pongs, end: Ok(State::Open) };
        prop_assert_eq!(feed(&wire, &cuts), expected);
    }

    /// Whatever arrives, how it was cut does not matter.
    #[test]
    fn noise_is_judged_the_same(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..0x8b_u8, 0..4_u8], 0..300),
        cuts in prop::collection::vec(1..20_usize, 1..10),
    ) {
        prop_assert_eq!(feed(&bytes, &cuts), feed(&bytes, &[usize::MAX]));
    }

    /// What is wrapped is what a client reads.
    #[test]
    fn what_is_wrapped_comes_out_again(
        writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20),
        cuts in prop::collection::vec(1..200_usize, 1..10),
    ) {
        let (mut layer, mut wire) = (WebSocket::default(), BytesMut::new());
        for write in &writes {
            prop_assert_eq!(layer.wrap(write, &mut wire).expect("open"), write.len());
        }
        prop_assert_eq!(feed(&wire, &cuts).plain, writes.concat());
    }

    #[test]
    fn a_mask_goes_on_where_it_stopped(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        mask: [u8; 4],
        split in 0..100_usize,
    ) {
        let mut whole = bytes.clone();
        apply_mask(&mut whole, mask);
        let expected: Vec<u8> =
            bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        prop_assert_eq!(&whole, &expected);
        let mut parts = bytes;
        let at = split.min(parts.len());
        let next = apply_mask(&mut parts[..at], mask);
        apply_mask(&mut parts[at..], next);
        prop_assert_eq!(parts, expected);
    }
}

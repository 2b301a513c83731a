//! The smartcard channel: a client's messages, and what the device says in any pieces.

use bytes::Bytes;
use spice_server::channel::framing::{BodyRule, Message};
use spice_server::channels::smartcard::{DeviceStream, Request, Standing, handle, rules};
use spice_server::wire::smartcard::{DATA, Header, READER, UNDEFINED_READER, kind};

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "smartcard", run, seeds };

const CLIENT: u8 = 0;
const DEVICE: u8 = 1;

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte() % 2 == CLIENT { from_client(&mut input) } else { from_device(&mut input) }
}

/// One client after the other: what it asks for depends on where it stands.
fn from_client(input: &mut Input<'_>) {
    let mut standing = Standing::Free;
    while !input.is_empty() {
        let kind = match input.byte() {
            kind if kind < 200 => DATA,
            200..220 => input.word(),
            220..230 => {
                standing = Standing::Taken;
                continue;
            }
            _ => {
                standing = Standing::Free;
                continue;
            }
        };
        let body = Bytes::copy_from_slice(input.run());
        assert!(matches!(rules(kind), BodyRule::Whole(65_536)));
        match handle(&Message { kind, body: body.clone() }, standing) {
            Ok(Request::Tell { message, present }) => {
                let asked = Header::from_client(body.first_chunk().expect("a header"));
                let told = Header::from_device(message.first_chunk().expect("a header"));
                assert_eq!((told.kind, told.reader), (asked.kind, READER));
                assert_eq!(message.len(), Header::BYTES + told.length as usize);
                assert!(message.len() <= body.len());
                assert_eq!(&message[Header::BYTES..], &body[Header::BYTES..message.len()]);
                match (standing, told.kind) {
                    (Standing::Taken, _) => panic!("a client without a reader is served"),
                    (_, kind::READER_ADD) => assert!(present && told.length == 0),
                    (Standing::Free, kind) => panic!("kind {kind} from a client without a reader"),
                    (Standing::Holder { present: before }, kind::READER_REMOVE) => {
                        assert!(before && !present && told.length == 0);
                    }
                    (Standing::Holder { .. }, kind::ATR) => assert!(present),
                    (Standing::Holder { present: before }, _) => assert_eq!(present, before),
                }
                standing = Standing::Holder { present };
            }
            Ok(Request::Answer(body)) => {
                let answer = Header::from_client(body.first_chunk().expect("a header"));
                assert_eq!((answer.kind, answer.length, body.len()), (kind::ERROR, 4, 16));
                let full = answer.reader == UNDEFINED_READER && standing == Standing::Taken;
                assert!(body[12] == 1 || (body[12] == 2 && full));
            }
            Ok(Request::Stray(stray)) => {
                assert!(!(kind::INIT..=kind::APDU).contains(&stray));
            }
            Ok(Request::Nothing) | Err(_) => {}
        }
    }
}

/// The same bytes whole and in pieces: the same messages.
fn from_device(input: &mut Input<'_>) {
    let mut pieces = DeviceStream::default();
    let mut said = Vec::new();
    let mut heard = Vec::new();
    while !input.is_empty() {
        let piece = input.run();
        said.extend_from_slice(piece);
        pieces.handle_bytes(piece);
        drain(&mut pieces, &mut heard);
    }
    let mut whole = DeviceStream::default();
    whole.handle_bytes(&said);
    let mut wanted = Vec::new();
    drain(&mut whole, &mut wanted);
    assert_eq!(heard, wanted);
    let bytes: usize = heard.iter().flatten().map(Bytes::len).sum();
    assert!(bytes <= said.len());
}

/// All messages; `None` stands for one that was too long.
fn drain(stream: &mut DeviceStream, out: &mut Vec<Option<Bytes>>) {
    loop {
        match stream.poll_message() {
            Ok(None) => return,
            Ok(Some(message)) => {
                let header = Header::from_client(message.first_chunk().expect("a header"));
                assert!(header.kind != kind::INIT && header.reader == READER);
                assert_eq!(message.len(), Header::BYTES + header.length as usize);
                out.push(Some(message));
            }
            Err(too_long) => {
                assert!(too_long.0 > 65_544);
                out.push(None);
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let header = |kind, reader, length| Header { kind, reader, length };
    let client: Vec<u8> = [
        header(kind::INIT, 0, 0),
        header(kind::READER_ADD, UNDEFINED_READER, 0),
        header(kind::ATR, 0, 3),
        header(kind::APDU, 0, 3),
        header(kind::APDU, 1, 3),
        header(kind::READER_REMOVE, 0, 0),
        header(kind::READER_REMOVE, 0, 0),
    ]
    .iter()
    .flat_map(|header| [&[0, 15][..], &header.to_client(&[1, 2, 3])].concat())
    .collect();
    let device: Vec<u8> = [
        header(kind::INIT, 9, 3),
        header(kind::ERROR, 9, 3),
        header(kind::APDU, 9, 3),
        header(kind::APDU, 9, u32::MAX),
    ]
    .iter()
    .flat_map(|header| {
        let message = header.to_device(&[1, 2, 3]);
        [&[5][..], &message[..5], &[10], &message[5..]].concat()
    })
    .collect();
    let again = [&[CLIENT], &client[..], &[225, 0], &client, &[255], &client].concat();
    vec![[&[CLIENT], &client[..]].concat(), again, [&[DEVICE], &device[..]].concat()]
}

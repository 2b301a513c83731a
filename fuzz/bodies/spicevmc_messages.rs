//! A client's messages on port, usbredir and webdav channels.

use bytes::Bytes;
use spice_server::channel::framing::{BodyRule, Message};
use spice_server::channels::spicevmc::{Request, handle, rules};
use spice_server::wire::spicevmc::{
    COMPRESSED_DATA, DATA, compressed_header, parse_compressed_header,
};

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "spicevmc_messages", run, seeds };

const PORT_EVENT: u16 = 201;

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = if input.flag() { input.word() } else { u16::from(input.byte()) };
    let is_port = input.flag();
    let body = Bytes::copy_from_slice(input.rest());
    let data = kind == DATA || kind == COMPRESSED_DATA;
    assert_eq!(matches!(rules(kind), BodyRule::Stream(_)), data, "only data come in pieces");
    match handle(Message { kind, body: body.clone() }, is_port) {
        Ok(Request::Data(same)) => {
            assert_eq!(kind, DATA);
            assert!(!same.is_empty() && same == body);
        }
        Ok(Request::PortEvent(event)) => {
            assert!(is_port && kind == PORT_EVENT && event == body[0]);
        }
        Ok(Request::Nothing) => assert!((1..=6).contains(&kind)),
        Err(_) => {
            assert!(kind != DATA || body.is_empty());
            assert!(kind != PORT_EVENT || !is_port || body.is_empty());
        }
    }
    if let Some(header) = body.first_chunk() {
        let (compression, length) = parse_compressed_header(*header);
        assert_eq!(compressed_header(length)[1..], header[1..]);
        assert_eq!(compression, header[0]);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let kinds = [1, 3, 6, 101, 102, 201, 202];
    kinds.iter().map(|kind| [&[0, *kind, 1][..], &[1, 4, 0, 0, 0, 7, 7]].concat()).collect()
}

//! The client's side of a channel (docs/protocol/channel.md): messages cut and framed,
//! acknowledgements, pings, compression. Sans-IO.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use spice_server::channel::compressor::Compressor;
use spice_server::channel::decompressor::{Corrupt, Decompressor};
use spice_server::wire::Reader;
use spice_server::wire::common::{ACK, ACK_SYNC, NOTIFY, PING, PONG, SET_ACK};
use spice_server::wire::header::{Header, HeaderForm};
use spice_server::wire::spicevmc::{CAP_LZ4, COMPRESSED_DATA, DATA};

use crate::link::Linked;

/// An established connection to a channel.
pub(crate) struct Channel {
    form: HeaderForm,
    serial: u64,
    input: BytesMut,
    output: BytesMut,
    /// After so many messages an ACK is due; 0: never.
    window: u32,
    unacknowledged: u32,
    decompressor: Decompressor,
    /// Where the server takes compressed data.
    compressor: Option<Compressor>,
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A message of the channel's own.
    Message { kind: u16, body: Bytes },
    /// A text for the user.
    Notice(String),
    /// The session is to go on elsewhere, or is ended by the server.
    Leaving,
}

/// The server does not keep to the protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// No message of these channels is as long.
    #[error("the server announces a message of {0} bytes")]
    TooLong(u32),
    /// A message ends inside its fields.
    #[error("the server's message of type {0} is cut off")]
    CutOff(u16),
    /// Compressed data that are none.
    #[error("the server's compressed data are wrong: {0}")]
    Corrupt(#[from] Corrupt),
}

/// The longest message that is taken; servers send data in blocks of 64 KiB.
const MESSAGE_MAX: u32 = 1 << 20;

/// Server to client: the session goes on at another server.
const MIGRATE: u16 = 1;
/// Server to client: the server is about to close the connection.
const DISCONNECTING: u16 = 6;

impl Channel {
    /// A channel at the start of its first message. `compress`: data that shrink leave
    /// compressed if the server takes that.
    pub(crate) fn new(linked: &Linked, compress: bool) -> Self {
        let compress = compress && linked.channel_caps.has(CAP_LZ4);
        Self {
            form: linked.form,
            serial: 0,
            input: BytesMut::from(&linked.rest[..]),
            output: BytesMut::new(),
            window: 0,
            unacknowledged: 0,
            decompressor: Decompressor::new(Arc::default()),
            compressor: compress.then(|| Compressor::new(Arc::default())),
        }
    }

    /// Takes bytes of the server's.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next thing that the server has said; `None` when more bytes are needed.
    pub(crate) fn poll(&mut self) -> Result<Option<Said>, Broken> {
        loop {
            if let Some(body) = self.decompressor.poll_data()? {
                return Ok(Some(Said::Message { kind: DATA, body }));
            }
            let Some((kind, body)) = self.poll_message()? else {
                return Ok(None);
            };
            self.acknowledge();
            if kind == COMPRESSED_DATA {
                self.decompressor.handle_piece(body, 0)?;
            } else if let Some(said) = self.handle_message(kind, body)? {
                return Ok(Some(said));
            }
        }
    }

    /// Whether a whole message waits.
    pub(crate) fn has_message(&self) -> bool {
        let header = self.form.parse(&self.input);
        header.is_some_and(|it| self.input.len() - self.form.bytes() >= it.size as usize)
    }

    /// Puts a message into the output.
    pub(crate) fn send(&mut self, kind: u16, body: &[u8]) {
        self.serial += 1;
        let start = self.output.len();
        self.output.resize(start + self.form.bytes(), 0);
        let header = Header { kind, size: body.len() as u32 };
        self.form.write(&mut self.output[start..], header, self.serial);
        self.output.extend_from_slice(body);
    }

    /// Puts a block of data into the output, compressed if that makes it shorter.
    pub(crate) fn send_data(&mut self, block: &[u8]) {
        let mut compressor = self.compressor.take();
        match compressor.as_mut().and_then(|compressor| compressor.squeeze(block)) {
            Some(packed) => self.send(COMPRESSED_DATA, packed),
            None => self.send(DATA, block),
        }
        self.compressor = compressor;
    }

    /// What is to be sent.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// So many bytes of the output have been sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.output.advance(count);
    }

    fn poll_message(&mut self) -> Result<Option<(u16, Bytes)>, Broken> {
        let Some(header) = self.form.parse(&self.input) else {
            return Ok(None);
        };
        if header.size > MESSAGE_MAX {
            return Err(Broken::TooLong(header.size));
        }
        let end = self.form.bytes() + header.size as usize;
        if self.input.len() < end {
            return Ok(None);
        }
        let mut message = self.input.split_to(end);
        Ok(Some((header.kind, message.split_off(self.form.bytes()).freeze())))
    }

    fn acknowledge(&mut self) {
        self.unacknowledged += 1;
        if self.window != 0 && self.unacknowledged >= self.window {
            self.unacknowledged = 0;
            self.send(ACK, &[]);
        }
    }

    /// Messages that all channels have are dealt with here.
    fn handle_message(&mut self, kind: u16, body: Bytes) -> Result<Option<Said>, Broken> {
        let mut reader = Reader::new(&body);
        let cut_off = |_| Broken::CutOff(kind);
        Ok(match kind {
            SET_ACK => {
                let generation = reader.u32().map_err(cut_off)?;
                self.window = reader.u32().map_err(cut_off)?;
                self.unacknowledged = 0;
                self.send(ACK_SYNC, &generation.to_le_bytes());
                None
            }
            PING => {
                let id_and_time = reader.array::<12>().map_err(cut_off)?;
                self.send(PONG, &id_and_time);
                None
            }
            NOTIFY => {
                reader.bytes(20).map_err(cut_off)?;
                let length = reader.u32().map_err(cut_off)? as usize;
                let text = reader.bytes(length).map_err(cut_off)?;
                Some(Said::Notice(String::from_utf8_lossy(text).into_owned()))
            }
            MIGRATE | DISCONNECTING => Some(Said::Leaving),
            _ => Some(Said::Message { kind, body }),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spice_server::wire::common;
    use spice_server::wire::spicevmc::compressed_header;

    use super::*;

    fn channel(form: HeaderForm) -> Channel {
        let caps = [CAP_LZ4].into_iter().collect();
        Channel::new(&Linked { form, channel_caps: caps, rest: Vec::new() }, true)
    }

    fn frame(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 6];
        HeaderForm::Mini.write(&mut bytes, Header { kind, size: body.len() as u32 }, 0);
        [&bytes, body].concat()
    }

    fn all(channel: &mut Channel) -> Vec<Said> {
        std::iter::from_fn(|| channel.poll().expect("a good server")).collect()
    }

    fn take_output(channel: &mut Channel) -> Vec<u8> {
        let bytes = channel.output().to_vec();
        channel.sent(bytes.len());
        bytes
    }

    #[test]
    fn pings_are_answered_without_their_padding() {
        let mut channel = channel(HeaderForm::Mini);
        channel.handle_bytes(&frame(PING, &common::ping(5, 6, 1000)));
        assert_eq!(all(&mut channel), []);
        assert_eq!(take_output(&mut channel), frame(PONG, &common::ping(5, 6, 0)));
    }

    #[test]
    fn every_window_is_acknowledged_compressed_or_not() {
        let mut channel = channel(HeaderForm::Mini);
        channel.handle_bytes(&frame(SET_ACK, &[9, 0, 0, 0, 2, 0, 0, 0]));
        assert_eq!(all(&mut channel), []);
        assert_eq!(take_output(&mut channel), frame(ACK_SYNC, &[9, 0, 0, 0]));
        let packed = lz4_flex::block::compress(&[7; 5000]);
        let packed = [&compressed_header(5000)[..], &packed].concat();
        channel.handle_bytes(&frame(COMPRESSED_DATA, &packed));
        assert_eq!(all(&mut channel).len(), 1);
        assert!(channel.output().is_empty());
        channel.handle_bytes(&frame(DATA, b"x"));
        assert_eq!(all(&mut channel).len(), 1);
        assert_eq!(take_output(&mut channel), frame(ACK, &[]));
    }

    #[test]
    fn what_the_server_tells_the_user_comes_out() {
        let mut channel = channel(HeaderForm::Mini);
        channel.handle_bytes(&frame(NOTIFY, &common::notification(1, 2, 3, "mind the gap")));
        channel.handle_bytes(&frame(DISCONNECTING, &[0; 12]));
        assert_eq!(all(&mut channel), [Said::Notice("mind the gap".to_owned()), Said::Leaving]);
    }

    #[test]
    fn messages_that_are_too_long_or_too_short_are_errors() {
        let mut long = channel(HeaderForm::Mini);
        long.handle_bytes(&[101, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(long.poll(), Err(Broken::TooLong(u32::MAX)));
        for kind in [SET_ACK, PING, NOTIFY] {
            let mut short = channel(HeaderForm::Mini);
            short.handle_bytes(&frame(kind, &[0; 7]));
            assert_eq!(short.poll(), Err(Broken::CutOff(kind)));
        }
    }

    #[test]
    fn serials_count_from_one_in_long_headers() {
        let mut channel = channel(HeaderForm::Full);
        channel.send(ACK, &[]);
        channel.send(ACK, &[]);
        let output = take_output(&mut channel);
        assert_eq!((output[0], output[18], output.len()), (1, 2, 36));
    }

    proptest! {
        #[test]
        fn data_come_back_whatever_the_pieces(
            blocks in prop::collection::vec((any::<u8>(), 1usize..4000), 1..20),
            cut in 1usize..500,
        ) {
            let (mut ours, mut theirs) = (channel(HeaderForm::Mini), channel(HeaderForm::Mini));
            let mut expected = Vec::new();
            for (byte, length) in blocks {
                let block = vec![byte; length];
                ours.send_data(&block);
                expected.extend(block);
            }
            let mut got = Vec::new();
            for piece in take_output(&mut ours).chunks(cut) {
                theirs.handle_bytes(piece);
                for said in all(&mut theirs) {
                    let Said::Message { kind: DATA, body } = said else { panic!("{said:?}") };
                    got.extend_from_slice(&body);
                }
            }
            prop_assert!(got == expected);
        }
    }
}

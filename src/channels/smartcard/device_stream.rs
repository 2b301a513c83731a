//! What the device says, cut into messages for the client.

use bytes::{Buf, Bytes, BytesMut};

use crate::config::limits;
use crate::wire::smartcard::{Header, READER, kind};

/// The bytes of the device that are no whole message yet. Any split is fine.
#[derive(Debug, Default)]
pub struct DeviceStream {
    input: BytesMut,
    /// Bytes still to come of a message that is too long to be kept.
    skipping: usize,
}

/// A message was too long: its bytes are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device announces a message of {0} bytes, which is passed over")]
pub struct TooLong(pub u32);

impl DeviceStream {
    /// The device has said this.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.skip();
    }

    /// The next message for the client: the body of a DATA message with the server's
    /// number of the reader. `None` while none is whole.
    pub fn poll_message(&mut self) -> Result<Option<Bytes>, TooLong> {
        loop {
            let Some(header) = self.input.first_chunk().map(Header::from_device) else {
                return Ok(None);
            };
            if header.length > limits::SMARTCARD_FROM_DEVICE {
                self.input.advance(Header::BYTES);
                self.skipping = header.length as usize;
                self.skip();
                return Err(TooLong(header.length));
            }
            let end = Header::BYTES + header.length as usize;
            if self.input.len() < end {
                return Ok(None);
            }
            let message = self.input.split_to(end);
            // What the device says of itself is no client's business.
            if header.kind != kind::INIT {
                let header = Header { reader: READER, ..header };
                return Ok(Some(header.to_client(&message[Header::BYTES..])));
            }
        }
    }

    /// What has been said of a message that is not whole, for another host. Of a message
    /// that is being passed over the rest is announced as one that no client gets.
    pub fn begun(&self) -> Bytes {
        if self.skipping > 0 {
            let length = u32::try_from(self.skipping).unwrap_or(u32::MAX);
            return Header { kind: kind::INIT, reader: READER, length }.to_device(&[]);
        }
        Bytes::copy_from_slice(&self.input)
    }

    fn skip(&mut self) {
        let passed = self.skipping.min(self.input.len());
        self.input.advance(passed);
        self.skipping -= passed;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(kind: u32, data: &[u8]) -> Bytes {
        Header { kind, reader: 9, length: data.len() as u32 }.to_device(data)
    }

    fn heard(kind: u32, data: &[u8]) -> Bytes {
        Header { kind, reader: READER, length: data.len() as u32 }.to_client(data)
    }

    #[test]
    fn init_stays_here() {
        let mut stream = DeviceStream::default();
        stream.handle_bytes(&[said(kind::INIT, b"version"), said(kind::APDU, b"a")].concat());
        assert_eq!(stream.poll_message(), Ok(Some(heard(kind::APDU, b"a"))));
        assert_eq!(stream.poll_message(), Ok(None));
    }

    #[test]
    fn a_message_of_any_length_takes_no_memory() {
        let length = u32::MAX;
        let mut stream = DeviceStream::default();
        stream.handle_bytes(&Header { kind: kind::APDU, reader: 0, length }.to_device(b"begin"));
        assert_eq!(stream.poll_message(), Err(TooLong(length)));
        let chunk = vec![7; 1 << 24];
        let mut left = length as usize - 5;
        while left > 0 {
            let now = left.min(chunk.len());
            stream.handle_bytes(&chunk[..now]);
            assert_eq!(stream.poll_message(), Ok(None));
            assert_eq!(stream.input.len(), 0);
            left -= now;
        }
        stream.handle_bytes(&said(kind::ATR, b"atr"));
        assert_eq!(stream.poll_message(), Ok(Some(heard(kind::ATR, b"atr"))));
    }

    #[test]
    fn what_has_begun_goes_on_on_another_host() {
        let (first, second) = (said(kind::APDU, b"abcd"), said(kind::ATR, b"atr"));
        let long = Header { kind: kind::APDU, reader: 0, length: 200_000 }.to_device(&[]);
        let long = [&long[..], &vec![7; 200_000]].concat();
        let bytes = [&first[..], &second, &long, &first].concat();
        for cut in (0..60).chain([100_000, 200_000, bytes.len()]) {
            let (here, there) = bytes.split_at(cut);
            let mut out = Vec::new();
            let mut drain = |stream: &mut DeviceStream| {
                loop {
                    match stream.poll_message() {
                        Ok(Some(message)) => out.push(message),
                        Ok(None) => break,
                        Err(TooLong(_)) => {}
                    }
                }
            };
            let mut source = DeviceStream::default();
            source.handle_bytes(here);
            drain(&mut source);
            let mut target = DeviceStream::default();
            target.handle_bytes(&source.begun());
            drain(&mut target);
            target.handle_bytes(there);
            drain(&mut target);
            let wanted =
                [heard(kind::APDU, b"abcd"), heard(kind::ATR, b"atr"), heard(kind::APDU, b"abcd")];
            assert_eq!(out, wanted, "cut after {cut} bytes");
        }
    }

    #[test]
    fn the_longest_message_passes() {
        let longest = vec![1; limits::SMARTCARD_FROM_DEVICE as usize];
        let mut stream = DeviceStream::default();
        stream.handle_bytes(&said(kind::APDU, &longest));
        assert_eq!(stream.poll_message(), Ok(Some(heard(kind::APDU, &longest))));
        stream.handle_bytes(&said(kind::APDU, &[&longest[..], &[1]].concat()));
        assert_eq!(stream.poll_message(), Err(TooLong(limits::SMARTCARD_FROM_DEVICE + 1)));
        assert_eq!(stream.poll_message(), Ok(None));
    }

    proptest! {
        /// However the device's bytes are split, the same messages come out.
        #[test]
        fn any_split(
            messages in prop::collection::vec((2_u32..10, prop::collection::vec(any::<u8>(), 0..60)), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = messages.iter().map(|(kind, data)| said(*kind, data)).collect::<Vec<_>>().concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut stream = DeviceStream::default();
            let mut out = Vec::new();
            let mut from = 0;
            for to in cuts.into_iter().chain([bytes.len()]) {
                stream.handle_bytes(&bytes[from..to]);
                from = to;
                while let Some(message) = stream.poll_message().expect("none is long") {
                    out.push(message);
                }
            }
            let wanted: Vec<_> = messages.iter().map(|(kind, data)| heard(*kind, data)).collect();
            prop_assert_eq!(out, wanted);
        }
    }
}

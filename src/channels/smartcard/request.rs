//! What a client's message asks for.

use bytes::Bytes;

use crate::channel::framing::Message;
use crate::wire::common::{self, Malformed};
use crate::wire::smartcard::{
    Code, DATA, Header, READER, UNDEFINED_READER, error, kind as vsc, plain,
};

/// Where a client stands with the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The reader is this client's.
    Holder {
        /// The device was told of a reader, and not yet that it is gone.
        added: bool,
    },
    /// Nobody has it.
    Free,
    /// It is another client's.
    Taken,
}

/// What a client's message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Give the client the reader, unless it has it, and tell the device this.
    AddReader(Bytes),
    /// Tell the device this: the reader is gone. The client keeps its claim.
    RemoveReader(Bytes),
    /// Pass this on to the device.
    Forward(Bytes),
    /// Answer this.
    Answer(Bytes),
    /// Nothing; a VSC message of this kind is not for a client to send.
    Stray(u32),
    /// Nothing at all.
    Nothing,
}

/// Why a client is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No message of this channel.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The VSC message is longer than the one that carries it.
    #[error("a VSC message announces {announced} bytes where {there} are")]
    Short {
        /// Length of the data by the header.
        announced: u32,
        /// Bytes behind the header.
        there: usize,
    },
    /// There is no such reader.
    #[error("a VSC message of kind {kind} for reader {reader}, which does not exist")]
    NoSuchReader {
        /// Its kind.
        kind: u32,
        /// The number in it.
        reader: u32,
    },
    /// The client has no reader.
    #[error("a VSC message of kind {0} from a client without a reader")]
    NotHolder(u32),
}

/// Understands one message.
pub fn handle(message: &Message, standing: Standing) -> Result<Request, Refused> {
    if let Some(common) = common::parse(message.kind, &message.body) {
        return Ok(common.map(|_| Request::Nothing)?);
    }
    if message.kind != DATA {
        return Err(Malformed::Unknown(message.kind).into());
    }
    let (header, behind) =
        message.body.split_first_chunk().ok_or(Malformed::Short(message.kind))?;
    let header = Header::from_client(header);
    let announced = header.length;
    // What comes behind the announced data is not looked at, as upstream does not.
    let data = behind
        .get(..announced as usize)
        .ok_or(Refused::Short { announced, there: behind.len() })?;
    let Header { kind, reader, .. } = header;
    match kind {
        vsc::INIT => Ok(Request::Nothing),
        vsc::READER_ADD if standing == Standing::Taken => {
            Ok(Request::Answer(error(UNDEFINED_READER, Code::CannotAddMoreReaders)))
        }
        // The reader's name stays here: QEMU's reader has one of its own.
        vsc::READER_ADD => Ok(Request::AddReader(plain(vsc::READER_ADD))),
        vsc::READER_REMOVE => {
            Ok(if reader == READER && standing == (Standing::Holder { added: true }) {
                Request::RemoveReader(plain(vsc::READER_REMOVE))
            } else {
                Request::Answer(error(reader, Code::General))
            })
        }
        vsc::ERROR | vsc::ATR | vsc::CARD_REMOVE | vsc::APDU => {
            if reader != READER {
                return Err(Refused::NoSuchReader { kind, reader });
            }
            if !matches!(standing, Standing::Holder { .. }) {
                return Err(Refused::NotHolder(kind));
            }
            Ok(Request::Forward(header.to_device(data)))
        }
        _ => Ok(Request::Stray(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDER: Standing = Standing::Holder { added: true };

    fn ask(kind: u32, reader: u32, data: &[u8], standing: Standing) -> Result<Request, Refused> {
        let body = Header { kind, reader, length: data.len() as u32 }.to_client(data);
        handle(&Message { kind: DATA, body }, standing)
    }

    #[test]
    fn a_card_is_passed_on_in_the_device_s_order() {
        let wanted = Bytes::from_static(&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2]);
        assert_eq!(ask(vsc::APDU, 0, &[1, 2], HOLDER), Ok(Request::Forward(wanted)));
        // Surplus bytes stay here.
        let header = Header { kind: vsc::CARD_REMOVE, reader: 0, length: 0 };
        let body = header.to_client(b"surplus");
        let wanted = Request::Forward(plain(vsc::CARD_REMOVE));
        assert_eq!(handle(&Message { kind: DATA, body }, HOLDER), Ok(wanted));
    }

    #[test]
    fn a_reader_is_added_without_its_name() {
        let wanted = Ok(Request::AddReader(plain(vsc::READER_ADD)));
        assert_eq!(ask(vsc::READER_ADD, UNDEFINED_READER, b"name", HOLDER), wanted);
        assert_eq!(ask(vsc::READER_ADD, UNDEFINED_READER, b"name", Standing::Free), wanted);
        let refused = Ok(Request::Answer(error(UNDEFINED_READER, Code::CannotAddMoreReaders)));
        assert_eq!(ask(vsc::READER_ADD, 0, b"name", Standing::Taken), refused);
    }

    #[test]
    fn only_the_holder_removes_a_reader_that_it_added() {
        let wanted = Ok(Request::RemoveReader(plain(vsc::READER_REMOVE)));
        assert_eq!(ask(vsc::READER_REMOVE, 0, b"", HOLDER), wanted);
        let not_added = Standing::Holder { added: false };
        for (reader, standing) in
            [(1, HOLDER), (UNDEFINED_READER, HOLDER), (0, not_added), (0, Standing::Taken)]
        {
            let refused = Ok(Request::Answer(error(reader, Code::General)));
            assert_eq!(ask(vsc::READER_REMOVE, reader, b"", standing), refused);
        }
    }

    #[test]
    fn a_card_needs_a_reader() {
        for kind in [vsc::ERROR, vsc::ATR, vsc::CARD_REMOVE, vsc::APDU] {
            for reader in [1, 9, UNDEFINED_READER] {
                let refused = Refused::NoSuchReader { kind, reader };
                assert_eq!(ask(kind, reader, b"", HOLDER), Err(refused));
            }
            assert_eq!(ask(kind, 0, b"", Standing::Free), Err(Refused::NotHolder(kind)));
            assert_eq!(ask(kind, 0, b"", Standing::Taken), Err(Refused::NotHolder(kind)));
            let not_added = Standing::Holder { added: false };
            assert!(matches!(ask(kind, 0, b"", not_added), Ok(Request::Forward(_))));
        }
    }

    #[test]
    fn what_is_not_for_clients_to_say() {
        assert_eq!(ask(vsc::INIT, 0, b"", Standing::Free), Ok(Request::Nothing));
        assert_eq!(ask(8, 0, b"", HOLDER), Ok(Request::Stray(8)));
        assert_eq!(ask(0, 77, b"", HOLDER), Ok(Request::Stray(0)));
        let other = Message { kind: 102, body: Bytes::new() };
        assert_eq!(handle(&other, HOLDER), Err(Malformed::Unknown(102).into()));
    }

    #[test]
    fn lengths_are_those_of_the_body() {
        let whole = Header { kind: vsc::ATR, reader: 0, length: 3 }.to_client(&[1, 2, 3]);
        for length in 0..whole.len() {
            let short = Message { kind: DATA, body: whole.slice(..length) };
            let wanted = match length.checked_sub(Header::BYTES) {
                None => Malformed::Short(DATA).into(),
                Some(there) => Refused::Short { announced: 3, there },
            };
            assert_eq!(handle(&short, HOLDER), Err(wanted));
        }
        let endless = Header { kind: vsc::INIT, reader: 0, length: u32::MAX }.to_client(&[]);
        let wanted = Refused::Short { announced: u32::MAX, there: 0 };
        assert_eq!(handle(&Message { kind: DATA, body: endless }, HOLDER), Err(wanted));
    }
}

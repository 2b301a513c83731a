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
        /// The device was told of a reader or a card, and not yet that the reader is gone.
        present: bool,
    },
    /// Nobody has it.
    Free,
    /// It is another client's.
    Taken,
}

/// What a client's message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Tell the device this, and give the client the reader if nobody has it.
    Tell {
        /// The message in the device's order.
        message: Bytes,
        /// What [`Standing::Holder`] is from then on.
        present: bool,
    },
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
        vsc::READER_ADD => Ok(Request::Tell { message: plain(kind), present: true }),
        vsc::READER_REMOVE => {
            Ok(if reader == READER && standing == (Standing::Holder { present: true }) {
                Request::Tell { message: plain(kind), present: false }
            } else {
                Request::Answer(error(reader, Code::General))
            })
        }
        vsc::ERROR | vsc::ATR | vsc::CARD_REMOVE | vsc::APDU => {
            if reader != READER {
                return Err(Refused::NoSuchReader { kind, reader });
            }
            let Standing::Holder { present } = standing else {
                return Err(Refused::NotHolder(kind));
            };
            // spice-gtk brings a reader once in its life: in its second session a card
            // comes without one.
            let present = present || kind == vsc::ATR;
            Ok(Request::Tell { message: header.to_device(data), present })
        }
        _ => Ok(Request::Stray(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDER: Standing = Standing::Holder { present: true };
    const NOTHING_YET: Standing = Standing::Holder { present: false };

    fn ask(kind: u32, reader: u32, data: &[u8], standing: Standing) -> Result<Request, Refused> {
        let body = Header { kind, reader, length: data.len() as u32 }.to_client(data);
        handle(&Message { kind: DATA, body }, standing)
    }

    fn tell(message: Bytes, present: bool) -> Request {
        Request::Tell { message, present }
    }

    #[test]
    fn a_card_is_passed_on_in_the_device_s_order() {
        let wanted = Bytes::from_static(&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2]);
        assert_eq!(ask(vsc::APDU, 0, &[1, 2], HOLDER), Ok(tell(wanted, true)));
        // Surplus bytes stay here.
        let header = Header { kind: vsc::CARD_REMOVE, reader: 0, length: 0 };
        let body = header.to_client(b"surplus");
        let wanted = Ok(tell(plain(vsc::CARD_REMOVE), true));
        assert_eq!(handle(&Message { kind: DATA, body }, HOLDER), wanted);
    }

    #[test]
    fn a_reader_is_added_without_its_name() {
        for standing in [HOLDER, NOTHING_YET, Standing::Free] {
            let told = ask(vsc::READER_ADD, UNDEFINED_READER, b"name", standing);
            assert_eq!(told, Ok(tell(plain(vsc::READER_ADD), true)));
        }
        let refused = Ok(Request::Answer(error(UNDEFINED_READER, Code::CannotAddMoreReaders)));
        assert_eq!(ask(vsc::READER_ADD, 0, b"name", Standing::Taken), refused);
    }

    #[test]
    fn only_the_holder_removes_a_reader_that_is_there() {
        let wanted = Ok(tell(plain(vsc::READER_REMOVE), false));
        assert_eq!(ask(vsc::READER_REMOVE, 0, b"", HOLDER), wanted);
        for (reader, standing) in
            [(1, HOLDER), (UNDEFINED_READER, HOLDER), (0, NOTHING_YET), (0, Standing::Taken)]
        {
            let refused = Ok(Request::Answer(error(reader, Code::General)));
            assert_eq!(ask(vsc::READER_REMOVE, reader, b"", standing), refused);
        }
    }

    #[test]
    fn a_card_brings_its_reader() {
        for kind in [vsc::ERROR, vsc::ATR, vsc::CARD_REMOVE, vsc::APDU] {
            let message = Header { kind, reader: 0, length: 1 }.to_device(&[9]);
            assert_eq!(ask(kind, 0, &[9], NOTHING_YET), Ok(tell(message, kind == vsc::ATR)));
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

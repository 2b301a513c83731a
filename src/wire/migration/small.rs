//! The bodies of a few fields: inputs, smartcard, and the channels that carry a device's
//! data as they are.

use super::{BadData, Body, CHAR_DEVICE, HEAD, Magic, begin, flag_of};

/// The inputs channel: u16 movements since the last acknowledgement.
pub fn inputs(unacknowledged: u16) -> Vec<u8> {
    let mut body = begin(Magic::INPUTS);
    body.extend_from_slice(&unacknowledged.to_le_bytes());
    body
}

/// Movements since the last acknowledgement.
pub fn parse_inputs(bytes: &[u8]) -> Result<u16, BadData> {
    Ok(Body::parse(Magic::INPUTS, bytes)?.fields().u16()?)
}

/// The bytes of a usbredir, port, webdav or registered channel in front of the data: the
/// head and the device's block.
pub const SPICEVMC: usize = HEAD + CHAR_DEVICE;

/// A usbredir, port, webdav or registered channel: the device's block, whose pointer says
/// [`SPICEVMC`] unless there are no data, and the data that the device has not taken.
pub fn spicevmc(device: &[u8; CHAR_DEVICE], data: &[u8]) -> Vec<u8> {
    let mut body = begin(Magic::SPICEVMC);
    body.extend_from_slice(device);
    body.extend_from_slice(data);
    body
}

/// The device's block, and the body for what it points to.
pub fn parse_spicevmc(bytes: &[u8]) -> Result<([u8; CHAR_DEVICE], Body<'_>), BadData> {
    let body = Body::parse(Magic::SPICEVMC, bytes)?;
    Ok((body.fields().array()?, body))
}

/// The smartcard channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smartcard<'a> {
    /// The device's block.
    pub device: [u8; CHAR_DEVICE],
    /// The device was told of the client's reader or card.
    pub present: bool,
    /// What the device has said of a message that is not whole.
    pub begun: &'a [u8],
}

impl<'a> Smartcard<'a> {
    /// Bytes of the body in front of what is pointed to.
    pub const FIXED: usize = HEAD + CHAR_DEVICE + 9;

    /// The body: u8 present, u32 length and u32 place of what has begun, behind the block.
    /// Its parts are first the `data` that the device has not taken, then what has begun.
    pub fn encode(&self, data: &[u8]) -> Vec<u8> {
        let mut body = begin(Magic::SMARTCARD);
        body.extend_from_slice(&self.device);
        body.push(self.present.into());
        let at = if self.begun.is_empty() { 0 } else { Self::FIXED + data.len() };
        for word in [self.begun.len(), at] {
            body.extend_from_slice(&(word as u32).to_le_bytes());
        }
        body.extend_from_slice(data);
        body.extend_from_slice(self.begun);
        body
    }

    /// The fields, and the body for what the block points to.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, Body<'a>), BadData> {
        let body = Body::parse(Magic::SMARTCARD, bytes)?;
        let mut fields = body.fields();
        let (device, present) = (fields.array()?, flag_of(&mut fields)?);
        let (length, at) = (fields.u32()?, fields.u32()?);
        let begun = body.part(Self::FIXED, at, length.into())?;
        Ok((Self { device, present, begun }, body))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Truncated;

    const DEVICE: [u8; CHAR_DEVICE] = [7; CHAR_DEVICE];

    #[test]
    fn inputs_say_one_number() {
        let body = inputs(0x0203);
        assert_eq!(body, b"ICMD\x01\0\0\0\x03\x02");
        assert_eq!(parse_inputs(&body), Ok(0x0203));
        assert_eq!(parse_inputs(&body[..9]), Err(Truncated.into()));
    }

    #[test]
    fn data_stand_behind_their_block() {
        let body = spicevmc(&DEVICE, b"data");
        assert_eq!(body.len(), 33 + 4);
        let (device, body) = parse_spicevmc(&body).expect("a good body");
        assert_eq!(device, DEVICE);
        assert_eq!(body.part(SPICEVMC, 33, 4), Ok(&b"data"[..]));
        assert!(parse_spicevmc(&spicevmc(&DEVICE, b"")[..32]).is_err());
    }

    #[test]
    fn a_card_has_two_parts() {
        let card = Smartcard { device: DEVICE, present: true, begun: b"half" };
        let bytes = card.encode(b"data");
        assert_eq!(bytes[33..42], [1, 4, 0, 0, 0, 46, 0, 0, 0]);
        let (parsed, body) = Smartcard::parse(&bytes).expect("a good body");
        assert_eq!(parsed, card);
        assert_eq!(body.part(Smartcard::FIXED, 42, 4), Ok(&b"data"[..]));
        let empty = Smartcard { device: DEVICE, present: false, begun: &[] };
        let bytes = empty.encode(&[]);
        assert_eq!(bytes[33..], [0; 9]);
        assert!(Smartcard::parse(&bytes[..41]).is_err());
        let mut bytes = card.encode(&[]);
        bytes.pop();
        assert_eq!(Smartcard::parse(&bytes), Err(BadData::Outside { at: 42, length: 4 }));
    }

    impl PartialEq for Body<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    proptest! {
        #[test]
        fn any_card_comes_back(
            device: [u8; CHAR_DEVICE],
            present: bool,
            data in prop::collection::vec(any::<u8>(), 0..50),
            begun in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let card = Smartcard { device, present, begun: &begun };
            let bytes = card.encode(&data);
            prop_assert_eq!(Smartcard::parse(&bytes).map(|(card, _)| card), Ok(card));
        }
    }
}

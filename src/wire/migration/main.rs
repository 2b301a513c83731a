//! The main channel's body: what is under way between the client and the guest's agent.

use super::{BadData, Body, CHAR_DEVICE, HEAD, Magic, begin, flag_of};
use crate::wire::Reader;
use crate::wire::agent::{ChunkHeader, Head};

/// The main channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Main<'a> {
    /// The block of the agent's device.
    pub device: [u8; CHAR_DEVICE],
    /// The client has begun with the agent.
    pub started: bool,
    /// How far the guest's bytes are understood.
    pub from_agent: FromAgent<'a>,
    /// The client's message.
    pub to_agent: Rest,
}

/// Where the guest's bytes stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromAgent<'a> {
    /// Between two chunks, or inside the header of one, of which these bytes have come.
    Header {
        /// Fewer than a header has.
        begun: &'a [u8],
        /// The message that goes on in the next chunk.
        message: Rest,
    },
    /// Inside a chunk.
    Chunk {
        /// Whose chunk it is.
        port: u32,
        /// What is still to come of it.
        rest: ChunkRest,
        /// What has come of the head of a message, if that is not whole.
        begun: &'a [u8],
        /// The message that goes on here.
        message: Rest,
    },
}

/// The part of a chunk that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkRest {
    /// So many bytes.
    Exact(u32),
    /// So many bytes behind the present piece of 2048 bytes at most, whose end nobody
    /// knows: upstream's way when the head of a message is not whole.
    BehindPiece(u32),
}

/// What is left of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// In bytes; 0 between two messages.
    pub bytes: u32,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a message. The numbers are upstream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    #[default]
    Pass = 0,
    /// It does not.
    Discard = 1,
    /// It broke the protocol.
    Broken = 2,
    /// The server reads it: the client's monitors.
    Monitors = 3,
}

/// What upstream reads the head's bytes behind of where it says: it takes a wrong header's
/// length off. A body of ours has so many bytes more there, by which it is known.
const SHIFT: usize = 2;

impl<'a> Main<'a> {
    /// Bytes of the body in front of what is pointed to.
    pub const FIXED: usize = HEAD + 57;

    /// The body. Its parts are first the `data` that the agent has not taken, then what
    /// has come of the head of a message.
    pub fn encode(&self, data: &[u8]) -> Vec<u8> {
        let mut body = begin(Magic::MAIN);
        body.extend_from_slice(&self.device);
        body.push(self.started.into());
        let (begun, message) = match &self.from_agent {
            FromAgent::Header { begun, message } => {
                put_words(&mut body, &[begun.len() as u32]);
                let mut header = [0; ChunkHeader::BYTES];
                header[..begun.len()].copy_from_slice(begun);
                body.extend_from_slice(&header);
                (&[][..], message)
            }
            FromAgent::Chunk { port, rest, begun, message } => {
                let (ChunkRest::Exact(size) | ChunkRest::BehindPiece(size)) = *rest;
                put_words(&mut body, &[ChunkHeader::BYTES as u32]);
                ChunkHeader { port: *port, size }.put(&mut body);
                (*begun, message)
            }
        };
        let in_chunk = matches!(self.from_agent, FromAgent::Chunk { .. });
        body.push((in_chunk && begun.is_empty()).into());
        let at = if begun.is_empty() { 0 } else { Self::FIXED + data.len() };
        put_words(&mut body, &[begun.len() as u32, at as u32]);
        put_rest(&mut body, *message);
        put_rest(&mut body, self.to_agent);
        body.extend_from_slice(data);
        if let FromAgent::Chunk { rest: ChunkRest::Exact(_), begun: [_, ..], .. } = self.from_agent
        {
            body.extend_from_slice(&[0; SHIFT]);
        }
        body.extend_from_slice(begun);
        body
    }

    /// The fields, and the body for what the block points to.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, Body<'a>), BadData> {
        let body = Body::parse(Magic::MAIN, bytes)?;
        let mut fields = body.fields();
        let (device, started) = (fields.array()?, flag_of(&mut fields)?);
        let header_length = fields.u32()?;
        let header = fields.bytes(ChunkHeader::BYTES)?;
        let (head_done, head_length, at) = (flag_of(&mut fields)?, fields.u32()?, fields.u32()?);
        let (message, to_agent) = (rest_of(&mut fields)?, rest_of(&mut fields)?);
        let begun = header.get(..header_length as usize);
        let begun =
            begun.ok_or(BadData::Value("the chunk header's length", header_length.into()))?;
        let Some(header) = begun.first_chunk() else {
            let from_agent = FromAgent::Header { begun, message };
            return Ok((Self { device, started, from_agent, to_agent }, body));
        };
        let ChunkHeader { port, size } = ChunkHeader::parse(*header);
        if head_length as usize >= Head::BYTES {
            return Err(BadData::Value("the length of a begun head", head_length.into()));
        }
        let mut rest = ChunkRest::Exact(size);
        let mut begun = &[][..];
        if !head_done && head_length > 0 {
            begun = body.part(Self::FIXED, at, head_length.into())?;
            if body.behind(at, begun.len()).len() >= SHIFT {
                begun = body.part(Self::FIXED, at + SHIFT as u32, head_length.into())?;
            } else {
                rest = ChunkRest::BehindPiece(size);
            }
        }
        let message = if begun.is_empty() { message } else { Rest::default() };
        let from_agent = FromAgent::Chunk { port, rest, begun, message };
        Ok((Self { device, started, from_agent, to_agent }, body))
    }
}

fn put_words(body: &mut Vec<u8>, words: &[u32]) {
    body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

fn put_rest(body: &mut Vec<u8>, rest: Rest) {
    put_words(body, &[rest.bytes]);
    body.push(rest.fate as u8);
}

fn rest_of(fields: &mut Reader<'_>) -> Result<Rest, BadData> {
    let bytes = fields.u32()?;
    let fate = match fields.u8()? {
        0 => Fate::Pass,
        1 => Fate::Discard,
        2 => Fate::Broken,
        3 => Fate::Monitors,
        other => return Err(BadData::Value("what becomes of a message", other.into())),
    };
    Ok(Rest { bytes, fate })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::agent::port;

    const DEVICE: [u8; CHAR_DEVICE] = [9; CHAR_DEVICE];

    fn main(from_agent: FromAgent<'_>) -> Main<'_> {
        let to_agent = Rest { bytes: 0x0403_0201, fate: Fate::Discard };
        Main { device: DEVICE, started: true, from_agent, to_agent }
    }

    #[test]
    fn the_fields_stand_where_upstream_has_them() {
        let message = Rest { bytes: 7, fate: Fate::Monitors };
        let from_agent =
            FromAgent::Chunk { port: port::CLIENT, rest: ChunkRest::Exact(6), begun: &[], message };
        let bytes = main(from_agent).encode(b"data");
        let mut expected = b"MNMD\x01\0\0\0".to_vec();
        expected.extend(DEVICE);
        expected.extend([1, 8, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([7, 0, 0, 0, 3, 1, 2, 3, 4, 1]);
        assert_eq!(expected.len(), Main::FIXED);
        expected.extend(b"data");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn upstream_finds_the_head_two_bytes_behind_its_place() {
        let from_agent = FromAgent::Chunk {
            port: port::CLIENT,
            rest: ChunkRest::Exact(90),
            begun: b"head",
            message: Rest::default(),
        };
        let bytes = main(from_agent.clone()).encode(b"data");
        assert_eq!(bytes[46..55], [0, 4, 0, 0, 0, 69, 0, 0, 0]);
        assert_eq!(&bytes[69 + 2..], b"head");
        assert_eq!(Main::parse(&bytes).map(|(main, _)| main.from_agent), Ok(from_agent));
    }

    #[test]
    fn what_upstream_writes_has_the_head_at_its_place() {
        let from_agent = FromAgent::Chunk {
            port: port::CLIENT,
            rest: ChunkRest::BehindPiece(0),
            begun: b"head",
            message: Rest::default(),
        };
        let bytes = main(from_agent.clone()).encode(b"");
        assert_eq!(&bytes[65..], b"head");
        assert_eq!(Main::parse(&bytes).map(|(main, _)| main.from_agent), Ok(from_agent));
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let from_agent = FromAgent::Header { begun: &[1; 7], message: Rest::default() };
        let good = main(from_agent).encode(&[]);
        assert!(Main::parse(&good).is_ok());
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Main::parse(&bytes).map(|_| ())
        };
        assert_eq!(changed(34, 9), Err(BadData::Value("the chunk header's length", 9)));
        assert_eq!(changed(59, 4), Err(BadData::Value("what becomes of a message", 4)));
        assert_eq!(changed(64, 4), Err(BadData::Value("what becomes of a message", 4)));
        let mut bytes = good.clone();
        (bytes[34], bytes[47]) = (8, 20);
        let refused = BadData::Value("the length of a begun head", 20);
        assert_eq!(Main::parse(&bytes).map(|_| ()), Err(refused));
        bytes[47] = 19;
        assert!(matches!(Main::parse(&bytes), Err(BadData::Outside { .. })));
        for length in 0..good.len() {
            assert!(Main::parse(&good[..length]).is_err());
        }
    }

    fn rest() -> impl Strategy<Value = Rest> {
        let fate =
            prop::sample::select(vec![Fate::Pass, Fate::Discard, Fate::Broken, Fate::Monitors]);
        (any::<u32>(), fate).prop_map(|(bytes, fate)| Rest { bytes, fate })
    }

    proptest! {
        #[test]
        fn any_state_comes_back(
            device: [u8; CHAR_DEVICE],
            started: bool,
            begun in prop::collection::vec(any::<u8>(), 0..20),
            in_chunk: bool,
            port: u32,
            size: u32,
            (message, to_agent) in (rest(), rest()),
            data in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let from_agent = if in_chunk {
                let message = if begun.is_empty() { message } else { Rest::default() };
                FromAgent::Chunk { port, rest: ChunkRest::Exact(size), begun: &begun, message }
            } else {
                FromAgent::Header { begun: &begun[..begun.len().min(7)], message }
            };
            let main = Main { device, started, from_agent, to_agent };
            let bytes = main.encode(&data);
            let (parsed, body) = Main::parse(&bytes).expect("a good body");
            prop_assert_eq!(parsed, main);
            let length = data.len() as u64;
            prop_assert_eq!(body.part(Main::FIXED, Main::FIXED as u32, length), Ok(&data[..]));
        }
    }
}

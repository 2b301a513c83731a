//! The link handshake's structures: header, link message, link reply.
//!
//! Layouts and limits are those of docs/protocol/link.md; what the server does
//! with them is `crate::link`. No state, any thread.

use std::fmt;

use bytes::BufMut;

use super::{ChannelKey, Reader, Truncated};

/// The first four bytes of every link, in both directions.
pub const MAGIC: [u8; 4] = *b"REDQ";
/// The protocol's major version; another one is refused.
pub const MAJOR: u32 = 2;
/// The minor version that the server announces; the client's is not looked at.
pub const MINOR: u32 = 2;

/// Bytes of an RSA 1024 public key as a DER `SubjectPublicKeyInfo`.
pub const PUBLIC_KEY_BYTES: usize = 162;
/// Bytes of an encrypted ticket: the size of the RSA modulus.
pub const TICKET_BYTES: usize = 128;

/// The authentication mechanism "encrypted password".
pub const MECHANISM_SPICE: u32 = 1;
/// The authentication mechanism SASL.
pub const MECHANISM_SASL: u32 = 2;

/// Numbers of the capabilities common to all channels.
pub mod common_cap {
    /// The client names its mechanism before it authenticates.
    pub const AUTH_SELECTION: u32 = 0;
    /// Knows the encrypted password.
    pub const AUTH_SPICE: u32 = 1;
    /// Knows SASL.
    pub const AUTH_SASL: u32 = 2;
    /// Messages have the 6-byte header, in both directions.
    pub const MINI_HEADER: u32 = 3;
}

/// What stands before the link message and the link reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    /// Protocol version, see [`MAJOR`].
    pub major: u32,
    /// Protocol version, see [`MINOR`].
    pub minor: u32,
    /// How many bytes follow.
    pub size: u32,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkMess {
    /// The session to join; 0 makes a new one.
    pub connection_id: u32,
    /// The channel wanted.
    pub channel: ChannelKey,
    /// What the client knows on every channel.
    pub common_caps: CapSet,
    /// What the client knows on this channel.
    pub channel_caps: CapSet,
}

/// A link message that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLinkMess {
    /// Shorter than the fixed part.
    #[error("it is shorter than {fixed} bytes", fixed = LinkMess::FIXED_BYTES)]
    Short,
    /// A count above [`LinkMess::MAX_CAP_WORDS`].
    #[error("it announces {common} common and {channel} channel capability words")]
    TooManyCaps {
        /// The count of common words.
        common: u32,
        /// The count of channel words.
        channel: u32,
    },
    /// The words would begin inside the fixed part or end behind the message.
    #[error("its {words} capability words at offset {offset} lie outside its {size} bytes")]
    CapsOutside {
        /// Where the words are said to begin.
        offset: u32,
        /// How many there are said to be.
        words: u32,
        /// The size of the message.
        size: usize,
    },
}

/// The server's answer to a link message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReply {
    /// [`LinkError::Ok`], or why the link is refused.
    pub error: LinkError,
    /// The key for the ticket; zeros in a refusal.
    pub public_key: [u8; PUBLIC_KEY_BYTES],
    /// What the server knows on every channel.
    pub common_caps: CapSet,
    /// What the server knows on this channel.
    pub channel_caps: CapSet,
}

/// The error numbers of the link reply and of the link result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LinkError {
    /// No error.
    Ok = 0,
    /// Unspecified.
    Error = 1,
    /// The link does not begin with [`MAGIC`].
    InvalidMagic = 2,
    /// Sizes, counts or the mechanism make no sense.
    InvalidData = 3,
    /// Another major version.
    VersionMismatch = 4,
    /// This channel wants TLS.
    NeedSecured = 5,
    /// This channel wants no TLS.
    NeedUnsecured = 6,
    /// Wrong, expired or undecipherable ticket.
    PermissionDenied = 7,
    /// No such session.
    BadConnectionId = 8,
    /// The channel is gone.
    ChannelNotAvailable = 9,
}

/// A set of capability numbers, kept as its words on the wire: number n is
/// bit n % 32 of word n / 32.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CapSet(Vec<u32>);

impl LinkHeader {
    /// Its size on the wire, [`MAGIC`] included.
    pub const BYTES: usize = 16;

    /// The server's header for `size` bytes that follow.
    pub fn new(size: u32) -> Self {
        Self { major: MAJOR, minor: MINOR, size }
    }

    /// Reads what follows the magic. The caller compares the magic itself,
    /// because it must answer after those four bytes already.
    pub fn parse_after_magic(bytes: [u8; Self::BYTES - MAGIC.len()]) -> Self {
        let [a0, a1, a2, a3, i0, i1, i2, i3, s0, s1, s2, s3] = bytes;
        Self {
            major: u32::from_le_bytes([a0, a1, a2, a3]),
            minor: u32::from_le_bytes([i0, i1, i2, i3]),
            size: u32::from_le_bytes([s0, s1, s2, s3]),
        }
    }

    /// Appends magic and fields.
    pub fn encode(self, out: &mut impl BufMut) {
        out.put_slice(&MAGIC);
        out.put_u32_le(self.major);
        out.put_u32_le(self.minor);
        out.put_u32_le(self.size);
    }
}

impl LinkMess {
    /// Size of the part before the capability words.
    pub const FIXED_BYTES: usize = 18;
    /// The largest link message that is read.
    pub const MAX_BYTES: usize = 4096;
    /// The most words of either capability set.
    pub const MAX_CAP_WORDS: u32 = 1024;

    /// Reads a whole link message (what follows the header). Bytes that
    /// belong to no field are ignored, so the structure can grow.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadLinkMess> {
        let fixed = FixedPart::parse(bytes).map_err(|Truncated| BadLinkMess::Short)?;
        let FixedPart { connection_id, channel, common, channel_words, offset } = fixed;
        if common > Self::MAX_CAP_WORDS || channel_words > Self::MAX_CAP_WORDS {
            return Err(BadLinkMess::TooManyCaps { common, channel: channel_words });
        }
        let words = common + channel_words;
        // Without capabilities the offset means nothing and may be anything.
        if words == 0 {
            let (common_caps, channel_caps) = Default::default();
            return Ok(Self { connection_id, channel, common_caps, channel_caps });
        }
        let outside = BadLinkMess::CapsOutside { offset, words, size: bytes.len() };
        if (offset as usize) < Self::FIXED_BYTES {
            return Err(outside);
        }
        let mut reader = Reader::new(bytes.get(offset as usize..).ok_or(outside)?);
        let common_caps = CapSet::read(&mut reader, common).map_err(|Truncated| outside)?;
        let channel_caps = CapSet::read(&mut reader, channel_words).map_err(|Truncated| outside)?;
        Ok(Self { connection_id, channel, common_caps, channel_caps })
    }

    /// Appends header, message and capabilities, as a client sends them.
    pub fn encode(&self, out: &mut impl BufMut) {
        let caps = self.common_caps.0.len() + self.channel_caps.0.len();
        LinkHeader::new((Self::FIXED_BYTES + 4 * caps) as u32).encode(out);
        out.put_u32_le(self.connection_id);
        out.put_u8(self.channel.kind);
        out.put_u8(self.channel.id);
        out.put_u32_le(self.common_caps.0.len() as u32);
        out.put_u32_le(self.channel_caps.0.len() as u32);
        out.put_u32_le(Self::FIXED_BYTES as u32);
        self.common_caps.write(out);
        self.channel_caps.write(out);
    }
}

/// The fields of a link message as they are, not yet held against each other.
struct FixedPart {
    connection_id: u32,
    channel: ChannelKey,
    common: u32,
    channel_words: u32,
    offset: u32,
}

impl FixedPart {
    fn parse(bytes: &[u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            connection_id: reader.u32()?,
            channel: ChannelKey { kind: reader.u8()?, id: reader.u8()? },
            common: reader.u32()?,
            channel_words: reader.u32()?,
            offset: reader.u32()?,
        })
    }
}

impl LinkReply {
    /// Size of the part before the capability words.
    pub const FIXED_BYTES: usize = 178;

    /// Appends header, reply and capabilities.
    pub fn encode(&self, out: &mut impl BufMut) {
        let caps = self.common_caps.0.len() + self.channel_caps.0.len();
        LinkHeader::new((Self::FIXED_BYTES + 4 * caps) as u32).encode(out);
        out.put_u32_le(self.error as u32);
        out.put_slice(&self.public_key);
        out.put_u32_le(self.common_caps.0.len() as u32);
        out.put_u32_le(self.channel_caps.0.len() as u32);
        out.put_u32_le(Self::FIXED_BYTES as u32);
        self.common_caps.write(out);
        self.channel_caps.write(out);
    }

    /// Appends a refusal: header and a reply that is zero but for the error,
    /// the offset of its absent capabilities included.
    pub fn encode_refusal(error: LinkError, out: &mut impl BufMut) {
        LinkHeader::new(Self::FIXED_BYTES as u32).encode(out);
        out.put_u32_le(error as u32);
        out.put_bytes(0, Self::FIXED_BYTES - 4);
    }

    /// Reads a reply (what follows the header), as a client does. `None`: its
    /// sizes or its error make no sense.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let error = LinkError::from_wire(reader.u32().ok()?)?;
        let public_key = reader.array().ok()?;
        let common = reader.u32().ok()?;
        let channel = reader.u32().ok()?;
        let offset = reader.u32().ok()?;
        let mut reader = Reader::new(bytes.get(offset as usize..)?);
        Some(Self {
            error,
            public_key,
            common_caps: CapSet::read(&mut reader, common).ok()?,
            channel_caps: CapSet::read(&mut reader, channel).ok()?,
        })
    }
}

impl LinkError {
    /// The error with this number.
    pub fn from_wire(value: u32) -> Option<Self> {
        [
            Self::Ok,
            Self::Error,
            Self::InvalidMagic,
            Self::InvalidData,
            Self::VersionMismatch,
            Self::NeedSecured,
            Self::NeedUnsecured,
            Self::PermissionDenied,
            Self::BadConnectionId,
            Self::ChannelNotAvailable,
        ]
        .into_iter()
        .find(|error| *error as u32 == value)
    }

    /// The link result: the four bytes that end a link for good or ill.
    pub fn to_result(self) -> [u8; 4] {
        (self as u32).to_le_bytes()
    }
}

impl CapSet {
    /// Whether number `cap` is in the set.
    pub fn has(&self, cap: u32) -> bool {
        self.0.get(cap as usize / 32).is_some_and(|word| word & (1 << (cap % 32)) != 0)
    }

    /// Puts number `cap` into the set; the words grow as needed.
    pub fn set(&mut self, cap: u32) {
        let word = cap as usize / 32;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (cap % 32);
    }

    /// The set's words, lowest numbers first.
    pub fn words(&self) -> &[u32] {
        &self.0
    }

    /// The size is compared with what is there before memory is taken.
    fn read(reader: &mut Reader<'_>, words: u32) -> Result<Self, Truncated> {
        let bytes = reader.bytes((words as usize).checked_mul(4).ok_or(Truncated)?)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(Self(words.iter().copied().map(u32::from_le_bytes).collect()))
    }

    fn write(&self, out: &mut impl BufMut) {
        for word in &self.0 {
            out.put_u32_le(*word);
        }
    }
}

impl FromIterator<u32> for CapSet {
    fn from_iter<I: IntoIterator<Item = u32>>(caps: I) -> Self {
        let mut set = Self::default();
        caps.into_iter().for_each(|cap| set.set(cap));
        set
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CapSet({:x?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out);
        out
    }

    fn fixed(common: u32, channel: u32, offset: u32) -> Vec<u8> {
        let mut bytes = vec![0x44, 0x33, 0x22, 0x11, 10, 3];
        bytes.put_u32_le(common);
        bytes.put_u32_le(channel);
        bytes.put_u32_le(offset);
        bytes
    }

    #[test]
    fn a_link_message_has_these_bytes() {
        let mess = LinkMess {
            connection_id: 0x1122_3344,
            channel: ChannelKey { kind: 10, id: 3 },
            common_caps: [0, 1, 3].into_iter().collect(),
            channel_caps: [33].into_iter().collect(),
        };
        let bytes = bytes_of(|out| mess.encode(out));
        let mut expected = b"REDQ\x02\0\0\0\x02\0\0\0\x1e\0\0\0".to_vec();
        expected.extend(fixed(1, 2, 18));
        expected.extend(b"\x0b\0\0\0\0\0\0\0\x02\0\0\0");
        assert_eq!(bytes, expected);
        assert_eq!(LinkMess::parse(&bytes[16..]), Ok(mess));
    }

    #[test]
    fn a_reply_has_these_bytes() {
        let reply = LinkReply {
            error: LinkError::Ok,
            public_key: [7; PUBLIC_KEY_BYTES],
            common_caps: [0, 3].into_iter().collect(),
            channel_caps: CapSet::default(),
        };
        let bytes = bytes_of(|out| reply.encode(out));
        let mut expected = b"REDQ\x02\0\0\0\x02\0\0\0\xb6\0\0\0\0\0\0\0".to_vec();
        expected.extend([7; 162]);
        expected.extend(b"\x01\0\0\0\0\0\0\0\xb2\0\0\0\x09\0\0\0");
        assert_eq!(bytes, expected);
        assert_eq!(LinkReply::parse(&bytes[16..]), Some(reply));
    }

    #[test]
    fn a_refusal_has_these_bytes() {
        let bytes = bytes_of(|out| LinkReply::encode_refusal(LinkError::NeedSecured, out));
        let mut expected = b"REDQ\x02\0\0\0\x02\0\0\0\xb2\0\0\0\x05\0\0\0".to_vec();
        expected.extend([0; 174]);
        assert_eq!(bytes, expected);
        let reply = LinkReply::parse(&bytes[16..]).expect("a client can read a refusal");
        assert_eq!(reply.error, LinkError::NeedSecured);
    }

    #[test]
    fn capability_words_must_lie_inside_the_message() {
        let with = |fixed: Vec<u8>, tail: usize| [fixed, vec![0xff; tail]].concat();
        let outside = |offset, words, size| Err(BadLinkMess::CapsOutside { offset, words, size });
        let cases = [
            (with(fixed(1, 0, 17), 4), outside(17, 1, 22)),
            (with(fixed(1, 0, 19), 4), outside(19, 1, 22)),
            (with(fixed(1, 1, 18), 4), outside(18, 2, 22)),
            (with(fixed(1, 0, u32::MAX), 4), outside(u32::MAX, 1, 22)),
            (with(fixed(1024, 1024, 18), 4), outside(18, 2048, 22)),
            (fixed(1025, 0, 18), Err(BadLinkMess::TooManyCaps { common: 1025, channel: 0 })),
            (
                fixed(0, u32::MAX, 18),
                Err(BadLinkMess::TooManyCaps { common: 0, channel: u32::MAX }),
            ),
            (fixed(0, 0, 18)[..17].to_vec(), Err(BadLinkMess::Short)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(LinkMess::parse(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_offset_without_capabilities_means_nothing() {
        for offset in [0, 17, u32::MAX] {
            let mess = LinkMess::parse(&fixed(0, 0, offset)).expect("no words, no bounds");
            assert_eq!((mess.common_caps, mess.channel_caps), Default::default());
        }
    }

    #[test]
    fn a_gap_before_the_words_and_bytes_behind_them_are_skipped() {
        let bytes = [fixed(1, 0, 22), vec![0xff; 4], vec![0xb, 0, 0, 0], vec![0xff; 9]].concat();
        let mess = LinkMess::parse(&bytes).expect("all inside");
        assert_eq!(mess.common_caps.words(), [0xb]);
    }

    #[test]
    fn a_set_answers_beyond_its_words() {
        let set: CapSet = [31, 32].into_iter().collect();
        assert_eq!(set.words(), [1 << 31, 1]);
        assert!(set.has(31) && set.has(32));
        assert!(!set.has(30) && !set.has(63) && !set.has(64) && !set.has(u32::MAX));
    }

    #[test]
    fn link_errors_have_their_numbers() {
        for value in 0..10 {
            assert_eq!(LinkError::from_wire(value).map(|error| error as u32), Some(value));
        }
        assert_eq!(LinkError::from_wire(10), None);
        assert_eq!(LinkError::PermissionDenied.to_result(), [7, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = LinkReply::parse(&bytes);
            if let Ok(mess) = LinkMess::parse(&bytes) {
                let again = bytes_of(|out| mess.encode(out));
                prop_assert_eq!(LinkMess::parse(&again[16..]), Ok(mess));
            }
        }

        // Random bytes hardly ever hold small counts; these do.
        #[test]
        fn any_counts_parse_or_are_refused(
            common in 0u32..6,
            channel in 0u32..6,
            offset in 0u32..60,
            tail in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let bytes = [fixed(common, channel, offset), tail].concat();
            let end = offset as usize + 4 * (common + channel) as usize;
            let fits = common + channel == 0 || (offset >= 18 && end <= bytes.len());
            let parsed = LinkMess::parse(&bytes);
            prop_assert_eq!(parsed.is_ok(), fits);
            if let Ok(mess) = parsed {
                prop_assert_eq!(mess.common_caps.words().len(), common as usize);
                prop_assert_eq!(mess.channel_caps.words().len(), channel as usize);
            }
        }
    }
}

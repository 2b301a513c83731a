//! Messages of the playback and record channels (docs/protocol/audio.md).

use super::common::Malformed;
use super::{ChannelKey, Reader, Truncated};

/// Samples of both ears in one frame, each a u32: left in the low half, right in the high.
pub const FRAME_SAMPLES: usize = 480;
/// Bytes of a frame without compression.
pub const FRAME_BYTES: usize = FRAME_SAMPLES * SAMPLE_BYTES;
/// Bytes of one sample of both ears.
pub const SAMPLE_BYTES: usize = 4;
/// Ears.
pub const EARS: u32 = 2;

/// The playback channel.
pub mod playback {
    use super::ChannelKey;

    /// There is one.
    pub const CHANNEL: ChannelKey = ChannelKey { kind: 5, id: 0 };
    /// VOLUME and MUTE are understood.
    pub const CAP_VOLUME: u32 = 1;
    /// Opus is understood.
    pub const CAP_OPUS: u32 = 3;

    /// Server to client message types.
    pub mod to_client {
        /// u32 time, then a frame in the mode that was told last.
        pub const DATA: u16 = 101;
        /// How frames are written: u32 time, u16 mode.
        pub const MODE: u16 = 102;
        /// Frames will come.
        pub const START: u16 = 103;
        /// No more frames.
        pub const STOP: u16 = 104;
        /// Volume of each ear.
        pub const VOLUME: u16 = 105;
        /// u8: silent or not.
        pub const MUTE: u16 = 106;
    }
}

/// The record channel.
pub mod record {
    use super::ChannelKey;

    /// There is one.
    pub const CHANNEL: ChannelKey = ChannelKey { kind: 6, id: 0 };
    /// VOLUME and MUTE are understood.
    pub const CAP_VOLUME: u32 = 1;
    /// Opus is understood.
    pub const CAP_OPUS: u32 = 2;

    /// Server to client message types.
    pub mod to_client {
        /// Samples are wanted.
        pub const START: u16 = 101;
        /// No more samples are wanted.
        pub const STOP: u16 = 102;
        /// Volume of each ear.
        pub const VOLUME: u16 = 103;
        /// u8: silent or not.
        pub const MUTE: u16 = 104;
    }

    /// Client to server message types.
    pub(super) mod from_client {
        pub(crate) const DATA: u16 = 101;
        pub(crate) const MODE: u16 = 102;
        pub(crate) const START_MARK: u16 = 103;
    }
}

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As they are: 16 bits for each ear, little-endian.
    #[default]
    Raw,
    /// Opus packets.
    Opus,
}

impl Mode {
    const RAW: u16 = 1;
    const OPUS: u16 = 3;

    /// Its number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Self::Raw => Self::RAW,
            Self::Opus => Self::OPUS,
        }
    }

    /// The mode of a number; CELT (2), which nobody has any more, is none.
    pub fn of(number: u16) -> Option<Self> {
        match number {
            Self::RAW => Some(Self::Raw),
            Self::OPUS => Some(Self::Opus),
            _ => None,
        }
    }
}

/// What a client says on the record channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromClient<'a> {
    /// Samples, written in the mode that was told last.
    Data(&'a [u8]),
    /// How samples will be written: a number, perhaps of no [`Mode`].
    Mode(u16),
    /// When the client began. Nothing depends on it.
    StartMark,
}

/// Understands a message of the record channel's own.
pub fn parse_record(kind: u16, body: &[u8]) -> Result<FromClient<'_>, Malformed> {
    let mut reader = Reader::new(body);
    let short = |_: Truncated| Malformed::Short(kind);
    let _time = match kind {
        record::from_client::DATA | record::from_client::MODE | record::from_client::START_MARK => {
            reader.u32().map_err(short)?
        }
        _ => return Err(Malformed::Unknown(kind)),
    };
    Ok(match kind {
        record::from_client::DATA => FromClient::Data(reader.rest()),
        record::from_client::MODE => FromClient::Mode(reader.u16().map_err(short)?),
        _ => FromClient::StartMark,
    })
}

/// Body of MODE.
pub fn mode(time: u32, mode: Mode) -> Vec<u8> {
    [&time.to_le_bytes()[..], &mode.number().to_le_bytes()].concat()
}

/// Body of the playback channel's START: u32 ears, u16 format, u32 rate, u32 time.
pub fn playback_start(rate: u32, time: u32) -> Vec<u8> {
    [record_start(rate), time.to_le_bytes().to_vec()].concat()
}

/// Body of the record channel's START: the same without the time.
pub fn record_start(rate: u32) -> Vec<u8> {
    /// 16 bits with sign.
    const FORMAT: u16 = 1;
    [&EARS.to_le_bytes()[..], &FORMAT.to_le_bytes(), &rate.to_le_bytes()].concat()
}

/// Body of VOLUME: u8 how many, then a u16 for each.
pub fn volume(volume: &[u16]) -> Vec<u8> {
    let count = u8::try_from(volume.len()).unwrap_or(u8::MAX);
    let each = volume.iter().take(count.into()).flat_map(|ear| ear.to_le_bytes());
    std::iter::once(count).chain(each).collect()
}

/// Body of DATA: the time and the frame as it is.
pub fn data(time: u32, frame: &[u32; FRAME_SAMPLES]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + FRAME_BYTES);
    body.extend(time.to_le_bytes());
    body.extend(frame.iter().flat_map(|sample| sample.to_le_bytes()));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    // The bytes are what Debian's library sent.

    #[test]
    fn messages_to_clients() {
        assert_eq!(mode(0x0102_0304, Mode::Opus), [4, 3, 2, 1, 3, 0]);
        assert_eq!(playback_start(48_000, 7), [2, 0, 0, 0, 1, 0, 0x80, 0xbb, 0, 0, 7, 0, 0, 0]);
        assert_eq!(record_start(44_100), [2, 0, 0, 0, 1, 0, 0x44, 0xac, 0, 0]);
        assert_eq!(volume(&[0x0102, 0xffff]), [2, 2, 1, 0xff, 0xff]);
        assert_eq!(volume(&[0; 300]).len(), 511);
        let mut frame = [0; FRAME_SAMPLES];
        frame[1] = 0x0403_0201;
        let body = data(9, &frame);
        assert_eq!(body.len(), 4 + 1920);
        assert_eq!(body[..12], [9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn messages_of_a_recording_client() {
        assert_eq!(parse_record(101, &[1, 0, 0, 0]), Ok(FromClient::Data(&[])));
        assert_eq!(parse_record(101, &[1, 0, 0, 0, 5, 6]), Ok(FromClient::Data(&[5, 6])));
        assert_eq!(parse_record(102, &[1, 0, 0, 0, 3, 0, 9]), Ok(FromClient::Mode(3)));
        assert_eq!(parse_record(103, &[1, 0, 0, 0]), Ok(FromClient::StartMark));
        for (kind, body) in [(101, &[0; 3][..]), (102, &[0; 5]), (103, &[])] {
            assert_eq!(parse_record(kind, body), Err(Malformed::Short(kind)));
        }
        assert_eq!(parse_record(104, &[0; 8]), Err(Malformed::Unknown(104)));
        assert_eq!(
            [Mode::of(1), Mode::of(2), Mode::of(3)],
            [Some(Mode::Raw), None, Some(Mode::Opus)]
        );
    }
}

//! Encodes frames on their way out, on the thread that sends: where the connection lives
//! on the I/O thread, as connections with an encoder do, that is outside the host's lock.

use crate::channel::packer::Packer;
use crate::channels::playback::UNENCODED;
use crate::net::sys::opus::Encoder;
use crate::wire::audio::playback::to_client::DATA;
use crate::wire::audio::{FRAME_BYTES, FRAME_SAMPLES};

/// One client's encoder.
#[derive(Debug)]
pub(super) struct FrameEncoder {
    rate: u32,
    /// Made for the first frame: a client may never be sent one.
    encoder: Option<Encoder>,
    /// The body of the last message: its time and the packet.
    body: [u8; TIME + LONGEST_PACKET],
}

/// The time before each frame, in bytes.
const TIME: usize = 4;
/// Most bytes of a packet: upstream's number. 384 kbit/s, far more than libopus chooses
/// by itself.
const LONGEST_PACKET: usize = 480;
/// A packet of one frame that was lost: full band, 10 ms, two ears, and no data. A decoder
/// bridges it.
const LOST: u8 = 30 << 3 | 1 << 2;

impl FrameEncoder {
    /// For so many samples a second.
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, encoder: None, body: [0; TIME + LONGEST_PACKET] }
    }

    /// Writes the packet behind the time; returns its length.
    fn encode(&mut self, frame: &[u8]) -> Option<usize> {
        let mut samples = [0; 2 * FRAME_SAMPLES];
        for (sample, bytes) in samples.iter_mut().zip(frame.chunks_exact(2)) {
            *sample = i16::from_le_bytes([bytes[0], bytes[1]]);
        }
        if self.encoder.is_none() {
            self.encoder = Encoder::new(self.rate).ok();
        }
        self.encoder.as_mut()?.encode(&samples, &mut self.body[TIME..]).ok()
    }
}

impl Packer for FrameEncoder {
    fn would_try(&self, kind: u16, _length: usize) -> bool {
        kind == UNENCODED
    }

    fn pack(&mut self, kind: u16, body: &[u8]) -> Option<(u16, &[u8])> {
        if kind != UNENCODED {
            return None;
        }
        let (time, frame) = body.split_at_checked(TIME).unwrap_or((&[0; TIME], &[]));
        self.body[..TIME].copy_from_slice(time);
        debug_assert_eq!(frame.len(), FRAME_BYTES, "only whole frames are sent");
        let length = self.encode(frame).unwrap_or_else(|| {
            self.body[TIME] = LOST;
            1
        });
        Some((DATA, &self.body[..TIME + length]))
    }

    fn pass(&mut self, _kind: u16, _length: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sys::opus;

    #[test]
    fn frames_become_packets_and_all_else_stays() {
        let mut encoder = FrameEncoder::new(48_000);
        let body = [&[1, 2, 3, 4][..], &[0x12; FRAME_BYTES]].concat();
        assert_eq!(encoder.pack(DATA, &body), None);
        assert!(!encoder.would_try(DATA, body.len()) && encoder.would_try(UNENCODED, body.len()));
        let (kind, packed) = encoder.pack(UNENCODED, &body).expect("it is encoded");
        assert_eq!((kind, &packed[..4]), (DATA, &[1, 2, 3, 4][..]));
        assert!(packed.len() <= 4 + 480);
        assert_eq!(packed.len() > 5, opus::AVAILABLE);
    }

    #[test]
    fn what_cannot_be_encoded_is_told_as_lost() {
        let mut encoder = FrameEncoder::new(44_100);
        let body = [0; 4 + FRAME_BYTES];
        let (_, packed) = encoder.pack(UNENCODED, &body).expect("it is told");
        assert_eq!(packed, [0, 0, 0, 0, LOST]);
        if let Ok(mut decoder) = opus::Decoder::new(48_000) {
            assert_eq!(decoder.decode(&[LOST], &mut [0; 960]), Ok(960));
        }
    }
}

//! Opus: the functions of the system's libopus that turn samples into packets and back.
//!
//! Samples of both ears come by turns. [`Encoder`] and [`Decoder`] may be used from any
//! thread, from one at a time.

use std::ffi::{c_int, c_uchar};
use std::ptr::NonNull;

/// Whether this build knows Opus.
pub const AVAILABLE: bool = true;

/// libopus's encoder; only it knows what is inside.
#[repr(C)]
struct OpusEncoder {
    opaque: [u8; 0],
}

/// libopus's decoder.
#[repr(C)]
struct OpusDecoder {
    opaque: [u8; 0],
}

#[link(name = "opus")]
unsafe extern "C" {
    fn opus_encoder_create(
        rate: i32,
        channels: c_int,
        application: c_int,
        error: *mut c_int,
    ) -> *mut OpusEncoder;
    fn opus_encode(
        encoder: *mut OpusEncoder,
        pcm: *const i16,
        frame_size: c_int,
        data: *mut c_uchar,
        max_data_bytes: i32,
    ) -> i32;
    fn opus_encoder_destroy(encoder: *mut OpusEncoder);
    fn opus_decoder_create(rate: i32, channels: c_int, error: *mut c_int) -> *mut OpusDecoder;
    fn opus_decode(
        decoder: *mut OpusDecoder,
        data: *const c_uchar,
        length: i32,
        pcm: *mut i16,
        frame_size: c_int,
        decode_fec: c_int,
    ) -> c_int;
    fn opus_decoder_destroy(decoder: *mut OpusDecoder);
}

const EARS: usize = 2;
/// `OPUS_APPLICATION_AUDIO`: faithful sound, not only speech.
const AUDIO: c_int = 2049;

/// What libopus says when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Opus: error {0}")]
pub struct OpusError(c_int);

/// Makes packets.
#[derive(Debug)]
pub struct Encoder(NonNull<OpusEncoder>);

/// Takes packets apart.
#[derive(Debug)]
pub struct Decoder(NonNull<OpusDecoder>);

// SAFETY: libopus keeps no state but what is behind the pointer, and does not care which
// thread calls.
unsafe impl Send for Encoder {}
// SAFETY: as above.
unsafe impl Send for Decoder {}

impl Encoder {
    /// For so many samples a second.
    pub fn new(rate: u32) -> Result<Self, OpusError> {
        let mut error = 0;
        // SAFETY: plain numbers, and a place for the error.
        let made =
            unsafe { opus_encoder_create(rate as i32, EARS as c_int, AUDIO, &raw mut error) };
        NonNull::new(made).map(Self).ok_or(OpusError(error))
    }

    /// Writes these samples as one packet; returns its length.
    pub fn encode(&mut self, samples: &[i16], packet: &mut [u8]) -> Result<usize, OpusError> {
        let each = (samples.len() / EARS) as c_int;
        // SAFETY: as many samples and as much room as is said; the encoder is ours alone.
        let length = unsafe {
            let room = i32::try_from(packet.len()).unwrap_or(i32::MAX);
            opus_encode(self.0.as_ptr(), samples.as_ptr(), each, packet.as_mut_ptr(), room)
        };
        usize::try_from(length).map_err(|_| OpusError(length))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: it was made by libopus and nobody else has it.
        unsafe { opus_encoder_destroy(self.0.as_ptr()) };
    }
}

impl Decoder {
    /// For so many samples a second.
    pub fn new(rate: u32) -> Result<Self, OpusError> {
        let mut error = 0;
        // SAFETY: plain numbers, and a place for the error.
        let made = unsafe { opus_decoder_create(rate as i32, EARS as c_int, &raw mut error) };
        NonNull::new(made).map(Self).ok_or(OpusError(error))
    }

    /// Writes a packet's samples to `samples`; returns how many, of both ears together.
    pub fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, OpusError> {
        let length = i32::try_from(packet.len()).map_err(|_| OpusError(BAD_ARGUMENT))?;
        if length == 0 {
            // libopus would take it for a lost packet and make something up.
            return Err(OpusError(BAD_ARGUMENT));
        }
        let room = (samples.len() / EARS) as c_int;
        // SAFETY: as many bytes and as much room as is said; the decoder is ours alone.
        let each = unsafe {
            let (from, to) = (packet.as_ptr(), samples.as_mut_ptr());
            opus_decode(self.0.as_ptr(), from, length, to, room, 0)
        };
        usize::try_from(each).map(|each| each * EARS).map_err(|_| OpusError(each))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: it was made by libopus and nobody else has it.
        unsafe { opus_decoder_destroy(self.0.as_ptr()) };
    }
}

/// `OPUS_BAD_ARG`.
const BAD_ARGUMENT: c_int = -1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_comes_back_and_nothing_else_is_taken() {
        let mut encoder = Encoder::new(48_000).unwrap();
        let mut decoder = Decoder::new(48_000).unwrap();
        let mut heard = Vec::new();
        for frame in 0..50 {
            // 1 kHz: a period is 48 samples.
            let tone = (0..480).flat_map(|at| {
                let phase = f64::from(frame * 480 + at) * std::f64::consts::TAU / 48.0;
                [(phase.sin() * 10_000.0) as i16; 2]
            });
            let mut packet = [0; 480];
            let length = encoder.encode(&tone.collect::<Vec<_>>(), &mut packet).unwrap();
            assert!((3..480).contains(&length));
            let mut samples = [0; 960];
            assert_eq!(decoder.decode(&packet[..length], &mut samples), Ok(960));
            heard.extend(samples.chunks_exact(2).map(|both| both[0]));
        }
        let crossings = heard[4800..].windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0);
        assert_eq!(crossings.count(), (heard.len() - 4800) / 48);
        assert!(encoder.encode(&[0; 2 * 123], &mut [0; 100]).is_err(), "no packet's length");
        let mut samples = [0; 960];
        assert!(decoder.decode(&[], &mut samples).is_err());
        assert!(decoder.decode(&[0xff; 40], &mut samples).is_err());
        assert!(Encoder::new(44_100).is_err() && Decoder::new(1).is_err());
    }
}

//! Which form an image gets, and whether video is sent as such: by what the server is set
//! to, what the client likes, and what it understands.

use super::video::Streaming;
use crate::wire::display::{capability, compression};
use crate::wire::image::Form;
use crate::wire::link::CapSet;

/// What the host has set for all clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A number of [`compression`].
    pub compression: u8,
    /// When pictures may lose something at first.
    pub loss: Loss,
    /// What is sent as video.
    pub streaming: Streaming,
}

/// When something may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// At no time.
    #[default]
    Never,
    /// While a client does not take what it is sent as fast as the screen changes.
    WhileSlow,
    /// At any time.
    Always,
}

/// One client's say.
#[derive(Clone, Debug, Default)]
pub struct Taste {
    /// What it asked for, if it did.
    preferred: Option<u8>,
    knows_lz4: bool,
    knows_mjpeg: bool,
    /// On the same machine bytes cost less than compressing them.
    local: bool,
}

impl Taste {
    /// Of a client with these capabilities, connected by a unix socket if `local`.
    pub fn new(caps: &CapSet, local: bool) -> Self {
        Self {
            preferred: None,
            knows_lz4: caps.has(capability::LZ4_COMPRESSION),
            // Clients from before there were several codecs have this one.
            knows_mjpeg: !caps.has(capability::MULTI_CODEC) || caps.has(capability::CODEC_MJPEG),
            local,
        }
    }

    /// The client asks for a compression. Returns whether there is such a one.
    pub fn prefer(&mut self, wanted: u8) -> bool {
        let known = (compression::OFF..=compression::LZ4).contains(&wanted);
        if known {
            self.preferred = Some(wanted);
        }
        known
    }

    /// The form of the client's next image. QUIC and GLZ are not made here: LZ, the nearest
    /// that loses nothing and that every client has, takes their place.
    pub fn form(&self, policy: Policy) -> Form {
        match self.preferred.unwrap_or(policy.compression) {
            _ if self.local => Form::Raw,
            compression::OFF => Form::Raw,
            compression::LZ4 if self.knows_lz4 => Form::Lz4,
            _ => Form::Lz,
        }
    }

    /// Whether the client is sent video as such. On the same machine images cost less.
    pub fn takes_streams(&self) -> bool {
        self.knows_mjpeg && !self.local
    }

    /// Whether an image may be a JPEG at first, to be sent again as it is: where upstream
    /// would take JPEG instead of QUIC.
    pub fn allows_loss(&self, policy: Policy, slow: bool) -> bool {
        let wanted = self.preferred.unwrap_or(policy.compression);
        let may = match policy.loss {
            Loss::Never => false,
            Loss::WhileSlow => slow,
            Loss::Always => true,
        };
        may && !self.local && (compression::AUTO_GLZ..=compression::QUIC).contains(&wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(compression: u8) -> Policy {
        Policy { compression, ..Policy::default() }
    }

    #[test]
    fn loss_is_for_automatic_choices_over_a_network() {
        let always = |compression| Policy { compression, loss: Loss::Always, ..Policy::default() };
        let far = Taste::new(&CapSet::default(), false);
        let allowed: Vec<u8> =
            (1..=7).filter(|&wanted| far.allows_loss(always(wanted), false)).collect();
        assert_eq!(allowed, [2, 3, 4]);
        assert!(!far.allows_loss(only(2), true));
        assert!(!Taste::new(&CapSet::default(), true).allows_loss(always(2), true));
        let while_slow = Policy { compression: 2, loss: Loss::WhileSlow, ..Policy::default() };
        assert!(far.allows_loss(while_slow, true) && !far.allows_loss(while_slow, false));
    }

    #[test]
    fn streams_are_for_those_who_can_show_them() {
        let takes = |caps: &[u32], local| {
            Taste::new(&caps.iter().copied().collect(), local).takes_streams()
        };
        assert!(takes(&[], false));
        assert!(!takes(&[capability::MULTI_CODEC, 10], false));
        assert!(takes(&[capability::MULTI_CODEC, capability::CODEC_MJPEG], false));
        assert!(!takes(&[], true));
    }

    #[test]
    fn the_client_decides_before_the_server() {
        let caps = CapSet::from_iter([capability::LZ4_COMPRESSION]);
        let mut taste = Taste::new(&caps, false);
        assert_eq!(taste.form(only(1)), Form::Raw);
        assert_eq!(taste.form(only(7)), Form::Lz4);
        for other in 2..=6 {
            assert_eq!(taste.form(only(other)), Form::Lz);
        }
        assert!(taste.prefer(7));
        assert_eq!(taste.form(only(1)), Form::Lz4);
        assert!(!taste.prefer(0) && !taste.prefer(8));
        assert_eq!(taste.form(only(1)), Form::Lz4);
    }

    #[test]
    fn nobody_gets_what_he_does_not_understand_or_need() {
        let policy = only(7);
        assert_eq!(Taste::new(&CapSet::default(), false).form(policy), Form::Lz);
        assert_eq!(Taste::new(&CapSet::default(), true).form(policy), Form::Raw);
    }
}

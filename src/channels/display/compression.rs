//! Which form an image gets: by what the server is set to, what the client likes, and
//! what it understands.

use crate::wire::display::{capability, compression};
use crate::wire::image::Form;
use crate::wire::link::CapSet;

/// What the host has set for all clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A number of [`compression`].
    pub compression: u8,
    /// Pictures may lose something at first.
    pub lossy: bool,
}

/// One client's say.
#[derive(Clone, Debug, Default)]
pub struct Taste {
    /// What it asked for, if it did.
    preferred: Option<u8>,
    knows_lz4: bool,
    /// On the same machine bytes cost less than compressing them.
    local: bool,
}

impl Taste {
    /// Of a client with these capabilities, connected by a unix socket if `local`.
    pub fn new(caps: &CapSet, local: bool) -> Self {
        Self { preferred: None, knows_lz4: caps.has(capability::LZ4_COMPRESSION), local }
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

    /// Whether an image may be a JPEG at first, to be sent again as it is: where upstream
    /// would take JPEG instead of QUIC.
    pub fn allows_loss(&self, policy: Policy) -> bool {
        let wanted = self.preferred.unwrap_or(policy.compression);
        policy.lossy && !self.local && (compression::AUTO_GLZ..=compression::QUIC).contains(&wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(compression: u8) -> Policy {
        Policy { compression, lossy: false }
    }

    #[test]
    fn loss_is_for_automatic_choices_over_a_network() {
        let lossy = |compression| Policy { compression, lossy: true };
        let far = Taste::new(&CapSet::default(), false);
        let allowed: Vec<u8> = (1..=7).filter(|&wanted| far.allows_loss(lossy(wanted))).collect();
        assert_eq!(allowed, [2, 3, 4]);
        assert!(!far.allows_loss(only(2)));
        assert!(!Taste::new(&CapSet::default(), true).allows_loss(lossy(2)));
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

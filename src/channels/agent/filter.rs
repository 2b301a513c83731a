//! Which messages may pass, decided at their heads; one machine for each direction
//! and client.

use super::Switches;
use crate::config::limits;
use crate::wire::Reader;
use crate::wire::agent::{Head, kind};
use crate::wire::migration::main::{Fate, Rest};

/// Follows the messages of one direction through their pieces.
#[derive(Clone, Debug)]
pub struct Filter {
    /// How many bytes of the message are still to come.
    rest: u32,
    /// What its head was found to be.
    verdict: Verdict,
    /// How many bytes of its body have come.
    seen: u32,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Pass,
    /// Nobody is there to hear it.
    Discard,
    /// The settings do not let it pass.
    Refuse,
    /// The client's monitors, for the graphics devices.
    Monitors,
}

/// One piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// What becomes of the message.
    pub verdict: Verdict,
    /// Its head, if the piece begins it.
    pub head: Option<Head>,
    /// How many bytes of the body came before.
    pub at: u32,
    /// The bytes of the body in this piece.
    pub body: &'a [u8],
    /// The message ends with this piece.
    pub ends: bool,
}

impl Part<'_> {
    /// How many bytes of its piece belong to the message.
    pub fn length(&self) -> usize {
        self.body.len() + if self.head.is_some() { Head::BYTES } else { 0 }
    }
}

/// Why a stream of messages is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A piece is longer than the protocol lets it be.
    #[error("an agent message comes in a piece of {0} bytes")]
    LongPiece(usize),
    /// A piece goes beyond the end of its message.
    #[error("an agent message has more bytes than its head announces")]
    Surplus,
    /// A message begins with less than its head.
    #[error("the head of an agent message is cut after {0} bytes")]
    CutHead(usize),
    /// Not this protocol.
    #[error("an agent message of protocol {0}")]
    Protocol(u32),
}

impl Default for Filter {
    fn default() -> Self {
        Self { rest: 0, verdict: Verdict::Discard, seen: 0 }
    }
}

impl Filter {
    /// Takes the next piece. `open`: somebody is there to hear a message that begins.
    pub fn handle<'a>(
        &mut self,
        piece: &'a [u8],
        open: bool,
        switches: Switches,
    ) -> Result<Part<'a>, Broken> {
        if piece.len() > limits::AGENT_PIECE {
            return Err(Broken::LongPiece(piece.len()));
        }
        if self.rest > 0 {
            return self.body(None, piece);
        }
        let mut reader = Reader::new(piece);
        let head = Head::read(&mut reader).map_err(|_| Broken::CutHead(piece.len()))?;
        if head.protocol != Head::PROTOCOL {
            return Err(Broken::Protocol(head.protocol));
        }
        self.verdict = if open { judge(head.kind, switches) } else { Verdict::Discard };
        (self.rest, self.seen) = (head.size, 0);
        // Behind a head without a body there may be anything, as in upstream. A peer
        // that took it for another message would get one that nobody looked at.
        let body = if head.size == 0 { &[] } else { reader.rest() };
        self.body(Some(head), body)
    }

    fn body<'a>(&mut self, head: Option<Head>, body: &'a [u8]) -> Result<Part<'a>, Broken> {
        let length = body.len() as u32;
        self.rest = self.rest.checked_sub(length).ok_or(Broken::Surplus)?;
        let at = self.seen;
        self.seen += length;
        Ok(Part { verdict: self.verdict, head, at, body, ends: self.rest == 0 })
    }

    /// Whoever was to hear the rest of the present message is gone.
    pub fn abandon(&mut self) {
        self.verdict = Verdict::Discard;
    }

    /// What is left of the present message, for another host. One that does not pass here
    /// does not pass there; nor do the client's monitors go on in the middle.
    /// `passes`: what the filter lets pass goes on.
    pub fn rest(&self, passes: bool) -> Rest {
        let fate = match self.verdict {
            _ if self.rest == 0 => Fate::Pass,
            Verdict::Pass if passes => Fate::Pass,
            _ => Fate::Discard,
        };
        Rest { bytes: self.rest, fate }
    }

    /// Goes on inside the message that another host was in.
    pub fn resume(Rest { bytes, fate }: Rest) -> Self {
        let verdict = if fate == Fate::Pass { Verdict::Pass } else { Verdict::Discard };
        // Where in the body that is nobody knows: far behind all that is looked at.
        Self { rest: bytes, verdict, seen: u32::MAX - bytes }
    }

    /// Whether a message has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.rest > 0
    }
}

fn judge(kind: u32, switches: Switches) -> Verdict {
    let allowed = match kind {
        kind::CLIPBOARD
        | kind::CLIPBOARD_GRAB
        | kind::CLIPBOARD_REQUEST
        | kind::CLIPBOARD_RELEASE => switches.copy_paste,
        kind::FILE_XFER_START | kind::FILE_XFER_STATUS | kind::FILE_XFER_DATA => {
            switches.file_transfer
        }
        kind::MONITORS_CONFIG if switches.monitors_to_display => return Verdict::Monitors,
        _ => true,
    };
    if allowed { Verdict::Pass } else { Verdict::Refuse }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::agent::message;

    const OFF: Switches =
        Switches { copy_paste: false, file_transfer: false, monitors_to_display: true };

    fn verdict_of(kind: u32, open: bool, switches: Switches) -> Verdict {
        let bytes = message(kind, b"body");
        Filter::default().handle(&bytes, open, switches).expect("a good piece").verdict
    }

    #[test]
    fn the_switches_decide_by_type() {
        for kind in 0..20 {
            assert_eq!(verdict_of(kind, true, Switches::default()), Verdict::Pass);
            assert_eq!(verdict_of(kind, false, Switches::default()), Verdict::Discard);
            let off = match kind {
                2 => Verdict::Monitors,
                4 | 7..=12 => Verdict::Refuse,
                _ => Verdict::Pass,
            };
            assert_eq!(verdict_of(kind, true, OFF), off, "type {kind}");
            assert_eq!(verdict_of(kind, false, OFF), Verdict::Discard);
        }
    }

    #[test]
    fn a_message_keeps_the_verdict_of_its_head() {
        let mut filter = Filter::default();
        let bytes = message(kind::CLIPBOARD, b"abcd");
        let first = filter.handle(&bytes[..22], true, Switches::default()).expect("good");
        assert_eq!(
            (first.verdict, first.at, first.body, first.ends),
            (Verdict::Pass, 0, &b"ab"[..], false)
        );
        let last = filter.handle(b"cd", true, OFF).expect("good");
        assert_eq!((last.verdict, last.at, last.ends, last.head), (Verdict::Pass, 2, true, None));
        assert!(!filter.is_inside());
        let next = filter.handle(&bytes, true, OFF).expect("good");
        assert_eq!(next.verdict, Verdict::Refuse);
    }

    #[test]
    fn an_abandoned_message_is_followed_to_its_end() {
        let mut filter = Filter::default();
        let bytes = message(kind::CLIPBOARD, b"abcd");
        filter.handle(&bytes[..21], true, Switches::default()).expect("good");
        filter.abandon();
        let last = filter.handle(b"bcd", true, Switches::default()).expect("good");
        assert_eq!((last.verdict, last.ends), (Verdict::Discard, true));
    }

    #[test]
    fn a_message_goes_on_on_another_host() {
        let bytes = message(kind::CLIPBOARD, &[7; 100]);
        for (switches, passes) in [(Switches::default(), true), (OFF, false)] {
            let mut here = Filter::default();
            here.handle(&bytes[..50], true, switches).expect("good");
            let rest = here.rest(true);
            assert_eq!((rest.bytes, rest.fate == Fate::Pass), (70, passes));
            assert_eq!(here.rest(false).fate, Fate::Discard);
            let mut there = Filter::resume(rest);
            let part = there.handle(&bytes[50..], true, Switches::default()).expect("good");
            assert_eq!((part.verdict == Verdict::Pass, part.ends), (passes, true));
            assert_eq!(there.rest(false), Rest::default(), "between two messages");
            let next = there.handle(&bytes, true, Switches::default()).expect("good");
            assert!(next.head.is_some());
        }
        let mut long = Filter::resume(Rest { bytes: u32::MAX, fate: Fate::Monitors });
        let part = long.handle(&[0; 2048], true, OFF).expect("good");
        assert_eq!((part.verdict, part.ends), (Verdict::Discard, false));
        let mut end = Filter::resume(Rest { bytes: 2048, fate: Fate::Pass });
        let part = end.handle(&[0; 2048], true, OFF).expect("good");
        assert!(part.ends && part.body.iter().zip(part.at..).count() == 2048);
    }

    #[test]
    fn broken_pieces_are_told_apart() {
        let all = Switches::default();
        let bytes = message(99, b"abcd");
        let handle = |piece: &[u8]| Filter::default().handle(piece, true, all).map(|_| ());
        assert_eq!(handle(&[0; 2049]), Err(Broken::LongPiece(2049)));
        assert_eq!(handle(&[]), Err(Broken::CutHead(0)));
        assert_eq!(handle(&bytes[..19]), Err(Broken::CutHead(19)));
        assert_eq!(handle(&[0; 20]), Err(Broken::Protocol(0)));
        assert_eq!(handle(&[&bytes[..], b"e"].concat()), Err(Broken::Surplus));
        let mut filter = Filter::default();
        filter.handle(&bytes[..22], true, all).expect("good");
        assert_eq!(filter.handle(b"cde", true, all), Err(Broken::Surplus));
    }

    #[test]
    fn what_follows_a_head_without_a_body_is_cut_off() {
        let bytes = [message(99, b""), message(4, b"x")].concat();
        let mut filter = Filter::default();
        let part = filter.handle(&bytes, true, Switches::default()).expect("good");
        assert_eq!((part.body, part.ends), (&b""[..], true));
        assert!(!filter.is_inside());
    }

    proptest! {
        /// The model knows whole messages; the filter sees them in pieces.
        #[test]
        fn pieces_of_messages_have_the_fate_of_their_message(
            messages in prop::collection::vec((0..18_u32, 0..6000_usize, any::<bool>(), any::<bool>()), 1..8),
            cuts in prop::collection::vec(1..2049_usize, 1..8),
        ) {
            let mut filter = Filter::default();
            let mut cuts = cuts.iter().copied().cycle();
            for (kind, size, open, off) in messages {
                let bytes = message(kind, &vec![1; size]);
                let switches = if off { OFF } else { Switches::default() };
                let expected = if open { judge(kind, switches) } else { Verdict::Discard };
                let (mut at, mut body) = (0, 0);
                while at < bytes.len() {
                    // The head comes in one piece.
                    let least = if at == 0 { Head::BYTES } else { 1 };
                    let length = cuts.next().unwrap_or(1).max(least).min(bytes.len() - at);
                    let part = filter.handle(&bytes[at..at + length], open, switches).expect("good");
                    prop_assert_eq!(part.verdict, expected);
                    prop_assert_eq!(part.head.is_some(), at == 0);
                    prop_assert_eq!(part.at as usize, body);
                    at += length;
                    body += part.body.len();
                    prop_assert_eq!(part.ends, at == bytes.len());
                    prop_assert_eq!(part.ends, !filter.is_inside());
                }
                prop_assert_eq!(body, size);
            }
        }
    }
}

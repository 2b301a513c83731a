//! What client and agent announce that they can do. The agent's announcement is changed
//! on its way, so that clients do not try what is switched off.

use super::Switches;
use super::filter::Part;
use crate::wire::agent::{capability, kind};

/// What one side has announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The first 32 capabilities. All that the server knows of are among them.
    word: u32,
    /// The present message is an announcement.
    announcing: bool,
}

/// What is changed in an announcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    cleared: u32,
    set: u32,
}

/// Where the first word of capabilities stands in the body: behind the u32 that asks
/// for the other side's.
const WORD_AT: u32 = 4;

impl Change {
    /// What clients are not to know of the agent.
    pub fn by(switches: Switches) -> Self {
        let bits = |bits: &[u32]| bits.iter().map(|bit| 1 << bit).sum();
        let clipboard = [
            capability::CLIPBOARD,
            capability::CLIPBOARD_BY_DEMAND,
            capability::CLIPBOARD_SELECTION,
        ];
        Self {
            cleared: if switches.copy_paste { 0 } else { bits(&clipboard) },
            set: if switches.file_transfer { 0 } else { bits(&[capability::FILE_XFER_DISABLED]) },
        }
    }

    /// The byte at this place of the body, changed.
    fn on(self, byte: u8, at: u32) -> u8 {
        match at.checked_sub(WORD_AT) {
            Some(place @ 0..4) => {
                let of = |word: u32| word.to_le_bytes()[place as usize];
                byte & !of(self.cleared) | of(self.set)
            }
            _ => byte,
        }
    }
}

impl Capabilities {
    /// What every agent and client of today announces. They announced it on another host,
    /// which does not say what it was.
    pub fn usual() -> Self {
        let word = 1 << capability::CLIPBOARD_BY_DEMAND | 1 << capability::CLIPBOARD_SELECTION;
        Self { word, ..Self::default() }
    }

    /// Whether this one was announced.
    pub fn has(&self, bit: u32) -> bool {
        self.word & (1 << bit) != 0
    }

    /// Reads along; what is read is what the other side gets after `change`. Returns
    /// whether an announcement has ended.
    pub fn handle(&mut self, part: &Part<'_>, change: Change) -> bool {
        if let Some(head) = part.head {
            self.announcing = head.kind == kind::ANNOUNCE_CAPABILITIES;
            if self.announcing {
                self.word = 0;
            }
        }
        if !self.announcing {
            return false;
        }
        for (byte, at) in part.body.iter().zip(part.at..) {
            if let Some(place @ 0..4) = at.checked_sub(WORD_AT) {
                self.word |= u32::from(change.on(*byte, at)) << (8 * place);
            }
        }
        part.ends
    }

    /// The piece that was handled last as it goes on, if it is not to stay as it is. A
    /// word that is not there is not added.
    pub fn rewrite(&self, part: &Part<'_>, change: Change) -> Option<Vec<u8>> {
        let unchanged = change == Change::default()
            || !self.announcing
            || part.body.iter().zip(part.at..).all(|(byte, at)| change.on(*byte, at) == *byte);
        if unchanged {
            return None;
        }
        let mut piece = Vec::new();
        if let Some(head) = part.head {
            head.put(&mut piece);
        }
        piece.extend(part.body.iter().zip(part.at..).map(|(byte, at)| change.on(*byte, at)));
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::agent::filter::Filter;
    use crate::wire::agent::{Head, message};

    const OFF: Switches =
        Switches { copy_paste: false, file_transfer: false, monitors_to_display: false };

    /// Sends an announcement in pieces: the head with `first` bytes, then single bytes.
    fn announce(body: &[u8], first: usize, switches: Switches) -> (Vec<u8>, Capabilities) {
        let bytes = message(kind::ANNOUNCE_CAPABILITIES, body);
        let (head, rest) = bytes.split_at(Head::BYTES + first);
        let (mut filter, mut capabilities) = (Filter::default(), Capabilities::default());
        let (mut out, mut ended) = (Vec::new(), false);
        for piece in std::iter::once(head).chain(rest.chunks(1)) {
            let part = filter.handle(piece, true, switches).expect("good");
            ended = capabilities.handle(&part, Change::by(switches));
            let changed = capabilities.rewrite(&part, Change::by(switches));
            out.extend(changed.unwrap_or_else(|| piece.to_vec()));
        }
        assert!(ended);
        (out.split_off(Head::BYTES), capabilities)
    }

    #[test]
    fn what_is_off_is_not_announced_however_the_message_is_split() {
        let body = [[0xff; 4], [0xff, 0xdf, 0xff, 0xff], [0xff; 4]].concat();
        for first in 0..=body.len() {
            let (out, seen) = announce(&body, first, OFF);
            assert_eq!(out, [[0xff; 4], [0x97, 0xff, 0xff, 0xff], [0xff; 4]].concat());
            assert!(!seen.has(capability::CLIPBOARD_BY_DEMAND) && seen.has(15));
            let (out, seen) = announce(&body, first, Switches::default());
            assert_eq!(out, body);
            assert!(seen.has(capability::CLIPBOARD_BY_DEMAND) && !seen.has(13));
        }
    }

    #[test]
    fn nothing_is_added_to_short_announcements() {
        for length in 0..8 {
            let (out, _) = announce(&vec![0; length], 0, OFF);
            let expected: Vec<u8> = (0..length).map(|at| if at == 5 { 0x20 } else { 0 }).collect();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn other_messages_are_left_alone() {
        let bytes = message(kind::CLIPBOARD_GRAB, &[0xff; 12]);
        let part = Filter::default();
        let part = part.clone().handle(&bytes, true, Switches::default()).expect("good");
        let mut capabilities = Capabilities::default();
        assert!(!capabilities.handle(&part, Change::by(OFF)));
        assert_eq!(capabilities.rewrite(&part, Change::by(OFF)), None);
    }
}

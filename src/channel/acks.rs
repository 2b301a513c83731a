//! The window of channels on which clients acknowledge what they get
//! (docs/protocol/channel.md, "Acknowledgements").
//!
//! It bounds how far the server runs ahead of a client in messages; bytes are the
//! outbox's affair.

use crate::config::limits;

/// The window for a client of a graphics device's, by the bits a second that the network
/// test has found, if it has.
pub fn window_by(bit_rate: Option<u64>) -> u32 {
    let slow = bit_rate.is_some_and(|bits| bits < limits::SLOW_NETWORK);
    if slow { limits::SLOW_ACK_WINDOW } else { limits::ACK_WINDOW }
}

/// One client's window on one channel.
#[derive(Debug)]
pub struct Acks {
    /// The client acknowledges each time it has got so many messages.
    window: u32,
    /// Which SET_ACK is the newest; 0 before the first.
    generation: u32,
    /// The SET_ACK that the client says it follows.
    followed: Option<u32>,
    /// Messages sent and not acknowledged.
    ahead: u32,
}

impl Acks {
    /// Nothing may be sent before [`Acks::begin`].
    pub fn new(window: u32) -> Self {
        Self { window, generation: 0, followed: None, ahead: 0 }
    }

    /// Begins a new window, and returns the body of the SET_ACK that says so: u32
    /// generation, u32 window. That message counts as the first one in the window.
    pub fn begin(&mut self) -> [u8; 8] {
        self.generation = self.generation.wrapping_add(1);
        self.ahead = 1;
        (u64::from(self.window) << 32 | u64::from(self.generation)).to_le_bytes()
    }

    /// Whether another message may leave. Twice the window may be under way, and one.
    pub fn may_send(&self) -> bool {
        self.generation != 0 && self.ahead <= self.window.saturating_mul(2)
    }

    /// A message left.
    pub fn handle_sent(&mut self) {
        self.ahead = self.ahead.saturating_add(1);
    }

    /// The client follows this SET_ACK.
    pub fn handle_sync(&mut self, generation: u32) {
        self.followed = Some(generation);
    }

    /// The client has got a window's worth. It counts only if the client follows the
    /// newest SET_ACK. More of them than messages were sent gain nothing.
    pub fn handle_ack(&mut self) {
        if self.followed == Some(self.generation) {
            self.ahead = self.ahead.saturating_sub(self.window);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends as much as is allowed; returns how much that was.
    fn fill(acks: &mut Acks) -> u32 {
        let mut sent = 0;
        while acks.may_send() {
            acks.handle_sent();
            sent += 1;
        }
        sent
    }

    #[test]
    fn nothing_leaves_before_the_first_window() {
        let mut acks = Acks::new(20);
        assert!(!acks.may_send());
        acks.handle_sync(0);
        acks.handle_ack();
        assert!(!acks.may_send());
        assert_eq!(acks.begin(), [1, 0, 0, 0, 20, 0, 0, 0]);
        assert!(acks.may_send());
    }

    #[test]
    fn forty_one_messages_are_under_way() {
        let mut acks = Acks::new(20);
        acks.begin();
        assert_eq!(fill(&mut acks), 40, "and SET_ACK");
        acks.handle_ack();
        assert!(!acks.may_send(), "the client follows no SET_ACK");
        acks.handle_sync(1);
        acks.handle_ack();
        assert_eq!(fill(&mut acks), 20);
    }

    #[test]
    fn an_ack_of_an_older_window_does_not_count() {
        let mut acks = Acks::new(20);
        acks.begin();
        acks.handle_sync(1);
        assert_eq!(acks.begin()[0], 2);
        fill(&mut acks);
        acks.handle_ack();
        assert!(!acks.may_send());
        acks.handle_sync(2);
        acks.handle_ack();
        assert!(acks.may_send());
    }

    proptest! {
        #[test]
        fn never_more_than_two_windows_and_one_are_under_way(
            window in 1u32..50,
            acts in prop::collection::vec((0u8..5, 0u32..4), 0..300),
        ) {
            let mut acks = Acks::new(window);
            let mut ahead = 0u32;
            for (act, generation) in acts {
                match act {
                    0 => {
                        acks.begin();
                        ahead = 1;
                    }
                    1 => acks.handle_sync(generation),
                    2 => {
                        let before = acks.ahead;
                        acks.handle_ack();
                        ahead -= before - acks.ahead;
                    }
                    _ if acks.may_send() => {
                        acks.handle_sent();
                        ahead += 1;
                    }
                    _ => {}
                }
                prop_assert!(ahead <= 2 * window + 1);
                prop_assert_eq!(ahead, acks.ahead);
            }
        }
    }
}

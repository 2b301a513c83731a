//! What is known of the guest's keyboard: which keys are held, whether a scan code is
//! half sent, which locks are on.
//!
//! Scan codes are those of set 1: a byte for a key, with the highest bit when it goes up,
//! and before it, for some keys, a prefix. The bytes themselves go to the device as they
//! are; whoever drives this pushes them.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::wire::inputs::lock;

/// The guest's keyboard as the bytes so far have left it.
#[derive(Debug, Default)]
pub struct Keyboard {
    /// Keys without a prefix that are down.
    plain: KeySet,
    /// Keys behind [`EXTENDED`] that are down.
    extended: KeySet,
    /// The byte before the next one, if that was a prefix.
    prefix: Option<u8>,
    /// The next byte is the second behind [`PAUSE`].
    in_pause: bool,
    /// The locks that are on: what the device told last, and what was pressed since.
    locks: u8,
    /// The lock keys that are down.
    locks_down: u8,
    /// When clients are told the locks.
    tell_at: Option<Instant>,
}

/// Keys by their code, 0 to 127.
#[derive(Clone, Copy, Debug, Default)]
struct KeySet(u128);

/// How long after a lock key the clients are told what has become of the locks: the time
/// that the guest has to light its lamps.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// Set in a byte when the key goes up.
const UP: u8 = 0x80;
/// The prefix of the keys that the first keyboards did not have.
const EXTENDED: u8 = 0xe0;
/// The prefix of the pause key, which has two bytes behind it. They would be those of
/// control and num lock.
const PAUSE: u8 = 0xe1;
/// All prefixes. What follows the others is no key that is held.
const PREFIXES: RangeInclusive<u8> = EXTENDED..=0xe2;
/// Left shift going up. Behind [`EXTENDED`] it is no key but a filler that keyboards
/// themselves send, and so it ends a half-sent code without doing anything.
const FILLER: u8 = 0x2a | UP;
/// The lock keys with their bits, in the order in which they are pressed to match a
/// client's locks.
const LOCK_KEYS: [(u8, u8); 3] = [(0x46, lock::SCROLL), (0x45, lock::NUM), (0x3a, lock::CAPS)];

impl Keyboard {
    /// A byte of a client's is on its way to the device.
    pub fn handle_byte(&mut self, byte: u8, now: Instant) {
        if self.prefix.is_none() && !self.in_pause {
            self.note_lock_key(byte, now);
        }
        self.note(byte);
    }

    /// A client tells its locks: the bytes that make the guest's the same. A lock key
    /// that is held is left alone.
    pub fn handle_locks(&mut self, wanted: u16, now: Instant) -> Vec<u8> {
        let [wanted, _] = wanted.to_le_bytes();
        let mut bytes = Vec::new();
        for (key, bit) in LOCK_KEYS {
            if self.locks_down & bit == 0 && (self.locks ^ wanted) & bit != 0 {
                self.locks ^= bit;
                bytes.extend([key, key | UP]);
            }
        }
        for &byte in &bytes {
            self.note(byte);
        }
        self.tell_later(now);
        bytes
    }

    /// The device tells which of its lamps are lit.
    pub fn handle_lamps(&mut self, lamps: u8) {
        self.locks = lamps & lock::ALL;
    }

    /// The bytes that let go of every key that is held.
    pub fn release_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.prefix.take().is_some() {
            bytes.push(FILLER);
        }
        self.in_pause = false;
        bytes.extend(self.plain.keys().map(|key| key | UP));
        bytes.extend(self.extended.keys().flat_map(|key| [EXTENDED, key | UP]));
        (self.plain, self.extended) = Default::default();
        self.locks_down = 0;
        bytes
    }

    /// The locks, in the mask that clients know.
    pub fn locks(&self) -> u16 {
        self.locks.into()
    }

    /// When to call [`Keyboard::handle_timeout`].
    pub fn deadline(&self) -> Option<Instant> {
        self.tell_at
    }

    /// Whether clients are to be told the locks now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.tell_at.is_some_and(|when| when <= now);
        if due {
            self.tell_at = None;
        }
        due
    }

    fn tell_later(&mut self, now: Instant) {
        self.tell_at = Some(now + TELL_AFTER);
    }

    /// The lamps follow a lock key only after a while, so a press counts at once.
    fn note_lock_key(&mut self, byte: u8, now: Instant) {
        let Some((_, bit)) = LOCK_KEYS.into_iter().find(|&(key, _)| key == byte & !UP) else {
            return;
        };
        if byte & UP != 0 {
            self.locks_down &= !bit;
        } else if self.locks_down & bit == 0 {
            self.locks_down |= bit;
            self.locks ^= bit;
            self.tell_later(now);
        }
    }

    fn note(&mut self, byte: u8) {
        if PREFIXES.contains(&byte) {
            self.prefix = Some(byte);
            return;
        }
        let prefix = self.prefix.take();
        self.in_pause = prefix == Some(PAUSE);
        match prefix {
            None => self.plain.note(byte),
            Some(EXTENDED) => self.extended.note(byte),
            Some(_) => {}
        }
    }
}

impl KeySet {
    fn note(&mut self, byte: u8) {
        let bit = 1 << (byte & !UP);
        if byte & UP != 0 {
            self.0 &= !bit;
        } else if !PREFIXES.contains(&(byte | UP)) {
            // The others are no keys: what would let go of them is a prefix.
            self.0 |= bit;
        }
    }

    fn keys(self) -> impl Iterator<Item = u8> {
        (0..UP).filter(move |key| self.0 & (1 << key) != 0)
    }
}

/// The bytes of a scan code in a number: the lowest first, up to the first zero.
pub fn bytes_of(code: u32) -> impl Iterator<Item = u8> {
    code.to_le_bytes().into_iter().take_while(|&byte| byte != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A guest that reads the bytes one by one, as QEMU does.
    #[derive(Default)]
    struct Guest {
        prefix: Option<u8>,
        down: BTreeSet<(Option<u8>, u8)>,
    }

    impl Guest {
        fn read(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                if PREFIXES.contains(&byte) {
                    self.prefix = Some(byte);
                    continue;
                }
                let key = (self.prefix.take(), byte & !UP);
                if byte & UP != 0 {
                    self.down.remove(&key);
                } else {
                    self.down.insert(key);
                }
            }
        }

        /// What is down and can go up.
        fn held(&self) -> Vec<(Option<u8>, u8)> {
            let real = |&&(prefix, key): &&(Option<u8>, u8)| {
                matches!(prefix, None | Some(EXTENDED)) && !PREFIXES.contains(&(key | UP))
            };
            self.down.iter().filter(real).copied().collect()
        }
    }

    fn type_in(keyboard: &mut Keyboard, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            keyboard.handle_byte(byte, now);
        }
    }

    #[test]
    fn a_code_is_read_from_its_low_end() {
        assert_eq!(bytes_of(0x1e).collect::<Vec<_>>(), [0x1e]);
        assert_eq!(bytes_of(0x4be0).collect::<Vec<_>>(), [0xe0, 0x4b]);
        assert_eq!(bytes_of(0x0100_4be0).collect::<Vec<_>>(), [0xe0, 0x4b]);
        assert_eq!(bytes_of(0xc545_1de1).collect::<Vec<_>>(), [0xe1, 0x1d, 0x45, 0xc5]);
        assert_eq!(bytes_of(0).count(), 0);
    }

    #[test]
    fn what_is_held_is_let_go_of_once() {
        let mut keyboard = Keyboard::default();
        type_in(
            &mut keyboard,
            &[0x2a, 0x1e, 0x9e, 0xe0, 0x1d, 0x1d, 0xe0, 0x4b, 0xe0, 0xcb],
            Instant::now(),
        );
        assert_eq!(keyboard.release_all(), [0x9d, 0xaa, 0xe0, 0x9d]);
        assert_eq!(keyboard.release_all(), []);
    }

    #[test]
    fn a_half_sent_code_does_not_change_what_follows() {
        let mut keyboard = Keyboard::default();
        type_in(&mut keyboard, &[0x1e, 0xe0], Instant::now());
        assert_eq!(keyboard.release_all(), [FILLER, 0x9e]);
        assert_eq!(keyboard.release_all(), []);
    }

    #[test]
    fn pause_leaves_nothing_down_and_no_lock_changed() {
        let now = Instant::now();
        let mut keyboard = Keyboard::default();
        type_in(&mut keyboard, &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], now);
        assert_eq!(keyboard.release_all(), []);
        assert_eq!((keyboard.locks(), keyboard.deadline()), (0, None));
    }

    #[test]
    fn a_lock_key_counts_once_until_it_is_up() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut keyboard = Keyboard::default();
        keyboard.handle_byte(0x3a, now);
        keyboard.handle_byte(0x3a, later);
        assert_eq!(keyboard.locks(), 4);
        assert_eq!(keyboard.deadline(), Some(now + TELL_AFTER));
        type_in(&mut keyboard, &[0xba, 0x3a, 0xba, 0x45, 0xc5, 0x46, 0xc6], later);
        assert_eq!(keyboard.locks(), 3);
        assert_eq!(keyboard.deadline(), Some(later + TELL_AFTER));
    }

    #[test]
    fn the_telling_is_due_once() {
        let now = Instant::now();
        let mut keyboard = Keyboard::default();
        keyboard.handle_byte(0x1e, now);
        assert_eq!(keyboard.deadline(), None);
        keyboard.handle_byte(0x3a, now);
        assert!(!keyboard.handle_timeout(now + TELL_AFTER / 2));
        assert!(keyboard.handle_timeout(now + TELL_AFTER));
        assert!(!keyboard.handle_timeout(now + TELL_AFTER));
        assert_eq!(keyboard.deadline(), None);
    }

    #[test]
    fn a_clients_locks_press_what_differs() {
        let now = Instant::now();
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.handle_locks(7, now), [0x46, 0xc6, 0x45, 0xc5, 0x3a, 0xba]);
        assert_eq!(keyboard.locks(), 7);
        assert_eq!(keyboard.handle_locks(0xff07, now), []);
        keyboard.handle_lamps(0xfa);
        assert_eq!(keyboard.locks(), 2);
        keyboard.handle_byte(0x45, now);
        assert_eq!(keyboard.handle_locks(6, now), [0x3a, 0xba], "num is held");
        assert_eq!(keyboard.deadline(), Some(now + TELL_AFTER));
    }

    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            any::<u8>(),
            0xe0..=0xe2u8,
            proptest::sample::select(vec![0x1e, 0x9e, 0x3a, 0xba, 0x45, 0xc5, 0x46, 0x60, 0x2a])
        ];
        proptest::collection::vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn nothing_stays_down(
            pieces in proptest::collection::vec((any_bytes(), proptest::option::of(any::<u16>())), 0..8),
        ) {
            let now = Instant::now();
            let mut keyboard = Keyboard::default();
            let mut guest = Guest::default();
            for (bytes, locks) in pieces {
                type_in(&mut keyboard, &bytes, now);
                guest.read(&bytes);
                if let Some(locks) = locks {
                    guest.read(&keyboard.handle_locks(locks, now));
                }
            }
            guest.read(&keyboard.release_all());
            prop_assert_eq!(guest.held(), []);
            prop_assert_eq!(guest.prefix, None);
            prop_assert_eq!(keyboard.release_all(), []);
        }
    }
}

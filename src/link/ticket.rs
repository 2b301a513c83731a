//! Tickets: the key that carries a password over the wire, and the password
//! that the host has set (docs/protocol/link.md, "Tickets").
//!
//! No clock: `now` is a parameter. [`TicketKey`] may be shared by threads;
//! [`Ticketing`] belongs to whoever holds the server's settings.

use std::fmt;
use std::time::{Duration, Instant};

use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::memcmp;
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};

use crate::wire::link::{PUBLIC_KEY_BYTES, TICKET_BYTES};

/// An RSA key pair of the size that the protocol fixes.
///
/// 1024 bits protect nobody from an eavesdropper of today; a password that
/// matters needs TLS around it. Clients accept no other size.
pub struct TicketKey {
    pair: Rsa<Private>,
    public_der: [u8; PUBLIC_KEY_BYTES],
}

/// Whether a password is asked for, and which.
///
/// A new one asks for a password that nobody has set: everybody is refused.
#[derive(Clone)]
pub struct Ticketing {
    required: bool,
    ticket: Ticket,
}

/// The password and the end of its life.
#[derive(Clone, Default)]
struct Ticket {
    /// Never empty and never with a NUL; `None` matches nothing.
    password: Option<Vec<u8>>,
    /// `None`: never.
    expires: Option<Instant>,
}

/// Why a password does not let a client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketRefusal {
    /// The host has set none.
    #[error("a password is required but none has been set, so every client is refused")]
    NoPassword,
    /// It was set, but not for this long.
    #[error("the password has expired")]
    Expired,
    /// It is another one.
    #[error("the client sent a wrong password")]
    Wrong,
}

/// A password of more than [`PASSWORD_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password is longer than {PASSWORD_MAX} bytes")]
pub struct TooLong;

/// A longer password is refused.
pub const PASSWORD_MAX: usize = 60;
/// Of a password, this many bytes are kept: the protocol's field of
/// [`PASSWORD_MAX`] bytes holds the final NUL too.
const PASSWORD_KEPT: usize = PASSWORD_MAX - 1;

impl TicketKey {
    /// Makes a key pair: some ten milliseconds of work.
    pub fn generate() -> Result<Self, ErrorStack> {
        let pair = Rsa::generate_with_e(TICKET_BYTES as u32 * 8, &*BigNum::from_u32(65537)?)?;
        let public_der = pair
            .public_key_to_der()?
            .try_into()
            .expect("modulus and exponent have fixed sizes, so the encoding has");
        Ok(Self { pair, public_der })
    }

    /// The public half as it stands in the link reply.
    pub fn public_der(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.public_der
    }

    /// Deciphers a ticket (RSAES-OAEP with SHA-1); `None`: it is not one for
    /// this key.
    pub fn decrypt(&self, ticket: &[u8; TICKET_BYTES]) -> Option<Vec<u8>> {
        let mut text = vec![0; TICKET_BYTES];
        let length = self.pair.private_decrypt(ticket, &mut text, Padding::PKCS1_OAEP).ok()?;
        text.truncate(length);
        Some(text)
    }
}

impl Ticketing {
    /// Whether clients need a password.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Lets everybody in and forgets the password.
    pub fn set_noauth(&mut self) {
        self.required = false;
        self.ticket.password = None;
    }

    /// From now on clients need this password, `lifetime_s` seconds long; 0
    /// means for ever, less means not at all. `None`, like an empty password,
    /// refuses everybody.
    ///
    /// A password that is too long leaves the old one in place, but what was
    /// said about its lifetime and about needing one holds, as C callers
    /// have always seen it.
    pub fn set_ticket(
        &mut self,
        password: Option<&[u8]>,
        lifetime_s: i32,
        now: Instant,
    ) -> Result<(), TooLong> {
        self.required = true;
        self.ticket.expires = match lifetime_s {
            0 => None,
            seconds => Some(now + Duration::from_secs(seconds.try_into().unwrap_or(0))),
        };
        let password = password.map(until_nul).filter(|password| !password.is_empty());
        if password.is_some_and(|password| password.len() > PASSWORD_MAX) {
            return Err(TooLong);
        }
        self.ticket.password =
            password.map(|password| password[..password.len().min(PASSWORD_KEPT)].to_vec());
        Ok(())
    }

    /// Whether a client with this password may enter.
    pub fn check(&self, password: &[u8], now: Instant) -> Result<(), TicketRefusal> {
        if self.required { self.ticket.check(password, now) } else { Ok(()) }
    }
}

impl Ticket {
    fn check(&self, given: &[u8], now: Instant) -> Result<(), TicketRefusal> {
        let password = self.password.as_deref().ok_or(TicketRefusal::NoPassword)?;
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(TicketRefusal::Expired);
        }
        match (padded(password), padded(given)) {
            (Some(password), Some(given)) if memcmp::eq(&password, &given) => Ok(()),
            _ => Err(TicketRefusal::Wrong),
        }
    }
}

impl Default for Ticketing {
    fn default() -> Self {
        Self { required: true, ticket: Ticket::default() }
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(..)")
    }
}

impl fmt::Debug for Ticketing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticketing {{ required: {}, .. }}", self.required)
    }
}

/// A password ends at its first NUL; clients send that NUL along.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Brings a password to the size of every other one, so that comparing two
/// takes the same time wherever they differ. Padding cannot make two
/// passwords equal, since neither holds a NUL.
fn padded(password: &[u8]) -> Option<[u8; TICKET_BYTES]> {
    let mut padded = [0; TICKET_BYTES];
    padded.get_mut(..password.len())?.copy_from_slice(password);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use openssl::pkey::Public;

    use super::*;

    fn encrypt(key: &TicketKey, text: &[u8], padding: Padding) -> [u8; TICKET_BYTES] {
        let public: Rsa<Public> = Rsa::public_key_from_der(key.public_der()).expect("DER");
        assert_eq!(public.size() as usize, TICKET_BYTES);
        assert_eq!(public.e().to_string(), "65537");
        let mut ticket = [0; TICKET_BYTES];
        let length = public.public_encrypt(text, &mut ticket, padding).expect("it fits");
        assert_eq!(length, TICKET_BYTES);
        ticket
    }

    #[test]
    fn a_ticket_is_deciphered_with_its_own_key_only() {
        let (key, other) = (TicketKey::generate().unwrap(), TicketKey::generate().unwrap());
        assert_ne!(key.public_der(), other.public_der());
        // 86 bytes are the most that OAEP with SHA-1 leaves of 128.
        for text in [&b""[..], b"\0", b"secret\0", &[b'x'; 86]] {
            let mut ticket = encrypt(&key, text, Padding::PKCS1_OAEP);
            assert_eq!(key.decrypt(&ticket).as_deref(), Some(text));
            assert_eq!(other.decrypt(&ticket), None);
            ticket[64] ^= 1;
            assert_eq!(key.decrypt(&ticket), None);
        }
        assert_eq!(key.decrypt(&encrypt(&key, b"secret\0", Padding::PKCS1)), None);
        assert_eq!(key.decrypt(&[0; TICKET_BYTES]), None);
        assert_eq!(key.decrypt(&[0xff; TICKET_BYTES]), None);
    }

    #[test]
    fn a_new_server_refuses_everybody_until_told_otherwise() {
        let now = Instant::now();
        let mut ticketing = Ticketing::default();
        assert_eq!(ticketing.check(b"", now), Err(TicketRefusal::NoPassword));
        ticketing.set_noauth();
        assert!(!ticketing.is_required());
        assert_eq!(ticketing.check(b"anything", now), Ok(()));
        ticketing.set_ticket(Some(b"secret"), 0, now).unwrap();
        assert!(ticketing.is_required());
        assert_eq!(ticketing.check(b"secret", now), Ok(()));
    }

    #[test]
    fn only_the_very_password_matches() {
        let now = Instant::now();
        let mut ticketing = Ticketing::default();
        ticketing.set_ticket(Some(b"secret"), 0, now).unwrap();
        for wrong in [&b""[..], b"s", b"secre", b"secret ", b"Secret", b"secretsecret", &[0; 200]] {
            assert_eq!(ticketing.check(wrong, now), Err(TicketRefusal::Wrong), "{wrong:?}");
        }
        assert_eq!(ticketing.check(b"secret", now), Ok(()));
    }

    #[test]
    fn no_password_and_an_empty_one_match_nothing() {
        let now = Instant::now();
        for none in [None, Some(&b""[..]), Some(b"\0secret")] {
            let mut ticketing = Ticketing::default();
            ticketing.set_ticket(Some(b"secret"), 0, now).unwrap();
            ticketing.set_ticket(none, 0, now).unwrap();
            for password in [&b""[..], b"secret"] {
                assert_eq!(ticketing.check(password, now), Err(TicketRefusal::NoPassword));
            }
        }
    }

    #[test]
    fn sixty_bytes_are_cut_and_sixty_one_refused() {
        let now = Instant::now();
        let letters = [b'a'; 61];
        let mut ticketing = Ticketing::default();
        for kept in [59, 60] {
            ticketing.set_ticket(Some(&letters[..kept]), 0, now).unwrap();
            assert_eq!(ticketing.check(&letters[..59], now), Ok(()));
            assert_eq!(ticketing.check(&letters[..60], now), Err(TicketRefusal::Wrong));
        }
        ticketing.set_ticket(Some(b"old"), 0, now).unwrap();
        assert_eq!(ticketing.set_ticket(Some(&letters), 5, now), Err(TooLong));
        assert_eq!(ticketing.check(b"old", now), Ok(()));
        let later = now + Duration::from_secs(5);
        assert_eq!(ticketing.check(b"old", later), Err(TicketRefusal::Expired));
    }

    #[test]
    fn a_refused_password_still_ends_noauth() {
        let now = Instant::now();
        let mut ticketing = Ticketing::default();
        ticketing.set_ticket(Some(b"forgotten"), 0, now).unwrap();
        ticketing.set_noauth();
        assert_eq!(ticketing.set_ticket(Some(&[b'a'; 61]), 0, now), Err(TooLong));
        assert_eq!(ticketing.check(b"forgotten", now), Err(TicketRefusal::NoPassword));
    }

    #[test]
    fn a_password_lives_as_long_as_it_was_told() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut ticketing = Ticketing::default();
        ticketing.set_ticket(Some(b"p"), 10, now).unwrap();
        assert_eq!(ticketing.check(b"p", at(9)), Ok(()));
        assert_eq!(ticketing.check(b"p", at(10)), Err(TicketRefusal::Expired));
        ticketing.set_ticket(Some(b"p"), -1, now).unwrap();
        assert_eq!(ticketing.check(b"p", now), Err(TicketRefusal::Expired));
        ticketing.set_ticket(Some(b"p"), 0, now).unwrap();
        assert_eq!(ticketing.check(b"p", at(1 << 32)), Ok(()));
        ticketing.set_ticket(Some(b"p"), i32::MAX, now).unwrap();
        assert_eq!(ticketing.check(b"p", at(1 << 30)), Ok(()));
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut ticketing = Ticketing::default();
        ticketing.set_ticket(Some(b"secret"), 0, Instant::now()).unwrap();
        assert!(!format!("{ticketing:?}").contains("secret"));
        assert_eq!(format!("{:?}", TicketKey::generate().unwrap()), "TicketKey(..)");
    }
}

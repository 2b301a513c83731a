//! Where a VM goes, as its clients are told: `MIGRATE_BEGIN`, `MIGRATE_BEGIN_SEAMLESS` and
//! `MIGRATE_SWITCH_HOST` of the main channel (docs/protocol/migration.md).

/// The version of what moves with a channel, in `MIGRATE_BEGIN_SEAMLESS` and the client's question.
pub const VERSION: u32 = 1;

/// A port that is not there, as upstream writes -1.
const NO_PORT: u16 = u16::MAX;

/// u16 port, u16 secure port, u32 length and u32 place of the host's name, the same of the
/// certificate's subject; for `MIGRATE_BEGIN_SEAMLESS` u32 version; then the two with their NULs.
/// Places count from the body's start. Without a subject both its numbers are 0.
pub fn announcement(
    host: &[u8],
    port: Option<u16>,
    secure_port: Option<u16>,
    subject: Option<&[u8]>,
    seamless: bool,
) -> Vec<u8> {
    let fixed: u32 = if seamless { 24 } else { 20 };
    let length = |text: &[u8]| text.len() as u32 + 1;
    let subject_at = subject.map_or(0, |_| fixed + length(host));
    let mut body = Vec::with_capacity(fixed as usize + host.len() + 2);
    body.extend_from_slice(&port.unwrap_or(NO_PORT).to_le_bytes());
    body.extend_from_slice(&secure_port.unwrap_or(NO_PORT).to_le_bytes());
    for word in [length(host), fixed, subject.map_or(0, length), subject_at] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    if seamless {
        body.extend_from_slice(&VERSION.to_le_bytes());
    }
    for text in [Some(host), subject].into_iter().flatten() {
        body.extend_from_slice(text);
        body.push(0);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_to_the_texts() {
        for seamless in [false, true] {
            let body = announcement(b"host", Some(5900), None, Some(b"CN=x"), seamless);
            let word = |at: usize| {
                u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]) as usize
            };
            assert_eq!(body[..4], [0x0c, 0x17, 0xff, 0xff]);
            assert_eq!(&body[word(8)..word(8) + word(4)], b"host\0");
            assert_eq!(&body[word(16)..word(16) + word(12)], b"CN=x\0");
            assert_eq!(word(16) + word(12), body.len());
            if seamless {
                assert_eq!(word(20), 1);
            }
        }
        let body = announcement(b"h", Some(1), Some(2), None, false);
        assert_eq!(body[4..20], [2, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

//! The header in front of every channel message (docs/protocol/channel.md).

/// Which of the two headers a connection uses, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderForm {
    /// 18 bytes: u64 serial, u16 type, u32 size, u32 offset of a sub-message list.
    Full,
    /// 6 bytes: u16 type, u32 size; used when the client has MINI_HEADER.
    Mini,
}

/// The part of a header that decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Message type.
    pub kind: u16,
    /// Length of the body in bytes.
    pub size: u32,
}

/// Length of the longer header, for buffers that must take either.
pub const LONGEST: usize = 18;

impl HeaderForm {
    /// Length of the header in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Full => LONGEST,
            Self::Mini => 6,
        }
    }

    /// Reads a header; `None` while fewer bytes than a header are there.
    pub fn parse(self, bytes: &[u8]) -> Option<Header> {
        let at = match self {
            Self::Full => 8,
            Self::Mini => 0,
        };
        if bytes.len() < self.bytes() {
            return None;
        }
        Some(Header {
            kind: u16::from_le_bytes([bytes[at], bytes[at + 1]]),
            size: u32::from_le_bytes([bytes[at + 2], bytes[at + 3], bytes[at + 4], bytes[at + 5]]),
        })
    }

    /// Writes a header to the front of `out`, which must hold [`HeaderForm::bytes`] bytes.
    pub fn write(self, out: &mut [u8], header: Header, serial: u64) {
        if self == Self::Full {
            out[..8].copy_from_slice(&serial.to_le_bytes());
            out[14..18].copy_from_slice(&0u32.to_le_bytes());
        }
        self.rewrite(out, header);
    }

    /// Changes the serial in a header that was written, where there is one.
    pub fn rewrite_serial(self, out: &mut [u8], change: impl FnOnce(u64) -> u64) {
        if self == Self::Full
            && let Some(bytes) = out.first_chunk_mut()
        {
            *bytes = change(u64::from_le_bytes(*bytes)).to_le_bytes();
        }
    }

    /// Changes type and size in a header that was written; the serial stays.
    pub fn rewrite(self, out: &mut [u8], header: Header) {
        let at = match self {
            Self::Full => 8,
            Self::Mini => 0,
        };
        out[at..at + 2].copy_from_slice(&header.kind.to_le_bytes());
        out[at + 2..at + 6].copy_from_slice(&header.size.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_come_back_as_written() {
        for form in [HeaderForm::Full, HeaderForm::Mini] {
            let mut bytes = [0xffu8; LONGEST];
            let header = Header { kind: 0x1234, size: 0x89ab_cdef };
            form.write(&mut bytes, header, 7);
            assert_eq!(form.parse(&bytes[..form.bytes()]), Some(header));
            assert_eq!(form.parse(&bytes[..form.bytes() - 1]), None);
        }
    }

    #[test]
    fn the_full_form_starts_with_the_serial_and_has_no_sub_list() {
        let mut bytes = [0xffu8; LONGEST];
        HeaderForm::Full.write(&mut bytes, Header { kind: 4, size: 12 }, 0x0102);
        assert_eq!(bytes, [2, 1, 0, 0, 0, 0, 0, 0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0]);
    }
}

//! What moves to another host with a channel: the body of MIGRATE_DATA
//! (docs/protocol/migration-data.md).
//!
//! The bytes come from a client that may have changed them, whichever host they began at:
//! each length, offset and count is compared with what is there, and what does not fit is
//! [`BadData`]. The layouts are upstream's. What they mean for a channel is not here.

pub mod announcement;
pub mod display;
pub mod main;
pub mod small;

use super::{Reader, Truncated};

/// Server to client: MIGRATE, u32 flags.
pub const MIGRATE: u16 = 1;
/// Server to client: MIGRATE_DATA. The client carries the body to the other host, where
/// it is [`super::common::MIGRATE_DATA`].
pub const MIGRATE_DATA: u16 = 2;

/// Flags of MIGRATE.
pub mod flag {
    /// The client answers with MIGRATE_FLUSH_MARK behind all that it has sent.
    pub const NEED_FLUSH: u32 = 1;
    /// The client waits for MIGRATE_DATA and carries it to the other host.
    pub const NEED_DATA: u32 = 2;
}

/// Which channel a body is of: the four letters that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Magic(pub [u8; 4]);

impl Magic {
    /// The main channel.
    pub const MAIN: Self = Self(*b"MNMD");
    /// A display channel.
    pub const DISPLAY: Self = Self(*b"DCMD");
    /// The inputs channel.
    pub const INPUTS: Self = Self(*b"ICMD");
    /// The smartcard channel.
    pub const SMARTCARD: Self = Self(*b"SCMD");
    /// A usbredir, port, webdav or registered channel.
    pub const SPICEVMC: Self = Self(*b"SVMD");
}

/// Magic and version, with which every body begins.
pub const HEAD: usize = 8;
const VERSION: u32 = 1;

/// Length of a char device's block (`chardev::Block`), which is opaque here.
pub const CHAR_DEVICE: usize = 25;

/// Why a body cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadData {
    /// It is another channel's, or nothing of the kind.
    #[error("the migration data begin with {0:02x?}, not with this channel's magic")]
    Magic([u8; 4]),
    /// From the future.
    #[error("version {0} of the migration data is not known")]
    Version(u32),
    /// It ends too early.
    #[error("the migration data end inside a field")]
    Truncated(#[from] Truncated),
    /// What is pointed to is not there.
    #[error("the migration data point to {length} bytes at {at}, where they have not got them")]
    Outside {
        /// From the start of the body.
        at: u32,
        /// In bytes.
        length: u64,
    },
    /// A number that cannot be.
    #[error("{0} of the migration data cannot be {1}")]
    Value(&'static str, u64),
}

/// A body whose magic and version are good.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    /// Looks at magic and version.
    pub fn parse(magic: Magic, bytes: &'a [u8]) -> Result<Self, BadData> {
        let mut reader = Reader::new(bytes);
        let begin = reader.array()?;
        if begin != magic.0 {
            return Err(BadData::Magic(begin));
        }
        match reader.u32()? {
            0..=VERSION => Ok(Self(bytes)),
            version => Err(BadData::Version(version)),
        }
    }

    /// What stands behind magic and version.
    pub fn fields(&self) -> Reader<'a> {
        Reader::new(&self.0[HEAD..])
    }

    /// The bytes that a field points to, behind the `fixed` bytes of the body in which the
    /// fields are. Nothing is anywhere.
    pub fn part(&self, fixed: usize, at: u32, length: u64) -> Result<&'a [u8], BadData> {
        if length == 0 {
            return Ok(&[]);
        }
        let outside = BadData::Outside { at, length };
        let (begin, length) = (at as usize, usize::try_from(length).map_err(|_| outside)?);
        let end = begin.checked_add(length).ok_or(outside)?;
        self.0.get(begin..end).filter(|_| begin >= fixed).ok_or(outside)
    }

    /// What follows the bytes that were found by [`Body::part`].
    fn behind(&self, at: u32, length: usize) -> &'a [u8] {
        (at as usize).checked_add(length).and_then(|end| self.0.get(end..)).unwrap_or_default()
    }
}

/// Begins a body.
fn begin(magic: Magic) -> Vec<u8> {
    [magic.0, VERSION.to_le_bytes()].concat()
}

/// A field that says yes or no.
fn flag_of(reader: &mut Reader<'_>) -> Result<bool, Truncated> {
    Ok(reader.u8()? != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_and_version_are_looked_at_first() {
        let parse = |bytes: &[u8]| Body::parse(Magic::INPUTS, bytes).map(|body| body.0.len());
        assert_eq!(parse(b"ICMD\x01\0\0\0ab"), Ok(10));
        assert_eq!(parse(b"ICMD\0\0\0\0"), Ok(8));
        assert_eq!(parse(b"SVMD\x01\0\0\0"), Err(BadData::Magic(*b"SVMD")));
        assert_eq!(parse(b"ICMD\x02\0\0\0"), Err(BadData::Version(2)));
        for length in 0..8 {
            assert_eq!(parse(&b"ICMD\x01\0\0\0"[..length]), Err(Truncated.into()));
        }
    }

    #[test]
    fn a_part_lies_behind_the_fields_and_inside_the_body() {
        let body = Body::parse(Magic::INPUTS, b"ICMD\x01\0\0\0xxabc").expect("a good body");
        let part = |at, length| body.part(10, at, length).ok();
        assert_eq!(part(10, 3), Some(&b"abc"[..]));
        assert_eq!(part(12, 1), Some(&b"c"[..]));
        assert_eq!(part(u32::MAX, 0), Some(&b""[..]), "nothing is anywhere");
        for (at, length) in [(9, 1), (10, 4), (13, 1), (u32::MAX, 1), (10, u64::MAX), (0, 1)] {
            assert_eq!(part(at, length), None, "{length} bytes at {at}");
        }
        assert_eq!(body.behind(11, 1), b"c");
        assert_eq!(body.behind(u32::MAX, usize::MAX), b"");
    }
}

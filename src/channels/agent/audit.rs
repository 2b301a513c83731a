//! What the audit log says of a transfer: which way, of what type, how many bytes, and
//! what became of it. Never content, and a file's name is content too: it may say as
//! much as the file.

use std::fmt;

use super::Side;

/// One transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who gets it, or would have got it.
    pub to: Side,
    /// What it is.
    pub what: What,
    /// How many bytes there were; `None` where nobody said.
    pub bytes: Option<u64>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What is transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Copied content.
    Clipboard {
        /// Which clipboard, if the peers tell them apart.
        selection: Option<u8>,
        /// The content's type.
        kind: u32,
    },
    /// A file.
    File,
}

/// What becomes of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went through.
    Passed,
    /// It was not let through.
    Refused,
    /// It began and did not come to its end.
    Ended,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match self.to {
            Side::Guest => "to the guest",
            Side::Client => "to the client",
        };
        match self.what {
            What::File => write!(f, "file {to}, ")?,
            What::Clipboard { selection, kind } => {
                write!(f, "clipboard {to}, ")?;
                match selection {
                    None | Some(0) => {}
                    Some(1) => f.write_str("primary selection, ")?,
                    Some(2) => f.write_str("secondary selection, ")?,
                    Some(other) => write!(f, "selection {other}, ")?,
                }
                match kind {
                    1 => f.write_str("type text, ")?,
                    2 => f.write_str("type png, ")?,
                    3 => f.write_str("type bmp, ")?,
                    4 => f.write_str("type tiff, ")?,
                    5 => f.write_str("type jpg, ")?,
                    6 => f.write_str("type file list, ")?,
                    other => write!(f, "type {other}, ")?,
                }
            }
        }
        match self.bytes {
            Some(bytes) => write!(f, "{bytes} bytes, ")?,
            None => f.write_str("size unknown, ")?,
        }
        f.write_str(match self.outcome {
            Outcome::Passed => "passed",
            Outcome::Refused => "refused",
            Outcome::Ended => "not completed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_without_content() {
        let clipboard = |selection, kind| What::Clipboard { selection, kind };
        let line = |to, what, bytes, outcome| Record { to, what, bytes, outcome }.to_string();
        assert_eq!(
            line(Side::Guest, clipboard(Some(0), 1), Some(12), Outcome::Passed),
            "clipboard to the guest, type text, 12 bytes, passed"
        );
        assert_eq!(
            line(Side::Client, clipboard(Some(1), 77), None, Outcome::Refused),
            "clipboard to the client, primary selection, type 77, size unknown, refused"
        );
        assert_eq!(
            line(Side::Guest, What::File, Some(0), Outcome::Ended),
            "file to the guest, 0 bytes, not completed"
        );
    }
}

//! Passwords: from a file or from the terminal, never from the command line.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

use crate::{Failure, status};

/// The first line of a file.
pub(crate) fn from_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let wrong =
        |error: io::Error| Failure::new(status::ARGUMENTS, format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    // A device without end is no password file.
    File::open(path).map_err(wrong)?.take(FILE_MAX).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(first_line(&bytes).to_vec())
}

/// Asks on the terminal without showing the answer; `None`: there is no terminal, or
/// Ctrl+C was the answer.
pub(crate) fn from_terminal() -> Option<Vec<u8>> {
    let mut terminal = fs::OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    let before = tcgetattr(&terminal).ok()?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    hidden.local_modes.insert(LocalModes::ICANON | LocalModes::ECHONL);
    // A signal would leave the terminal mute: Ctrl+C ends the line instead.
    hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
    // Before the question: what is typed as an answer must be neither shown nor dropped.
    tcsetattr(&terminal, OptionalActions::Flush, &hidden).ok()?;
    let asked = terminal.write_all(b"Password: ");
    let mut line = vec![0; FILE_MAX as usize];
    let count = asked.and_then(|()| terminal.read(&mut line));
    tcsetattr(&terminal, OptionalActions::Flush, &before).ok()?;
    line.truncate(count.ok()?);
    (!line.contains(&INTERRUPT)).then(|| first_line(&line).to_vec())
}

/// Far above the longest password.
const FILE_MAX: u64 = 4096;
/// Ctrl+C.
const INTERRUPT: u8 = 3;

fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        for (text, password) in
            [("a b\n", "a b"), ("a\r\nb", "a"), ("a", "a"), ("", ""), ("\n", "")]
        {
            assert_eq!(first_line(text.as_bytes()), password.as_bytes());
        }
    }
}

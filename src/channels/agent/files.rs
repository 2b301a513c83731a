//! The files under way from clients, as far as somebody has to know: for a limit, for
//! the audit, or because one was refused and its bytes are still arriving.

use std::collections::VecDeque;

use crate::config::limits;

/// The files, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Files(VecDeque<File>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// The client's number for it.
    pub id: u32,
    /// Its bytes so far.
    pub moved: u64,
    /// Nothing of it passes any more.
    pub refused: bool,
}

impl Files {
    /// The file with this number.
    pub fn find(&mut self, id: u32) -> Option<&mut File> {
        self.0.iter_mut().find(|file| file.id == id)
    }

    /// Another file, instead of one with the same number. When there are too many,
    /// those that were refused are forgotten, the oldest first; false if none was.
    pub fn begin(&mut self, file: File) -> bool {
        self.end(file.id);
        if self.0.len() >= limits::FILES {
            match self.0.iter().position(|file| file.refused) {
                Some(at) => drop(self.0.remove(at)),
                None => return false,
            }
        }
        self.0.push_back(file);
        true
    }

    /// A file has come to its end.
    pub fn end(&mut self, id: u32) -> Option<File> {
        let at = self.0.iter().position(|file| file.id == id)?;
        self.0.remove(at)
    }

    /// All have come to their end. Returns those that were passing.
    pub fn end_all(&mut self) -> impl Iterator<Item = File> {
        std::mem::take(&mut self.0).into_iter().filter(|file| !file.refused)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The size that the start of a file tells, in a text of groups, keys and values:
///
/// ```text
/// [vdagent-file-xfer]
/// name=...
/// size=1234
/// ```
pub fn announced_size(text: &[u8]) -> Option<u64> {
    let mut lines = text.split(|byte| matches!(byte, b'\n' | 0)).map(<[u8]>::trim_ascii);
    lines.find(|line| *line == b"[vdagent-file-xfer]")?;
    // Of a key that is there twice, the last one counts: so the agent reads it.
    let sizes = lines.take_while(|line| !line.starts_with(b"[")).filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        (line[..at].trim_ascii() == b"size").then(|| line[at + 1..].trim_ascii())
    });
    std::str::from_utf8(sizes.last()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_stands_in_the_text() {
        let size = |text: &str| announced_size(text.as_bytes());
        assert_eq!(size("[vdagent-file-xfer]\nname=a\nsize=12\n"), Some(12));
        assert_eq!(size("[vdagent-file-xfer]\r\n size = 12 \r\nname=size=3\0"), Some(12));
        assert_eq!(size("[vdagent-file-xfer]\nsize=12\nsize=13"), Some(13));
        assert_eq!(size("[vdagent-file-xfer]\nname=a\n[other]\nsize=12"), None);
        assert_eq!(size("size=12"), None);
        assert_eq!(size("[vdagent-file-xfer]\nsize=-1"), None);
        assert_eq!(size("[vdagent-file-xfer]\nsize=99999999999999999999"), None);
        assert_eq!(announced_size(b"[vdagent-file-xfer]\nsize=\xff"), None);
    }

    #[test]
    fn there_is_room_only_for_so_many() {
        let file = |id, refused| File { id, moved: 0, refused };
        let mut files = Files::default();
        for id in 0..limits::FILES as u32 {
            assert!(files.begin(file(id, id == 3 || id == 5)));
        }
        assert!(files.begin(file(1, false)), "a number is used again");
        assert!(files.begin(file(1000, false)) && files.find(3).is_none());
        assert!(files.begin(file(1001, false)) && files.find(5).is_none());
        assert!(!files.begin(file(1002, false)));
        assert_eq!(files.end(1000), Some(file(1000, false)));
        assert_eq!(files.end_all().count(), limits::FILES - 1);
        assert!(files.is_empty());
    }
}

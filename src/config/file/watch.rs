//! Notices that the file has changed, for the settings that a running machine takes.
//!
//! Looking costs one `stat`; the file is read again only when that says something new.

use std::path::PathBuf;

use super::File;
use crate::config::stamp::Stamp;

/// A file and how it was when it was last read.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    seen: Option<Stamp>,
}

impl Watch {
    /// Watches [`File::path`] from now on.
    pub fn new() -> Self {
        Self::of(File::path())
    }

    fn of(path: PathBuf) -> Self {
        let seen = Stamp::of(&path).ok();
        Self { path, seen }
    }

    /// The file, if it is another one than when it was last looked at. One that is gone or
    /// cannot be read changes nothing: it may be in the middle of being replaced.
    pub fn changed(&mut self) -> Option<File> {
        let stamp = Stamp::of(&self.path).ok().filter(|stamp| self.seen != Some(*stamp))?;
        // Before it is read: what is written meanwhile is noticed the next time.
        self.seen = Some(stamp);
        match File::read(&self.path) {
            Ok(file) => Some(file),
            Err(error) => {
                crate::warning!("{}: {error}; settings stay as they are", self.path.display());
                None
            }
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn log_of(file: &File) -> bool {
        file.config(None, None).0.agent.audit
    }

    #[test]
    fn a_file_is_read_once_after_each_change() {
        let directory = std::env::temp_dir().join(format!("watch-{}", std::process::id()));
        fs::create_dir(&directory).expect("a directory");
        let path = directory.join("config.toml");
        let mut watch = Watch::of(path.clone());
        assert!(watch.changed().is_none(), "there is no file");
        fs::write(&path, "audit = { log = true }\n").expect("written");
        assert!(log_of(&watch.changed().expect("a new file")));
        assert!(watch.changed().is_none(), "nothing new");
        // As editors do it: the same size, another file.
        let other = directory.join("other");
        fs::write(&other, "#udit = { log = true }\n").expect("written");
        fs::rename(&other, &path).expect("moved");
        assert!(!log_of(&watch.changed().expect("another file")));
        fs::remove_file(&path).expect("removed");
        assert!(watch.changed().is_none(), "a file that is gone changes nothing");
        fs::remove_dir(&directory).expect("removed");
    }
}

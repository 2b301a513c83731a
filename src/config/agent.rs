//! What may pass between a client and the guest's agent: clipboard and files, each by
//! direction and size, and whether the log keeps account of it (docs/configuration.md).
//!
//! Pure values.

/// What may pass. By default everything, as upstream has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentPolicy {
    /// Copy and paste.
    pub clipboard: Clipboard,
    /// Files that a client copies into the guest; the protocol has no other direction.
    pub files: Files,
    /// One line in the log for each transfer: who, which way, what type, how many bytes.
    pub audit: bool,
}

/// Copy and paste.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clipboard {
    /// What was copied at the client may be pasted in the guest.
    pub to_guest: bool,
    /// What was copied in the guest may be pasted at the client.
    pub to_client: bool,
    /// Largest content in bytes; `None`: no limit.
    pub max_size: Option<u64>,
}

/// Files from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// Whether any may pass.
    pub to_guest: bool,
    /// Largest file in bytes; `None`: no limit.
    pub max_size: Option<u64>,
}

/// What a section says differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentChange {
    /// See [`Clipboard`]: to the guest, to the client.
    pub clipboard: Option<(bool, bool)>,
    /// See [`Clipboard::max_size`]; zero: no limit.
    pub clipboard_size: Option<u64>,
    /// See [`Files::to_guest`].
    pub files: Option<bool>,
    /// See [`Files::max_size`]; zero: no limit.
    pub file_size: Option<u64>,
    /// See [`AgentPolicy::audit`].
    pub audit: Option<bool>,
}

impl Default for Clipboard {
    fn default() -> Self {
        Self { to_guest: true, to_client: true, max_size: None }
    }
}

impl Default for Files {
    fn default() -> Self {
        Self { to_guest: true, max_size: None }
    }
}

impl AgentChange {
    /// This change on top of `policy`.
    pub fn on(self, policy: AgentPolicy) -> AgentPolicy {
        let AgentPolicy { clipboard, files, audit } = policy;
        let (to_guest, to_client) =
            self.clipboard.unwrap_or((clipboard.to_guest, clipboard.to_client));
        let limit = |said: Option<u64>, before| said.map_or(before, limit);
        AgentPolicy {
            clipboard: Clipboard {
                to_guest,
                to_client,
                max_size: limit(self.clipboard_size, clipboard.max_size),
            },
            files: Files {
                to_guest: self.files.unwrap_or(files.to_guest),
                max_size: limit(self.file_size, files.max_size),
            },
            audit: self.audit.unwrap_or(audit),
        }
    }
}

/// A size as the file and the C API have it: zero is no limit.
pub fn limit(size: u64) -> Option<u64> {
    (size != 0).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_what_it_does_not_say() {
        let before = AgentPolicy {
            clipboard: Clipboard { to_guest: false, to_client: true, max_size: Some(5) },
            files: Files { to_guest: false, max_size: Some(6) },
            audit: true,
        };
        assert_eq!(AgentChange::default().on(before), before);
        let no_limit =
            AgentChange { clipboard_size: Some(0), file_size: Some(7), ..AgentChange::default() };
        let after = no_limit.on(before);
        assert_eq!(after.clipboard.max_size, None);
        assert_eq!(after.files.max_size, Some(7));
        assert!(!after.clipboard.to_guest && after.audit);
    }
}

//! What may pass between clients and the guest's agent, beyond what the C API can say.
//!
//! Plain values: the configuration file fills them in, the agent's policy
//! (`channels::agent::policy`) acts on them.

/// The operator's rules for the agent of one virtual machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentPolicy {
    /// Copy and paste.
    pub clipboard: Clipboard,
    /// Files that clients send.
    pub files: Files,
    /// Each transfer leaves a line in the log.
    pub audit: bool,
}

/// Which way copy and paste go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clipboard {
    /// What is copied at the client may be pasted in the guest.
    pub to_guest: bool,
    /// What is copied in the guest may be pasted at the client.
    pub to_client: bool,
    /// Most bytes of one paste; `None`: any number.
    pub max_size: Option<u64>,
}

/// Files go from clients to the guest; the protocol knows no other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// Clients may send files.
    pub to_guest: bool,
    /// Most bytes of one file; `None`: any number.
    pub max_size: Option<u64>,
}

/// Everything may pass, as upstream has it.
impl Default for Clipboard {
    fn default() -> Self {
        Self { to_guest: true, to_client: true, max_size: None }
    }
}

/// Everything may pass, as upstream has it.
impl Default for Files {
    fn default() -> Self {
        Self { to_guest: true, max_size: None }
    }
}

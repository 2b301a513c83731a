//! What may pass between clients and the guest's agent, as the configuration file has it
//! now: an operator may change that while the machine runs.
//!
//! Runs under the host's serialisation. The file is looked at when something is about to
//! pass; a machine in which nothing is copied costs nothing.

use std::cell::{Cell, RefCell};

use super::Server;
use crate::config::agent::AgentPolicy;
use crate::config::file::Watch;
use crate::guard::guard;

/// The policy and where it comes from.
#[derive(Default)]
pub(super) struct TransferPolicy {
    policy: Cell<AgentPolicy>,
    /// From init on.
    file: RefCell<Option<Watch>>,
}

impl Server {
    /// The policy from init on, and the file that it came from.
    pub(super) fn begin_transfer_policy(&self, policy: AgentPolicy, file: Watch) {
        self.transfer_policy.policy.set(policy);
        *self.transfer_policy.file.borrow_mut() = Some(file);
    }

    /// What may pass now.
    pub(super) fn transfer_policy(&self) -> AgentPolicy {
        // After a fault what was allowed before goes on.
        guard("the changed configuration", (), || self.look_at_transfer_policy());
        self.transfer_policy.policy.get()
    }

    fn look_at_transfer_policy(&self) {
        let TransferPolicy { policy, file } = &self.transfer_policy;
        let changed = file.borrow_mut().as_mut().and_then(Watch::changed);
        if let Some(changed) = changed {
            let settings = self.settings.borrow();
            let (config, _) = changed.config(settings.name.as_deref(), settings.uuid.as_ref());
            for problem in changed.problems() {
                crate::warning!("{problem}");
            }
            if policy.replace(config.agent) != config.agent {
                crate::info!("what may pass to and from the agent has changed");
            }
        }
    }
}

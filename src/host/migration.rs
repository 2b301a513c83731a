//! The host's migration interface: two notices that QEMU waits for.

use std::ptr::NonNull;

use super::abi::{SpiceMigrateInstance, SpiceMigrateInterface};

/// The registered migration interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    instance: NonNull<SpiceMigrateInstance>,
}

impl Migration {
    /// Wraps the host's instance.
    ///
    /// # Safety
    /// `instance` is a migration instance with its interface, and both stay good
    /// until the server is destroyed.
    pub unsafe fn from_host(instance: NonNull<SpiceMigrateInstance>) -> Self {
        Self { instance }
    }

    fn interface(self) -> SpiceMigrateInterface {
        // SAFETY: `from_host`'s promise.
        unsafe { *(*self.instance.as_ptr()).base.sif.cast() }
    }

    /// Clients have answered (or there are none): `migrate_connect` is done.
    pub fn connect_complete(self) {
        if let Some(complete) = self.interface().migrate_connect_complete {
            // SAFETY: the host's own function for this instance.
            unsafe { complete(self.instance.as_ptr()) };
        }
    }

    /// Clients have left: the host may end.
    pub fn end_complete(self) {
        if let Some(complete) = self.interface().migrate_end_complete {
            // SAFETY: the host's own function for this instance.
            unsafe { complete(self.instance.as_ptr()) };
        }
    }
}

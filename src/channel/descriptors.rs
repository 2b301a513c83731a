//! Descriptors that go to a client beside a message: the buffers of a picture.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Open descriptors. Clones are the same ones; they are closed with the last clone, so that
/// a picture may be replaced while the message about it still waits.
#[derive(Clone, Debug)]
pub struct Descriptors(Arc<[OwnedFd]>);

/// What leaves in their company: a message on a stream socket has no bytes left that they
/// could go with.
pub const COMPANION: u8 = b'@';

impl Descriptors {
    /// Takes these over; `None` if there are none.
    pub fn new(owned: Vec<OwnedFd>) -> Option<Self> {
        (!owned.is_empty()).then(|| Self(owned.into()))
    }

    /// To be passed on.
    pub fn borrow(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }
}

impl PartialEq for Descriptors {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Descriptors {}

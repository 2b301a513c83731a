//! Graphics devices: a worker thread for each, and the way from the host's
//! `QXLInstance` to it.
//!
//! `attach` and `detach` are for the main thread. Everything on [`QxlHandle`] may be
//! called from any thread, as `spice_qxl_*` come from vCPU threads too. A request
//! names its device by the number that `attach` left in the instance's `st`: only a
//! key into a table, so a stale or foreign value is noticed and never followed.
//!
//! Drawing goes into the surfaces' memory at once; what the primary surface shows goes to
//! clients by way of `display`.

#![forbid(unsafe_code)]

mod command;
mod complaints;
mod cursor;
mod display;
mod drawable;
mod handle;
pub mod limits;
mod monitors;
mod release;
mod request;
mod rings;
mod screen;
mod shared;
mod showing;
mod surface;
#[cfg(test)]
mod tests;
mod worker;

pub use cursor::{Change, News};
pub use display::Display;
pub use handle::{Answer, QxlHandle, StartError};
pub use screen::{ClientMouse, DeviceInfo};
pub use shared::ChangeHook;

use crate::host::qxl::QxlDevice;
use crate::stats::RefusalCounters;
use complaints::Complaints;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Takes a device into service: its worker exists, stopped, and the host was told.
///
/// The host makes requests from inside its `attached_worker`, which is called here;
/// so the caller must have let go of its locks. `changed` is called whenever the
/// answer of [`QxlHandle::client_mouse`] may have changed. What its guest does wrongly is
/// counted in `refusals`.
pub fn attach(
    device: &QxlDevice,
    compression_level: i32,
    changed: ChangeHook,
    refusals: Arc<RefusalCounters>,
) -> Result<Arc<QxlHandle>, StartError> {
    let handle = Arc::new(QxlHandle::new(device, changed, refusals)?);
    let number = DEVICES.lock().insert(Arc::clone(&handle));
    device.set_state(number);
    device.attached_worker();
    device.set_compression_level(compression_level);
    Ok(handle)
}

/// Takes a device out of service and joins its worker: no callback afterwards.
///
/// Returns false, with the device still in service, when called from inside one of
/// its own worker callbacks.
pub fn detach(handle: &Arc<QxlHandle>) -> bool {
    if !handle.finish() {
        return false;
    }
    DEVICES.lock().remove(handle);
    true
}

/// The device that goes by a number, if it is in service.
pub fn lookup(number: usize) -> Option<Arc<QxlHandle>> {
    DEVICES.lock().by_number.get(&number).cloned()
}

/// Logs that a call of the host was refused. A host that goes on using an instance
/// after its end would fill the log, so only some of the lines are written.
pub fn refused(function: &str, why: &str) {
    static REFUSALS: Mutex<Complaints> = Mutex::new(Complaints::new());
    REFUSALS.lock().log(None, &format_args!("{function}: {why}"));
}

/// The devices in service by the number in `st`. Numbers are not used twice.
struct Devices {
    by_number: BTreeMap<usize, Arc<QxlHandle>>,
    last: usize,
}

static DEVICES: Mutex<Devices> = Mutex::new(Devices { by_number: BTreeMap::new(), last: 0 });

impl Devices {
    fn insert(&mut self, handle: Arc<QxlHandle>) -> usize {
        self.last += 1;
        self.by_number.insert(self.last, handle);
        self.last
    }

    fn remove(&mut self, handle: &Arc<QxlHandle>) {
        self.by_number.retain(|_, other| !Arc::ptr_eq(other, handle));
    }
}

//! The host's end of a worker: requests from any thread, answers where one waits.

#![forbid(unsafe_code)]

use super::cursor::News;
use super::display::Display;
use super::limits;
use super::release::{Completion, Done};
use super::request::Request;
use super::screen::{ClientMouse, DeviceInfo};
use super::shared::{ChangeHook, Shared};
use super::worker::{Ends, THREAD_NAME, Worker};
use crate::canvas::Region;
use crate::channels::display::compression::Policy;
use crate::channels::display::viewers::Scanout;
use crate::host::abi::{QXLCommandExt, QXLDevInitInfo, QXLDevSurfaceCreate};
use crate::host::guest_memory::GuestSlot;
use crate::host::memslot::SlotError;
use crate::host::qxl::{DeviceError, QxlDevice};
use crate::net::sys::spawn;
use crate::stats::RefusalCounters;
use crate::wire::display::{GlArea, compression};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{JoinHandle, ThreadId};

/// A graphics device with its worker thread. Any thread may make requests.
#[derive(Debug)]
pub struct QxlHandle {
    device: QxlDevice,
    info: QXLDevInitInfo,
    shared: Arc<Shared>,
    cursor: Arc<News>,
    display: Arc<Display>,
    requests: SyncSender<Request>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
}

/// How the caller of a request that exists in two forms wants to hear of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// By the call's return.
    Wait,
    /// By `async_complete` with this cookie.
    Cookie(u64),
}

/// Why a device could not be taken into service.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The interface is not usable.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device announces an impossible memory layout.
    #[error(transparent)]
    Memory(#[from] SlotError),
    /// No thread could be made.
    #[error("no worker thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl QxlHandle {
    /// Starts the worker thread of a device, in the stopped state. Main.
    pub(super) fn new(
        device: &QxlDevice,
        changed: ChangeHook,
        refusals: Arc<RefusalCounters>,
    ) -> Result<Self, StartError> {
        let info = device.init_info()?;
        let shared = Arc::new(Shared::new(changed));
        let cursor = Arc::<News>::default();
        let display =
            Display::new(Policy { compression: compression::AUTO_GLZ, ..Policy::default() });
        let ends = Ends {
            shared: Arc::clone(&shared),
            display: Arc::clone(&display),
            news: Arc::clone(&cursor),
            refusals,
        };
        let worker = Worker::new(device.clone(), ends, &info)?;
        // The standard library's channel, because it drops what is in the queue together
        // with the receiver; crossbeam's bounded one keeps it, and who waits would wait
        // for ever.
        let (requests, queue) = sync_channel(limits::QUEUED_REQUESTS);
        let thread = spawn(THREAD_NAME, move || worker.run(queue))?;
        let thread_id = thread.thread().id();
        let device = device.clone();
        let thread = Mutex::new(Some(thread));
        Ok(Self { device, info, shared, cursor, display, requests, thread, thread_id })
    }

    /// The id of the device's channels.
    pub fn id(&self) -> u32 {
        self.device.id()
    }

    /// The device itself, for the calls that the main thread makes.
    pub fn device(&self) -> &QxlDevice {
        &self.device
    }

    /// What has become of the pointer.
    pub fn cursor(&self) -> &Arc<News> {
        &self.cursor
    }

    /// What the device's clients see.
    pub fn display(&self) -> &Arc<Display> {
        &self.display
    }

    /// Clients came or went: the worker shows what there is, and tells the guest.
    pub fn viewers_changed(&self) {
        self.post(Request::Viewers);
    }

    /// Size of the device's memory, which clients are told as a hint.
    pub fn ram_size(&self) -> u32 {
        self.info.qxl_ram_size
    }

    /// What the device says about the pointer; none while it shows no picture.
    pub fn client_mouse(&self) -> Option<ClientMouse> {
        self.shared.screen.client_mouse()
    }

    /// Where the device sits, if the host told.
    pub fn device_info(&self) -> Option<DeviceInfo> {
        self.shared.screen.device_info()
    }

    /// How many monitors the device may have.
    pub fn max_monitors(&self) -> u32 {
        self.shared.screen.max_monitors()
    }

    /// Something may be in the rings.
    pub fn wakeup(&self) {
        if self.shared.want_wakeup() && !self.post(Request::Wakeup) {
            self.shared.take_wakeup();
        }
    }

    /// The guest waits for memory that it wants back.
    pub fn oom(&self) {
        if self.shared.want_oom() && !self.post(Request::Oom) {
            self.shared.take_oom();
        }
    }

    /// The guest runs: its rings are served from now on.
    pub fn start(&self) {
        self.post(Request::Start);
    }

    /// The guest stops: when this returns, its rings are not touched any more.
    pub fn stop(&self) {
        self.ask(Answer::Wait, Request::Stop);
    }

    /// Draws all that the guest has given so far and says what was drawn to a surface
    /// since somebody last asked to `clear` that. With a cookie the answer comes as
    /// `update_area_complete`, and this one is empty.
    pub fn update_area(&self, surface: u32, clear: bool, answer: Answer) -> Region {
        let dirty = Arc::new(Mutex::new(Region::new()));
        let shared = Arc::clone(&dirty);
        self.ask(answer, |done| Request::UpdateArea { surface, clear, dirty: shared, done });
        std::mem::take(&mut dirty.lock())
    }

    /// Maps guest memory.
    pub fn add_slot(&self, slot: GuestSlot, answer: Answer) {
        self.ask(answer, |done| Request::AddSlot { slot, done });
    }

    /// Unmaps guest memory; does not wait.
    pub fn remove_slot(&self, group: u32, slot: u32) {
        self.post(Request::RemoveSlot { group, slot });
    }

    /// Unmaps all guest memory; does not wait.
    pub fn reset_slots(&self) {
        self.post(Request::ResetSlots);
    }

    /// Makes the primary surface.
    pub fn create_primary(&self, surface: u32, create: QXLDevSurfaceCreate, answer: Answer) {
        self.ask(answer, |done| Request::CreatePrimary { surface, create, done });
    }

    /// Destroys the primary surface.
    pub fn destroy_primary(&self, surface: u32, answer: Answer) {
        self.ask(answer, |done| Request::DestroyPrimary { surface, done });
    }

    /// Lets go of what refers to a surface.
    pub fn destroy_surface(&self, surface: u32, answer: Answer) {
        self.ask(answer, |done| Request::DestroySurface { surface, done });
    }

    /// Destroys all surfaces.
    pub fn destroy_surfaces(&self, answer: Answer) {
        self.ask(answer, Request::DestroySurfaces);
    }

    /// Carries out everything in the rings.
    pub fn flush_surfaces(&self, cookie: u64) {
        self.post(Request::FlushSurfaces(Completion::new(&self.device, cookie)));
    }

    /// Forgets remembered images.
    pub fn reset_image_cache(&self) {
        self.ask(Answer::Wait, Request::ResetImageCache);
    }

    /// Forgets the pointer's picture.
    pub fn reset_cursor(&self) {
        self.ask(Answer::Wait, Request::ResetCursor);
    }

    /// Carries out commands from before the guest was saved or migrated.
    pub fn loadvm(&self, commands: Vec<QXLCommandExt>) {
        self.ask(Answer::Wait, |done| Request::Loadvm { commands, done });
    }

    /// The guest's driver told which monitors it drives, by a structure in its memory.
    pub fn monitors_config(&self, group: u32, address: u64, cookie: u64) {
        let done = Completion::new(&self.device, cookie);
        self.post(Request::MonitorsConfig { group, address, done });
    }

    /// The guest's driver went away.
    pub fn driver_unload(&self) {
        self.post(Request::DriverUnload);
    }

    /// Limits the number of monitors.
    pub fn set_max_monitors(&self, count: u32) {
        self.shared.screen.set_max_monitors(count);
    }

    /// Stores where the device sits.
    pub fn set_device_info(&self, info: DeviceInfo) {
        self.shared.screen.set_device_info(info);
    }

    /// Takes a picture in graphics card buffers, or none.
    pub fn set_scanout(&self, scanout: Option<Scanout>) {
        let size = scanout.as_ref().map(|scanout| scanout.picture.size);
        self.shared.screen.set_scanout(size);
        self.display.set_scanout(scanout);
        self.shared.changed();
    }

    /// Part of the scanout was drawn. Completed when those who look have shown it.
    pub fn draw_scanout(&self, area: GlArea, cookie: u64) {
        if !self.shared.screen.has_scanout() {
            crate::warning_once!("QXL device {}: drawing without a scanout", self.id());
            return self.complete(cookie);
        }
        self.display.draw(area, Completion::new(&self.device, cookie));
    }

    /// Answers a request that cannot even be made, lest the host wait for it.
    pub fn answer(&self, answer: Answer) {
        if let Answer::Cookie(cookie) = answer {
            self.complete(cookie);
        }
    }

    fn complete(&self, cookie: u64) {
        drop(Completion::new(&self.device, cookie));
    }

    /// Makes the worker panic while it carries out a request.
    #[cfg(test)]
    pub(super) fn panic_in_worker(&self, answer: Answer) {
        self.ask(answer, Request::Panic);
    }

    /// Ends and joins the worker; no callback happens afterwards. Main.
    ///
    /// Returns false, having done nothing, when called from inside a callback on the
    /// worker thread itself, which cannot wait for its own end.
    pub(super) fn finish(&self) -> bool {
        if self.on_worker_thread() {
            crate::warning!("QXL device {} cannot be removed from its own callback", self.id());
            return false;
        }
        let Some(thread) = self.thread.lock().take() else { return true };
        self.post(Request::Quit);
        // The thread's body is guarded, so it ends without a panic.
        let _ = thread.join();
        self.display.stop();
        self.display.set_scanout(None);
        self.shared.screen.set_scanout(None);
        self.device.set_state(0);
        self.device.forget();
        true
    }

    /// Queues a request that may exist in two forms and, in one, waits for it.
    fn ask(&self, answer: Answer, make: impl FnOnce(Done) -> Request) {
        match answer {
            Answer::Cookie(cookie) => {
                self.post(make(Done::cookie(&self.device, cookie)));
            }
            Answer::Wait if self.on_worker_thread() => {
                crate::warning!("QXL device {}: request from its own callback refused", self.id());
            }
            Answer::Wait => {
                let (done, waiter) = Done::reply();
                self.post(make(done));
                waiter.wait();
            }
        }
    }

    /// Queues a request. When that fails, the request is answered by being dropped;
    /// the device decides whether its host still hears of it.
    fn post(&self, request: Request) -> bool {
        if self.on_worker_thread() {
            // Waiting for room would be waiting for itself.
            self.requests.try_send(request).is_ok()
        } else {
            self.requests.send(request).is_ok()
        }
    }

    fn on_worker_thread(&self) -> bool {
        std::thread::current().id() == self.thread_id
    }
}

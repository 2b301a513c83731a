//! The worker thread of one graphics device.
//!
//! It carries out requests in order and, while running, takes commands from the
//! rings. All QXL callbacks but those of adding and configuring happen here. It never
//! waits for the main thread, which may be waiting for it with QEMU's big lock held.

#![forbid(unsafe_code)]

use super::command::{Body, Command, CommandError, Place, Ring};
use super::complaints::Complaints;
use super::cursor::{News, Pointer};
use super::display::Display;
use super::drawable::{self, DrawableError};
use super::limits;
use super::monitors;
use super::release::{Done, Held};
use super::request::Request;
use super::rings::{Rings, Wait};
use super::screen::ClientMouse;
use super::shared::Shared;
use super::showing::Showing;
use super::surface::{Geometry, PRIMARY, Surface, SurfaceError, Surfaces};
use crate::canvas::{DrawError, Region};
use crate::fault;
use crate::guard::{completes, guard};
use crate::host::abi::{
    QXL_CMD_CURSOR, QXLCommandExt, QXLDevInitInfo, QXLDevSurfaceCreate, QXLRect,
};
use crate::host::guest_memory::GuestMemory;
use crate::host::memslot::SlotError;
use crate::host::qxl::QxlDevice;
use crate::stats::RefusalCounters;
use crate::wire::display::Head;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

/// The name of the thread, upstream's too: people look for it in `top -H`.
pub(super) const THREAD_NAME: &str = "SPICE Worker";

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Worker {
    device: QxlDevice,
    shared: Arc<Shared>,
    memory: GuestMemory,
    surfaces: Surfaces,
    display: Arc<Display>,
    showing: Showing,
    /// The guest's driver says which monitors there are.
    driver_tells_monitors: bool,
    cursor: Pointer,
    rings: Rings,
    running: bool,
    complaints: Complaints,
}

/// What a worker has in common with other threads.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) shared: Arc<Shared>,
    pub(super) display: Arc<Display>,
    pub(super) news: Arc<News>,
    pub(super) refusals: Arc<RefusalCounters>,
}

impl Worker {
    /// A stopped worker without memory or surfaces.
    pub(super) fn new(
        device: QxlDevice,
        Ends { shared, display, news, refusals }: Ends,
        info: &QXLDevInitInfo,
    ) -> Result<Self, SlotError> {
        Ok(Self {
            device,
            shared,
            memory: GuestMemory::new(info)?,
            surfaces: Surfaces::new(info.n_surfaces),
            cursor: Pointer::new(news),
            showing: Showing::new(Arc::clone(&display)),
            display,
            driver_tells_monitors: false,
            rings: Rings::default(),
            running: false,
            complaints: Complaints::counted(refusals),
        })
    }

    /// The thread's body; returns when told to quit. What is still in the queue then
    /// is answered by being dropped with it.
    #[expect(clippy::needless_pass_by_value, reason = "the queue must die in this thread")]
    pub(super) fn run(mut self, requests: Receiver<Request>) {
        loop {
            let wait = self.turn();
            let request = match wait.sooner(self.show()) {
                Wait::ForRequest => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Wait::Until(deadline) => {
                    requests.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                }
            };
            match request {
                Ok(Request::Quit) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(request) => self.carry_out(request),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// A request. What it takes away is gone even if it panics, because the host frees it:
    /// rings are not read any more, memory is unmapped, and surfaces are not drawn on.
    fn carry_out(&mut self, request: Request) {
        let unmaps = matches!(request, Request::RemoveSlot { .. } | Request::ResetSlots);
        if matches!(request, Request::Stop(_)) {
            self.running = false;
            self.display.set_running(false);
        }
        let frees = matches!(request, Request::DestroyPrimary { .. } | Request::DestroySurfaces(_));
        let done = completes("QXL request", || self.handle(request));
        if !done && unmaps {
            self.memory.clear();
        }
        if !done && frees {
            self.surfaces.clear();
        }
    }

    /// Takes some commands from both rings and says when it wants to do so again.
    fn turn(&mut self) -> Wait {
        if !self.running {
            return Wait::ForRequest;
        }
        let turn = guard("QXL commands", None, || {
            let now = Instant::now();
            Some(self.ring_turn(Ring::Cursor, now).sooner(self.ring_turn(Ring::Display, now)))
        });
        turn.unwrap_or_else(|| {
            // What made it panic may still be there. No wakeup is armed, so that the guest
            // would not send one: the rings are looked into again without it.
            self.rings.wake();
            Wait::Until(Instant::now() + limits::RINGS_REST)
        })
    }

    /// Shows some of what was drawn, and says when it wants to do so again.
    fn show(&mut self) -> Wait {
        guard(THREAD_NAME, Wait::ForRequest, || {
            self.showing.turn(&self.memory, &mut self.surfaces, Instant::now())
        })
    }

    fn ring_turn(&mut self, ring: Ring, now: Instant) -> Wait {
        for _ in 0..limits::COMMANDS_PER_TURN {
            if self.rings.is_asleep(ring) {
                return Wait::ForRequest;
            }
            if let Some(ext) = self.fetch(ring) {
                self.rings.found(ring);
                self.execute(ring, ext);
                if now.elapsed() > limits::TURN {
                    return Wait::Until(now);
                }
            } else if let Some(deadline) = self.rings.empty(ring, now) {
                return Wait::Until(deadline);
            } else if self.arm(ring) {
                self.rings.armed(ring);
            }
        }
        Wait::Until(now)
    }

    /// Empties both rings, or nearly so when the guest keeps filling them.
    fn flush(&mut self) {
        if !self.running {
            return;
        }
        for ring in [Ring::Cursor, Ring::Display] {
            for _ in 0..limits::COMMANDS_PER_FLUSH {
                let Some(ext) = self.fetch(ring) else { break };
                self.rings.found(ring);
                self.execute(ring, ext);
            }
        }
    }

    fn fetch(&self, ring: Ring) -> Option<QXLCommandExt> {
        match ring {
            Ring::Display => self.device.command(),
            Ring::Cursor => self.device.cursor_command(),
        }
    }

    fn arm(&self, ring: Ring) -> bool {
        match ring {
            Ring::Display => self.device.req_cmd_notification(),
            Ring::Cursor => self.device.req_cursor_notification(),
        }
    }

    fn execute(&mut self, ring: Ring, ext: QXLCommandExt) {
        let command = Command::parse(&self.device, &self.memory, ring, ext);
        fault::point("QXL command");
        match command {
            Ok(command) => self.obey(command),
            Err(error) => self.complain(&error),
        }
    }

    /// Carries out a command. It is given back at the end unless it is kept.
    fn obey(&mut self, command: Command) {
        match command.body {
            Ok(Body::Ignored) => {}
            Ok(Body::Draw(place)) => match self.draw(&place) {
                // What a guest's driver still had to draw when it made the screen smaller.
                // Upstream is silent about it as well.
                Ok(()) | Err(DrawableError::Draw(DrawError::Outside)) => {}
                Err(error) => self.complain(&error),
            },
            Ok(Body::Update { surface, id }) => match self.surfaces.get(surface) {
                Ok(_) => self.device.notify_update(id),
                Err(error) => self.complain(&error),
            },
            Ok(Body::CreateSurface { surface, geometry, keep, group, pixels }) => {
                let place = (group, pixels);
                let command = Some(command.held);
                if let Err(error) = self.create_surface(surface, geometry, place, keep, command) {
                    self.complain(&CommandError::from(error));
                }
            }
            Ok(Body::DestroySurface { surface: PRIMARY }) => {
                self.complain(&"command to destroy the primary surface ignored");
            }
            Ok(Body::DestroySurface { surface }) => match self.surfaces.get(surface) {
                Ok(_) => self.surfaces.remove(surface),
                Err(error) => self.complain(&CommandError::from(error)),
            },
            Ok(Body::Cursor(order)) => {
                if let Err(error) = self.cursor.obey(&self.memory, order, command.held) {
                    self.complain(&error);
                }
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Draws at once, so that the guest has its memory back at once.
    fn draw(&mut self, place: &Place) -> Result<(), DrawableError> {
        let (surface, region) = drawable::draw(&self.memory, &self.surfaces, place)?;
        self.surfaces.note_changed(surface, &region);
        Ok(())
    }

    /// Makes a surface that does not exist, black unless its data are kept.
    fn create_surface(
        &mut self,
        id: u32,
        geometry: Geometry,
        (group, address): (u32, u64),
        keep: bool,
        command: Option<Held>,
    ) -> Result<(), SurfaceError> {
        self.surfaces.check_free(id)?;
        let pixels = self.memory.range(group, address, geometry.bytes)?;
        if !keep {
            pixels.clear();
        }
        self.surfaces.insert(id, Surface::new(geometry, group, address, command));
        Ok(())
    }

    /// Carries out a request. Its `done` is dropped at the end of its arm, which is
    /// the answer; so it is when something panics.
    fn handle(&mut self, request: Request) {
        match request {
            Request::Wakeup => {
                self.shared.take_wakeup();
                self.rings.wake();
            }
            Request::Oom => self.oom(),
            Request::Start => self.start(),
            Request::Stop(_done) => {}
            Request::UpdateArea { surface, clear, dirty, done } => {
                *dirty.lock() = self.update_area(surface, clear, &done);
            }
            Request::AddSlot { slot, done: _done } => {
                let result = self.memory.add(&slot);
                self.check("memory slot not added", result);
            }
            Request::RemoveSlot { group, slot } => {
                let result = self.memory.remove(group, slot);
                self.check("memory slot not deleted", result);
            }
            Request::ResetSlots => self.memory.clear(),
            Request::CreatePrimary { surface, create, done: _done } => {
                self.create_primary(surface, &create);
            }
            Request::DestroyPrimary { surface, done: _done } => self.destroy_primary(surface),
            // What the guest has given is drawn at once, so nothing else refers to the
            // surface; it lives on until its destroy command comes.
            Request::DestroySurface { surface, done: _done } => {
                self.flush();
                if let Err(error) = self.surfaces.check_id(surface) {
                    self.complain(&error);
                }
            }
            Request::DestroySurfaces(_done) => {
                self.flush();
                self.surfaces.clear();
                self.primary_is_gone();
            }
            Request::FlushSurfaces(_completion) => self.flush(),
            Request::ResetCursor(_done) => self.cursor.reset(),
            Request::Loadvm { commands, done: _done } => self.loadvm(commands),
            // Clients are asked to remember no images.
            Request::ResetImageCache(_done) => {}
            Request::MonitorsConfig { group, address, done: _done } => {
                self.set_monitors(group, address);
            }
            Request::Viewers => {
                self.showing.handle_viewers(&mut self.surfaces);
                self.tell_guest_of_clients();
            }
            Request::DriverUnload => self.driver_tells_monitors = false,
            Request::Quit => unreachable!("the loop ends before it handles this"),
            #[cfg(test)]
            Request::Panic(_done) => panic!("made on purpose"),
        }
    }

    fn start(&mut self) {
        if self.running {
            return;
        }
        self.running = true;
        self.display.set_running(true);
        self.rings.wake();
        self.tell_guest_of_clients();
    }

    fn tell_guest_of_clients(&self) {
        if self.running {
            let (present, capabilities) = self.display.guest_capabilities();
            self.device.set_client_capabilities(present, capabilities);
        }
    }

    fn set_monitors(&mut self, group: u32, address: u64) {
        let allowed = self.shared.screen.max_monitors();
        match monitors::read(&self.memory, group, address, allowed) {
            Ok((heads, max)) => {
                self.driver_tells_monitors = true;
                self.display.set_monitors(heads, max);
            }
            Err(error) => self.complain(&format_args!("monitors ignored: {error}")),
        }
    }

    fn oom(&mut self) {
        self.shared.take_oom();
        if !self.running {
            self.complain(&"out of memory while stopped, ignored");
            return;
        }
        self.flush();
        self.device.flush_resources();
    }

    fn update_area(&mut self, surface: u32, clear: bool, done: &Done) -> Region {
        if !self.running {
            self.complain(&"area update while stopped, ignored");
            return Region::new();
        }
        self.flush();
        let dirty = match self.surfaces.dirty(surface) {
            Ok(dirty) => dirty.clone(),
            Err(error) => {
                self.complain(&format_args!("area not updated: {error}"));
                Region::new()
            }
        };
        if done.is_cookie() {
            let mut rects: Vec<QXLRect> = dirty.iter().map(QXLRect::from).collect();
            self.device.update_area_complete(surface, &mut rects);
        }
        if clear {
            self.surfaces.clear_dirty(surface);
        }
        dirty
    }

    fn create_primary(&mut self, surface: u32, create: &QXLDevSurfaceCreate) {
        if surface != PRIMARY {
            self.complain(&format_args!("surface {surface} cannot be primary"));
            return;
        }
        let place = (create.group_id, create.mem);
        let keep = create.flags & KEEP_DATA != 0;
        let result = Geometry::new(create.width, create.height, create.stride, create.format)
            .and_then(|geometry| {
                // One that is there already gives way.
                self.surfaces.remove(PRIMARY);
                self.create_surface(PRIMARY, geometry, place, keep, None)
            });
        if let Err(error) = result {
            if self.surfaces.get(PRIMARY).is_err() {
                self.primary_is_gone();
            }
            return self.complain(&format_args!("no primary surface: {error}"));
        }
        self.cursor.begin();
        if !self.driver_tells_monitors {
            let size = (create.width, create.height);
            self.display.set_monitors(vec![Head { size, ..Head::default() }], 1);
        }
        self.shared.set_primary(Some(ClientMouse {
            allowed: create.mouse_mode != 0,
            width: create.width,
            height: create.height,
        }));
    }

    fn destroy_primary(&mut self, surface: u32) {
        if surface != PRIMARY {
            self.complain(&format_args!("surface {surface} is not primary"));
            return;
        }
        self.flush();
        self.surfaces.remove(PRIMARY);
        self.primary_is_gone();
    }

    fn primary_is_gone(&mut self) {
        self.cursor.reset();
        self.shared.set_primary(None);
    }

    fn loadvm(&mut self, commands: Vec<QXLCommandExt>) {
        for ext in commands {
            let ring = if ext.cmd.type_ == QXL_CMD_CURSOR { Ring::Cursor } else { Ring::Display };
            match Command::parse(&self.device, &self.memory, ring, ext) {
                Ok(command) => match command.body {
                    Ok(Body::CreateSurface { surface, geometry, group, pixels, .. }) => {
                        // The pixels were saved too, so they are good.
                        let body =
                            Body::CreateSurface { surface, geometry, keep: true, group, pixels };
                        self.obey(Command { body: Ok(body), held: command.held });
                    }
                    Ok(Body::DestroySurface { .. } | Body::Cursor(_)) => self.obey(command),
                    Ok(_) => self.complain(&"saved command of the wrong type ignored"),
                    Err(error) => self.complain(&error),
                },
                Err(error) => self.complain(&error),
            }
        }
    }

    fn check(&mut self, what: &str, result: Result<(), SlotError>) {
        if let Err(error) = result {
            self.complain(&format_args!("{what}: {error}"));
        }
    }

    fn complain(&mut self, what: &dyn fmt::Display) {
        let id = self.device.id();
        self.complaints.log(Some(id), &format_args!("QXL device {id}: {what}"));
    }
}

/// `QXL_SURF_FLAG_KEEP_DATA`: the pixels are good as they are.
const KEEP_DATA: u32 = 1;

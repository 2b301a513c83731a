//! The worker thread of one graphics device.
//!
//! It carries out requests in order and, while running, takes commands from the
//! rings. All QXL callbacks but those of adding and configuring happen here. It never
//! waits for the main thread, which may be waiting for it with QEMU's big lock held.

#![forbid(unsafe_code)]

use super::command::{Body, Command, CommandError, Ring};
use super::complaints::Complaints;
use super::limits;
use super::release::{Done, Held};
use super::request::Request;
use super::rings::{Rings, Wait};
use super::screen::ClientMouse;
use super::shared::Shared;
use super::surface::{Geometry, PRIMARY, Surface, Surfaces};
use crate::fault;
use crate::guard::{completes, guard};
use crate::host::abi::{
    QXL_CMD_CURSOR, QXLCommandExt, QXLDevInitInfo, QXLDevSurfaceCreate, SPICE_CAPABILITIES_SIZE,
};
use crate::host::guest_memory::GuestMemory;
use crate::host::memslot::SlotError;
use crate::host::qxl::QxlDevice;
use std::fmt::Display;
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
    cursor: Option<Held>,
    rings: Rings,
    running: bool,
    complaints: Complaints,
}

impl Worker {
    /// A stopped worker without memory or surfaces.
    pub(super) fn new(
        device: QxlDevice,
        shared: Arc<Shared>,
        info: &QXLDevInitInfo,
    ) -> Result<Self, SlotError> {
        Ok(Self {
            device,
            shared,
            memory: GuestMemory::new(info)?,
            surfaces: Surfaces::new(info.n_surfaces),
            cursor: None,
            rings: Rings::default(),
            running: false,
            complaints: Complaints::new(),
        })
    }

    /// The thread's body; returns when told to quit. What is still in the queue then
    /// is answered by being dropped with it.
    #[expect(clippy::needless_pass_by_value, reason = "the queue must die in this thread")]
    pub(super) fn run(mut self, requests: Receiver<Request>) {
        loop {
            let request = match self.turn() {
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
    /// rings are not read any more, and memory is unmapped.
    fn carry_out(&mut self, request: Request) {
        let unmaps = matches!(request, Request::RemoveSlot { .. } | Request::ResetSlots);
        if matches!(request, Request::Stop(_)) {
            self.running = false;
        }
        let done = completes("QXL request", || self.handle(request));
        if !done && unmaps {
            self.memory.clear();
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
            // What made it panic may still be there: leave it until the next wakeup.
            self.rings.sleep();
            Wait::ForRequest
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
            Ok(Body::Ignored | Body::MoveCursor) => {}
            Ok(Body::Update { surface, id }) => match self.surfaces.check_alive(surface) {
                Ok(()) => self.device.notify_update(id),
                Err(error) => self.complain(&error),
            },
            Ok(Body::CreateSurface { surface }) => match self.surfaces.check_free(surface) {
                Ok(()) => self.surfaces.insert(surface, Surface::OffScreen(command.held)),
                Err(error) => self.complain(&CommandError::from(error)),
            },
            Ok(Body::DestroySurface { surface: PRIMARY }) => {
                self.complain(&"command to destroy the primary surface ignored");
            }
            Ok(Body::DestroySurface { surface }) => match self.surfaces.check_alive(surface) {
                Ok(()) => self.surfaces.remove(surface),
                Err(error) => self.complain(&CommandError::from(error)),
            },
            // Kept until the next one, as surfaces are and for the same reason.
            Ok(Body::SetCursor) => self.cursor = Some(command.held),
            Err(error) => self.complain(&error),
        }
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
            Request::UpdateArea { surface, done } => self.update_area(surface, &done),
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
            // Nothing refers to surfaces yet, so there is nothing to let go of; the
            // surface itself lives on until its destroy command comes.
            Request::DestroySurface { surface, done: _done } => {
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
            Request::ResetCursor(_done) => self.cursor = None,
            Request::Loadvm { commands, done: _done } => self.loadvm(commands),
            // Images are remembered, and monitors told to clients, once there are any.
            Request::ResetImageCache(_done) => {}
            Request::MonitorsConfig(_completion) => {}
            Request::DriverUnload => {}
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
        self.rings.wake();
        // No client is served pictures yet, and the guest is told so.
        self.device.set_client_capabilities(false, [0; SPICE_CAPABILITIES_SIZE]);
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

    fn update_area(&mut self, surface: u32, done: &Done) {
        if !self.running {
            self.complain(&"area update while stopped, ignored");
            return;
        }
        self.flush();
        if let Err(error) = self.surfaces.check_alive(surface) {
            self.complain(&format_args!("area not updated: {error}"));
        }
        if done.is_cookie() {
            self.device.update_area_complete(surface, &mut []);
        }
    }

    fn create_primary(&mut self, surface: u32, create: &QXLDevSurfaceCreate) {
        if surface != PRIMARY {
            self.complain(&format_args!("surface {surface} cannot be primary"));
            return;
        }
        let geometry =
            match Geometry::new(create.width, create.height, create.stride, create.format) {
                Ok(geometry) => geometry,
                Err(error) => return self.complain(&format_args!("no primary surface: {error}")),
            };
        match self.memory.range(create.group_id, create.mem, geometry.bytes) {
            Ok(pixels) if create.flags & KEEP_DATA == 0 => pixels.clear(),
            Ok(_) => {}
            Err(error) => return self.complain(&format_args!("no primary surface: {error}")),
        }
        self.surfaces.insert(PRIMARY, Surface::Primary);
        self.shared.set_primary(Some(ClientMouse {
            allowed: create.mouse_mode != 0,
            width: geometry.width,
            height: geometry.height,
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
        self.cursor = None;
        self.shared.set_primary(None);
    }

    fn loadvm(&mut self, commands: Vec<QXLCommandExt>) {
        for ext in commands {
            let ring = if ext.cmd.type_ == QXL_CMD_CURSOR { Ring::Cursor } else { Ring::Display };
            match Command::parse(&self.device, &self.memory, ring, ext) {
                Ok(command) => match command.body {
                    Ok(
                        Body::CreateSurface { .. }
                        | Body::DestroySurface { .. }
                        | Body::SetCursor
                        | Body::MoveCursor,
                    ) => self.obey(command),
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

    fn complain(&mut self, what: &dyn Display) {
        self.complaints.log(&format_args!("QXL device {}: {what}", self.device.id()));
    }
}

/// `QXL_SURF_FLAG_KEEP_DATA`: the pixels are good as they are.
const KEEP_DATA: u32 = 1;

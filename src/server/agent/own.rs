//! The server's own messages to the agent.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::chardev::Origin;
use crate::config::limits;
use crate::server::Server;
use crate::server::char_device::ShownOutput;
use crate::server::qxl::QxlHandle;
use crate::wire::agent::{
    self, DisplayInfo, MouseState, capability, graphics_device_info, kind, port,
};

/// What waits until the agent has taken the server's message before. Only the newest
/// state counts.
#[derive(Debug, Default)]
pub(in crate::server) struct Waiting {
    mouse: Cell<Option<MouseState>>,
    graphics: Cell<bool>,
}

impl Waiting {
    /// The agent is gone.
    pub(super) fn forget(&self) {
        self.mouse.set(None);
        self.graphics.set(false);
    }
}

impl Server {
    /// Tells the agent where the pointer is, now or when it has taken the message
    /// before; only the newest state is kept.
    pub fn agent_mouse_state(self: &Rc<Self>, state: MouseState) {
        let Some(agent) = self.attached_agent() else {
            return;
        };
        if agent.take_self_token() {
            let message = agent::message(kind::MOUSE_STATE, &state.encode());
            agent.add_chunk(Origin::Server, port::SERVER, &message);
        } else {
            agent.kind().own.mouse.set(Some(state));
        }
    }

    /// Tells the agent which display is which device, if it wants to know.
    pub fn send_graphics_device_info(self: &Rc<Self>) {
        let Some(agent) = self.attached_agent() else {
            return;
        };
        if !agent.kind().announced(capability::GRAPHICS_DEVICE_INFO) {
            return;
        }
        if agent.take_self_token() {
            let body = graphics_device_info(&self.displays_in_guest());
            let message = agent::message(kind::GRAPHICS_DEVICE_INFO, &body);
            agent.add_chunk(Origin::Server, port::SERVER, &message);
        } else {
            agent.kind().own.graphics.set(true);
        }
    }

    /// The host has told where a graphics device is.
    pub fn handle_device_info(self: &Rc<Self>, device: &QxlHandle) {
        let is_it = |display: &Arc<QxlHandle>| std::ptr::eq(Arc::as_ptr(display), device);
        let ours = self.displays.borrow().iter().any(is_it);
        if ours {
            self.send_graphics_device_info();
        }
    }

    /// The agent has taken the server's message: what waited for that is sent.
    pub(super) fn send_what_waits(self: &Rc<Self>) {
        let Some(agent) = self.attached_agent() else {
            return;
        };
        let own = &agent.kind().own;
        if let Some(state) = own.mouse.take() {
            self.agent_mouse_state(state);
        } else if own.graphics.take() {
            self.send_graphics_device_info();
        }
    }

    /// Tells the agent that what its client said last has no end.
    pub(super) fn send_client_disconnected(self: &Rc<Self>) {
        let Some(agent) = self.attached_agent() else {
            return;
        };
        if agent.queued_bytes() >= limits::AGENT_NOTICES {
            // So many of these wait already.
            return;
        }
        let message = agent::message(kind::CLIENT_DISCONNECTED, &[]);
        agent.add_chunk(Origin::ServerNoToken, port::SERVER, &message);
    }

    /// Where each display is in the guest, as far as the host told, or the guest itself.
    fn displays_in_guest(&self) -> Vec<DisplayInfo> {
        let (displays, devices) = (self.displays.borrow().clone(), self.devices.borrow().clone());
        let streams = devices.iter().filter_map(|device| device.shown_output());
        displays
            .iter()
            .filter_map(|display| Some((display.id(), display.device_info()?)))
            .flat_map(|(channel, info)| {
                (0..info.displays).map(move |monitor| DisplayInfo {
                    channel,
                    monitor,
                    device_display: info.first_display.wrapping_add(monitor),
                    address: info.address.clone(),
                })
            })
            .chain(streams.map(|ShownOutput { channel, info }| DisplayInfo {
                channel: channel.into(),
                monitor: info.stream_id,
                device_display: info.device_display_id,
                address: info.address,
            }))
            .collect()
    }
}

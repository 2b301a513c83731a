//! Sound: the host's devices and the two channels behind which they are.
//!
//! Runs under the host's serialisation. Encoding is done by the thread that sends
//! (`encoder.rs`); a client's packets are decoded here.

mod encoder;
mod playback;
mod record;

use std::cell::RefCell;
use std::rc::Rc;

use super::Server;
use super::connection::Connection;
use super::interfaces::AddError;
use super::served::Served;
use crate::channel::ending::Ending;
use crate::channels::sound::Told;
use crate::config::limits;
use crate::host::clock;
use crate::host::sound::SoundDevice;
use crate::link::Offer;
use crate::wire::main::to_client;

pub use playback::Speaker;
pub use record::Microphone;

/// What the server keeps of sound.
#[derive(Default)]
pub(super) struct Sound {
    speaker: RefCell<Option<Rc<Speaker>>>,
    microphone: RefCell<Option<Rc<Microphone>>>,
}

/// The kinds of sound device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoundKind {
    /// Sound output.
    Playback,
    /// Sound input.
    Record,
}

impl Server {
    /// Takes a sound device into service. There may be one of each kind.
    pub fn add_sound(
        self: &Rc<Self>,
        kind: SoundKind,
        device: SoundDevice,
    ) -> Result<(), AddError> {
        let server = Rc::downgrade(self);
        match kind {
            SoundKind::Playback => {
                let compression = self.settings.borrow().playback_compression;
                let speaker = Rc::new(Speaker::new(device, server, compression));
                put(&self.sound.speaker, &speaker)?;
                self.offer_channel(speaker);
            }
            SoundKind::Record => {
                let microphone = Rc::new(Microphone::new(device, server));
                put(&self.sound.microphone, &microphone)?;
                self.offer_channel(microphone);
            }
        }
        Ok(())
    }

    /// Forgets a sound device; its memory may be freed afterwards. Its channel goes.
    /// Returns whether it was in service.
    pub fn remove_sound(self: &Rc<Self>, kind: SoundKind, device: SoundDevice) -> bool {
        let channel = match kind {
            SoundKind::Playback => {
                let mut speaker = self.sound.speaker.borrow_mut();
                speaker.take_if(|speaker| speaker.is(device)).map(|speaker| speaker.channel())
            }
            SoundKind::Record => {
                let mut microphone = self.sound.microphone.borrow_mut();
                let ours = microphone.take_if(|microphone| microphone.is(device));
                ours.map(|microphone| microphone.channel())
            }
        };
        if let Some(channel) = channel {
            self.withdraw_channel(channel, "the sound device was removed");
        }
        channel.is_some()
    }

    /// The output with this instance.
    pub fn speaker(&self, device: SoundDevice) -> Option<Rc<Speaker>> {
        self.sound.speaker.borrow().clone().filter(|speaker| speaker.is(device))
    }

    /// The input with this instance.
    pub fn microphone(&self, device: SoundDevice) -> Option<Rc<Microphone>> {
        self.sound.microphone.borrow().clone().filter(|microphone| microphone.is(device))
    }

    /// Whether sound is compressed from now on.
    pub fn set_playback_compression(&self, compression: bool) {
        self.settings.borrow_mut().playback_compression = compression;
        let speaker = self.sound.speaker.borrow().clone();
        if let Some(speaker) = speaker {
            speaker.set_compression(compression);
        }
    }

    /// Tells all clients the multimedia time. While sound is played they have it from its
    /// frames.
    pub(super) fn tell_multimedia_time(&self) {
        let time = clock::monotonic_ms().wrapping_sub(limits::MULTIMEDIA_DELAY_MS);
        for connection in self.main_connections() {
            self.send(&connection, to_client::MULTI_MEDIA_TIME, &time.to_le_bytes());
        }
    }

    /// Whether a client hears sound, by whose frames it has the multimedia time.
    pub(super) fn is_heard(&self) -> bool {
        self.sound.speaker.borrow().as_ref().is_some_and(|speaker| speaker.is_heard())
    }

    /// Offers a channel with other capabilities than before.
    fn renew_offer(&self, served: &dyn Served) {
        let channel = served.channel();
        let channel_caps = served.capabilities();
        self.policy.change(|policy| {
            let offers = policy.channels.iter_mut().filter(|(other, _)| *other == channel);
            for (_, offer) in offers {
                *offer = Offer { channel_caps: channel_caps.clone(), ..offer.clone() };
            }
        });
    }
}

fn put<T>(place: &RefCell<Option<Rc<T>>>, device: &Rc<T>) -> Result<(), AddError> {
    let mut place = place.borrow_mut();
    if place.is_some() {
        return Err(AddError::Second);
    }
    *place = Some(Rc::clone(device));
    Ok(())
}

/// Hands a client what may leave now.
fn send_all(server: &Server, client: &Connection, mut poll: impl FnMut(usize) -> Option<Told>) {
    while let Some(Told { kind, body }) = poll(client.queued()) {
        if let Err(error) = client.send(kind, &body) {
            return server.doom(client, Ending::fault(error));
        }
    }
    // Asks to be told when there is room.
    client.is_full();
}

//! The playback channel: what its client has to be told of what the guest plays
//! (docs/protocol/audio.md).
//!
//! Sans-IO, fed under the host's serialisation. A client that does not keep up gets
//! newer frames only, and of everything else the latest state.

use super::sound::{BEST_RATE, Commands, Knows, Levels, Told, frames_fit_opus};
use crate::channel::framing::{BodyRule, Message};
use crate::config::limits;
use crate::wire::audio::playback::to_client;
use crate::wire::audio::{self, FRAME_SAMPLES, Mode};
use crate::wire::common::{self, Malformed};

/// How large a client's messages may be: there are none but those of all channels.
pub fn rules(_kind: u16) -> BodyRule {
    BodyRule::Whole(limits::PLAYBACK_MESSAGE)
}

/// Understands one message, which never asks for anything.
pub fn handle(message: &Message) -> Result<(), Malformed> {
    common::parse(message.kind, &message.body).ok_or(Malformed::Unknown(message.kind))?.map(|_| ())
}

/// Stands for DATA on the way to the thread that sends: a frame that is still to be
/// encoded. No message on the wire has this type.
pub const UNENCODED: u16 = 0;

/// Samples of both ears, as the host gives them.
pub type Frame = [u32; FRAME_SAMPLES];

/// What the guest plays, and who hears it.
#[derive(Debug)]
pub struct Playback {
    active: bool,
    rate: u32,
    compression: bool,
    levels: Levels,
    client: Option<Client>,
}

#[derive(Debug)]
struct Client {
    key: u64,
    knows: Knows,
    /// The rate that its encoder works at, if it has one.
    opus_rate: Option<u32>,
    pending: Commands,
    /// START was told, and no STOP after it.
    started: bool,
    /// The mode that was told.
    mode: Option<Mode>,
    /// It comes from another host, where it was told one.
    moved: bool,
    frame: Option<(u32, Box<Frame>)>,
}

impl Default for Playback {
    fn default() -> Self {
        Self {
            active: false,
            rate: BEST_RATE,
            compression: true,
            levels: Levels::default(),
            client: None,
        }
    }
}

impl Playback {
    /// A client comes. One that knows Opus has an encoder for [`Self::opus_rate`].
    pub fn join(&mut self, key: u64, knows: Knows) {
        let opus_rate = self.opus_rate().filter(|_| knows.opus);
        let pending = Commands::for_newcomer(knows, &self.levels);
        self.client = Some(Client {
            key,
            knows,
            opus_rate,
            pending,
            started: false,
            mode: None,
            moved: false,
            frame: None,
        });
    }

    /// A client comes from another host, whose guest it heard: it knows the levels. The
    /// mode is told again with START, because two hosts may choose different ones.
    pub fn join_moved(&mut self, key: u64, knows: Knows) {
        self.join(key, knows);
        if let Some(client) = &mut self.client {
            client.pending = Commands::CONTROL;
            client.moved = true;
        }
    }

    /// A client has gone. Whether it was the one that is told, while the guest plays.
    pub fn leave(&mut self, key: u64) -> bool {
        let ours = self.client.as_ref().is_some_and(|client| client.key == key);
        if ours {
            self.client = None;
        }
        ours && self.active
    }

    /// The client that hears what is played now.
    pub fn listener(&self) -> Option<u64> {
        self.client.as_ref().filter(|_| self.active).map(|client| client.key)
    }

    /// Frames of the client's that the host does not have.
    pub fn waiting_frames(&self) -> usize {
        self.client.as_ref().map_or(0, |client| usize::from(client.frame.is_some()))
    }

    /// The rate that frames can be encoded at, if they can.
    pub fn opus_rate(&self) -> Option<u32> {
        frames_fit_opus(self.rate).then_some(self.rate)
    }

    /// The guest begins to play.
    pub fn start(&mut self) {
        self.active = true;
        self.want(Commands::CONTROL);
    }

    /// The guest stops playing. Returns whether somebody heard it.
    pub fn stop(&mut self) -> bool {
        let heard = self.listener().is_some();
        self.active = false;
        if let Some(client) = &mut self.client {
            client.pending |= Commands::CONTROL;
            if !client.started {
                // It never heard of a beginning.
                client.frame = None;
            }
        }
        heard
    }

    /// A frame was played at this time. One that is still waiting is out of date.
    pub fn play(&mut self, key: u64, time: u32, frame: Box<Frame>) {
        if self.listener() == Some(key)
            && let Some(client) = &mut self.client
        {
            client.frame = Some((time, frame));
        }
    }

    /// Samples a second from now on.
    pub fn set_rate(&mut self, rate: u32) {
        self.rate = rate;
    }

    /// Whether frames are compressed, from now on.
    pub fn set_compression(&mut self, compression: bool) {
        self.compression = compression;
    }

    /// The volume of each ear.
    pub fn set_volume(&mut self, volume: &[u16]) {
        volume.clone_into(&mut self.levels.volume);
        if !volume.is_empty() {
            self.want_level(Commands::VOLUME);
        }
    }

    /// Silent or not.
    pub fn set_mute(&mut self, muted: bool) {
        self.levels.muted = muted;
        self.want_level(Commands::MUTE);
    }

    /// The next message for the client, towards which `queued` bytes are on their way;
    /// `now` is the multimedia time.
    pub fn poll(&mut self, queued: usize, now: u32) -> Option<Told> {
        if queued >= limits::SOUND_QUEUED {
            return None;
        }
        let mode = self.mode();
        let Self { active, rate, levels, client, .. } = self;
        let client = client.as_mut()?;
        if client.mode != Some(mode) && (*active || !client.moved) {
            client.mode = Some(mode);
            return Some(Told { kind: to_client::MODE, body: audio::mode(now, mode) });
        }
        // A frame belongs between START and STOP.
        if client.started
            && let Some((time, frame)) = client.frame.take()
        {
            let kind = if mode == Mode::Opus { UNENCODED } else { to_client::DATA };
            return Some(Told { kind, body: audio::data(time, &frame) });
        }
        if client.pending.take(Commands::CONTROL) && client.started != *active {
            client.started = *active;
            return Some(if *active {
                Told { kind: to_client::START, body: audio::playback_start(*rate, now) }
            } else {
                Told { kind: to_client::STOP, body: Vec::new() }
            });
        }
        if client.pending.take(Commands::VOLUME) {
            return Some(levels.volume(to_client::VOLUME));
        }
        client.pending.take(Commands::MUTE).then(|| levels.mute(to_client::MUTE))
    }

    /// How frames for the client are to be written.
    fn mode(&self) -> Mode {
        let encoder = self.client.as_ref().and_then(|client| client.opus_rate);
        if self.compression && encoder == Some(self.rate) { Mode::Opus } else { Mode::Raw }
    }

    fn want_level(&mut self, command: Commands) {
        if self.client.as_ref().is_some_and(|client| client.knows.volume) {
            self.want(command);
        }
    }

    fn want(&mut self, command: Commands) {
        if let Some(client) = &mut self.client {
            client.pending |= command;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Knows = Knows { volume: true, opus: true };
    const RAW: Knows = Knows { volume: true, opus: false };

    fn poll_all(playback: &mut Playback) -> Vec<Told> {
        std::iter::from_fn(|| playback.poll(0, 5)).collect()
    }

    fn kinds(playback: &mut Playback) -> Vec<u16> {
        poll_all(playback).iter().map(|told| told.kind).collect()
    }

    fn frame(first: u32) -> Box<Frame> {
        let mut frame = Box::new([0; FRAME_SAMPLES]);
        frame[0] = first;
        frame
    }

    #[test]
    fn who_moves_is_told_what_goes_on() {
        let mut playback = Playback::default();
        playback.set_volume(&[1, 2]);
        playback.join_moved(1, ALL);
        assert_eq!(kinds(&mut playback), [], "mode and levels are known");
        playback.start();
        assert_eq!(kinds(&mut playback), [to_client::MODE, to_client::START]);
        playback.join_moved(2, ALL);
        assert_eq!(kinds(&mut playback), [to_client::MODE, to_client::START]);
    }

    #[test]
    fn who_comes_is_told_what_is_true() {
        let mut playback = Playback::default();
        playback.set_volume(&[1, 2]);
        playback.join(1, ALL);
        let told = poll_all(&mut playback);
        assert_eq!(told[0], Told { kind: 102, body: vec![5, 0, 0, 0, 3, 0] });
        assert_eq!(told[1], Told { kind: 105, body: vec![2, 1, 0, 2, 0] });
        assert_eq!(told[2], Told { kind: 106, body: vec![0] });
        assert_eq!(told.len(), 3);
        playback.start();
        assert_eq!(kinds(&mut playback), [103]);
        playback.join(2, Knows { volume: false, ..RAW });
        let told = poll_all(&mut playback);
        assert_eq!(told[0].body[4], 1);
        assert_eq!(told[1].kind, 103);
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn the_newest_frame_and_state_win() {
        let mut playback = Playback::default();
        playback.join(1, RAW);
        kinds(&mut playback);
        playback.start();
        for at in 0..5 {
            playback.play(1, at, frame(at));
            playback.set_volume(&[at as u16]);
            assert!(playback.poll(limits::SOUND_QUEUED, 0).is_none());
        }
        assert_eq!(playback.waiting_frames(), 1);
        let told = poll_all(&mut playback);
        assert_eq!(told.iter().map(|told| told.kind).collect::<Vec<_>>(), [103, 101, 105]);
        assert_eq!(told[1].body[..8], [4, 0, 0, 0, 4, 0, 0, 0]);
        playback.play(1, 9, frame(9));
        assert!(playback.stop());
        assert_eq!(kinds(&mut playback), [101, 104], "the last frame is heard");
        assert!(!playback.stop());
        assert_eq!(kinds(&mut playback), []);
    }

    #[test]
    fn a_beginning_that_was_not_told_of_takes_its_frame_with_it() {
        let mut playback = Playback::default();
        playback.join(1, RAW);
        playback.start();
        playback.play(1, 0, frame(0));
        playback.stop();
        assert_eq!(kinds(&mut playback), [102]);
        playback.play(1, 0, frame(0));
        assert_eq!(kinds(&mut playback), [], "nothing is played");
    }

    #[test]
    fn frames_of_another_client_are_nobodys() {
        let mut playback = Playback::default();
        playback.join(1, RAW);
        playback.start();
        playback.join(2, RAW);
        kinds(&mut playback);
        playback.play(1, 0, frame(0));
        assert_eq!(kinds(&mut playback), []);
        assert!(!playback.leave(1));
        assert!(playback.leave(2));
        assert_eq!(playback.listener(), None);
    }

    #[test]
    fn frames_are_encoded_when_rate_client_and_setting_allow() {
        let mut playback = Playback::default();
        playback.join(1, ALL);
        playback.start();
        kinds(&mut playback);
        playback.play(1, 0, frame(0));
        assert_eq!(kinds(&mut playback), [UNENCODED]);
        playback.set_compression(false);
        playback.play(1, 0, frame(0));
        let told = poll_all(&mut playback);
        assert_eq!((told[0].kind, told[0].body[4], told[1].kind), (102, 1, 101));
        playback.set_compression(true);
        playback.set_rate(44_100);
        assert_eq!(kinds(&mut playback), [], "it is raw still");
        playback.set_rate(48_000);
        assert_eq!(kinds(&mut playback), [102]);
        playback.set_rate(16_000);
        playback.join(2, ALL);
        assert_eq!(poll_all(&mut playback)[0].body[4], 1, "30 ms are no packet");
    }

    #[test]
    fn clients_say_nothing() {
        let message = |kind| Message { kind, body: bytes::Bytes::from_static(&[0; 12]) };
        assert_eq!(handle(&message(3)), Ok(()));
        assert_eq!(handle(&message(101)), Err(Malformed::Unknown(101)));
        assert_eq!(handle(&message(4)), Err(Malformed::Unexpected(4)));
    }
}

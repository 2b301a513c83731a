//! Pictures in buffers of a graphics card: clients on this machine get the buffers
//! themselves, are told what was drawn in them, and say when they have shown that.
//!
//! A draw is over, and the host may draw on, when all whom it waits for have said so, have
//! gone, or have taken too long. A client that takes too long is told of the next draw when
//! it has shown the one before; meanwhile no draw waits for it.

use std::time::Instant;

use super::{ViewerKey, Viewers};
use crate::channel::descriptors::Descriptors;
use crate::channel::pipe::Outgoing;
use crate::config::limits::GL_DRAW;
use crate::wire::display::{GlArea, GlPicture, capability, to_client};
use crate::wire::link::CapSet;

/// A picture, and the buffers that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanout {
    /// What it is.
    pub picture: GlPicture,
    /// Its buffers.
    pub buffers: Descriptors,
}

/// The picture that all who can are to see.
#[derive(Debug, Default)]
pub(super) struct Gl {
    scanout: Option<Scanout>,
    /// Counts pictures; 0 before the first.
    version: u64,
    /// When the draw under way is over at the latest.
    deadline: Option<Instant>,
}

/// What one client can and knows of it.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    /// `None` if it cannot be handed buffers.
    form: Option<Form>,
    /// The version that it was told of.
    told: u64,
    /// What was drawn and it was not told of.
    owed: Option<GlArea>,
    /// It has been told of a draw, and has not said that it is done.
    busy: bool,
    /// The draw under way waits for it.
    awaited: bool,
    /// It cannot see the picture and is about to be cut.
    cut: bool,
}

/// How a client is told of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OnePlane,
    Planes,
}

impl Viewers {
    /// Descriptors can be passed to this client.
    pub fn allow_descriptors(&mut self, key: ViewerKey) {
        if let Some(viewer) = self.viewer(key) {
            viewer.gl.form = Form::of(&viewer.caps);
        }
    }

    /// There is a new picture, or none any more. Returns those who cannot see it.
    pub fn set_scanout(&mut self, scanout: Option<Scanout>) -> Vec<ViewerKey> {
        self.gl.version += 1;
        self.gl.scanout = scanout;
        if self.gl.scanout.is_some() {
            return self.blind();
        }
        for viewer in &mut self.all {
            viewer.gl.owed = None;
            // Whom the end overtakes is told of nothing, and so answers nothing.
            viewer.gl.awaited &= viewer.gl.busy;
        }
        Vec::new()
    }

    /// Something was drawn in the picture: the draw is under way until
    /// [`Viewers::is_drawing`] says no. Returns those who cannot see it.
    pub fn draw(&mut self, area: GlArea, now: Instant) -> Vec<ViewerKey> {
        if self.gl.scanout.is_none() {
            return Vec::new();
        }
        let blind = self.blind();
        for viewer in self.all.iter_mut().filter(|viewer| viewer.ready && !viewer.gl.cut) {
            let gl = &mut viewer.gl;
            gl.owed = Some(gl.owed.map_or(area, |owed| owed.hull(area)));
            gl.awaited |= !gl.busy;
        }
        self.gl.deadline = Some(now + GL_DRAW);
        blind
    }

    /// Whether somebody is waited for.
    pub fn is_drawing(&self) -> bool {
        self.all.iter().any(|viewer| viewer.gl.awaited)
    }

    /// When the draw under way is over at the latest.
    pub fn draw_deadline(&self) -> Option<Instant> {
        self.gl.deadline.filter(|_| self.is_drawing())
    }

    /// Waits for nobody any more if they have taken too long.
    pub fn handle_time(&mut self, now: Instant) {
        if self.gl.deadline.is_some_and(|deadline| deadline <= now) {
            self.gl.deadline = None;
            self.all.iter_mut().for_each(|viewer| viewer.gl.awaited = false);
        }
    }

    /// The client has shown what was drawn. False if it was not told of anything: that
    /// breaks the protocol.
    pub fn handle_shown(&mut self, key: ViewerKey) -> bool {
        self.viewer(key).is_some_and(|viewer| {
            viewer.gl.awaited = false;
            std::mem::replace(&mut viewer.gl.busy, false)
        })
    }

    /// Those who cannot see the picture, once each.
    fn blind(&mut self) -> Vec<ViewerKey> {
        let planes = self.gl.scanout.as_ref().map_or(0, |scanout| scanout.picture.planes.len());
        let blind = self.all.iter_mut().filter(|viewer| !viewer.gl.cut && !viewer.gl.sees(planes));
        blind
            .map(|viewer| {
                viewer.gl.cut = true;
                viewer.key
            })
            .collect()
    }
}

impl Gl {
    /// What a client is to be told next.
    pub(super) fn poll(&self, watcher: &mut Watcher) -> Option<Outgoing> {
        let form = watcher.form.filter(|_| !watcher.cut)?;
        let scanout = self.scanout.as_ref()?;
        if watcher.told != self.version {
            watcher.told = self.version;
            let (kind, body) = match form {
                Form::OnePlane => (to_client::GL_SCANOUT_UNIX, scanout.picture.encode()),
                Form::Planes => (to_client::GL_SCANOUT2_UNIX, scanout.picture.encode_planes()),
            };
            let descriptors = Some(scanout.buffers.clone());
            return Some(Outgoing { descriptors, ..Outgoing::small(kind, body) });
        }
        if watcher.busy {
            return None;
        }
        let area = watcher.owed.take()?;
        watcher.busy = true;
        Some(Outgoing::small(to_client::GL_DRAW, area.encode()))
    }

    /// Whether a client has been told of the picture there is.
    pub(super) fn is_told(&self, watcher: &Watcher) -> bool {
        self.scanout.is_some() && watcher.told == self.version
    }
}

impl Form {
    fn of(caps: &CapSet) -> Option<Self> {
        if caps.has(capability::GL_SCANOUT2) {
            return Some(Self::Planes);
        }
        caps.has(capability::GL_SCANOUT).then_some(Self::OnePlane)
    }
}

impl Watcher {
    fn sees(&self, planes: usize) -> bool {
        match self.form {
            None => false,
            Some(Form::OnePlane) => planes <= 1,
            Some(Form::Planes) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Link;
    use super::super::tests::poll_all;
    use super::*;
    use crate::channels::display::compression::{Loss, Policy};
    use crate::channels::display::video::Streaming;
    use crate::wire::display::{Caches, Head};

    const NEAR: Link = Link { local: true, bit_rate: None };
    const AREA: GlArea = GlArea { x: 1, y: 2, width: 3, height: 4 };

    fn scanout(planes: usize) -> Scanout {
        let picture = GlPicture { planes: vec![(0, 256); planes], ..GlPicture::default() };
        let file = std::fs::File::open("/dev/null").expect("it is there");
        Scanout { picture, buffers: Descriptors::new(vec![file.into()]).expect("one") }
    }

    fn viewers() -> Viewers {
        let mut viewers =
            Viewers::new(Policy { compression: 1, loss: Loss::Never, streaming: Streaming::Off });
        viewers.set_monitors(vec![Head::default()], 1);
        viewers
    }

    fn join(viewers: &mut Viewers, key: ViewerKey, caps: &[u32]) {
        viewers.join(key, &caps.iter().copied().collect(), NEAR);
        viewers.allow_descriptors(key);
        assert!(viewers.handle_init(key, Caches::default()));
    }

    #[test]
    fn who_can_is_told_of_the_picture_and_of_what_is_drawn() {
        let (mut viewers, now) = (viewers(), Instant::now());
        assert!(viewers.draw(AREA, now).is_empty());
        assert!(!viewers.is_drawing(), "nobody is there, and nothing either");
        join(&mut viewers, 1, &[1, 7]);
        join(&mut viewers, 2, &[7, 15]);
        assert_eq!(poll_all(&mut viewers, 1), [3]);
        assert!(viewers.set_scanout(Some(scanout(1))).is_empty());
        assert!(viewers.draw(AREA, now).is_empty());
        assert!(viewers.is_drawing());
        assert_eq!(poll_all(&mut viewers, 1), [320, 317, 321]);
        assert_eq!(poll_all(&mut viewers, 2), [3, 323, 321]);
        assert!(viewers.handle_shown(1));
        assert!(!viewers.handle_shown(1), "once only");
        assert!(viewers.is_drawing());
        viewers.leave(2);
        assert!(!viewers.is_drawing());
        viewers.set_scanout(None);
        assert!(viewers.draw(AREA, now).is_empty());
        assert!(poll_all(&mut viewers, 1).is_empty());
    }

    #[test]
    fn who_cannot_see_it_is_named_once() {
        let (mut viewers, now) = (viewers(), Instant::now());
        join(&mut viewers, 1, &[1]);
        viewers.join(2, &CapSet::from_iter([7]), NEAR);
        join(&mut viewers, 3, &[7]);
        assert_eq!(viewers.set_scanout(Some(scanout(1))), [1, 2], "one of them over TLS");
        assert!(viewers.draw(AREA, now).is_empty());
        assert_eq!(viewers.set_scanout(Some(scanout(2))), [3], "two planes");
        assert!(poll_all(&mut viewers, 1).iter().all(|kind| *kind < 320));
    }

    #[test]
    fn a_draw_waits_only_so_long_and_the_next_one_is_told_when_it_can_be() {
        let (mut viewers, now) = (viewers(), Instant::now());
        join(&mut viewers, 1, &[7]);
        viewers.set_scanout(Some(scanout(1)));
        viewers.draw(AREA, now);
        assert_eq!(poll_all(&mut viewers, 1), [3, 320, 321]);
        viewers.handle_time(now + GL_DRAW / 2);
        assert_eq!(viewers.draw_deadline(), Some(now + GL_DRAW));
        viewers.handle_time(now + GL_DRAW);
        assert!(!viewers.is_drawing());
        viewers.draw(GlArea { x: 10, ..AREA }, now + GL_DRAW);
        assert!(!viewers.is_drawing(), "nobody waits for the slow one");
        assert!(poll_all(&mut viewers, 1).is_empty());
        assert!(viewers.handle_shown(1));
        let Some(super::super::Next::Message(message)) = viewers.poll(1, 0, now) else {
            panic!("the next draw")
        };
        assert_eq!((message.kind, message.head[0]), (321, 10));
        viewers.draw(AREA, now);
        assert!(!viewers.is_drawing(), "it is behind");
        assert!(viewers.handle_shown(1));
        assert_eq!(poll_all(&mut viewers, 1), [321]);
        assert!(viewers.handle_shown(1));
        viewers.draw(AREA, now);
        assert!(viewers.is_drawing(), "it has caught up");
    }

    #[test]
    fn a_picture_that_ends_takes_its_draws_along_unless_they_were_told() {
        let (mut viewers, now) = (viewers(), Instant::now());
        join(&mut viewers, 1, &[7]);
        viewers.set_scanout(Some(scanout(1)));
        viewers.draw(AREA, now);
        viewers.set_scanout(None);
        assert!(!viewers.is_drawing());
        assert_eq!(poll_all(&mut viewers, 1), [3]);
        viewers.set_scanout(Some(scanout(1)));
        viewers.draw(AREA, now);
        assert_eq!(poll_all(&mut viewers, 1), [320, 321]);
        viewers.set_scanout(Some(scanout(1)));
        viewers.set_scanout(None);
        assert!(viewers.is_drawing());
        assert!(viewers.handle_shown(1));
        assert!(!viewers.is_drawing());
    }
}

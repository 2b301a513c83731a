//! The display channel of a stream device: one surface, one stream that covers it, and
//! what each client has to be told of both.

use bytes::Bytes;

use crate::channel::pipe::{Outgoing, Pipe};
use crate::config::limits;
use crate::wire::display::{
    self, CODECS, Clip, MJPEG, STREAMS, StreamCreate, capability, surface_flag, surface_format,
    to_client,
};
use crate::wire::image::Place;
use crate::wire::link::CapSet;
use crate::wire::stream_device::Format;

/// Names a client of the channel.
pub type ViewerKey = u64;

/// The state of the channel.
#[derive(Debug, Default)]
pub struct Screen {
    /// Of the surface, if there is one.
    size: Option<(u32, u32)>,
    /// The stream that frames belong to.
    stream: Option<u32>,
    /// In the order in which they came.
    viewers: Vec<Viewer>,
}

/// A client of the channel.
#[derive(Debug)]
struct Viewer {
    key: ViewerKey,
    caps: CapSet,
    pipe: Pipe,
    /// The stream that it was told of.
    stream: Option<u32>,
    /// It was handed a frame, which may not have left yet.
    has_frame: bool,
}

/// There is one surface, and its number is this.
const SURFACE: u32 = 0;

impl Screen {
    /// A client comes. It is told what there is, but not of the stream: that makes sense
    /// only from its beginning.
    pub fn join(&mut self, key: ViewerKey, caps: &CapSet) {
        let mut viewer = Viewer::new(key, caps);
        viewer.say(to_client::INVAL_ALL_PALETTES, Vec::new());
        if let Some(size) = self.size {
            viewer.say_surface(size);
            viewer.say(to_client::DRAW_FILL, display::fill_black(SURFACE, size));
            viewer.say(to_client::MARK, Vec::new());
        }
        self.viewers.push(viewer);
    }

    /// A client has gone. With the last one the picture goes too.
    pub fn leave(&mut self, key: ViewerKey) {
        self.viewers.retain(|viewer| viewer.key != key);
        if self.viewers.is_empty() {
            self.size = None;
            self.stream = None;
        }
    }

    /// Whether nobody watches.
    pub fn is_deserted(&self) -> bool {
        self.viewers.is_empty()
    }

    /// The codecs that all clients have, ascending; none without clients.
    pub fn codecs(&self) -> Vec<u8> {
        if self.viewers.is_empty() {
            return Vec::new();
        }
        let common = CODECS.iter().filter(|(_, cap)| self.viewers.iter().all(|v| v.caps.has(*cap)));
        [MJPEG].into_iter().chain(common.map(|(codec, _)| *codec)).collect()
    }

    /// A stream begins, in place of the one before.
    pub fn begin(&mut self, format: Format) {
        let size = (format.width, format.height);
        let id = self.stream.map_or(0, |id| (id + 1) % STREAMS);
        for viewer in &mut self.viewers {
            viewer.say_stream_end();
            if self.size != Some(size) {
                if self.size.is_some() {
                    viewer.say(to_client::SURFACE_DESTROY, display::surface_destroy(SURFACE));
                }
                viewer.say_surface(size);
                viewer.say(to_client::MARK, Vec::new());
            }
            let place = Place { left: 0, top: 0, width: format.width, height: format.height };
            let (codec, clip) = (format.codec, Clip::Nothing);
            viewer.say_stream(&StreamCreate { surface: SURFACE, id, codec, place, clip });
        }
        self.size = Some(size);
        self.stream = Some(id);
    }

    /// A frame of the stream, for those who know the stream.
    pub fn show(&mut self, time: u32, frame: &Bytes) {
        let Some(id) = self.stream else {
            return;
        };
        let head = display::stream_data(id, time, frame.len() as u32);
        for viewer in self.viewers.iter_mut().filter(|viewer| viewer.stream == Some(id)) {
            let message = Outgoing::large(to_client::STREAM_DATA, head.clone(), frame.clone());
            viewer.pipe.push(message);
        }
    }

    /// The guest begins anew: the picture goes.
    pub fn reset(&mut self) {
        for viewer in &mut self.viewers {
            viewer.say_stream_end();
            if self.size.is_some() {
                viewer.say(to_client::SURFACE_DESTROY, display::surface_destroy(SURFACE));
            }
        }
        self.size = None;
        self.stream = None;
    }

    /// The next message for a client towards which `queued` bytes are on their way.
    /// Nothing follows a frame before that has left, so that at most one is queued.
    pub fn poll(&mut self, key: ViewerKey, queued: usize) -> Option<Outgoing> {
        let viewer = self.viewer(key)?;
        if viewer.has_frame && queued > 0 {
            return None;
        }
        let message = viewer.pipe.poll()?;
        viewer.has_frame = message.kind == to_client::STREAM_DATA;
        Some(message)
    }

    /// Whether something waits for this client here.
    pub fn has_waiting(&self, key: ViewerKey) -> bool {
        self.viewers.iter().any(|viewer| viewer.key == key && !viewer.pipe.is_empty())
    }

    /// The client follows this SET_ACK.
    pub fn handle_sync(&mut self, key: ViewerKey, generation: u32) {
        if let Some(viewer) = self.viewer(key) {
            viewer.pipe.handle_sync(generation);
        }
    }

    /// The client has got a window's worth.
    pub fn handle_ack(&mut self, key: ViewerKey) {
        if let Some(viewer) = self.viewer(key) {
            viewer.pipe.handle_ack();
        }
    }

    fn viewer(&mut self, key: ViewerKey) -> Option<&mut Viewer> {
        self.viewers.iter_mut().find(|viewer| viewer.key == key)
    }
}

impl Viewer {
    fn new(key: ViewerKey, caps: &CapSet) -> Self {
        let (caps, pipe) = (caps.clone(), Pipe::new(limits::ACK_WINDOW));
        Self { key, caps, pipe, stream: None, has_frame: false }
    }

    fn say(&mut self, kind: u16, body: Vec<u8>) {
        self.pipe.push(Outgoing::small(kind, body));
    }

    fn say_surface(&mut self, size: (u32, u32)) {
        // A client from before there were several codecs does not know the mode.
        let knows_mode = self.caps.has(capability::MULTI_CODEC);
        let mode = if knows_mode { surface_flag::STREAMING_MODE } else { 0 };
        let flags = surface_flag::PRIMARY | mode;
        let create = display::surface_create(SURFACE, size, surface_format::XRGB_32, flags);
        self.say(to_client::SURFACE_CREATE, create);
        if self.caps.has(capability::MONITORS_CONFIG) {
            self.say(to_client::MONITORS_CONFIG, display::one_monitor(SURFACE, size));
        }
    }

    fn say_stream(&mut self, create: &StreamCreate) {
        /// There is one report for a stream.
        const UNIQUE: u32 = 1;
        self.stream = Some(create.id);
        self.say(to_client::STREAM_CREATE, create.encode());
        if self.caps.has(capability::STREAM_REPORT) {
            let body = display::activate_report(
                create.id,
                UNIQUE,
                limits::REPORT_FRAMES,
                limits::REPORT_MS,
            );
            self.say(to_client::STREAM_ACTIVATE_REPORT, body);
        }
    }

    fn say_stream_end(&mut self) {
        if let Some(id) = self.stream.take() {
            self.say(to_client::STREAM_DESTROY, display::stream_destroy(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::common::SET_ACK;

    const ALL_CAPS: [u32; 7] = [1, 4, 8, 10, 11, 13, 14];

    fn caps(bits: &[u32]) -> CapSet {
        bits.iter().copied().collect()
    }

    fn format(width: u32, height: u32) -> Format {
        Format { width, height, codec: 1 }
    }

    /// What leaves for a client whose socket takes everything.
    fn kinds(screen: &mut Screen, key: ViewerKey) -> Vec<u16> {
        std::iter::from_fn(|| screen.poll(key, 0)).map(|message| message.kind).collect()
    }

    fn acked(screen: &mut Screen, key: ViewerKey) -> Vec<u16> {
        let mut all = kinds(screen, key);
        screen.handle_sync(key, 1);
        while screen.has_waiting(key) {
            screen.handle_ack(key);
            all.extend(kinds(screen, key));
        }
        all
    }

    #[test]
    fn a_client_that_knows_everything_is_told_everything() {
        let mut screen = Screen::default();
        screen.join(1, &caps(&ALL_CAPS));
        assert_eq!(kinds(&mut screen, 1), [SET_ACK, 108]);
        screen.begin(format(640, 480));
        assert_eq!(kinds(&mut screen, 1), [314, 317, 102, 122, 319]);
        screen.show(7, &Bytes::from_static(b"frame"));
        let frame = screen.poll(1, 0).expect("a frame");
        assert_eq!((frame.kind, &frame.shared[..]), (123, &b"frame"[..]));
        assert_eq!(frame.head, [0, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0]);
    }

    #[test]
    fn a_client_that_knows_little_is_told_little() {
        let mut screen = Screen::default();
        screen.join(1, &caps(&[]));
        screen.begin(format(640, 480));
        let messages: Vec<_> = std::iter::from_fn(|| screen.poll(1, 0)).collect();
        let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
        assert_eq!(kinds, [SET_ACK, 108, 314, 102, 122]);
        assert_eq!(messages[2].head[16], 1, "no streaming mode");
    }

    #[test]
    fn a_new_format_ends_the_stream_and_another_size_the_surface() {
        let mut screen = Screen::default();
        screen.join(1, &caps(&[]));
        screen.begin(format(640, 480));
        kinds(&mut screen, 1);
        screen.begin(format(640, 480));
        assert_eq!(kinds(&mut screen, 1), [125, 122]);
        screen.begin(format(320, 200));
        assert_eq!(kinds(&mut screen, 1), [125, 315, 314, 102, 122]);
        screen.reset();
        assert_eq!(kinds(&mut screen, 1), [125, 315]);
        screen.show(0, &Bytes::from_static(b"late"));
        assert_eq!(kinds(&mut screen, 1), []);
        screen.begin(format(320, 200));
        assert_eq!(kinds(&mut screen, 1), [314, 102, 122]);
    }

    #[test]
    fn who_comes_late_gets_the_surface_and_waits_for_the_next_stream() {
        let mut screen = Screen::default();
        screen.join(1, &caps(&ALL_CAPS));
        screen.begin(format(640, 480));
        screen.join(2, &caps(&[1]));
        assert_eq!(kinds(&mut screen, 2), [SET_ACK, 108, 314, 317, 302, 102]);
        kinds(&mut screen, 1);
        screen.show(0, &Bytes::from_static(b"frame"));
        assert_eq!(kinds(&mut screen, 1), [123]);
        assert_eq!(kinds(&mut screen, 2), []);
        screen.begin(format(640, 480));
        assert_eq!(kinds(&mut screen, 1), [125, 122, 319]);
        assert_eq!(kinds(&mut screen, 2), [122]);
    }

    #[test]
    fn codecs_are_those_that_all_have() {
        let mut screen = Screen::default();
        assert_eq!(screen.codecs(), []);
        screen.join(1, &caps(&ALL_CAPS));
        assert_eq!(screen.codecs(), [1, 2, 3, 4, 5]);
        screen.join(2, &caps(&[10, 14]));
        assert_eq!(screen.codecs(), [1, 2, 5]);
        screen.join(3, &caps(&[]));
        assert_eq!(screen.codecs(), [1]);
        screen.leave(3);
        assert_eq!(screen.codecs(), [1, 2, 5]);
    }

    #[test]
    fn the_picture_goes_with_the_last_client() {
        let mut screen = Screen::default();
        screen.join(1, &caps(&[]));
        screen.begin(format(640, 480));
        screen.leave(1);
        assert!(screen.is_deserted());
        screen.join(2, &caps(&[]));
        assert_eq!(kinds(&mut screen, 2), [SET_ACK, 108]);
    }

    #[test]
    fn stream_numbers_begin_anew_after_fifty() {
        let mut screen = Screen::default();
        screen.join(1, &caps(&[]));
        for round in 0..60 {
            screen.begin(format(640, 480));
            assert_eq!(screen.stream, Some(round % 50));
        }
    }

    #[test]
    fn one_frame_is_under_way() {
        let mut screen = Screen::default();
        screen.join(1, &caps(&[]));
        screen.begin(format(640, 480));
        kinds(&mut screen, 1);
        screen.show(0, &Bytes::from_static(b"one"));
        screen.reset();
        assert_eq!(screen.poll(1, 0).map(|message| message.kind), Some(123));
        assert_eq!(screen.poll(1, 10), None, "the frame is still on its way");
        assert!(screen.has_waiting(1));
        assert_eq!(kinds(&mut screen, 1), [125, 315]);
        assert!(!screen.has_waiting(1));
    }

    proptest! {
        /// Whatever happens: a client hears of streams and surfaces in a sensible order.
        #[test]
        fn what_a_client_hears_makes_sense(acts in prop::collection::vec((0u8..6, 0u32..3), 0..60)) {
            let mut screen = Screen::default();
            screen.join(9, &caps(&ALL_CAPS));
            for (act, pick) in acts {
                match act {
                    0 => screen.join(pick.into(), &caps(&[])),
                    1 => screen.leave(pick.into()),
                    2 => screen.reset(),
                    3 => screen.show(0, &Bytes::from_static(b"frame")),
                    _ => screen.begin(format(100 + pick % 2, 100)),
                }
            }
            let (mut surface, mut stream) = (false, false);
            for kind in acked(&mut screen, 9) {
                match kind {
                    to_client::SURFACE_CREATE => prop_assert!(!std::mem::replace(&mut surface, true)),
                    to_client::SURFACE_DESTROY => {
                        prop_assert!(!stream && std::mem::replace(&mut surface, false));
                    }
                    to_client::STREAM_CREATE => {
                        prop_assert!(surface && !std::mem::replace(&mut stream, true));
                    }
                    to_client::STREAM_DESTROY => prop_assert!(std::mem::replace(&mut stream, false)),
                    to_client::STREAM_DATA => prop_assert!(stream),
                    to_client::MARK | to_client::MONITORS_CONFIG => prop_assert!(surface),
                    _ => {}
                }
            }
        }
    }
}

//! Viewers and the streams they are told of, as a client like spice-gtk takes them: it keeps
//! frames for a while before it draws them.

use super::super::*;
use super::*;
use crate::channels::display::compression::Loss;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

const SCREEN: (u32, u32) = (320, 224);
const VIDEO: Rect = Rect::new(40, 30, 200, 150);
const FRAME: Duration = Duration::from_millis(40);
/// What a pixel has in it when it came by JPEG.
const LOSSY: u32 = 0x8000_0000;

/// A screen, a client of it, and the time.
struct Bench {
    viewers: Viewers,
    client: Client,
    truth: Vec<u32>,
    size: (u32, u32),
    count: u32,
    now: Instant,
}

/// What a client shows.
#[derive(Default)]
struct Client {
    surface: Option<((u32, u32), Vec<u32>)>,
    streams: HashMap<u32, Vec<Rect>>,
    kept: Vec<(u32, Rect, Vec<u32>)>,
    kinds: Vec<u16>,
    frames: Vec<Frame>,
    /// It draws frames whole, as spice-html5 does.
    knows_no_clips: bool,
}

impl Bench {
    fn new(caps: &[u32], link: Link) -> Self {
        let policy = Policy { compression: 1, loss: Loss::Never, streaming: Streaming::All };
        let mut viewers = Viewers::new(policy);
        viewers.join(1, &caps.iter().copied().collect(), link);
        viewers.handle_init(1, Caches::default());
        viewers.handle_sync(1, 1);
        let (client, now) = (Client::default(), Instant::now());
        let mut bench = Self { viewers, client, truth: Vec::new(), size: SCREEN, count: 0, now };
        bench.begin_surface(SCREEN);
        bench.poll();
        bench
    }

    fn begin_surface(&mut self, size: (u32, u32)) {
        self.size = size;
        self.truth = vec![0; (size.0 * size.1) as usize];
        self.viewers.begin_surface(size);
        self.viewers.set_monitors(vec![Head { size, ..Head::default() }], 1);
        self.viewers.complete();
    }

    /// Each pixel of an area becomes another one.
    fn draw(&mut self, area: Rect) {
        let area = area.intersection(&Rect::of_size(self.size.0, self.size.1));
        if area.is_empty() {
            return;
        }
        self.count += 1;
        for (x, y) in positions(&area) {
            self.truth[(y * self.size.0 + x) as usize] = self.count;
        }
        self.viewers.change(&area.into(), self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.viewers.settle(self.now, |_| true);
    }

    /// The client takes all that there is.
    fn poll(&mut self) {
        while let Some(next) = self.viewers.poll(1, 0, self.now) {
            self.viewers.handle_ack(1);
            self.client.take(next, &self.truth, self.size.0);
            if let Some(frame) = self.client.frames.last().copied() {
                self.viewers.handle_frame(1, &frame, 5000, self.now);
            }
        }
    }

    fn play(&mut self, area: Rect, frames: u32) {
        for _ in 0..frames {
            self.draw(area);
            self.pass(FRAME);
            self.poll();
        }
    }

    fn take_kinds(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.client.kinds)
    }

    /// Until nothing moves any more.
    fn rest(&mut self) {
        for _ in 0..30 {
            self.pass(Duration::from_millis(100));
            self.poll();
        }
    }

    fn check_shown(&self) {
        assert_eq!(self.client.surface, Some((self.size, self.truth.clone())));
    }
}

impl Client {
    fn take(&mut self, next: Next, truth: &[u32], width: u32) {
        match next {
            Next::Message(message) => self.take_message(&message),
            Next::Image(area, _) => {
                self.kinds.push(to_client::DRAW_COPY);
                self.draw(&area, truth, width, 0);
            }
            Next::Frame(frame) => {
                self.kinds.push(to_client::STREAM_DATA);
                assert!(self.streams.contains_key(&frame.id), "a frame has a stream");
                self.frames.push(frame);
                self.kept.push((frame.id, frame.area, truth.to_vec()));
            }
        }
    }

    fn take_message(&mut self, message: &Outgoing) {
        let body = &message.head;
        let word = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
        let rect = |at: usize| {
            let edge = |n: usize| word(at + 4 * n) as i32;
            Rect::new(edge(1), edge(0), edge(3), edge(2))
        };
        let clip = |at: usize, area: Rect| match body[at] {
            0 => vec![area],
            _ if self.knows_no_clips => vec![Rect::of_size(10_000, 10_000)],
            _ => (0..word(at + 1) as usize).map(|n| rect(at + 5 + 16 * n)).collect(),
        };
        match message.kind {
            to_client::SURFACE_CREATE => {
                let size = (word(4), word(8));
                self.surface = Some((size, vec![0; (size.0 * size.1) as usize]));
            }
            to_client::SURFACE_DESTROY => {
                assert!(self.streams.is_empty(), "streams end before their surface");
                self.surface = None;
            }
            to_client::STREAM_CREATE => {
                assert!(word(4) < 50);
                assert_eq!(body[9], 1, "MJPEG");
                let old = self.streams.insert(word(4), clip(50, rect(34)));
                assert!(old.is_none(), "the number is taken");
            }
            to_client::STREAM_CLIP => {
                let everything = Rect::of_size(10_000, 10_000);
                let stream = self.streams.get_mut(&word(0)).expect("there is such a stream");
                *stream = clip(4, everything);
            }
            to_client::STREAM_DESTROY => {
                assert!(self.streams.remove(&word(0)).is_some());
                self.kept.retain(|(id, ..)| *id != word(0));
            }
            _ => {}
        }
        self.kinds.push(message.kind);
    }

    /// Draws the oldest frame that it keeps.
    fn show_frame(&mut self) {
        let Some(((width, _), _)) = self.surface.as_ref().filter(|_| !self.kept.is_empty()) else {
            return;
        };
        let width = *width;
        let (id, area, pixels) = self.kept.remove(0);
        for clip in self.streams[&id].clone() {
            self.draw(&area.intersection(&clip), &pixels, width, LOSSY);
        }
    }

    fn draw(&mut self, area: &Rect, from: &[u32], width: u32, mark: u32) {
        let (size, pixels) = self.surface.as_mut().expect("there is a surface");
        assert!(Rect::of_size(size.0, size.1).contains(area));
        for (x, y) in positions(area) {
            let at = (y * width + x) as usize;
            pixels[at] = from[at] | mark;
        }
    }
}

fn positions(area: &Rect) -> impl Iterator<Item = (u32, u32)> + use<> {
    let area = *area;
    (area.top..area.bottom)
        .flat_map(move |y| (area.left..area.right).map(move |x| (x as u32, y as u32)))
}

const FAR: Link = Link { local: false, bit_rate: None };

#[test]
fn a_video_is_a_stream_and_its_last_picture_is_sent_as_it_is() {
    let mut bench = Bench::new(&[], FAR);
    bench.take_kinds();
    bench.play(VIDEO, 60);
    let kinds = bench.take_kinds();
    let begin = kinds.iter().position(|kind| *kind == 122).expect("a stream");
    assert!((20..30).contains(&begin), "after {begin} images");
    assert!(kinds[..begin].iter().all(|kind| *kind == 304));
    assert!(kinds[begin + 1..].iter().all(|kind| *kind == 123), "{kinds:?}");
    assert!(kinds.len() - begin > 25, "{kinds:?}");
    assert!(bench.client.frames.iter().all(|frame| frame.area == VIDEO && frame.part.is_none()));
    bench.rest();
    assert_eq!(bench.take_kinds(), [125, 304]);
    bench.check_shown();
}

#[test]
fn who_goes_to_another_host_has_no_stream_any_more_and_sees_everything() {
    let mut bench = Bench::new(&[], FAR);
    bench.play(VIDEO, 40);
    assert!(bench.take_kinds().contains(&122));
    bench.viewers.set_running(false);
    bench.viewers.send_off(1);
    bench.poll();
    assert_eq!(bench.take_kinds(), [125, 304, 1]);
    bench.check_shown();
}

#[test]
fn nobody_gets_streams_who_cannot_or_need_not_show_them() {
    let local = Link { local: true, bit_rate: None };
    for (caps, link) in [(&[8, 10][..], FAR), (&[], local)] {
        let mut bench = Bench::new(caps, link);
        bench.play(VIDEO, 60);
        assert!(bench.take_kinds().iter().all(|kind| !(122..=126).contains(kind)));
        bench.check_shown();
    }
}

#[test]
fn who_comes_in_the_middle_is_told_of_the_stream_after_mark() {
    let mut bench = Bench::new(&[], FAR);
    bench.play(VIDEO, 40);
    bench.viewers.join(2, &CapSet::default(), FAR);
    bench.viewers.handle_init(2, Caches::default());
    let kinds: Vec<u16> = std::iter::from_fn(|| bench.viewers.poll(2, 0, bench.now))
        .map(|next| match next {
            Next::Message(message) => message.kind,
            Next::Image(..) => 304,
            Next::Frame(_) => 123,
        })
        .collect();
    assert_eq!(kinds, [3, 108, 314, 304, 102, 122]);
}

#[test]
fn what_comes_to_rest_is_cut_out_and_sent_as_it_is() {
    let mut bench = Bench::new(&[], FAR);
    bench.play(VIDEO, 40);
    bench.take_kinds();
    let upper = Rect::new(VIDEO.left, VIDEO.top, VIDEO.right, 128);
    bench.play(upper, 40);
    let kinds = bench.take_kinds();
    assert_eq!(kinds.iter().filter(|kind| **kind == 124).count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == 304).count(), 1, "{kinds:?}");
    let lower = Rect::new(VIDEO.left, 128, VIDEO.right, VIDEO.bottom);
    let (_, pixels) = bench.client.surface.as_ref().expect("a surface");
    let shown = |(x, y): (u32, u32)| pixels[(y * SCREEN.0 + x) as usize];
    let truth = |(x, y): (u32, u32)| bench.truth[(y * SCREEN.0 + x) as usize];
    assert!(positions(&lower).all(|at| shown(at) == truth(at)), "though the stream goes on");
    bench.rest();
    bench.check_shown();
}

#[test]
fn a_small_change_in_a_stream_is_a_small_frame_for_those_who_take_them() {
    for (caps, whole) in [(&[capability::SIZED_STREAM][..], false), (&[], true)] {
        let mut bench = Bench::new(caps, FAR);
        bench.play(VIDEO, 40);
        bench.client.frames.clear();
        let spot = Rect::new(60, 50, 90, 70);
        bench.play(spot, 1);
        let [frame] = bench.client.frames[..] else { panic!("one frame") };
        assert_eq!(frame.area, if whole { VIDEO } else { spot });
        assert_eq!(frame.part.is_none(), whole);
        bench.rest();
        bench.check_shown();
    }
}

#[test]
fn a_client_that_reports_is_asked_for_it_and_heard() {
    let mut bench = Bench::new(&[capability::STREAM_REPORT], FAR);
    bench.take_kinds();
    bench.play(VIDEO, 40);
    let kinds = bench.take_kinds();
    assert_eq!(kinds.iter().filter(|kind| **kind == 319).count(), 1);
    let share = |bench: &Bench| bench.viewers.all[0].streams.budget.share(1);
    let before = share(&bench);
    let late = StreamReport { stream: 0, unique: 1, frames: 5, drops: 3, delay: -100 };
    for wrong in [StreamReport { stream: 1, ..late }, StreamReport { unique: 2, ..late }] {
        bench.viewers.handle_report(1, &wrong, bench.now);
        assert_eq!(share(&bench), before, "nobody asked");
    }
    bench.viewers.handle_report(1, &late, bench.now);
    assert!(share(&bench) < before);
}

#[test]
fn a_full_queue_lets_frames_be_skipped() {
    let mut bench = Bench::new(&[], FAR);
    bench.play(VIDEO, 40);
    bench.take_kinds();
    for _ in 0..20 {
        bench.draw(VIDEO);
        bench.pass(FRAME);
        assert_eq!(bench.viewers.poll(1, limits::FRAME_QUEUED + 1, bench.now), None);
        let due = bench.viewers.due(bench.now).expect("it is tried again");
        assert!(due > bench.now && due <= bench.now + Duration::from_millis(100));
    }
    bench.poll();
    assert_eq!(bench.take_kinds(), [123], "the newest");
}

#[test]
fn what_no_frame_has_shown_is_shown_when_the_stream_ends() {
    let mut bench = Bench::new(&[], FAR);
    while !bench.client.kinds.contains(&to_client::STREAM_CREATE) {
        bench.draw(VIDEO);
        bench.pass(FRAME);
        // No more than the news: the frame waits.
        let Some(next) = bench.viewers.poll(1, 0, bench.now) else { continue };
        bench.client.take(next, &bench.truth, SCREEN.0);
        bench.viewers.handle_ack(1);
    }
    bench.draw(VIDEO);
    bench.viewers.set_policy(Policy { streaming: Streaming::Off, ..bench.viewers.policy });
    bench.pass(Duration::ZERO);
    bench.poll();
    assert_eq!(bench.client.frames, []);
    bench.check_shown();
}

#[test]
fn streams_end_when_they_are_switched_off_and_with_their_surface() {
    let mut bench = Bench::new(&[], FAR);
    bench.play(VIDEO, 40);
    bench.take_kinds();
    let all = bench.viewers.policy;
    bench.viewers.set_policy(Policy { streaming: Streaming::Off, ..all });
    bench.pass(Duration::ZERO);
    bench.poll();
    assert_eq!(bench.take_kinds(), [125, 304]);
    bench.check_shown();
    bench.viewers.set_policy(all);
    bench.play(VIDEO, 40);
    bench.take_kinds();
    bench.begin_surface((100, 100));
    bench.poll();
    assert_eq!(bench.take_kinds(), [125, 315, 314, 102]);
    bench.check_shown();
}

#[test]
fn a_client_that_knows_no_clips_sees_the_same_in_the_end() {
    let mut bench = Bench::new(&[], FAR);
    bench.client.knows_no_clips = true;
    bench.play(VIDEO, 40);
    for _ in 0..40 {
        bench.play(Rect::new(VIDEO.left, VIDEO.top, VIDEO.right, 128), 1);
        bench.client.show_frame();
    }
    bench.rest();
    bench.check_shown();
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Draw(Rect),
    Play(Rect, u32),
    Pass(u64),
    Poll,
    ShowFrame,
    Surface(u32, u32),
    Switch(bool),
}

fn area() -> impl Strategy<Value = Rect> {
    (0..320, 0..224, 1..250, 1..180).prop_map(|(x, y, w, h)| Rect::new(x, y, x + w, y + h))
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => area().prop_map(Act::Draw),
        4 => (area(), 1u32..40).prop_map(|(area, frames)| Act::Play(area, frames)),
        2 => (0u64..1500).prop_map(Act::Pass),
        3 => Just(Act::Poll),
        3 => Just(Act::ShowFrame),
        1 => (1u32..320, 1u32..224).prop_map(|(w, h)| Act::Surface(w, h)),
        1 => any::<bool>().prop_map(Act::Switch),
    ]
}

proptest! {
    /// However a screen changes, and however long a client keeps frames, it ends with each
    /// pixel as it is.
    #[test]
    fn in_the_end_nothing_is_lost(
        parts in any::<bool>(),
        knows_no_clips in any::<bool>(),
        acts in prop::collection::vec(act(), 1..25),
    ) {
        let caps = [capability::SIZED_STREAM];
        let mut bench = Bench::new(&caps[..usize::from(parts)], FAR);
        bench.client.knows_no_clips = knows_no_clips;
        for act in acts {
            match act {
                Act::Draw(area) => bench.draw(area),
                Act::Play(area, frames) => bench.play(area, frames),
                Act::Pass(milliseconds) => bench.pass(Duration::from_millis(milliseconds)),
                Act::Poll => bench.poll(),
                Act::ShowFrame => bench.client.show_frame(),
                Act::Surface(width, height) => bench.begin_surface((width, height)),
                Act::Switch(on) => {
                    let streaming = if on { Streaming::All } else { Streaming::Off };
                    let policy = Policy { streaming, ..bench.viewers.policy };
                    bench.viewers.set_policy(policy);
                }
            }
        }
        bench.rest();
        while !bench.client.kept.is_empty() {
            bench.client.show_frame();
        }
        prop_assert!(bench.client.streams.is_empty());
        bench.check_shown();
    }
}

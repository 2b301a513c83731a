use super::super::compression::Loss;
use super::*;
use proptest::prelude::*;
use std::sync::OnceLock;

const OFF: Policy = Policy { compression: 1, loss: Loss::Never, streaming: Streaming::Off };

/// Over a network of which nothing is known.
pub(super) const FAR: Link = Link { local: false, bit_rate: None };

/// Where no time plays a part.
pub(super) fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

fn screen(size: (u32, u32)) -> Viewers {
    let mut viewers = Viewers::new(OFF);
    show(&mut viewers, size);
    viewers
}

fn show(viewers: &mut Viewers, size: (u32, u32)) {
    viewers.begin_surface(size);
    viewers.set_monitors(vec![Head { size, ..Head::default() }], 1);
    viewers.complete();
}

fn join(viewers: &mut Viewers, key: ViewerKey) {
    viewers.join(key, &CapSet::from_iter([capability::MONITORS_CONFIG]), FAR);
    assert!(viewers.handle_init(key, Caches::default()));
}

/// The types of what a client is sent; an image counts as what draws it.
pub(super) fn poll_all(viewers: &mut Viewers, key: ViewerKey) -> Vec<u16> {
    std::iter::from_fn(|| viewers.poll(key, 0, now()))
        .map(|next| match next {
            Next::Message(message) => message.kind,
            Next::Image(..) => to_client::DRAW_COPY,
            Next::Frame(_) => to_client::STREAM_DATA,
        })
        .collect()
}

fn images(viewers: &mut Viewers, key: ViewerKey) -> Vec<Rect> {
    std::iter::from_fn(|| viewers.poll(key, 0, now()))
        .filter_map(|next| match next {
            Next::Image(area, _) => Some(area),
            Next::Message(_) | Next::Frame(_) => None,
        })
        .collect()
}

#[test]
fn who_comes_is_shown_the_whole_screen_before_mark() {
    let mut viewers = screen((64, 64));
    viewers.join(1, &CapSet::from_iter([capability::MONITORS_CONFIG]), FAR);
    assert_eq!(viewers.poll(1, 0, now()), None, "before INIT");
    assert!(viewers.is_awaited(1));
    assert!(viewers.handle_init(1, Caches::default()));
    assert!(!viewers.handle_init(1, Caches::default()), "a second INIT");
    assert_eq!(poll_all(&mut viewers, 1), [3, 108, 314, 304, 317, 102]);
    viewers.join(2, &CapSet::default(), FAR);
    viewers.handle_init(2, Caches::default());
    assert_eq!(poll_all(&mut viewers, 2), [3, 108, 314, 304, 102], "knows no monitors");
}

#[test]
fn a_new_surface_is_shown_once_it_is_known() {
    let mut viewers = Viewers::new(OFF);
    join(&mut viewers, 1);
    assert_eq!(poll_all(&mut viewers, 1), [3]);
    viewers.begin_surface((8, 8));
    assert_eq!(poll_all(&mut viewers, 1), []);
    viewers.complete();
    assert_eq!(poll_all(&mut viewers, 1), [108, 314, 304, 102]);
    show(&mut viewers, (16, 16));
    assert_eq!(poll_all(&mut viewers, 1), [315, 314, 317, 102], "black needs no image");
    viewers.end_surface();
    assert_eq!(poll_all(&mut viewers, 1), [315]);
    for _ in 0..5 {
        show(&mut viewers, (16, 16));
        viewers.end_surface();
    }
    assert_eq!(poll_all(&mut viewers, 1), [], "what came and went was not missed");
}

#[test]
fn each_client_is_sent_what_it_has_not_seen() {
    let mut viewers = screen((64, 64));
    join(&mut viewers, 1);
    join(&mut viewers, 2);
    poll_all(&mut viewers, 1);
    poll_all(&mut viewers, 2);
    let change = Rect::new(3, 4, 20, 9);
    viewers.change(&change.into(), now());
    assert_eq!(images(&mut viewers, 1), [change]);
    assert_eq!(images(&mut viewers, 1), []);
    viewers.change(&Rect::new(3, 9, 20, 11).into(), now());
    assert_eq!(images(&mut viewers, 2), [Rect::new(3, 4, 20, 11)]);
    viewers.leave(2);
    assert_eq!(viewers.poll(2, 0, now()), None);
}

#[test]
fn a_full_queue_and_a_closed_window_let_changes_gather() {
    let mut viewers = screen((64, 64));
    join(&mut viewers, 1);
    poll_all(&mut viewers, 1);
    let mut sent = 6;
    for x in (0..64).cycle().take(1000) {
        viewers.change(&Rect::new(x, 0, x + 1, 64).into(), now());
        assert_eq!(viewers.poll(1, limits::PICTURES_QUEUED, now()), None);
        sent += images(&mut viewers, 1).len();
    }
    assert_eq!(sent, 41);
    viewers.handle_sync(1, 1);
    viewers.handle_ack(1);
    assert_eq!(images(&mut viewers, 1), [Rect::new(0, 0, 64, 64)]);
}

#[test]
fn a_large_area_is_sent_in_pieces() {
    let mut viewers = screen((4096, 2160));
    join(&mut viewers, 1);
    assert_eq!(images(&mut viewers, 1), [Rect::new(0, 0, 4096, 2160)], "the first is whole");
    viewers.change(&Rect::new(0, 0, 4096, 2160).into(), now());
    let pieces = images(&mut viewers, 1);
    assert!(pieces.iter().all(|piece| pixels(piece) <= limits::IMAGE_PIXELS));
    assert_eq!(pieces.len(), 35, "and six messages before them");
}

#[test]
fn what_was_shown_with_losses_is_shown_again_when_nothing_else_waits() {
    let mut viewers = screen((64, 64));
    viewers.set_policy(Policy { compression: 2, loss: Loss::Always, ..OFF });
    join(&mut viewers, 1);
    let details = |viewers: &mut Viewers, queued| {
        std::iter::from_fn(|| viewers.poll(1, queued, now()))
            .filter_map(|next| match next {
                Next::Image(area, detail) => Some((area, detail.lossy, detail.generation)),
                Next::Message(_) | Next::Frame(_) => None,
            })
            .collect::<Vec<_>>()
    };
    let whole = Rect::of_size(64, 64);
    assert_eq!(details(&mut viewers, 0), [(whole, false, 1)], "the first is good at once");
    let area = Rect::new(0, 0, 64, 32);
    viewers.change(&area.into(), now());
    assert_eq!(details(&mut viewers, 0), [(area, true, 1)]);
    assert_eq!(details(&mut viewers, 0), [], "it was none with losses after all");
    viewers.change(&area.into(), now());
    assert_eq!(details(&mut viewers, 0), [(area, true, 1)]);
    viewers.handle_lossy(1, 1, area);
    assert_eq!(details(&mut viewers, 1), [], "the client is still busy with it");
    assert_eq!(details(&mut viewers, 0), [(area, false, 1)]);
    show(&mut viewers, (8, 8));
    details(&mut viewers, 0);
    viewers.handle_lossy(1, 1, area);
    assert_eq!(details(&mut viewers, 0), [], "the surface is another one");
}

#[test]
fn losses_are_for_those_who_are_slow() {
    let mut viewers = screen((64, 64));
    viewers.set_policy(Policy { compression: 2, loss: Loss::WhileSlow, ..OFF });
    join(&mut viewers, 1);
    poll_all(&mut viewers, 1);
    let mut is_lossy = |queued| {
        viewers.change(&Rect::of_size(64, 64).into(), now());
        assert_eq!(viewers.poll(1, queued, now()), None);
        let Some(Next::Image(_, detail)) = viewers.poll(1, 1, now()) else { panic!("no image") };
        assert!(viewers.poll(1, 0, now()).is_none());
        detail.lossy
    };
    assert!(is_lossy(limits::PICTURES_QUEUED));
    viewers.change(&Rect::of_size(64, 64).into(), now());
    let Some(Next::Image(_, detail)) = viewers.poll(1, 0, now()) else { panic!("no image") };
    assert!(!detail.lossy, "it has caught up");
}

#[test]
fn behind_a_slow_network_the_window_is_wider() {
    for (bit_rate, window, sent) in [(Some(limits::SLOW_NETWORK - 1), 40, 81), (None, 20, 41)] {
        let mut viewers = screen((64, 64));
        viewers.join(1, &CapSet::default(), Link { local: false, bit_rate });
        viewers.handle_init(1, Caches::default());
        let Some(Next::Message(first)) = viewers.poll(1, 0, now()) else { panic!("no SET_ACK") };
        assert_eq!(first.head[4..], [window, 0, 0, 0]);
        let mut count = 1 + poll_all(&mut viewers, 1).len();
        for x in (0..64).cycle().take(200) {
            viewers.change(&Rect::new(x, 0, x + 1, 64).into(), now());
            count += poll_all(&mut viewers, 1).len();
        }
        assert_eq!(count, sent);
    }
}

#[test]
fn guests_hear_what_all_clients_can() {
    let mut viewers = screen((64, 64));
    let common = |viewers: &Viewers| viewers.common_capabilities().collect::<Vec<_>>();
    assert_eq!(common(&viewers), []);
    viewers.join(1, &CapSet::from_iter([0, 1, 3, 5]), FAR);
    assert_eq!(common(&viewers), [0, 1, 3]);
    viewers.join(2, &CapSet::from_iter([1, 2, 3]), FAR);
    assert_eq!(common(&viewers), [1, 3]);
}

/// What may happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Act {
    Change(Rect),
    Surface(u32, u32),
    NoSurface,
    Poll(u8),
    Ack,
    Sync(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..40, 0..40, 1..20, 1..20)
            .prop_map(|(x, y, w, h)| Act::Change(Rect::new(x, y, x + w, y + h))),
        1 => (1u32..40, 1u32..40).prop_map(|(w, h)| Act::Surface(w, h)),
        1 => Just(Act::NoSurface),
        4 => any::<u8>().prop_map(Act::Poll),
        2 => Just(Act::Ack),
        1 => (0u32..3).prop_map(Act::Sync),
    ]
}

/// A client as it would draw: its surface, with what it was last shown of each pixel.
#[derive(Default)]
struct Client {
    surface: Option<((u32, u32), Vec<u32>)>,
}

impl Client {
    fn take(&mut self, next: Next, truth: &[u32], width: u32) {
        match next {
            Next::Message(message) if message.kind == to_client::SURFACE_CREATE => {
                assert!(self.surface.is_none());
                let word = |at| u32::from_le_bytes(message.head[at..at + 4].try_into().unwrap());
                let size = (word(4), word(8));
                self.surface = Some((size, vec![0; (size.0 * size.1) as usize]));
            }
            Next::Message(message) if message.kind == to_client::SURFACE_DESTROY => {
                assert!(self.surface.take().is_some());
            }
            Next::Message(_) => {}
            Next::Frame(_) => panic!("streaming is off"),
            Next::Image(area, _) => {
                let (size, pixels) = self.surface.as_mut().expect("an image has a surface");
                assert!(Rect::of_size(size.0, size.1).contains(&area));
                for y in area.top..area.bottom {
                    for x in area.left..area.right {
                        let at = (y as u32 * width + x as u32) as usize;
                        pixels[at] = truth[at];
                    }
                }
            }
        }
    }
}

proptest! {
    /// Whatever happens, a client that reads on ends with the screen as it is, and at no
    /// time is shown an image that its surface does not hold.
    #[test]
    fn in_the_end_the_client_sees_the_screen(acts in prop::collection::vec(act(), 1..200)) {
        let mut viewers = Viewers::new(OFF);
        join(&mut viewers, 1);
        let mut client = Client::default();
        let (mut size, mut truth, mut count) = ((0, 0), Vec::new(), 0);
        for act in acts {
            match act {
                Act::Change(area) => {
                    let area = area.intersection(&Rect::of_size(size.0, size.1));
                    if area.is_empty() {
                        continue;
                    }
                    count += 1;
                    for y in area.top..area.bottom {
                        for x in area.left..area.right {
                            truth[(y as u32 * size.0 + x as u32) as usize] = count;
                        }
                    }
                    viewers.change(&area.into(), now());
                }
                Act::Surface(width, height) => {
                    size = (width, height);
                    truth = vec![0; (width * height) as usize];
                    show(&mut viewers, size);
                }
                Act::NoSurface => {
                    size = (0, 0);
                    viewers.end_surface();
                }
                Act::Poll(times) => {
                    for _ in 0..times % 8 {
                        if let Some(next) = viewers.poll(1, 0, now()) {
                            client.take(next, &truth, size.0);
                        }
                    }
                }
                Act::Ack => viewers.handle_ack(1),
                Act::Sync(generation) => viewers.handle_sync(1, generation),
            }
        }
        viewers.handle_sync(1, 1);
        for _ in 0..1000 {
            viewers.handle_ack(1);
            while let Some(next) = viewers.poll(1, 0, now()) {
                client.take(next, &truth, size.0);
            }
        }
        prop_assert_eq!(client.surface, (size != (0, 0)).then_some((size, truth)));
    }
}

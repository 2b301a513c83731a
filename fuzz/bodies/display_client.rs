//! A client on a graphics device's display channel, while the guest draws: whatever it says,
//! it is shown nothing before INIT, nothing outside its surface, no frame without its stream,
//! and no more than its window.

use bytes::Bytes;
use spice_server::canvas::Rect;
use spice_server::channel::framing::Message;
use spice_server::channels::display::compression::Policy;
use spice_server::channels::display::video::Streaming;
use spice_server::channels::display::viewers::{Link, Next, Viewers};
use spice_server::channels::display::{self, Request};
use spice_server::wire::link::CapSet;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "display_client", run, seeds };

const SURFACE_CREATE: u16 = 314;
const SURFACE_DESTROY: u16 = 315;
const STREAM_CREATE: u16 = 122;
const STREAM_DESTROY: u16 = 125;
/// Twice the window, and one.
const UNDER_WAY: usize = 41;

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let streaming = Streaming::All;
    let mut viewers = Viewers::new(Policy { compression: 2, streaming, ..Policy::default() });
    let caps = (0..u32::from(input.byte() % 16)).collect::<CapSet>();
    viewers.join(1, &caps, Link { local: input.flag(), bit_rate: None });
    let (mut now, mut streams) = (Instant::now(), HashSet::new());
    let (mut size, mut told, mut ready, mut under_way) = (None, None, false, 0);
    while !input.is_empty() {
        match input.byte() % 7 {
            0 => {
                let kind = u16::from(input.byte());
                let message = Message { kind, body: Bytes::copy_from_slice(input.run()) };
                match display::handle(&message) {
                    Ok(Request::Init(caches)) => {
                        assert_eq!(viewers.handle_init(1, caches), !ready);
                        ready = true;
                    }
                    Ok(Request::Sync(generation)) => viewers.handle_sync(1, generation),
                    Ok(Request::Ack) => {
                        viewers.handle_ack(1);
                        under_way = 0;
                    }
                    Ok(Request::Compression(wanted)) => {
                        viewers.handle_preferred(1, wanted);
                    }
                    Ok(Request::Report(report)) => viewers.handle_report(1, &report, now),
                    Ok(_) | Err(_) => {}
                }
            }
            1 => {
                let new = (u32::from(input.byte()) + 1, u32::from(input.byte()) + 1);
                viewers.begin_surface(new);
                viewers.complete();
                size = Some(new);
            }
            2 => {
                viewers.end_surface();
                size = None;
            }
            3 => {
                let Some((width, height)) = size else { continue };
                let [left, top, right, bottom] = [(); 4].map(|()| i32::from(input.byte()));
                let area = Rect::new(left, top, right, bottom);
                let area = area.intersection(&Rect::of_size(width, height));
                for _ in 0..=input.byte() % 32 {
                    now += Duration::from_millis(35);
                    viewers.change(&area.into(), now);
                    viewers.settle(now, |_| true);
                }
            }
            6 => {
                now += Duration::from_millis(u64::from(input.byte()) * 8);
                viewers.settle(now, |_| true);
            }
            _ => {
                let queued = usize::from(input.byte()) << 13;
                let Some(next) = viewers.poll(1, queued, now) else { continue };
                assert!(ready, "before INIT");
                under_way += 1;
                assert!(under_way <= UNDER_WAY);
                match next {
                    Next::Message(message) if message.kind == SURFACE_CREATE => {
                        assert!(told.is_none());
                        told = size;
                    }
                    Next::Message(message) if message.kind == SURFACE_DESTROY => {
                        assert!(streams.is_empty());
                        told = None;
                    }
                    Next::Message(message) if message.kind == STREAM_CREATE => {
                        assert!(streams.insert(message.head[4..8].to_vec()) && told.is_some());
                    }
                    Next::Message(message) if message.kind == STREAM_DESTROY => {
                        assert!(streams.remove(&message.head[..]));
                    }
                    Next::Message(_) => {}
                    Next::Frame(frame) => {
                        assert!(streams.contains(&frame.id.to_le_bytes()[..]));
                        let (width, height) = told.expect("a stream has a surface");
                        assert!(!frame.area.is_empty());
                        assert!(Rect::of_size(width, height).contains(&frame.area));
                        viewers.handle_frame(1, &frame, queued, now);
                    }
                    Next::Image(area, _) => {
                        let (width, height) = told.expect("an image has a surface");
                        assert!(!area.is_empty());
                        assert!(Rect::of_size(width, height).contains(&area));
                    }
                }
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let init = [&[0, 101, 14][..], &[1; 14]].concat();
    let polls = [4, 0].repeat(50);
    let draw = [3, 0, 0, 200, 200, 0];
    let video = [3, 0, 0, 200, 200, 31];
    let report = [&[0, 102, 32][..], &[0; 4], &[1, 0, 0, 0], &[9; 24]].concat();
    let begin = [&[2, 0, 1, 99, 99][..], &init, &polls].concat();
    let acks = [0, 1, 4, 1, 0, 0, 0, 0, 2, 0];
    vec![
        begin.clone(),
        [&begin[..], &[&draw[..], &[4, 0, 5, 0, 5]].concat().repeat(30), &acks, &polls].concat(),
        [&begin[..], &[2, 4, 0, 1, 5, 5], &draw, &polls, &init].concat(),
        [&begin[..], &acks, &video, &polls, &acks, &video, &polls, &acks, &report, &[6, 200]]
            .into_iter()
            .chain([&video[..], &polls, &[6, 255], &polls])
            .collect::<Vec<_>>()
            .concat(),
    ]
}

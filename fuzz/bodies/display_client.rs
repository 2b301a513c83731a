//! A client on a graphics device's display channel, while the guest draws: whatever it says,
//! it is shown nothing before INIT, nothing outside its surface, and no more than its window.

use bytes::Bytes;
use spice_server::canvas::Rect;
use spice_server::channel::framing::Message;
use spice_server::channels::display::compression::Policy;
use spice_server::channels::display::viewers::{Next, Viewers};
use spice_server::channels::display::{self, Request};
use spice_server::wire::link::CapSet;

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "display_client", run, seeds };

const SURFACE_CREATE: u16 = 314;
const SURFACE_DESTROY: u16 = 315;
/// Twice the window, and one.
const UNDER_WAY: usize = 41;

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut viewers = Viewers::new(Policy { compression: 2, ..Policy::default() });
    viewers.join(1, &(0..u32::from(input.byte() % 16)).collect::<CapSet>(), input.flag());
    let (mut size, mut told, mut ready, mut under_way) = (None, None, false, 0);
    while !input.is_empty() {
        match input.byte() % 6 {
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
                viewers.change(&area.intersection(&Rect::of_size(width, height)).into());
            }
            _ => {
                let queued = usize::from(input.byte()) << 13;
                let Some(next) = viewers.poll(1, queued) else { continue };
                assert!(ready, "before INIT");
                under_way += 1;
                assert!(under_way <= UNDER_WAY);
                match next {
                    Next::Message(message) if message.kind == SURFACE_CREATE => {
                        assert!(told.is_none());
                        told = size;
                    }
                    Next::Message(message) if message.kind == SURFACE_DESTROY => told = None,
                    Next::Message(_) => {}
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
    let draw = [3, 0, 0, 200, 200];
    let begin = [&[2, 0, 1, 99, 99][..], &init, &polls].concat();
    let acks = [0, 1, 4, 1, 0, 0, 0, 0, 2, 0];
    vec![
        begin.clone(),
        [&begin[..], &[draw, [4, 0, 5, 0, 5]].concat().repeat(30), &acks, &polls].concat(),
        [&begin[..], &[2, 4, 0, 1, 5, 5], &draw, &polls, &init].concat(),
    ]
}

//! What a client brings from another host, changed at will: it is refused, or means the same
//! when it is written again, and whatever goes on by it keeps within its bounds.

use spice_server::canvas::Rect;
use spice_server::channels::agent::Switches;
use spice_server::channels::agent::chunks::Chunks;
use spice_server::channels::agent::filter::Filter;
use spice_server::channels::display::compression::Policy;
use spice_server::channels::display::viewers::{Link, Next, Viewers};
use spice_server::channels::inputs::pointer::Movements;
use spice_server::channels::smartcard::DeviceStream;
use spice_server::chardev::{Block, Device, FlowControl, Parameters};
use spice_server::wire::link::CapSet;
use spice_server::wire::migration::Body as Moved;
use spice_server::wire::migration::display::{Display, SurfaceForm};
use spice_server::wire::migration::main::{FromAgent, Main};
use spice_server::wire::migration::small::{self, Smartcard};

use super::Body;

pub(crate) const BODY: Body = Body { name: "migration_data", run, seeds };

const FAR: Link = Link { local: false, bit_rate: None };

const MAIN: u8 = 0;
const DISPLAY: u8 = 1;
const INPUTS: u8 = 2;
const SMARTCARD: u8 = 3;
const SPICEVMC: u8 = 4;

/// The first byte says whose channel gets the body.
fn run(bytes: &[u8]) {
    let Some((channel, body)) = bytes.split_first() else { return };
    match channel % 5 {
        MAIN => main(body),
        DISPLAY => display(body),
        INPUTS => {
            let Ok(count) = small::parse_inputs(body) else { return };
            assert_eq!(small::parse_inputs(&small::inputs(count)), Ok(count));
            let mut movements = Movements::default();
            let earned = movements.restore(count);
            assert_eq!(earned * 4 + movements.unacknowledged(), count);
        }
        SMARTCARD => smartcard(body),
        _ => {
            let Ok((block, whole)) = small::parse_spicevmc(body) else { return };
            restore(&block, whole, small::SPICEVMC, None);
        }
    }
}

fn main(body: &[u8]) {
    let Ok((main, whole)) = Main::parse(body) else { return };
    let again = main.encode(&[]);
    assert_eq!(Main::parse(&again).expect("our own").0, main);
    let flow = FlowControl { max_send_queue: 5, client_tokens: 10, send_tokens: 0 };
    restore(&main.device, whole, Main::FIXED, Some(flow));
    let (FromAgent::Header { message, .. } | FromAgent::Chunk { message, .. }) = main.from_agent;
    let (mut filter, mut to_agent) = (Filter::resume(message), Filter::resume(main.to_agent));
    assert_eq!(filter.is_inside(), message.bytes > 0);
    let Ok(mut chunks) = Chunks::resume(&main.from_agent) else { return };
    let mut rest = body;
    while !rest.is_empty() {
        let wanted = chunks.wanted();
        assert!((1..=2048).contains(&wanted));
        let (now, later) = rest.split_at(wanted.min(rest.len()));
        rest = later;
        match chunks.handle(now) {
            Ok(Some(piece)) => {
                assert!((1..=2048).contains(&piece.len()));
                for filter in [&mut filter, &mut to_agent] {
                    if let Ok(part) = filter.handle(&piece, true, Switches::default()) {
                        assert!(part.length() <= piece.len());
                    }
                }
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

fn display(body: &[u8]) {
    const MOST: u32 = 50;
    let Ok(state) = Display::parse(body, MOST) else { return };
    assert!(state.surfaces.len() <= MOST as usize);
    let again = Display::parse(&state.encode(SurfaceForm::WithAreas), MOST);
    assert_eq!(again, Ok(state.clone()));
    let mut viewers = Viewers::new(Policy::default());
    viewers.join(1, &CapSet::default(), FAR);
    viewers.await_state(1);
    viewers.begin_surface((40, 30));
    viewers.complete();
    viewers.set_running(true);
    viewers.restore(1, 0, state);
    let mut sent = 0;
    while let Some(next) = viewers.poll(1, 0, std::time::Instant::now()) {
        if let Next::Image(area, _) = next {
            assert!(!area.is_empty() && Rect::of_size(40, 30).contains(&area));
        }
        sent += 1;
        viewers.handle_sync(1, 1);
        viewers.handle_ack(1);
    }
    assert!(sent < 100, "{sent} messages");
}

fn smartcard(body: &[u8]) {
    let Ok((card, whole)) = Smartcard::parse(body) else { return };
    assert_eq!(Smartcard::parse(&card.encode(b"data")).expect("our own").0, card);
    restore(&card.device, whole, Smartcard::FIXED, None);
    let mut stream = DeviceStream::default();
    stream.handle_bytes(card.begun);
    while !matches!(stream.poll_message(), Ok(None)) {}
    assert!(stream.begun().len() <= card.begun.len().max(12));
}

/// A device takes the block with what it points to, or stays as it is.
fn restore(block: &[u8], whole: Moved<'_>, fixed: usize, flow: Option<FlowControl>) {
    let Ok(block) = Block::parse(block) else { return };
    let Ok(data) = whole.part(fixed, block.write_data, block.write_size.into()) else { return };
    let parameters = Parameters { token_interval: 5, self_tokens: 1 };
    let mut device = Device::<(), Vec<u8>>::new(parameters);
    device.start();
    device.client_add(1, flow, true).expect("the first client");
    let given = (!data.is_empty()).then(|| (data.to_vec(), data.len()));
    let restored = device.restore(&block, given).is_ok();
    assert_eq!(device.queued_bytes(), if restored { data.len() } else { 0 });
    assert_eq!(device.begin_write(), restored);
}

fn seeds() -> Vec<Vec<u8>> {
    let device = |at: usize, length: u32| {
        Block {
            connected: true,
            client_tokens: 4,
            send_tokens: 2,
            write_size: length,
            write_client_tokens: 1,
            write_data: at as u32,
        }
        .encode()
    };
    let with = |channel: u8, body: Vec<u8>| [&[channel][..], &body].concat();
    let message = spice_server::wire::agent::chunk(1, 4, b"hello");
    let mut chunks = Chunks::default();
    let mut mains = Vec::new();
    for (count, byte) in message.iter().enumerate() {
        let mut filter = Filter::default();
        if count >= 28 {
            let _ = filter.handle(&message[8..count], true, Switches::default());
            let _ = chunks.flush();
        }
        let main = Main {
            device: device(Main::FIXED, 4),
            started: true,
            from_agent: chunks.position(filter.rest(true)),
            to_agent: filter.rest(true),
        };
        mains.push(with(MAIN, main.encode(b"data")));
        let _ = chunks.handle(&[*byte]);
    }
    let mut viewers = Viewers::new(Policy::default());
    viewers.begin_surface((40, 30));
    viewers.complete();
    viewers.join(1, &CapSet::default(), FAR);
    viewers.handle_init(1, spice_server::wire::display::Caches::default());
    viewers.send_off(1);
    while viewers.poll(1, 0, std::time::Instant::now()).is_some() {}
    let (mut state, _) = viewers.moving(1).expect("it has been told to go");
    state.surfaces[0].lossy = [3, 4, 50, 9];
    let areas = state.encode(SurfaceForm::WithAreas);
    state.opens_cache = true;
    let plain = state.encode(SurfaceForm::Plain);
    let card =
        Smartcard { device: device(Smartcard::FIXED, 4), present: true, begun: &[0, 0, 0, 7, 0] };
    mains.extend([
        with(DISPLAY, areas),
        with(DISPLAY, plain),
        with(INPUTS, small::inputs(7)),
        with(SMARTCARD, card.encode(b"data")),
        with(SPICEVMC, small::spicevmc(&device(small::SPICEVMC, 4), b"data")),
    ]);
    mains
}

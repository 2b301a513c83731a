//! A client's messages on the record and playback channels, and calls of the host between
//! them.

use bytes::Bytes;
use spice_server::channel::framing::{BodyRule, Message};
use spice_server::channels::playback::{self, Playback};
use spice_server::channels::record::{Incoming, Record, rules};
use spice_server::channels::sound::Knows;
use spice_server::net::sys::opus::Decoder;

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "sound_messages", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut record, mut playback) = (Record::default(), Playback::default());
    let mut decoder = None;
    let (mut client, mut samples) = (0, vec![0; 2 * 5760]);
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => {
                client += 1;
                let knows = Knows { volume: input.flag(), opus: input.flag() };
                record.join(client, knows);
                playback.join(client, knows);
            }
            1 => record.start(),
            2 => record.stop(),
            3 => assert!(record.fetch(usize::from(input.word())).len() <= 8192),
            4 => record.set_rate([8000, 44_100, 48_000][usize::from(input.byte()) % 3]),
            5 => {
                record.set_mute(input.flag());
                record.set_volume(&vec![7; usize::from(input.byte())]);
                let told = std::iter::from_fn(|| record.poll(0)).count();
                assert!(told <= 3 && record.poll(0).is_none(), "each thing once");
            }
            _ => {
                let kind = if input.flag() { input.word() } else { 101 };
                let length = usize::from(input.word());
                let body = repeated(input.run(), length);
                assert_eq!(rules(kind), BodyRule::Whole(256 * 1024));
                let message = Message { kind, body: Bytes::from(body) };
                let listens = playback::handle(&message);
                assert!(listens.is_err() || (1..=6).contains(&kind));
                match record.handle(client, &message) {
                    Ok(Incoming::OpusAt(rate)) => decoder = Decoder::new(rate).ok(),
                    Ok(Incoming::Packet(packet)) => {
                        if let Some(decoder) = &mut decoder
                            && let Ok(length) = decoder.decode(packet, &mut samples)
                        {
                            record.handle_decoded(client, &samples[..length]);
                        }
                    }
                    Ok(Incoming::Done) | Err(_) => {}
                }
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let raw = [0, 1, 1, 1, 7, 0, 0, 64, 4, 1, 2, 3, 4, 3, 0, 32, 5, 1, 2, 2];
    let mode = [0, 1, 1, 1, 7, 1, 102, 0, 6, 0, 6, 0, 0, 0, 0, 3, 0];
    let packet = [7, 0, 5, 0, 5, 0, 0, 0, 0, 0xf4, 7, 0, 60, 0, 3, 0xfc, 0xff, 0xfe];
    vec![raw.to_vec(), mode.to_vec(), [&mode[..], &packet, &raw].concat()]
}

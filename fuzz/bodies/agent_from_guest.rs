//! The guest's bytes: chunks, pieces, and what goes to clients.

use spice_server::channels::agent::Side;
use spice_server::channels::agent::chunks::Chunks;
use spice_server::wire::agent::ChunkHeader;

use super::agent_lane::{Direction, settings};
use super::{Body, Input, agent_seeds};

pub(crate) const BODY: Body = Body { name: "agent_from_guest", run, seeds };

/// Three bytes of settings and the length of the reads, then the bytes.
fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (switches, policy) = settings(&mut input);
    let read = usize::from(input.byte()).max(1);
    let mut direction = Direction::new(Side::Guest);
    let mut chunks = Chunks::default();
    while !input.is_empty() {
        let wanted = chunks.wanted();
        assert!((1..=2048).contains(&wanted));
        match chunks.handle(input.take(read.min(wanted))) {
            Ok(None) => {}
            Ok(Some(piece)) => {
                assert!((1..=2048).contains(&piece.len()));
                if !direction.handle(&piece, switches, policy) {
                    break;
                }
            }
            Err(_) => break,
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let script = |bits: u8, read: u8| {
        let mut script = vec![bits, 5, 5, read];
        for (message, port) in agent_seeds::messages().zip([1, 1, 2].into_iter().cycle()) {
            ChunkHeader { port, size: message.len() as u32 }.put(&mut script);
            script.extend(message);
        }
        script
    };
    vec![script(0, 1), script(0x47, 7), script(0x7f, 255), script(0x18, 30)]
}

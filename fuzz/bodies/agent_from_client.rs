//! A client's AGENT_DATA: which pieces go on, and what is answered.

use spice_server::channels::agent::Side;

use super::agent_lane::{Direction, settings};
use super::{Body, Input, agent_seeds};

pub(crate) const BODY: Body = Body { name: "agent_from_client", run, seeds };

/// Three bytes of settings, which change with every piece; then the piece.
fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut direction = Direction::new(Side::Client);
    while !input.is_empty() {
        let (switches, policy) = settings(&mut input);
        if !direction.handle(input.run(), switches, policy) {
            break;
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    agent_seeds::messages()
        .map(|message| {
            let mut script = Vec::new();
            for bits in [0, 0x7f, 0x47, 0x18] {
                for piece in [&message[..24], &message[24..]] {
                    script.extend([bits, 5, 5, piece.len() as u8]);
                    script.extend_from_slice(piece);
                }
            }
            script
        })
        .collect()
}

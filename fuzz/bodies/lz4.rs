//! Compressed messages against `lz4_flex`: decoded whole and piece by piece, whatever
//! the block is and however it is cut, the data are the same, or both refuse.

use std::sync::Arc;

use bytes::Bytes;
use lz4_flex::block::{compress, decompress_into};
use spice_server::channel::decompressor::{Corrupt, Decompressor};
use spice_server::config::limits::WHOLE_MESSAGE;
use spice_server::stats::Counters;
use spice_server::wire::spicevmc::compressed_header;

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "lz4", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let made = input.flag();
    let cut = usize::from(input.word()) % 700 + 1;
    // Now and then of the length that is not decoded at once.
    let length = match input.byte() {
        250.. => input.long() % 600_000,
        _ => u32::from(input.word()) % 3000,
    };
    if made {
        let data = sample(&mut input, length as usize);
        let block = compress(&data);
        let expected = if data.is_empty() { Err(Corrupt::Empty) } else { Ok(data) };
        for cut in [usize::MAX, cut] {
            assert!(decode(&block, length, cut) == expected, "{length} bytes cut at {cut}");
        }
    } else {
        judge(input.rest(), length, cut);
    }
}

/// Any block, with any announced length.
fn judge(block: &[u8], length: u32, cut: usize) {
    let mut room = vec![0; length as usize];
    let expected = if block.is_empty() || length == 0 {
        Err(Corrupt::Empty)
    } else if u64::from(length) > 255 * block.len() as u64 {
        Err(Corrupt::Impossible { packed: block.len() as u32, length })
    } else {
        match decompress_into(block, &mut room) {
            Ok(count) if count == room.len() => Ok(room),
            _ => Err(Corrupt::Block),
        }
    };
    for cut in [usize::MAX, cut] {
        assert!(decode(block, length, cut) == expected, "cut at {cut}");
    }
}

/// What comes out of a message whose body arrives in pieces of `cut`.
fn decode(block: &[u8], length: u32, cut: usize) -> Result<Vec<u8>, Corrupt> {
    let counters = Arc::<Counters>::default();
    let mut decompressor = Decompressor::new(Arc::clone(&counters));
    let body = [&compressed_header(length)[..], block].concat();
    let (mut data, mut left) = (Vec::new(), body.len());
    for piece in body.chunks(cut.min(WHOLE_MESSAGE)) {
        left -= piece.len();
        decompressor.handle_piece(Bytes::copy_from_slice(piece), left as u32)?;
        while let Some(run) = decompressor.poll_data()? {
            assert!(!run.is_empty() && run.len() <= WHOLE_MESSAGE);
            data.extend_from_slice(&run);
        }
    }
    let totals = counters.totals(0);
    assert_eq!(totals.in_decompressed, data.len() as u64);
    assert_eq!(totals.in_compressed, block.len() as u64);
    Ok(data)
}

/// `length` bytes of the script's, said again and again with changes.
fn sample(input: &mut Input<'_>, length: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < length && !input.is_empty() {
        let times = usize::from(input.byte()) % 20 + 1;
        data.extend(input.run().repeat(times));
    }
    repeated(&data, length)
}

fn seeds() -> Vec<Vec<u8>> {
    let head = |made: u8, length: usize| {
        let length = (length as u32).to_le_bytes();
        let (long, bytes) = if length[2..] == [0, 0] { (0, 2) } else { (255, 4) };
        [&[made, 9, 0, long][..], &length[..bytes]].concat()
    };
    let made = |length| [&head(1, length)[..], b"\x03\x0a0123456789\x09\x03abc\x01\x02zz"].concat();
    let block = |data: &[u8]| [head(0, data.len()), compress(data)].concat();
    vec![
        made(10),
        made(1000),
        made(2900),
        made(300_000),
        block(b"once and once and once and twice"),
        block(&b"again and again ".repeat(50)),
        block(&b"never, ".repeat(400)),
        block(&vec![0; 300_000]),
    ]
}

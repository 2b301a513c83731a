//! QUIC images: those of the reference with bytes changed, and heads with any bytes behind
//! them. What is refused is refused without a panic; what is taken has all its pixels.

use spice_server::canvas::Picture;

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "quic", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (width, height) = (u32::from(input.word()) % 300, u32::from(input.byte()) % 64);
    let kind = u32::from(input.byte()) % 8;
    let said = if input.byte() == 255 { (input.long(), input.long()) } else { (width, height) };
    let words = [u32::from_le_bytes(*b"QUIC"), 0, kind, width, height];
    let mut data: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    data.extend_from_slice(input.rest());
    let first = Picture::from_quic(&data, said.0, said.1);
    let second = Picture::from_quic(&data, said.0, said.1);
    assert!(first == second, "the same bytes are another image");
}

fn seeds() -> Vec<Vec<u8>> {
    let images: [&[u8]; 4] = [
        include_bytes!("../../tests/data/quic/rgb16.quic"),
        include_bytes!("../../tests/data/quic/rgb24.quic"),
        include_bytes!("../../tests/data/quic/rgb32.quic"),
        include_bytes!("../../tests/data/quic/rgba.quic"),
    ];
    let seed = |image: &&[u8]| [&[160, 0, 12, image[8], 0][..], &image[20..2000]].concat();
    images.iter().map(seed).collect()
}

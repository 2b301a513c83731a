//! Messages that clients and agents send.

use spice_server::wire::agent::message;

/// One of each type, each with at least four bytes of body and less than 256 in all.
pub(crate) fn messages() -> impl Iterator<Item = Vec<u8>> {
    let start = b"\x01\0\0\0[vdagent-file-xfer]\nname=a\nsize=3\n";
    let part = b"\x01\0\0\0\x03\0\0\0\0\0\0\0abc";
    let monitors = [&[1, 0, 0, 0, 3, 0, 0, 0][..], &[1; 24]].concat();
    (1..18).map(move |kind| match kind {
        2 => message(kind, &monitors),
        10 => message(kind, start),
        12 => message(kind, part),
        _ => message(kind, &[1, 0, 0, 0, 1, 0, 0, 0, 9]),
    })
}

//! What all channels share, without I/O: cutting a byte stream into messages,
//! gathering outgoing messages, counting acknowledgements, rewriting and
//! compressing data, and finding out whether a client still lives.
//!
//! No socket, no thread, no clock: time is a parameter.
#![forbid(unsafe_code)]

pub mod acks;
pub mod compressor;
pub mod decompressor;
pub mod descriptors;
pub mod ending;
pub mod framing;
pub mod liveness;
mod lz4_stream;
pub mod outbox;
pub mod packer;
pub mod pipe;
pub mod read_buffers;
pub mod run;

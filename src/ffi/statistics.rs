//! What the upstream library does not have: all statistics of a server in one call.

#![allow(clippy::doc_markdown, reason = "the comments go into a C header, as C writes names")]

use std::ffi::{c_char, c_int};
use std::ptr::NonNull;

use super::handles::with_server;
use crate::server::Server;
use crate::stats::document;

const FAILED: c_int = -1;

/// Writes all statistics of a server as a JSON object, the one that the statistics socket
/// answers with (docs/statistics.md): numbers of the server, its channels, clients and
/// their connections. Later versions may have more names in it.
///
/// @param buffer where to write it, with a NUL behind it; NULL only if `size` is 0
/// @param size bytes that `buffer` has. What does not fit is not written at all, but an
///   empty string is, if that fits
/// @return the length of the object without the NUL, whether it was written or not; -1,
///   logged, when `buffer` is NULL and should not be. It grows with every client and
///   digit: ask again with room to spare
///
/// Main thread.
///
/// # Safety
/// `buffer` is NULL or has `size` bytes that may be written.
///
/// Shown by: c-tests/test-statistics.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_statistics_json(
    server: *mut Server,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    const NAME: &str = "spice_server_statistics_json";
    with_server(NAME, server, FAILED, |server| {
        let text = document(&server.statistics().view());
        let length = c_int::try_from(text.len()).unwrap_or(c_int::MAX);
        let Some(buffer) = NonNull::new(buffer) else {
            if size > 0 {
                crate::warning!("{NAME}: there is no buffer");
                return FAILED;
            }
            return length;
        };
        let written = if text.len() < size { text.as_bytes() } else { &[] };
        if size > 0 {
            // SAFETY: the caller's promise; what is written and its NUL fit.
            unsafe {
                buffer.cast::<u8>().copy_from(NonNull::from(written).cast(), written.len());
                buffer.add(written.len()).write(0);
            }
        }
        length
    })
}

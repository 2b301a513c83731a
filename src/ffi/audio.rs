//! `spice_server_playback_*` and `spice_server_record_*`: sound, not served yet.
//!
//! Every call is accepted, as by upstream's library while no client is connected to
//! the channel: there is no buffer to fill and nothing was recorded. All are called
//! on the main thread.

use crate::guard::guard;
use crate::host::abi::{SpicePlaybackInstance, SpiceRecordInstance};

/// Accepts a call that has no effect yet, and says so the first time. Not as a
/// warning: QEMU makes some of these calls whenever it has a sound card, and its
/// users cannot do anything about it.
macro_rules! accept {
    ($function:literal, $instance:ident) => {
        guard($function, (), || {
            if $instance.is_null() {
                crate::warning_once!("{}: instance is NULL", $function);
            } else {
                static ONCE: std::sync::Once = std::sync::Once::new();
                ONCE.call_once(|| crate::info!("{}: not served yet, ignored", $function));
            }
        })
    };
}

/// The guest begins to play.
///
/// Compat: missing: sound is not played by clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_start(sin: *mut SpicePlaybackInstance) {
    accept!("spice_server_playback_start", sin);
}

/// The guest stops playing.
///
/// Compat: missing: sound is not played by clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_stop(sin: *mut SpicePlaybackInstance) {
    accept!("spice_server_playback_stop", sin);
}

/// Asks for a buffer to fill with samples: there is none.
///
/// Compat: missing: sound is not played by clients yet, so there is never a buffer
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// `samples` and `num_samples` are NULL or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_get_buffer(
    sin: *mut SpicePlaybackInstance,
    samples: *mut *mut u32,
    num_samples: *mut u32,
) {
    accept!("spice_server_playback_get_buffer", sin);
    if !samples.is_null() {
        // SAFETY: the caller's promise.
        unsafe { samples.write(std::ptr::null_mut()) };
    }
    if !num_samples.is_null() {
        // SAFETY: the caller's promise.
        unsafe { num_samples.write(0) };
    }
}

/// Hands over a filled buffer: there never was one.
///
/// Compat: missing: sound is not played by clients yet
/// Shown by: c-tests/test-misuse.c
///
/// # Safety
/// Neither pointer is looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_put_samples(
    sin: *mut SpicePlaybackInstance,
    _samples: *mut u32,
) {
    accept!("spice_server_playback_put_samples", sin);
}

/// Sets the volume of each channel.
///
/// Compat: missing: sound is not played by clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// Neither pointer is looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_volume(
    sin: *mut SpicePlaybackInstance,
    _nchannels: u8,
    _volume: *mut u16,
) {
    accept!("spice_server_playback_set_volume", sin);
}

/// Mutes or unmutes.
///
/// Compat: missing: sound is not played by clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_mute(
    sin: *mut SpicePlaybackInstance,
    _mute: u8,
) {
    accept!("spice_server_playback_set_mute", sin);
}

/// The guest begins to record.
///
/// Compat: missing: sound is not recorded from clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_start(sin: *mut SpiceRecordInstance) {
    accept!("spice_server_record_start", sin);
}

/// The guest stops recording.
///
/// Compat: missing: sound is not recorded from clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_stop(sin: *mut SpiceRecordInstance) {
    accept!("spice_server_record_stop", sin);
}

/// Fetches recorded samples: there are none.
///
/// Compat: missing: sound is not recorded from clients yet, so there are no samples
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// Neither pointer is looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_get_samples(
    sin: *mut SpiceRecordInstance,
    _samples: *mut u32,
    _bufsize: u32,
) -> u32 {
    accept!("spice_server_record_get_samples", sin);
    0
}

/// Sets the volume of each channel.
///
/// Compat: missing: sound is not recorded from clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// Neither pointer is looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_volume(
    sin: *mut SpiceRecordInstance,
    _nchannels: u8,
    _volume: *mut u16,
) {
    accept!("spice_server_record_set_volume", sin);
}

/// Mutes or unmutes.
///
/// Compat: missing: sound is not recorded from clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_mute(sin: *mut SpiceRecordInstance, _mute: u8) {
    accept!("spice_server_record_set_mute", sin);
}

/// The rate the host should play at. QEMU asks with NULL, before it adds the
/// interface, and divides by the answer.
///
/// Compat: works
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_best_playback_rate(
    _sin: *mut SpicePlaybackInstance,
) -> u32 {
    BEST_RATE
}

/// Says at which rate the host plays.
///
/// Compat: missing: sound is not played by clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_rate(
    sin: *mut SpicePlaybackInstance,
    _frequency: u32,
) {
    accept!("spice_server_set_playback_rate", sin);
}

/// The rate the host should record at; see `spice_server_get_best_playback_rate`.
///
/// Compat: works
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_best_record_rate(_sin: *mut SpiceRecordInstance) -> u32 {
    BEST_RATE
}

/// Says at which rate the host records.
///
/// Compat: missing: sound is not recorded from clients yet
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_record_rate(
    sin: *mut SpiceRecordInstance,
    _frequency: u32,
) {
    accept!("spice_server_set_record_rate", sin);
}

/// What Opus is best at.
const BEST_RATE: u32 = 48_000;

//! `spice_server_playback_*` and `spice_server_record_*`: sound. All are called under the
//! host's serialisation.
//!
//! An instance is known by its address and never followed, so a call on one that was
//! removed, or not added yet, has no effect. A frame that comes back is looked up before
//! anything is done with it (`host/sound.rs`).

use std::rc::Rc;

use super::handles;
use crate::channels::sound::BEST_RATE;
use crate::guard::guard_for_host;
use crate::host::abi::{SpicePlaybackInstance, SpiceRecordInstance};
use crate::host::sound::{self, SoundDevice};
use crate::server::audio::{Microphone, Speaker};

/// The guest begins to play. Once more without a stop between has no effect.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_start(sin: *mut SpicePlaybackInstance) {
    const NAME: &str = "spice_server_playback_start";
    with_speaker(NAME, sin, Speaker::start);
}

/// The guest stops playing.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_stop(sin: *mut SpicePlaybackInstance) {
    const NAME: &str = "spice_server_playback_stop";
    with_speaker(NAME, sin, Speaker::stop);
}

/// Asks for a buffer to fill with 480 samples: NULL and 0 when there is nobody to hear
/// them, or the host has three already. It stays good until it is put back, whoever leaves
/// meanwhile.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// `samples` and `num_samples` are NULL or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_get_buffer(
    sin: *mut SpicePlaybackInstance,
    samples: *mut *mut u32,
    num_samples: *mut u32,
) {
    const NAME: &str = "spice_server_playback_get_buffer";
    let frame = guard_for_host(NAME, None, || {
        // Without a place for it the frame would be lost.
        let places = !samples.is_null() && !num_samples.is_null();
        speaker(NAME, sin).filter(|_| places).and_then(|speaker| speaker.lend_frame())
    });
    let size = if frame.is_some() { sound::FRAME_SIZE } else { 0 };
    if !samples.is_null() {
        // SAFETY: the caller's promise.
        unsafe { samples.write(frame.map_or(std::ptr::null_mut(), std::ptr::NonNull::as_ptr)) };
    }
    if !num_samples.is_null() {
        // SAFETY: the caller's promise.
        unsafe { num_samples.write(size) };
    }
}

/// Hands over a filled buffer. One whose client has gone is only taken back; so is one
/// that comes while nothing is played.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into. `samples` is only followed if it is a buffer that the
/// host got from us and has not put back; the host does not touch it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_put_samples(
    sin: *mut SpicePlaybackInstance,
    samples: *mut u32,
) {
    const NAME: &str = "spice_server_playback_put_samples";
    guard_for_host(NAME, (), || {
        let Some((borrower, frame)) = sound::take_back(samples) else {
            return crate::warning_once!("{NAME}: this buffer did not come from here");
        };
        if let Some(speaker) = speaker(NAME, sin) {
            speaker.play(borrower, frame);
        }
    });
}

/// Sets the volume of each ear.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// `volume` is NULL or points to `nchannels` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_volume(
    sin: *mut SpicePlaybackInstance,
    nchannels: u8,
    volume: *mut u16,
) {
    const NAME: &str = "spice_server_playback_set_volume";
    // SAFETY: the caller's promise.
    let volume = unsafe { values(nchannels, volume) };
    with_speaker(NAME, sin, |speaker| speaker.set_volume(&volume));
}

/// Mutes or unmutes.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_mute(sin: *mut SpicePlaybackInstance, mute: u8) {
    const NAME: &str = "spice_server_playback_set_mute";
    with_speaker(NAME, sin, |speaker| speaker.set_mute(mute != 0));
}

/// The guest begins to record. Once more without a stop between, what was recorded is
/// forgotten.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_start(sin: *mut SpiceRecordInstance) {
    const NAME: &str = "spice_server_record_start";
    with_microphone(NAME, sin, Microphone::start);
}

/// The guest stops recording.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_stop(sin: *mut SpiceRecordInstance) {
    const NAME: &str = "spice_server_record_stop";
    with_microphone(NAME, sin, Microphone::stop);
}

/// Fetches up to `bufsize` recorded samples and returns how many those are: none without
/// a client, before the start, and until 4096 have come since then.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// `samples` is NULL or has room for `bufsize` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_get_samples(
    sin: *mut SpiceRecordInstance,
    samples: *mut u32,
    bufsize: u32,
) -> u32 {
    const NAME: &str = "spice_server_record_get_samples";
    guard_for_host(NAME, 0, || {
        if samples.is_null() {
            crate::warning_once!("{NAME}: the buffer is missing");
            return 0;
        }
        let fetched = microphone(NAME, sin)
            .map(|microphone| microphone.fetch(bufsize as usize))
            .unwrap_or_default();
        // SAFETY: the caller's promise; no more than `bufsize` were fetched.
        unsafe { samples.copy_from_nonoverlapping(fetched.as_ptr(), fetched.len()) };
        fetched.len() as u32
    })
}

/// Sets the volume of each ear.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// `volume` is NULL or points to `nchannels` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_volume(
    sin: *mut SpiceRecordInstance,
    nchannels: u8,
    volume: *mut u16,
) {
    const NAME: &str = "spice_server_record_set_volume";
    // SAFETY: the caller's promise.
    let volume = unsafe { values(nchannels, volume) };
    with_microphone(NAME, sin, |microphone| microphone.set_volume(&volume));
}

/// Mutes or unmutes.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_mute(sin: *mut SpiceRecordInstance, mute: u8) {
    const NAME: &str = "spice_server_record_set_mute";
    with_microphone(NAME, sin, |microphone| microphone.set_mute(mute != 0));
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

/// Says at which rate the host plays. Opus is offered to clients that link afterwards, if
/// it knows the rate.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_rate(
    sin: *mut SpicePlaybackInstance,
    frequency: u32,
) {
    const NAME: &str = "spice_server_set_playback_rate";
    with_speaker(NAME, sin, |speaker| speaker.set_rate(frequency));
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

/// Says at which rate the host records; see `spice_server_set_playback_rate`.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// The instance is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_record_rate(
    sin: *mut SpiceRecordInstance,
    frequency: u32,
) {
    const NAME: &str = "spice_server_set_record_rate";
    with_microphone(NAME, sin, |microphone| microphone.set_rate(frequency));
}

fn with_speaker(entry: &str, sin: *mut SpicePlaybackInstance, act: impl FnOnce(&Speaker)) {
    guard_for_host(entry, (), || {
        if let Some(speaker) = speaker(entry, sin) {
            act(&speaker);
        }
    });
}

fn with_microphone(entry: &str, sin: *mut SpiceRecordInstance, act: impl FnOnce(&Microphone)) {
    guard_for_host(entry, (), || {
        if let Some(microphone) = microphone(entry, sin) {
            act(&microphone);
        }
    });
}

/// The output with this instance; its lack is logged, once, because hosts make some of
/// these calls a hundred times a second.
fn speaker(entry: &str, sin: *mut SpicePlaybackInstance) -> Option<Rc<Speaker>> {
    let device = SoundDevice::at(sin);
    let found = handles::all_servers().iter().find_map(|server| server.speaker(device));
    if found.is_none() {
        crate::warning_once!("{entry}: the sound output is not in service");
    }
    found
}

/// The input with this instance.
fn microphone(entry: &str, sin: *mut SpiceRecordInstance) -> Option<Rc<Microphone>> {
    let device = SoundDevice::at(sin);
    let found = handles::all_servers().iter().find_map(|server| server.microphone(device));
    if found.is_none() {
        crate::warning_once!("{entry}: the sound input is not in service");
    }
    found
}

/// Copies what the host passes.
///
/// # Safety
/// `values` is NULL or points to `count` values.
unsafe fn values(count: u8, values: *const u16) -> Vec<u16> {
    if values.is_null() || count == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(values, count.into()) }.to_vec()
}

//! Settings: who may connect, how, and what is offered.
//!
//! Most are set before init. Those for parts that are not served yet are stored or
//! checked as upstream does it, so that every command line starts.

use std::ffi::{CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::handles::{self, text, with_server};
use crate::config::limits;
use crate::guard::guard;
use crate::link::ChannelSecurity;
use crate::net::sasl;
use crate::net::tls::{Password, TlsSettings};
use crate::server::Server;
use crate::server::settings::usable_codecs;

const OK: c_int = 0;
const FAILED: c_int = -1;

/// The only compatibility version there is.
const COMPAT_VERSION_CURRENT: c_int = 1;

/// Image compression by LZ4.
const IMAGE_COMPRESSION_LZ4: c_int = 7;

/// What upstream keeps of a string.
fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(limits::API_STRING - 1)]
}

/// The compatibility version of this library: 1.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
#[unsafe(no_mangle)]
pub extern "C" fn spice_get_current_compat_version() -> c_int {
    COMPAT_VERSION_CURRENT
}

/// Only version 1 exists; -1 for any other.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_compat_version(
    server: *mut Server,
    version: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_compat_version";
    with_server(
        NAME,
        server,
        FAILED,
        |_| {
            if version == COMPAT_VERSION_CURRENT { OK } else { FAILED }
        },
    )
}

/// Lets every client in without a password.
///
/// Compat: works
/// Shown by: c-tests/test-link.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_noauth(server: *mut Server) -> c_int {
    const NAME: &str = "spice_server_set_noauth";
    with_server(NAME, server, FAILED, |server| {
        server.set_noauth();
        OK
    })
}

/// Sets the password and its lifetime in seconds, 0 for ever. NULL refuses everybody.
/// -1 when a client is connected and `fail_if_connected`, or when it is longer than
/// 60 characters.
///
/// Compat: works
/// Shown by: c-tests/test-ticket.c
///
/// # Safety
/// `passwd` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_ticket(
    server: *mut Server,
    passwd: *const c_char,
    lifetime: c_int,
    fail_if_connected: c_int,
    disconnect_if_connected: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_ticket";
    with_server(NAME, server, FAILED, |server| {
        // SAFETY: the caller's promise.
        let password = unsafe { text(passwd) };
        let (fail, disconnect) = (fail_if_connected != 0, disconnect_if_connected != 0);
        match server.set_ticket(password, lifetime, fail, disconnect) {
            Ok(()) => OK,
            Err(error) => {
                crate::warning!("{NAME}: {error}");
                FAILED
            }
        }
    })
}

/// Sets the TLS port and its files, PEM: authorities, the certificate with its chain, the
/// private key; or NULL: the key's password, Diffie-Hellman parameters, cipher suites as
/// OpenSSL writes them. The files are read by init, which fails if they are no good, and
/// again when they change. -1 for a wrong port and for a missing file. Each string may have
/// 255 bytes, longer ones are cut.
///
/// Compat: works
/// Shown by: c-tests/test-tls.c
///
/// # Safety
/// Each string is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_tls(
    server: *mut Server,
    port: c_int,
    ca_cert_file: *const c_char,
    certs_file: *const c_char,
    private_key_file: *const c_char,
    key_passwd: *const c_char,
    dh_key_file: *const c_char,
    ciphersuite: *const c_char,
) -> c_int {
    const NAME: &str = "spice_server_set_tls";
    with_server(NAME, server, FAILED, |server| {
        // SAFETY: the caller's promise.
        let string = |pointer| unsafe { text(pointer) }.map(cut);
        let path = |pointer| string(pointer).map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
        let port = u16::try_from(port).ok().filter(|port| *port != 0);
        let files = (path(ca_cert_file), path(certs_file), path(private_key_file));
        let (Some(port), (Some(ca), Some(certificates), Some(key))) = (port, files) else {
            crate::warning!("{NAME}: the port or a file is missing");
            return FAILED;
        };
        let files = TlsSettings {
            ca,
            certificates,
            key,
            password: string(key_passwd).map(|password| Password(password.to_vec())),
            dh: path(dh_key_file),
            ciphers: string(ciphersuite).map(|text| String::from_utf8_lossy(text).into_owned()),
            ..TlsSettings::default()
        };
        server.settings.borrow_mut().tls = Some((port, files));
        OK
    })
}

/// Lets clients authenticate by SASL, and by nothing else; or by a password again. -1 for a
/// library that was built without it.
///
/// Compat: works
/// Shown by: c-tests/test-sasl.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_sasl(server: *mut Server, enabled: c_int) -> c_int {
    const NAME: &str = "spice_server_set_sasl";
    with_server(NAME, server, FAILED, |server| {
        let set = if enabled != 0 && !sasl::AVAILABLE {
            Err("this library was built without SASL".to_owned())
        } else {
            server.set_sasl(enabled != 0).map_err(|error| error.to_string())
        };
        set.map_or_else(
            |error| {
                crate::warning!("{NAME}: {error}");
                FAILED
            },
            |()| OK,
        )
    })
}

/// Names the configuration of the SASL library, "spice" by default, NULL for the default:
/// `NAME.conf` where it looks for such files. -1 for a library that was built without SASL.
///
/// Compat: works
/// Shown by: c-tests/test-sasl.c
///
/// # Safety
/// `appname` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_sasl_appname(
    server: *mut Server,
    appname: *const c_char,
) -> c_int {
    const NAME: &str = "spice_server_set_sasl_appname";
    with_server(NAME, server, FAILED, |server| {
        if !sasl::AVAILABLE {
            // QEMU names it always, so this is worth no line in the log.
            return FAILED;
        }
        // SAFETY: the caller's promise.
        let name = unsafe { text(appname) }.unwrap_or(b"spice");
        let name = CString::new(name).expect("a C string has no NUL in it");
        server.settings.borrow_mut().sasl_application = name;
        OK
    })
}

/// Sets on which transports a channel is served: 1 plain, 2 TLS, 3 both. `channel`
/// NULL sets the default; an unknown name is -1.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// `channel` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_channel_security(
    server: *mut Server,
    channel: *const c_char,
    security: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_channel_security";
    with_server(NAME, server, FAILED, |server| {
        let security = ChannelSecurity::from_bits_truncate(security as u32);
        // SAFETY: the caller's promise.
        let Some(name) = (unsafe { text(channel) }) else {
            server.set_channel_security(None, security);
            return OK;
        };
        if server.set_named_security(name, security) {
            return OK;
        }
        let name = String::from_utf8_lossy(name);
        crate::warning!("{NAME}: there is no channel \"{name}\"");
        FAILED
    })
}

/// Sets how images are compressed, 1 to 7.
///
/// Compat: partial: QUIC, GLZ and the automatic choices are LZ here, which loses nothing
/// either; LZ4 goes to clients that know it
/// Shown by: c-tests/test-settings.c, c-tests/test-display.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_image_compression(
    server: *mut Server,
    compression: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_image_compression";
    with_server(NAME, server, FAILED, |server| {
        if !(1..=IMAGE_COMPRESSION_LZ4).contains(&compression) {
            crate::warning!("{NAME}: there is no compression {compression}");
            return FAILED;
        }
        server.settings.borrow_mut().image_compression = compression;
        server.handle_picture_settings();
        OK
    })
}

/// What `spice_server_set_image_compression` set; 0 for a wrong server.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_image_compression(server: *mut Server) -> c_int {
    const NAME: &str = "spice_server_get_image_compression";
    with_server(NAME, server, 0, |server| server.settings.borrow().image_compression)
}

/// Sets when JPEG is used: 1 automatic, 2 always, 3 never. Others are -1,
/// where upstream ends the process. Automatic is for clients whose queue gets full; what
/// came as JPEG comes once more without loss when there is nothing else to send.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c, c-tests/test-display.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_jpeg_compression(
    server: *mut Server,
    compression: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_jpeg_compression";
    with_server(NAME, server, FAILED, |server| {
        if (1..=3).contains(&compression) {
            server.settings.borrow_mut().jpeg_compression = compression;
            server.handle_picture_settings();
            return OK;
        }
        crate::warning!("{NAME}: there is no choice {compression}");
        FAILED
    })
}

/// Sets when zlib over GLZ is used: 1 automatic, 2 always, 3 never. Others are -1,
/// where upstream ends the process.
///
/// Compat: partial: checked; GLZ, which it would wrap, is not made
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_zlib_glz_compression(
    server: *mut Server,
    compression: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_zlib_glz_compression";
    with_server(NAME, server, FAILED, |_| {
        if (1..=3).contains(&compression) {
            return OK;
        }
        crate::warning!("{NAME}: there is no choice {compression}");
        FAILED
    })
}

/// Sets which areas are streamed as video: 1 none, 2 all that change often enough, 3 those
/// of them that are large and look like photographs. -1 for others. It applies at once.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c, c-tests/test-video.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_streaming_video(
    server: *mut Server,
    value: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_streaming_video";
    with_server(NAME, server, FAILED, |server| {
        if !(1..=3).contains(&value) {
            crate::warning!("{NAME}: there is no choice {value}");
            return FAILED;
        }
        server.settings.borrow_mut().streaming_video = value;
        server.handle_picture_settings();
        OK
    })
}

/// Sets the video codecs, `"encoder:codec;…"` or `"auto"`. Unknown ones are skipped;
/// -1, and no change, when none is left.
///
/// Compat: partial: only spice:mjpeg is known
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// `video_codecs` is NULL, which is refused, or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_video_codecs(
    server: *mut Server,
    video_codecs: *const c_char,
) -> c_int {
    const NAME: &str = "spice_server_set_video_codecs";
    with_server(NAME, server, FAILED, |server| {
        // SAFETY: the caller's promise.
        let Some(usable) = unsafe { text(video_codecs) }.and_then(usable_codecs) else {
            crate::warning!("{NAME}: no usable codec, nothing changed");
            return FAILED;
        };
        server.settings.borrow_mut().video_codecs = usable;
        OK
    })
}

/// The codecs in the form of `spice_server_set_video_codecs`, to be freed by
/// `spice_server_free_video_codecs`. NULL for a wrong server.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_video_codecs(server: *mut Server) -> *const c_char {
    const NAME: &str = "spice_server_get_video_codecs";
    guard(NAME, std::ptr::null(), || {
        let Some(server) = handles::server(NAME, server) else {
            return std::ptr::null();
        };
        let codecs = server.settings.borrow().video_codecs.clone();
        CString::new(codecs).map_or(std::ptr::null(), |text| text.into_raw().cast_const())
    })
}

/// Frees what `spice_server_get_video_codecs` returned.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// `video_codecs` is NULL or came from `spice_server_get_video_codecs`, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_free_video_codecs(
    _server: *mut Server,
    video_codecs: *const c_char,
) {
    guard("spice_server_free_video_codecs", (), || {
        if !video_codecs.is_null() {
            // SAFETY: the caller's promise; it was made by `CString::into_raw`.
            drop(unsafe { CString::from_raw(video_codecs.cast_mut()) });
        }
    });
}

/// Adds a renderer. "sw" is the only one; at most two entries are taken.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// `name` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_renderer(
    server: *mut Server,
    name: *const c_char,
) -> c_int {
    const NAME: &str = "spice_server_add_renderer";
    with_server(NAME, server, FAILED, |server| {
        let mut settings = server.settings.borrow_mut();
        // SAFETY: the caller's promise.
        if unsafe { text(name) } != Some(b"sw") || settings.renderers == 2 {
            crate::warning!("{NAME}: only \"sw\" exists, and two entries are enough");
            return FAILED;
        }
        settings.renderers += 1;
        OK
    })
}

/// Whether sound is compressed, for a client that listens already too.
///
/// Compat: works
/// Shown by: c-tests/test-audio.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_compression(
    server: *mut Server,
    enable: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_playback_compression";
    with_server(NAME, server, FAILED, |server| {
        server.set_playback_compression(enable != 0);
        OK
    })
}

/// Whether the agent may move the pointer.
///
/// Compat: works
/// Shown by: c-tests/test-agent-server.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_mouse(server: *mut Server, enable: c_int) -> c_int {
    const NAME: &str = "spice_server_set_agent_mouse";
    with_server(NAME, server, FAILED, |server| {
        server.set_agent_mouse(enable != 0);
        OK
    })
}

/// Whether the clipboard is shared. It may be changed at any time; messages that have
/// begun are not cut, and an agent that was announced to clients is not announced again.
///
/// Compat: works
/// Shown by: c-tests/test-agent.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_copypaste(
    server: *mut Server,
    enable: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_agent_copypaste";
    with_server(NAME, server, FAILED, |server| {
        server.settings.borrow_mut().agent.copy_paste = enable != 0;
        OK
    })
}

/// Whether clients may send files. It may be changed at any time, as for the clipboard.
///
/// Compat: works
/// Shown by: c-tests/test-agent.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_file_xfer(
    server: *mut Server,
    enable: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_agent_file_xfer";
    with_server(NAME, server, FAILED, |server| {
        server.settings.borrow_mut().agent.file_transfer = enable != 0;
        OK
    })
}

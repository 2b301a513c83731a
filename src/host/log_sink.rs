//! Sends log lines to GLib's `g_log` when the host has GLib loaded, else to stderr.
//!
//! GLib is looked up at run time, so that the library does not depend on it.
//! Any thread may log: `g_log` may be called from all.

use std::ffi::CString;
use std::sync::OnceLock;

use libc::{c_char, c_int};

use crate::log::{self, Level};

/// `void g_log (const gchar *domain, GLogLevelFlags level, const gchar *format, …)`
type GLog = unsafe extern "C" fn(*const c_char, c_int, *const c_char, ...);

const G_LOG_LEVEL_WARNING: c_int = 1 << 4;
const G_LOG_LEVEL_MESSAGE: c_int = 1 << 5;
const G_LOG_LEVEL_INFO: c_int = 1 << 6;
const G_LOG_LEVEL_DEBUG: c_int = 1 << 7;

/// Makes this the process's sink.
pub fn install() {
    log::install(write);
}

fn write(level: Level, text: &str) {
    let Some(g_log) = g_log() else {
        return log::text_to_stderr(level, text);
    };
    let flag = match level {
        Level::Warning => G_LOG_LEVEL_WARNING,
        Level::Message => G_LOG_LEVEL_MESSAGE,
        Level::Info => G_LOG_LEVEL_INFO,
        Level::Debug => G_LOG_LEVEL_DEBUG,
    };
    let text = CString::new(text.replace('\0', "\\0")).unwrap_or_default();
    // SAFETY: `g_log` has this prototype in every GLib 2; domain, format and
    // argument are C strings that live through the call, and "%s" takes one string.
    unsafe { g_log(c"Spice".as_ptr(), flag, c"%s".as_ptr(), text.as_ptr()) };
}

fn g_log() -> Option<GLog> {
    static FOUND: OnceLock<Option<GLog>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: looks through what the process has loaded; no library is opened.
        let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"g_log".as_ptr()) };
        // SAFETY: a symbol of this name is GLib's function of this prototype; NULL
        // becomes None by the layout of an optional function pointer.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<GLog>>(symbol) }
    })
}

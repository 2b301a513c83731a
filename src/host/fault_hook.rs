//! Asks the test program which step is to panic (feature `fault-injection` only).
//!
//! The program has a function for that, which is looked up as GLib is: so the library
//! exports nothing for it. Any thread.

use std::ffi::CString;
use std::sync::OnceLock;

use libc::{c_char, c_int};

/// `int spice_test_fault (const char *step)`, non-zero: this time.
type Hook = unsafe extern "C" fn(*const c_char) -> c_int;

/// Whether this step is to panic now.
pub(crate) fn wants(step: &str) -> bool {
    static FOUND: OnceLock<Option<Hook>> = OnceLock::new();
    let hook = *FOUND.get_or_init(|| {
        // SAFETY: looks through what the process has loaded; no library is opened.
        let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"spice_test_fault".as_ptr()) };
        // SAFETY: a symbol of this name is the test's function of this prototype; NULL
        // becomes None by the layout of an optional function pointer.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<Hook>>(symbol) }
    });
    hook.is_some_and(|hook| {
        let step = CString::new(step).unwrap_or_default();
        // SAFETY: the test's function, which takes a C string and any thread.
        unsafe { hook(step.as_ptr()) != 0 }
    })
}

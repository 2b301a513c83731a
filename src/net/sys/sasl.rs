//! Cyrus SASL: the functions of the system's libsasl2 that a server needs.
//!
//! [`Exchange`] is one authentication and afterwards its security layer. It may be used
//! from any thread, from one at a time.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use parking_lot::RawMutex;
use parking_lot::lock_api::RawMutex as _;

/// Whether this build knows SASL.
pub const AVAILABLE: bool = true;

/// libsasl2's connection; only it knows what is inside.
#[repr(C)]
struct Connection {
    opaque: [u8; 0],
}

/// What an authentication must have, as libsasl2 lays it out.
#[repr(C)]
struct SecurityProperties {
    min_ssf: c_uint,
    max_ssf: c_uint,
    /// Largest encoded block that we take.
    max_buffer: c_uint,
    flags: c_uint,
    property_names: *const *const c_char,
    property_values: *const *const c_char,
}

#[link(name = "sasl2")]
unsafe extern "C" {
    fn sasl_set_mutex(
        alloc: extern "C" fn() -> *mut c_void,
        lock: unsafe extern "C" fn(*mut c_void) -> c_int,
        unlock: unsafe extern "C" fn(*mut c_void) -> c_int,
        free: unsafe extern "C" fn(*mut c_void),
    );
    fn sasl_server_init(callbacks: *const c_void, appname: *const c_char) -> c_int;
    fn sasl_server_new(
        service: *const c_char,
        fqdn: *const c_char,
        realm: *const c_char,
        local: *const c_char,
        remote: *const c_char,
        callbacks: *const c_void,
        flags: c_uint,
        connection: *mut *mut Connection,
    ) -> c_int;
    fn sasl_dispose(connection: *mut *mut Connection);
    fn sasl_setprop(connection: *mut Connection, property: c_int, value: *const c_void) -> c_int;
    fn sasl_getprop(
        connection: *mut Connection,
        property: c_int,
        value: *mut *const c_void,
    ) -> c_int;
    fn sasl_listmech(
        connection: *mut Connection,
        user: *const c_char,
        prefix: *const c_char,
        separator: *const c_char,
        suffix: *const c_char,
        result: *mut *const c_char,
        length: *mut c_uint,
        count: *mut c_int,
    ) -> c_int;
    fn sasl_server_start(
        connection: *mut Connection,
        mechanism: *const c_char,
        input: *const c_char,
        input_length: c_uint,
        output: *mut *const c_char,
        output_length: *mut c_uint,
    ) -> c_int;
    fn sasl_server_step(
        connection: *mut Connection,
        input: *const c_char,
        input_length: c_uint,
        output: *mut *const c_char,
        output_length: *mut c_uint,
    ) -> c_int;
    fn sasl_encode(
        connection: *mut Connection,
        input: *const c_char,
        input_length: c_uint,
        output: *mut *const c_char,
        output_length: *mut c_uint,
    ) -> c_int;
    fn sasl_decode(
        connection: *mut Connection,
        input: *const c_char,
        input_length: c_uint,
        output: *mut *const c_char,
        output_length: *mut c_uint,
    ) -> c_int;
    fn sasl_errdetail(connection: *mut Connection) -> *const c_char;
    fn sasl_errstring(
        code: c_int,
        languages: *const c_char,
        used: *mut *const c_char,
    ) -> *const c_char;
}

const OK: c_int = 0;
const CONTINUE: c_int = 1;
const FAIL: c_int = -1;
/// `sasl_server_new`: a mechanism may send data together with its success.
const SUCCESS_DATA: c_uint = 4;
const PROPERTY_USERNAME: c_int = 0;
const PROPERTY_SSF: c_int = 1;
const PROPERTY_MAX_OUTPUT: c_int = 2;
const PROPERTY_SSF_EXTERNAL: c_int = 100;
const PROPERTY_SECURITY: c_int = 101;
const NO_PLAINTEXT: c_uint = 1;
const NO_ANONYMOUS: c_uint = 0x10;

/// What protects the connection besides SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Nothing: the mechanism has to bring a security layer of its own.
    None,
    /// TLS with a cipher of so many bits: no layer, and any mechanism.
    Tls(u32),
}

/// Weakest security layer on a plain connection, in bits: upstream's number.
pub const LEAST_STRENGTH: u32 = 56;
const MOST_STRENGTH: u32 = 100_000;
/// Largest encoded block: upstream's number.
const BLOCK: u32 = 8192;

/// Longest text of libsasl2 in the log, in characters.
const WORDS: usize = 200;

/// What libsasl2 says against something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SASL: {0}")]
pub struct SaslError(String);

/// One step's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the client is to be sent, if anything, even if it is empty.
    pub reply: Option<Vec<u8>>,
    /// The client is authenticated.
    pub complete: bool,
}

/// One client's authentication.
pub struct Exchange(NonNull<Connection>);

// SAFETY: libsasl2 demands that a connection is not used by two threads at a time, which
// ownership sees to; it is bound to none.
unsafe impl Send for Exchange {}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

/// Prepares the library for a server; `application` names its configuration file, unless
/// the host has prepared it already under another name. It stays prepared as long as the
/// process lives: it counts its users, and the host may be one.
///
/// Its mechanisms have caches that all connections share, and it locks them only if it is
/// told how. QEMU's VNC uses it on the main thread and does not tell.
pub fn begin(application: &CStr) -> Result<(), SaslError> {
    // libsasl2 keeps the pointer of the first call.
    static APPLICATION: OnceLock<CString> = OnceLock::new();
    // SAFETY: functions that live as long as this library. libsasl2 ignores the call once
    // it is prepared, so that no lock passes from one set of functions to another.
    unsafe { sasl_set_mutex(new_mutex, lock_mutex, unlock_mutex, free_mutex) };
    let application = APPLICATION.get_or_init(|| application.to_owned());
    // SAFETY: no callbacks, and a C string that is never freed.
    code(unsafe { sasl_server_init(ptr::null(), application.as_ptr()) })
}

extern "C" fn new_mutex() -> *mut c_void {
    Box::into_raw(Box::new(RawMutex::INIT)).cast()
}

/// # Safety
/// `mutex` is NULL or came from [`new_mutex`] and was not freed.
unsafe extern "C" fn lock_mutex(mutex: *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { mutex.cast::<RawMutex>().as_ref() } {
        Some(mutex) => {
            mutex.lock();
            OK
        }
        None => FAIL,
    }
}

/// # Safety
/// As for [`lock_mutex`]; this thread has locked it.
unsafe extern "C" fn unlock_mutex(mutex: *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { mutex.cast::<RawMutex>().as_ref() } {
        Some(mutex) => {
            // SAFETY: the caller's promise.
            unsafe { mutex.unlock() };
            OK
        }
        None => FAIL,
    }
}

/// # Safety
/// As for [`lock_mutex`]; nobody uses it any more.
unsafe extern "C" fn free_mutex(mutex: *mut c_void) {
    if !mutex.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(mutex.cast::<RawMutex>()) });
    }
}

impl Exchange {
    /// For a client at `remote`, connected to `local`: both as `address;port`, or none, on
    /// a unix socket.
    pub fn new(
        local: Option<&CStr>,
        remote: Option<&CStr>,
        cover: Cover,
    ) -> Result<Self, SaslError> {
        let address = |address: Option<&CStr>| address.map_or(ptr::null(), CStr::as_ptr);
        let mut connection = ptr::null_mut();
        // SAFETY: C strings that live through the call, or NULL where that may be, and room for
        // the result.
        code(unsafe {
            sasl_server_new(
                c"spice".as_ptr(),
                ptr::null(),
                ptr::null(),
                address(local),
                address(remote),
                ptr::null(),
                SUCCESS_DATA,
                &raw mut connection,
            )
        })?;
        let exchange = Self(NonNull::new(connection).ok_or(SaslError("no connection".to_owned()))?);
        let security = match cover {
            Cover::None => SecurityProperties {
                min_ssf: LEAST_STRENGTH,
                max_ssf: MOST_STRENGTH,
                max_buffer: BLOCK,
                flags: NO_PLAINTEXT | NO_ANONYMOUS,
                property_names: ptr::null(),
                property_values: ptr::null(),
            },
            Cover::Tls(strength) => {
                exchange.set(PROPERTY_SSF_EXTERNAL, &strength)?;
                SecurityProperties {
                    min_ssf: 0,
                    max_ssf: 0,
                    max_buffer: BLOCK,
                    flags: 0,
                    property_names: ptr::null(),
                    property_values: ptr::null(),
                }
            }
        };
        exchange.set(PROPERTY_SECURITY, &security)?;
        Ok(exchange)
    }

    /// The mechanisms that would do, as `,a,b,`.
    pub fn mechanisms(&mut self) -> Result<Vec<u8>, SaslError> {
        let mut list = ptr::null();
        let comma = c",".as_ptr();
        // SAFETY: constants, and room for the result, which stays libsasl2's.
        self.code(unsafe {
            sasl_listmech(
                self.0.as_ptr(),
                ptr::null(),
                comma,
                comma,
                comma,
                &raw mut list,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        })?;
        // SAFETY: a C string of libsasl2's, good until the next call.
        Ok(unsafe { CStr::from_ptr(list) }.to_bytes().to_vec())
    }

    /// The client has chosen a mechanism, and may have begun it.
    pub fn start(&mut self, mechanism: &str, input: Option<&[u8]>) -> Result<Step, SaslError> {
        let mechanism =
            CString::new(mechanism).map_err(|_| SaslError("a NUL in a name".to_owned()))?;
        self.step_by(input, |connection, input, length, output, output_length| {
            // SAFETY: `step_by` vouches for the buffers, and the name lives through the call.
            unsafe {
                sasl_server_start(
                    connection,
                    mechanism.as_ptr(),
                    input,
                    length,
                    output,
                    output_length,
                )
            }
        })
    }

    /// The client's next data.
    pub fn step(&mut self, input: Option<&[u8]>) -> Result<Step, SaslError> {
        self.step_by(input, |connection, input, length, output, output_length| {
            // SAFETY: `step_by` vouches for the buffers.
            unsafe { sasl_server_step(connection, input, length, output, output_length) }
        })
    }

    /// Strength of the security layer that was agreed on, in bits; 0 without one.
    pub fn strength(&self) -> u32 {
        self.number(PROPERTY_SSF)
    }

    /// Who the client is.
    pub fn user(&self) -> Option<String> {
        let name = self.property(PROPERTY_USERNAME)?.cast::<c_char>();
        // SAFETY: this property is a C string of libsasl2's.
        Some(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// How many bytes can be wrapped at a time.
    pub fn block(&self) -> usize {
        match self.number(PROPERTY_MAX_OUTPUT) {
            0 => BLOCK as usize,
            most => most.min(BLOCK) as usize,
        }
    }

    /// Wraps at most [`Exchange::block`] bytes and passes them on.
    pub fn encode<T>(
        &mut self,
        plain: &[u8],
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, SaslError> {
        self.convert(plain, sasl_encode, take)
    }

    /// Unwraps bytes as they come; what is not whole yet is kept by libsasl2.
    pub fn decode<T>(
        &mut self,
        wire: &[u8],
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, SaslError> {
        self.convert(wire, sasl_decode, take)
    }

    fn convert<T>(
        &mut self,
        input: &[u8],
        by: unsafe extern "C" fn(
            *mut Connection,
            *const c_char,
            c_uint,
            *mut *const c_char,
            *mut c_uint,
        ) -> c_int,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, SaslError> {
        let (mut output, mut length) = (ptr::null(), 0);
        let input_length = c_uint::try_from(input.len())
            .map_err(|_| SaslError("too much at a time".to_owned()))?;
        // SAFETY: `input_length` readable bytes, and room for the results.
        self.code(unsafe {
            by(
                self.0.as_ptr(),
                input.as_ptr().cast(),
                input_length,
                &raw mut output,
                &raw mut length,
            )
        })?;
        // SAFETY: libsasl2 says that so many bytes are there, until the next call.
        Ok(take(unsafe { bytes_at(output, length) }))
    }

    fn step_by(
        &mut self,
        input: Option<&[u8]>,
        call: impl FnOnce(
            *mut Connection,
            *const c_char,
            c_uint,
            *mut *const c_char,
            *mut c_uint,
        ) -> c_int,
    ) -> Result<Step, SaslError> {
        let (mut output, mut length) = (ptr::null(), 0);
        let (start, input_length) = match input {
            None => (ptr::null(), 0),
            Some(bytes) => {
                let length = c_uint::try_from(bytes.len())
                    .map_err(|_| SaslError("too much at a time".to_owned()))?;
                (bytes.as_ptr().cast(), length)
            }
        };
        let result = call(self.0.as_ptr(), start, input_length, &raw mut output, &raw mut length);
        if result != CONTINUE {
            self.code(result)?;
        }
        let reply = (!output.is_null()).then(|| {
            // SAFETY: libsasl2 says that so many bytes are there, until the next call.
            unsafe { bytes_at(output, length) }.to_vec()
        });
        Ok(Step { reply, complete: result == OK })
    }

    fn set<T>(&self, property: c_int, value: &T) -> Result<(), SaslError> {
        // SAFETY: the callers pass the type that belongs to the property; it is copied.
        self.code(unsafe { sasl_setprop(self.0.as_ptr(), property, ptr::from_ref(value).cast()) })
    }

    fn property(&self, property: c_int) -> Option<NonNull<c_void>> {
        let mut value = ptr::null();
        // SAFETY: room for the result.
        let result = unsafe { sasl_getprop(self.0.as_ptr(), property, &raw mut value) };
        NonNull::new(value.cast_mut()).filter(|_| result == OK)
    }

    fn number(&self, property: c_int) -> u32 {
        // SAFETY: the callers ask for properties that are numbers of this size.
        self.property(property).map_or(0, |value| unsafe { *value.cast::<c_uint>().as_ptr() })
    }

    /// An error in the words of the connection, which say more than the code.
    fn code(&self, code: c_int) -> Result<(), SaslError> {
        if code == OK {
            return Ok(());
        }
        // SAFETY: a C string of libsasl2's, or NULL.
        let detail = unsafe { sasl_errdetail(self.0.as_ptr()) };
        // SAFETY: as above.
        Err(SaslError(unsafe { words(detail) }))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut connection = self.0.as_ptr();
        // SAFETY: made by `sasl_server_new`, disposed of once.
        unsafe { sasl_dispose(&raw mut connection) };
    }
}

fn code(code: c_int) -> Result<(), SaslError> {
    if code == OK {
        return Ok(());
    }
    // SAFETY: a constant text for any code.
    Err(SaslError(unsafe { words(sasl_errstring(code, ptr::null(), ptr::null_mut())) }))
}

/// For the log. The client's words may be among them: they stay on one line, and short.
///
/// # Safety
/// `text` is NULL or a C string.
unsafe fn words(text: *const c_char) -> String {
    if text.is_null() {
        return "it failed".to_owned();
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let shown = text.trim().chars().take(WORDS);
    shown.map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// # Safety
/// `length` bytes are at `start`, or it is NULL.
unsafe fn bytes_at<'a>(start: *const c_char, length: c_uint) -> &'a [u8] {
    if start.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(start.cast(), length as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_on_one_line() {
        // SAFETY: a constant C string.
        let said = unsafe { words(c" no such user \"a\n\x1b[2Jb\" ".as_ptr()) };
        assert_eq!(said, "no such user \"a??[2Jb\"");
        let long = CString::new(vec![b'x'; 1 << 20]).expect("no NUL");
        // SAFETY: a C string that lives through the call.
        assert_eq!(unsafe { words(long.as_ptr()) }.len(), WORDS);
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { words(ptr::null()) }, "it failed");
    }

    #[test]
    fn locks_keep_others_out() {
        let mutex = new_mutex();
        // SAFETY: a new lock, used and freed in order.
        unsafe {
            assert_eq!(lock_mutex(mutex), OK);
            assert!(!(*mutex.cast::<RawMutex>()).try_lock());
            assert_eq!(unlock_mutex(mutex), OK);
            assert_eq!(lock_mutex(mutex), OK);
            assert_eq!(unlock_mutex(mutex), OK);
            free_mutex(mutex);
            assert_eq!(lock_mutex(ptr::null_mut()), FAIL);
        }
    }
}

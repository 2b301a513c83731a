//! Arrays of subtype names for C, which may keep what it was given for ever.

use std::ffi::{CString, c_char};

use parking_lot::Mutex;

/// What upstream knows.
const UPSTREAM: [&str; 3] = ["vdagent", "smartcard", "usbredir"];

/// A NULL-terminated array and the texts it points to.
struct Table {
    names: Vec<CString>,
    pointers: Box<[*const c_char]>,
}

// SAFETY: a table and what it points to never change and are never freed.
unsafe impl Send for Table {}

/// Every table that was given out. There are as many as there were different lists,
/// and those come from a configuration file or a program's few calls.
static TABLES: Mutex<Vec<Table>> = Mutex::new(Vec::new());

/// Upstream's subtypes.
pub(super) fn upstream() -> *mut *const c_char {
    table(&[])
}

/// Upstream's subtypes and these.
pub(super) fn table(own: &[String]) -> *mut *const c_char {
    let all = UPSTREAM.into_iter().chain(own.iter().map(String::as_str));
    // The names were checked when they were registered: there is no NUL in them.
    let names: Vec<_> = all.filter_map(|name| CString::new(name).ok()).collect();
    let mut tables = TABLES.lock();
    let at = tables.iter().position(|table| table.names == names).unwrap_or_else(|| {
        let texts = names.iter().map(|name| name.as_ptr());
        let pointers = texts.chain([std::ptr::null()]).collect();
        tables.push(Table { names, pointers });
        tables.len() - 1
    });
    tables[at].pointers.as_ptr().cast_mut()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn names(mut array: *mut *const c_char) -> Vec<String> {
        let mut names = Vec::new();
        // SAFETY: the array is good up to its NULL and lives for ever.
        while let Some(name) = unsafe { array.as_ref() }.filter(|name| !name.is_null()) {
            // SAFETY: as above; each is a C string.
            names.push(unsafe { CStr::from_ptr(*name) }.to_string_lossy().into_owned());
            // SAFETY: not at the NULL yet.
            array = unsafe { array.add(1) };
        }
        names
    }

    #[test]
    fn a_list_is_given_out_again_and_keeps_its_place() {
        let plain = upstream();
        assert_eq!(names(plain), UPSTREAM);
        let camera = table(&["camera".to_owned()]);
        assert_eq!(names(camera), ["vdagent", "smartcard", "usbredir", "camera"]);
        assert_eq!(table(&["camera".to_owned()]), camera);
        assert_eq!(upstream(), plain);
        assert_eq!(names(camera).len(), 4, "still there");
    }
}

//! Migration: where the VM goes, and what becomes of its clients.

use std::ffi::{c_char, c_int};

use super::handles::{text, with_server};
use crate::server::Server;
use crate::server::migration::Destination;

const OK: c_int = 0;
const FAILED: c_int = -1;

/// A destination as C gives it; `None` without a host or any port.
///
/// # Safety
/// Strings are NULL or C strings.
unsafe fn destination(
    host: *const c_char,
    port: c_int,
    secure_port: c_int,
    subject: *const c_char,
) -> Option<Destination> {
    // SAFETY: the caller's promise.
    let (host, subject) = unsafe { (text(host)?, text(subject)) };
    let port_of = |port: c_int| u16::try_from(port).ok();
    let (port, secure_port) = (port_of(port), port_of(secure_port));
    port.or(secure_port)?;
    Some(Destination {
        host: host.to_vec(),
        port,
        secure_port,
        subject: subject.map(<[u8]>::to_vec),
    })
}

/// Announces where the VM is going: host, and at least one port that is not -1. Clients
/// connect there; the host's `migrate_connect_complete` is called when all have answered,
/// after ten seconds at the latest, and at once without clients. -1 without a destination or
/// a migration interface.
///
/// Compat: works
/// Shown by: c-tests/test-migrate.c, c-tests/test-devices.c
///
/// # Safety
/// Strings are NULL or C strings; registered instances are good.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_connect(
    server: *mut Server,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> c_int {
    const NAME: &str = "spice_server_migrate_connect";
    with_server(NAME, server, FAILED, |server| {
        // SAFETY: the caller's promise.
        let destination = unsafe { destination(dest, port, secure_port, cert_subject) };
        if destination.is_none() {
            crate::warning!("{NAME}: the destination is missing");
        }
        if server.migrate_connect(destination) { OK } else { FAILED }
    })
}

/// The older form of `spice_server_migrate_connect`, for hosts without a migration
/// interface: only stores the destination. -1 without one, or with such an interface.
///
/// Compat: works
/// Shown by: c-tests/test-migrate.c
///
/// # Safety
/// Strings are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_info(
    server: *mut Server,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> c_int {
    with_server("spice_server_migrate_info", server, FAILED, |server| {
        // SAFETY: the caller's promise.
        let destination = unsafe { destination(dest, port, secure_port, cert_subject) };
        if server.migrate_info(destination) { OK } else { FAILED }
    })
}

/// The host's migration begins. -1: there is no destination for clients.
///
/// Compat: works
/// Shown by: c-tests/test-migrate.c, c-tests/test-devices.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_start(server: *mut Server) -> c_int {
    with_server("spice_server_migrate_start", server, FAILED, |server| {
        if server.migrate_start() { OK } else { FAILED }
    })
}

/// The host's migration has ended. After a success clients leave, and when they have, or
/// after ten seconds, the host's `migrate_end_complete` is called. After a failure they stay,
/// and nothing is called. -1 without a migration interface, or when clients had to be cut
/// because no destination was announced.
///
/// Compat: works
/// Shown by: c-tests/test-migrate.c, c-tests/test-devices.c
///
/// # Safety
/// Registered instances are good.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_end(server: *mut Server, completed: c_int) -> c_int {
    with_server("spice_server_migrate_end", server, FAILED, |server| {
        if server.migrate_end(completed != 0) { OK } else { FAILED }
    })
}

/// Sends clients to the host named by `spice_server_migrate_info`, to begin there. 0; without
/// such a host nothing happens.
///
/// Compat: works
/// Shown by: c-tests/test-migrate.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_switch(server: *mut Server) -> c_int {
    with_server("spice_server_migrate_switch", server, OK, |server| {
        server.migrate_switch();
        OK
    })
}

/// Whether sessions shall survive a migration, where the client and the other host can.
/// Without it, and with several clients, they begin anew there.
///
/// Compat: works
/// Shown by: c-tests/test-migrate.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_seamless_migration(server: *mut Server, enable: c_int) {
    with_server("spice_server_set_seamless_migration", server, (), |server| {
        server.settings.borrow_mut().seamless_migration = enable != 0;
    });
}

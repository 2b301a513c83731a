//! Migration of clients. Not served yet: clients have to look for the VM themselves.

use std::ffi::{c_char, c_int};

use super::handles::with_server;
use crate::guard::guard;
use crate::server::Server;

const OK: c_int = 0;
const FAILED: c_int = -1;

/// Announces where the VM is going: host, and at least one port that is not -1. The
/// host's `migrate_connect_complete` is called at once, as without clients. -1 without
/// a destination or a migration interface.
///
/// Compat: partial: clients are not moved
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// No string is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_connect(
    server: *mut Server,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    _cert_subject: *const c_char,
) -> c_int {
    const NAME: &str = "spice_server_migrate_connect";
    with_server(NAME, server, FAILED, |server| {
        if !server.migrate_connect() {
            crate::warning!("{NAME}: there is no migration interface");
            return FAILED;
        }
        if dest.is_null() || (port == -1 && secure_port == -1) {
            crate::warning!("{NAME}: the destination is missing");
            return FAILED;
        }
        crate::warning_once!("clients are not moved in a migration yet: they must reconnect");
        OK
    })
}

/// The older form of `spice_server_migrate_connect`. Not available: -1.
///
/// Compat: missing: clients are not moved
/// Shown by: c-tests/test-misuse.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_info(
    _server: *mut Server,
    _dest: *const c_char,
    _port: c_int,
    _secure_port: c_int,
    _cert_subject: *const c_char,
) -> c_int {
    guard("spice_server_migrate_info", FAILED, || {
        crate::warning_once!("spice_server_migrate_info: not available");
        FAILED
    })
}

/// The host's migration begins. -1: there is no destination for clients.
///
/// Compat: missing: clients are not moved
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_start(_server: *mut Server) -> c_int {
    guard("spice_server_migrate_start", FAILED, || {
        crate::warning_once!("spice_server_migrate_start: clients are not moved");
        FAILED
    })
}

/// The host's migration has ended. After a success clients are cut and the host's
/// `migrate_end_complete` is called. -1 without a migration interface.
///
/// Compat: partial: clients are cut instead of moved
/// Shown by: c-tests/test-devices.c
///
/// # Safety
/// Registered instances are good.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_end(server: *mut Server, completed: c_int) -> c_int {
    const NAME: &str = "spice_server_migrate_end";
    with_server(
        NAME,
        server,
        FAILED,
        |server| {
            if server.migrate_end(completed != 0) { OK } else { FAILED }
        },
    )
}

/// Sends clients to the host named before, the old way. Nothing is named: 0, nothing
/// happens.
///
/// Compat: missing: clients are not moved
/// Shown by: c-tests/test-misuse.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_switch(_server: *mut Server) -> c_int {
    guard("spice_server_migrate_switch", OK, || {
        crate::warning_once!("spice_server_migrate_switch: clients are not moved");
        OK
    })
}

/// Whether sessions shall survive a migration.
///
/// Compat: missing: accepted; clients are not moved
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_seamless_migration(_server: *mut Server, enable: c_int) {
    guard("spice_server_set_seamless_migration", (), || {
        if enable != 0 {
            crate::warning_once!("seamless migration is not available");
        }
    });
}

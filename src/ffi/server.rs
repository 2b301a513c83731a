//! The server object: life, listening, clients, and what the host tells of the VM.

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::os::fd::IntoRawFd;
use std::ptr::NonNull;
use std::rc::Rc;

use libc::{sockaddr, socklen_t};
use socket2::Socket;

use super::handles::{self, text, with_server};
use crate::guard::{guard, tell_panics_in_the_log};
use crate::host::abi::SpiceCoreInterface;
use crate::host::core::Core;
use crate::host::log_sink;
use crate::link::LinkOptions;
use crate::net::listener::Family;
use crate::net::sys;
use crate::server::Server;

/// Address family flags of `spice_server_set_addr`.
const ADDR_IPV4_ONLY: c_int = 1;
const ADDR_IPV6_ONLY: c_int = 2;
const ADDR_UNIX_ONLY: c_int = 4;

const OK: c_int = 0;
const FAILED: c_int = -1;

/// Makes a server with default settings. Never NULL.
///
/// Compat: works
/// Shown by: c-tests/rig.c
#[unsafe(no_mangle)]
pub extern "C" fn spice_server_new() -> *mut Server {
    guard("spice_server_new", std::ptr::null_mut(), || {
        log_sink::install();
        tell_panics_in_the_log();
        handles::give_out(Rc::new(Server::new()))
    })
}

/// Listens and begins to serve on the host's main loop. 0, or -1 when the core
/// interface is unusable, a port is taken, or TLS cannot be set up.
///
/// Compat: works
/// Shown by: c-tests/test-listen.c
///
/// # Safety
/// `core` is NULL or a core interface that lives until the server is destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_init(
    server: *mut Server,
    core: *mut SpiceCoreInterface,
) -> c_int {
    const NAME: &str = "spice_server_init";
    with_server(NAME, server, FAILED, |server| {
        let Some(core) = NonNull::new(core) else {
            crate::warning!("{NAME}: the core interface is missing");
            return FAILED;
        };
        // SAFETY: the caller's promise.
        let core = match unsafe { Core::from_host(core) } {
            Ok(core) => core,
            Err(error) => {
                crate::warning!("{NAME}: {error}");
                return FAILED;
            }
        };
        match server.init(core) {
            Ok(()) => {
                handles::note_initialised(server);
                OK
            }
            Err(error) => {
                crate::warning!("{NAME}: {error}");
                FAILED
            }
        }
    })
}

/// Ends a server: clients, threads, watches and timers. Registered devices are not
/// called any more; removing them later is harmless.
///
/// Compat: works
/// Shown by: c-tests/test-listen.c
///
/// # Safety
/// Instances that are still registered are good until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_destroy(server: *mut Server) {
    const NAME: &str = "spice_server_destroy";
    guard(NAME, (), || {
        if let Some(server) = handles::take_back(NAME, server) {
            server.destroy();
        }
    });
}

/// Sets the TCP port, 0 for one that the kernel picks. -1 outside 0..65535.
///
/// Compat: works
/// Shown by: c-tests/test-listen.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_port(server: *mut Server, port: c_int) -> c_int {
    const NAME: &str = "spice_server_set_port";
    with_server(NAME, server, FAILED, |server| {
        let Ok(port) = u16::try_from(port) else {
            crate::warning!("{NAME}: {port} is not a port");
            return FAILED;
        };
        server.settings.borrow_mut().port = Some(port);
        OK
    })
}

/// Sets the address (or the path of a unix socket) and the address family.
///
/// Compat: works
/// Shown by: c-tests/test-listen.c
///
/// # Safety
/// `addr` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_addr(
    server: *mut Server,
    addr: *const c_char,
    flags: c_int,
) {
    const NAME: &str = "spice_server_set_addr";
    with_server(NAME, server, (), |server| {
        // SAFETY: the caller's promise.
        let Some(addr) = (unsafe { text(addr) }) else {
            return crate::warning!("{NAME}: the address is missing");
        };
        let mut settings = server.settings.borrow_mut();
        settings.set_address(&String::from_utf8_lossy(addr));
        match flags {
            0 => {}
            ADDR_IPV4_ONLY => settings.family = Family::Ipv4,
            ADDR_IPV6_ONLY => settings.family = Family::Ipv6,
            ADDR_UNIX_ONLY => settings.family = Family::Unix,
            other => crate::warning!("{NAME}: {other} is no address family, family unchanged"),
        }
    });
}

/// Accepts clients on a listening descriptor of the host's, which stays the host's.
///
/// Compat: works
/// Shown by: c-tests/test-listen.c
///
/// # Safety
/// `listen_fd` stays open as long as the server lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_listen_socket_fd(
    server: *mut Server,
    listen_fd: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_listen_socket_fd";
    with_server(NAME, server, FAILED, |server| {
        server.settings.borrow_mut().listen_fd = Some(listen_fd);
        OK
    })
}

/// Ends the process when a client leaves.
///
/// Compat: works
/// Shown by: c-tests/test-main.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_exit_on_disconnect(
    server: *mut Server,
    flag: c_int,
) -> c_int {
    const NAME: &str = "spice_server_set_exit_on_disconnect";
    with_server(NAME, server, FAILED, |server| {
        server.settings.borrow_mut().exit_on_disconnect = flag != 0;
        OK
    })
}

/// Begins a link on a connected socket. 0: the library owns and closes it; -1: the
/// caller still does.
///
/// Compat: works
/// Shown by: c-tests/test-listen.c
///
/// # Safety
/// `socket` is a descriptor that the caller gives away if this returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_client(
    server: *mut Server,
    socket: c_int,
    skip_auth: c_int,
) -> c_int {
    const NAME: &str = "spice_server_add_client";
    let options = LinkOptions { secured: false, skip_auth: skip_auth != 0 };
    // SAFETY: the caller's promise.
    unsafe { add_client(NAME, server, socket, options) }
}

/// Like `spice_server_add_client`, over TLS. -1 also when TLS was not set up with
/// `spice_server_set_tls` before init, and when the client is gone already or has sent
/// something else than the begin of a handshake.
///
/// Compat: works
/// Shown by: c-tests/test-tls.c
///
/// # Safety
/// As for `spice_server_add_client`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_ssl_client(
    server: *mut Server,
    socket: c_int,
    skip_auth: c_int,
) -> c_int {
    const NAME: &str = "spice_server_add_ssl_client";
    let options = LinkOptions { secured: true, skip_auth: skip_auth != 0 };
    // SAFETY: the caller's promise.
    unsafe { add_client(NAME, server, socket, options) }
}

/// Begins a link on a descriptor, which stays the caller's on failure.
///
/// # Safety
/// `socket` is a descriptor that the caller gives away if this returns 0.
unsafe fn add_client(
    name: &str,
    server: *mut Server,
    socket: c_int,
    options: LinkOptions,
) -> c_int {
    let taken = Cell::new(false);
    with_server(name, server, FAILED, |server| {
        if !sys::is_open(socket) {
            crate::warning!("{name}: {socket} is not an open descriptor");
            return FAILED;
        }
        // SAFETY: given away by the caller; a failure gives it back.
        let fd = unsafe { sys::adopt(socket) };
        taken.set(true);
        if let Err((callers, refusal)) = server.add_client(Socket::from(fd), options) {
            crate::warning!("{name}: {refusal}");
            let _ = callers.into_raw_fd();
            taken.set(false);
        }
        OK
    });
    // After a fault the descriptor may be closed already, and must not be closed twice.
    if taken.get() { OK } else { FAILED }
}

/// How many clients are connected; 0 for NULL.
///
/// Compat: works
/// Shown by: c-tests/test-main.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_num_clients(server: *mut Server) -> c_int {
    const NAME: &str = "spice_server_get_num_clients";
    guard(NAME, 0, || {
        if server.is_null() {
            return 0;
        }
        handles::server(NAME, server).map_or(0, |server| server.client_count() as c_int)
    })
}

/// Always -1: clients may be several, so there is no one address. Upstream says so too.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_sock_info(
    _server: *mut Server,
    _address: *mut sockaddr,
    _length: *mut socklen_t,
) -> c_int {
    FAILED
}

/// Always -1, as `spice_server_get_sock_info`.
///
/// Compat: works
/// Shown by: c-tests/test-settings.c
///
/// # Safety
/// No argument is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_peer_info(
    _server: *mut Server,
    _address: *mut sockaddr,
    _length: *mut socklen_t,
) -> c_int {
    FAILED
}

/// Sets the VM's name for clients that connect from now on; NULL for none.
///
/// Compat: works
/// Shown by: c-tests/test-main.c
///
/// # Safety
/// `name` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_name(server: *mut Server, name: *const c_char) {
    const NAME: &str = "spice_server_set_name";
    with_server(NAME, server, (), |server| {
        // SAFETY: the caller's promise.
        server.settings.borrow_mut().name = unsafe { text(name) }.map(<[u8]>::to_vec);
        server.identify_statistics();
    });
}

/// Sets the VM's UUID, 16 bytes, for clients that connect from now on.
///
/// Compat: works
/// Shown by: c-tests/test-main.c
///
/// # Safety
/// `uuid` is NULL, which is refused, or points to 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_uuid(server: *mut Server, uuid: *const u8) {
    const NAME: &str = "spice_server_set_uuid";
    with_server(NAME, server, (), |server| {
        if uuid.is_null() {
            return crate::warning!("{NAME}: no UUID given");
        }
        // SAFETY: the caller's promise; a byte array needs no alignment.
        let bytes = unsafe { *uuid.cast::<[u8; 16]>() };
        server.settings.borrow_mut().uuid = Some(bytes);
        server.identify_statistics();
    });
}

/// Whether the mouse is in server mode, that is, relative.
///
/// Compat: works
/// Shown by: c-tests/test-pointer.c
///
/// # Safety
/// `server` came from `spice_server_new` or is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_is_server_mouse(server: *mut Server) -> c_int {
    const NAME: &str = "spice_server_is_server_mouse";
    with_server(NAME, server, 1, |server| c_int::from(server.is_server_mouse()))
}

/// The VM runs: char devices and displays work.
///
/// Compat: works
/// Shown by: c-tests/test-flow.c
///
/// # Safety
/// Registered instances are good.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_vm_start(server: *mut Server) {
    const NAME: &str = "spice_server_vm_start";
    with_server(NAME, server, (), |server| {
        server.set_vm_running(true);
    });
}

/// The VM stands still: char devices are not read or written, displays wait.
///
/// Compat: works
/// Shown by: c-tests/test-flow.c
///
/// # Safety
/// Registered instances are good.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_vm_stop(server: *mut Server) {
    const NAME: &str = "spice_server_vm_stop";
    with_server(NAME, server, (), |server| {
        server.set_vm_running(false);
    });
}

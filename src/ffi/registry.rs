//! What the upstream library does not have: channels that a program or a vendor adds,
//! and what a channel has moved.

#![allow(clippy::doc_markdown, reason = "the comments go into a C header, as C writes names")]

use std::ffi::{c_char, c_int};
use std::mem::{offset_of, size_of};
use std::ptr::NonNull;
use std::time::Duration;

use super::handles::{text, with_server};
use crate::config::limits;
use crate::config::registry::{Busy, PolicyChange, Rule, Selector};
use crate::server::Server;
use crate::wire::ChannelKey;

/// As the server's configuration has it.
pub const SPICE_SERVER_CHANNEL_DEFAULT: u32 = 0;

/// LZ4 is offered to clients.
pub const SPICE_SERVER_COMPRESSION_ON: u32 = 1;
/// Data go as they are.
pub const SPICE_SERVER_COMPRESSION_OFF: u32 = 2;

/// A second client is refused, the first one stays.
pub const SPICE_SERVER_BUSY_REFUSE: u32 = 1;
/// A second client takes over, the first one is cut.
pub const SPICE_SERVER_BUSY_TAKE_OVER: u32 = 2;

/// A rule that says which devices get which channel. Zero or NULL is the default for
/// every member but `size` and the one that selects the devices.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SpiceServerChannelRule {
    /// sizeof(SpiceServerChannelRule): later versions may have more members at the end.
    pub size: u32,
    /// The channel type, 12 to 255; for ports 10 and 11, too. 0: what the devices would
    /// have had, which a new subtype does not have.
    pub channel_type: u32,
    /// For the port of this name; with a `*` at its end for all whose names begin so. NULL
    /// when the rule is for a subtype.
    pub port_name: *const c_char,
    /// For devices of this subtype (`-chardev spicevmc,name=...`). NULL when the rule is
    /// for ports.
    pub subtype: *const c_char,
    /// The channel's name in spice_server_set_channel_security() and in the log: 1 to 32
    /// of the characters a-z, 0-9, '-', '_' and '.'. NULL: "channel-" and the type.
    pub name: *const c_char,
    /// SPICE_SERVER_COMPRESSION_ON or _OFF.
    pub compression: u32,
    /// SPICE_SERVER_BUSY_REFUSE or _TAKE_OVER.
    pub busy: u32,
    /// Seconds, up to 86400, after which a client that cannot be reached any more is cut
    /// (TCP only); -1: only the kernel's keepalive finds it, after ten minutes and more.
    pub idle_timeout: i32,
    /// 0.
    pub reserved: u32,
}

/// What a channel of a char device has moved since the device was added, over all its
/// clients: bytes of data without headers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SpiceServerChannelStatistics {
    /// Set by the caller: sizeof(SpiceServerChannelStatistics). No more than so much is
    /// written.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// From clients, in messages that were not compressed.
    pub in_data: u64,
    /// From clients, compressed, as it came.
    pub in_compressed: u64,
    /// From clients, what the compressed bytes came to.
    pub in_decompressed: u64,
    /// From the device.
    pub out_data: u64,
    /// To clients, compressed, as it was sent.
    pub out_compressed: u64,
    /// To clients, what those bytes had been.
    pub out_uncompressed: u64,
}

const _: () = {
    assert!(size_of::<SpiceServerChannelRule>() == 48);
    assert!(offset_of!(SpiceServerChannelRule, compression) == 32);
    assert!(size_of::<SpiceServerChannelStatistics>() == 56);
};

const OK: c_int = 0;
const FAILED: c_int = -1;

/// Adds a rule that says which devices get which channel, for devices that are added
/// from now on. May be called before and after spice_server_init(). Rules of the
/// configuration file for the same devices come first: this one is refused then, or, if
/// the file's is in a section for this VM, dropped by spice_server_init() with a line in
/// the log.
///
/// @param rule is copied, with its texts
/// @return 0; -1, logged, when a member is wrong, a rule for the same devices is there,
///   or the type or the name is taken by another channel
///
/// Main thread.
///
/// # Safety
/// `rule` is NULL or has as many good bytes as its `size` says; its texts are NULL or C
/// strings.
///
/// Shown by: c-tests/test-registry.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_register_channel(
    server: *mut Server,
    rule: *const SpiceServerChannelRule,
) -> c_int {
    const NAME: &str = "spice_server_register_channel";
    with_server(NAME, server, FAILED, |server| {
        let complete = size_of::<SpiceServerChannelRule>() as u32;
        // SAFETY: the caller's promise; the size is the first member.
        let Some(rule) = NonNull::new(rule.cast_mut())
            .filter(|rule| unsafe { rule.cast::<u32>().read() } >= complete)
        else {
            crate::warning!("{NAME}: the rule is missing, or its size is");
            return FAILED;
        };
        // SAFETY: the caller's promise, and the size was just looked at.
        let added = unsafe { rule_of(rule.as_ref()) }
            .and_then(|rule| server.register_channel(rule).map_err(|error| error.to_string()));
        match added {
            Ok(()) => OK,
            Err(error) => {
                crate::warning!("{NAME}: {error}");
                FAILED
            }
        }
    })
}

/// Tells what a channel has moved.
///
/// @param channel_type the channel's type, 9 for USB redirection and so on
/// @param id tells channels of one type apart; the first is 0
/// @param statistics where to write it; its `size` is set by the caller
/// @return 0; -1, logged, when there is no such channel of a char device, or
///   `statistics` is NULL or too small
///
/// Main thread.
///
/// # Safety
/// `statistics` is NULL or has as many good bytes as its `size` says.
///
/// Shown by: c-tests/test-channel-statistics.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_channel_statistics(
    server: *mut Server,
    channel_type: u8,
    id: u8,
    statistics: *mut SpiceServerChannelStatistics,
) -> c_int {
    const NAME: &str = "spice_server_channel_statistics";
    with_server(NAME, server, FAILED, |server| {
        let complete = size_of::<SpiceServerChannelStatistics>() as u32;
        // SAFETY: the caller's promise; the size is the first member.
        let Some(statistics) = NonNull::new(statistics)
            .filter(|statistics| unsafe { statistics.cast::<u32>().read() } >= complete)
        else {
            crate::warning!("{NAME}: the place for the statistics is missing, or its size is");
            return FAILED;
        };
        let Some(totals) = server.channel_totals(ChannelKey { kind: channel_type, id }) else {
            crate::warning!("{NAME}: there is no channel type {channel_type} id {id}");
            return FAILED;
        };
        let filled = SpiceServerChannelStatistics {
            size: complete,
            reserved: 0,
            in_data: totals.in_data,
            in_compressed: totals.in_compressed,
            in_decompressed: totals.in_decompressed,
            out_data: totals.out_data,
            out_compressed: totals.out_compressed,
            out_uncompressed: totals.out_uncompressed,
        };
        // SAFETY: the caller's promise, and the size was looked at.
        unsafe { statistics.write(filled) };
        OK
    })
}

/// # Safety
/// The texts are NULL or C strings.
unsafe fn rule_of(rule: &SpiceServerChannelRule) -> Result<Rule, String> {
    if rule.reserved != 0 {
        return Err("the reserved member is not 0".to_owned());
    }
    // SAFETY: the caller's promise.
    let (port, subtype) = unsafe { (string(rule.port_name)?, string(rule.subtype)?) };
    let selector = match (port, subtype) {
        (Some(name), None) => Selector::Port(name),
        (None, Some(name)) => Selector::Subtype(name),
        _ => return Err("a rule is for a port name or for a subtype, one of them".to_owned()),
    };
    let kind = match rule.channel_type {
        0 => None,
        kind => Some(u8::try_from(kind).map_err(|_| format!("{kind} is no channel type"))?),
    };
    let compression = match rule.compression {
        SPICE_SERVER_CHANNEL_DEFAULT => None,
        SPICE_SERVER_COMPRESSION_ON => Some(true),
        SPICE_SERVER_COMPRESSION_OFF => Some(false),
        other => return Err(format!("{other} is no choice of compression")),
    };
    let busy = match rule.busy {
        SPICE_SERVER_CHANNEL_DEFAULT => None,
        SPICE_SERVER_BUSY_REFUSE => Some(Busy::Refuse),
        SPICE_SERVER_BUSY_TAKE_OVER => Some(Busy::TakeOver),
        other => return Err(format!("{other} is no choice for a busy channel")),
    };
    let idle = match rule.idle_timeout {
        0 => None,
        -1 => Some(Duration::ZERO),
        seconds => Some(
            u64::try_from(seconds)
                .map(Duration::from_secs)
                .ok()
                .filter(|time| *time <= limits::IDLE_TIMEOUT)
                .ok_or_else(|| format!("{seconds} seconds are no idle timeout"))?,
        ),
    };
    // SAFETY: the caller's promise.
    let name = unsafe { string(rule.name)? };
    Ok(Rule { selector, kind, name, policy: PolicyChange { compression, busy, idle } })
}

/// A text of a rule; an error when it is not UTF-8.
///
/// # Safety
/// `text` is NULL or a C string.
unsafe fn string(pointer: *const c_char) -> Result<Option<String>, String> {
    // SAFETY: the caller's promise.
    let Some(bytes) = (unsafe { text(pointer) }) else {
        return Ok(None);
    };
    let text = str::from_utf8(bytes)
        .map_err(|_| format!("\"{}\" is not UTF-8", String::from_utf8_lossy(bytes)))?;
    Ok(Some(text.to_owned()))
}

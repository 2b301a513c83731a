//! What the host has set, before or after init: plain values.

use std::ffi::CString;

use crate::channels::display::compression::{Loss, Policy};
use crate::channels::display::video::Streaming;
use crate::config::limits;
use crate::net::listener::Family;
use crate::net::tls::TlsSettings;

/// Image compression, as the C API numbers it.
pub mod image_compression {
    /// Upstream's default: choose by content, GLZ preferred.
    pub const AUTO_GLZ: i32 = 2;
}

/// When images are compressed as for a slow network, as the C API numbers it.
pub mod wan_compression {
    /// Where the network is slow.
    pub const AUTO: i32 = 1;
    /// Everywhere.
    pub const ALWAYS: i32 = 2;
}

/// What is sent as video, as the C API numbers it.
pub mod stream_video {
    /// All that changes often enough.
    pub const ALL: i32 = 2;
    /// What looks like a video too.
    pub const FILTER: i32 = 3;
}

/// Everything the setters of the C API store.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the C API's")]
pub struct Settings {
    /// TCP port, `None` when not listening on TCP.
    pub port: Option<u16>,
    /// Address or path to listen on; empty means every address.
    pub address: String,
    /// Address family to listen on.
    pub family: Family,
    /// A listening descriptor that the host brought.
    pub listen_fd: Option<i32>,
    /// The port for TLS and what it takes.
    pub tls: Option<(u16, TlsSettings)>,
    /// Names the configuration file of the SASL library.
    pub sasl_application: CString,
    /// End the process when a client leaves.
    pub exit_on_disconnect: bool,
    /// More than one client at a time (`SPICE_DEBUG_ALLOW_MC`).
    pub allow_multiple_clients: bool,
    /// Sessions may go on at the host that the VM goes to.
    pub seamless_migration: bool,
    /// The VM's name for clients that connect from now on.
    pub name: Option<Vec<u8>>,
    /// The VM's UUID for clients that connect from now on.
    pub uuid: Option<[u8; 16]>,
    /// What the guest's agent may do.
    pub agent: AgentSettings,
    /// As set, 1 to 7.
    pub image_compression: i32,
    /// Sound is compressed for clients that know how.
    pub playback_compression: bool,
    /// As set, a number of [`wan_compression`].
    pub jpeg_compression: i32,
    /// As set: 1 off, or a number of [`stream_video`].
    pub streaming_video: i32,
    /// Accepted video codecs in the text form of the C API.
    pub video_codecs: Vec<u8>,
    /// Renderers added so far; at most two.
    pub renderers: usize,
}

/// What the guest's agent may do.
#[derive(Clone, Copy, Debug)]
pub struct AgentSettings {
    /// It may move the pointer.
    pub mouse: bool,
    /// Copy and paste between clients and the guest.
    pub copy_paste: bool,
    /// Clients may send files.
    pub file_transfer: bool,
}

impl Settings {
    /// Upstream's defaults.
    pub fn new() -> Self {
        Self {
            port: None,
            address: String::new(),
            family: Family::Any,
            listen_fd: None,
            tls: None,
            sasl_application: c"spice".to_owned(),
            exit_on_disconnect: false,
            allow_multiple_clients: false,
            seamless_migration: false,
            name: None,
            uuid: None,
            agent: AgentSettings { mouse: true, copy_paste: true, file_transfer: true },
            image_compression: image_compression::AUTO_GLZ,
            playback_compression: true,
            jpeg_compression: wan_compression::AUTO,
            streaming_video: stream_video::FILTER,
            video_codecs: b"spice:mjpeg".to_vec(),
            renderers: 0,
        }
    }

    /// What clients of graphics devices are sent, as far as it is set.
    pub(super) fn picture_policy(&self) -> Policy {
        Policy {
            compression: self.image_compression as u8,
            loss: match self.jpeg_compression {
                wan_compression::ALWAYS => Loss::Always,
                wan_compression::AUTO => Loss::WhileSlow,
                _ => Loss::Never,
            },
            streaming: match self.streaming_video {
                stream_video::ALL => Streaming::All,
                stream_video::FILTER => Streaming::Filter,
                _ => Streaming::Off,
            },
        }
    }

    /// Sets the address, cut to what upstream keeps.
    pub fn set_address(&mut self, address: &str) {
        let mut end = address.len().min(limits::API_STRING - 1);
        while !address.is_char_boundary(end) {
            end -= 1;
        }
        address[..end].clone_into(&mut self.address);
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the codecs we can encode out of `"encoder:codec;…"`. `None` if none is left.
pub fn usable_codecs(wanted: &[u8]) -> Option<Vec<u8>> {
    if wanted == b"auto" {
        return Some(b"spice:mjpeg".to_vec());
    }
    let items: Vec<&[u8]> = wanted
        .split(|byte| *byte == b';')
        .filter(|item| !item.is_empty())
        .filter(|item| {
            let known = *item == b"spice:mjpeg";
            if !known {
                crate::warning!("video codec {} is not available", String::from_utf8_lossy(item));
            }
            known
        })
        .collect();
    (!items.is_empty()).then(|| items.join(&b';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codecs_that_exist_are_kept() {
        assert_eq!(usable_codecs(b"auto").as_deref(), Some(&b"spice:mjpeg"[..]));
        assert_eq!(
            usable_codecs(b"gstreamer:h264;spice:mjpeg;").as_deref(),
            Some(&b"spice:mjpeg"[..])
        );
        assert_eq!(usable_codecs(b"gstreamer:h264"), None);
        assert_eq!(usable_codecs(b""), None);
    }

    #[test]
    fn a_long_address_is_cut_between_characters() {
        let mut settings = Settings::new();
        settings.set_address(&format!("{}é", "a".repeat(254)));
        assert_eq!(settings.address.len(), 254);
    }
}

//! What a line is about, so that operators can choose.
//!
//! Most lines have the category of the module they come from; where a module says things
//! of several kinds, the line itself names it.

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Who connected from where with what security, who left and why, who was refused.
    Connection,
    /// Channels that come, go, are opened and closed by clients.
    Channel,
    /// The host's char devices: ports, USB, smartcards, the stream device.
    Device,
    /// The guest's agent.
    Agent,
    /// Graphics devices and their guests' mistakes.
    Display,
    /// Sound, played and recorded.
    Sound,
    /// Certificates and what else concerns TLS as a whole.
    Tls,
    /// The configuration file.
    Configuration,
    /// Calls of the host program that are wrong.
    Api,
    /// Clipboard contents and files that passed or were refused.
    Audit,
    /// Faults of this library.
    Internal,
}

/// Some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Categories(u16);

impl Category {
    /// All of them and how they are written.
    pub const ALL: [(Self, &str); 11] = [
        (Self::Connection, "connection"),
        (Self::Channel, "channel"),
        (Self::Device, "device"),
        (Self::Agent, "agent"),
        (Self::Display, "display"),
        (Self::Sound, "sound"),
        (Self::Tls, "tls"),
        (Self::Configuration, "configuration"),
        (Self::Api, "api"),
        (Self::Audit, "audit"),
        (Self::Internal, "internal"),
    ];

    /// The category that is written so.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == text).map(|(category, _)| *category)
    }

    /// As it is written.
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(category, _)| *category == self).map_or("", |(_, text)| text)
    }

    /// What a module's lines are about, if they do not say it.
    pub(super) fn of(module: &str) -> Self {
        let path = module.split_once("::").map_or("", |(_, path)| path);
        let begins = |(room, _): &&(&str, Self)| {
            path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        ROOMS.iter().find(begins).map_or(Self::Internal, |(_, category)| *category)
    }
}

/// The first one that fits counts.
const ROOMS: [(&str, Category); 22] = [
    ("net::tls", Category::Tls),
    ("net", Category::Connection),
    ("link", Category::Connection),
    ("server::agent", Category::Agent),
    ("server::transfer_policy", Category::Agent),
    ("channels::agent", Category::Agent),
    ("server::audio", Category::Sound),
    ("server::qxl", Category::Display),
    ("server::qxl_display", Category::Display),
    ("server::qxl_cursor", Category::Display),
    ("canvas", Category::Display),
    ("server::spicevmc", Category::Device),
    ("server::smartcard", Category::Device),
    ("server::stream_device", Category::Device),
    ("server::interfaces", Category::Device),
    ("server::driver", Category::Device),
    ("server::char_device", Category::Device),
    ("chardev", Category::Device),
    ("server::registration", Category::Configuration),
    ("config", Category::Configuration),
    ("server", Category::Channel),
    ("ffi", Category::Api),
];

impl Categories {
    /// All there are.
    pub const ALL: Self = Self(u16::MAX);

    /// None but these.
    pub fn only(categories: impl IntoIterator<Item = Category>) -> Self {
        Self(categories.into_iter().fold(0, |set, category| set | bit(category)))
    }

    /// Whether this one is among them.
    pub fn has(self, category: Category) -> bool {
        self.0 & bit(category) != 0
    }
}

fn bit(category: Category) -> u16 {
    1 << category as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_the_category_of_its_room() {
        for (module, category) in [
            ("spice_server::net::tls::layer", Category::Tls),
            ("spice_server::net::io_thread::link_phase", Category::Connection),
            ("spice_server::server::agent::device", Category::Agent),
            ("spice_server::server::qxl::worker", Category::Display),
            ("spice_server::server::qxl_display", Category::Display),
            ("spice_server::server::session", Category::Channel),
            ("spice_server::ffi::server", Category::Api),
            ("spice_server::config::file", Category::Configuration),
            ("spice_server::guard", Category::Internal),
            ("spice_server::network", Category::Internal),
            ("spice_server", Category::Internal),
        ] {
            assert_eq!(Category::of(module), category, "{module}");
        }
    }

    #[test]
    fn a_set_has_what_was_put_into_it() {
        for (one, text) in Category::ALL {
            assert_eq!((Category::from_text(text), one.text()), (Some(one), text));
            for (other, _) in Category::ALL {
                assert_eq!(Categories::only([one]).has(other), one == other);
                assert!(Categories::ALL.has(other));
            }
        }
        assert_eq!(Category::from_text("Agent"), None);
    }
}

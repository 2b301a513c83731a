//! Whom a line is about, told apart from its words, for readers that sort lines.

use std::borrow::Cow;
use std::fmt::Display;

/// Whom a line is about, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// A client's address.
    pub peer: Option<String>,
    /// A channel's name and id, `port:0`.
    pub channel: Option<String>,
    /// A device: a port's name, a char device's subtype, `qxl:0`.
    pub device: Option<String>,
}

/// What knows whom lines about it are about. Asked only if a line is written as JSON.
pub trait About {
    /// Whom.
    fn subject(&self) -> Cow<'_, Subject>;
}

impl About for Subject {
    fn subject(&self) -> Cow<'_, Subject> {
        Cow::Borrowed(self)
    }
}

impl Subject {
    /// A client.
    pub fn peer(peer: impl Display) -> Self {
        Self { peer: Some(peer.to_string()), ..Self::default() }
    }

    /// A channel by its label, whose word "channel" is left out.
    pub fn channel(label: impl Display) -> Self {
        let label = label.to_string();
        let name = label.strip_prefix("channel ").unwrap_or(&label).to_owned();
        Self { channel: Some(name), ..Self::default() }
    }

    /// A device.
    pub fn device(name: impl Display) -> Self {
        Self { device: Some(name.to_string()), ..Self::default() }
    }

    /// A graphics device, by the number of its channels.
    pub fn graphics_device(id: u32) -> Self {
        Self::device(format_args!("qxl:{id}"))
    }

    /// The same on a channel.
    #[must_use]
    pub fn on(self, label: impl Display) -> Self {
        Self { channel: Self::channel(label).channel, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_named_as_the_statistics_name_it() {
        let subject = Subject::peer("192.0.2.1:5").on("channel port:0");
        assert_eq!(subject.channel.as_deref(), Some("port:0"));
        assert_eq!(subject.peer.as_deref(), Some("192.0.2.1:5"));
        assert_eq!(Subject::channel("main:0").channel.as_deref(), Some("main:0"));
    }
}

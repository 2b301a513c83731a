//! What the configuration says of TLS; the host's own settings are in `net::tls`.

/// Versions of the protocol. Older ones are never spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.0. Most systems' OpenSSL needs `@SECLEVEL=0` in the suites for it.
    Tls10,
    /// TLS 1.1. As for 1.0.
    Tls11,
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    const ALL: [(Self, &str); 4] =
        [(Self::Tls10, "1.0"), (Self::Tls11, "1.1"), (Self::Tls12, "1.2"), (Self::Tls13, "1.3")];

    /// The version that is written so.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == text).map(|(version, _)| *version)
    }

    /// As it is written.
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(version, _)| *version == self).map_or("", |(_, text)| text)
    }
}

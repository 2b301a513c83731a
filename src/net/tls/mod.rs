//! TLS for clients: the host's settings, the OpenSSL context made of them, and its
//! renewal when files change (docs/protocol/tls.md).
//!
//! [`Tls::load`] reads files and is for the main thread, before clients come;
//! [`Tls::context`] is for whichever thread begins a connection.

mod layer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{self, Path, PathBuf};
use std::time::{Duration, Instant};

use openssl::dh::Dh;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslContext, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVersion};
use parking_lot::Mutex;
use socket2::Socket;

use super::sys;
use crate::config::stamp::Stamp;
use crate::config::tls::TlsVersion;

pub(super) use layer::TlsLayer;

/// What the host has set. Paths are its own; they are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates of authorities, PEM: completes the chain.
    pub ca: PathBuf,
    /// The server's certificate, then the chain, PEM.
    pub certificates: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Decrypts the key, if it is encrypted.
    pub password: Option<Password>,
    /// Diffie-Hellman parameters, PEM.
    pub dh: Option<PathBuf>,
    /// Suites as OpenSSL writes them. Names that begin with `TLS_` are TLS 1.3's; a list of
    /// only these leaves older versions out.
    pub ciphers: Option<String>,
    /// The oldest version that is spoken.
    pub oldest: TlsVersion,
}

/// A password that does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// OpenSSL does not take a file or a setting.
    #[error("{0}: {why}", why = reasons(.1))]
    Refused(String, ErrorStack),
    /// The key is encrypted.
    #[error("{0}: the password is missing or wrong: {why}", why = reasons(.1))]
    Password(PathBuf, ErrorStack),
}

impl TlsError {
    /// Whether it says nothing of the files: there are no descriptors or no memory left.
    fn is_passing(&self) -> bool {
        let Self::File(_, error) = self else { return false };
        matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
    }
}

/// The context for new connections, as the files have it.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    context: SslContext,
    /// The files as they were when they were last read.
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
}

/// Whether a handshake can begin on this socket, as far as is known without taking
/// anything from it: the client is there, and has sent nothing that is no handshake.
pub fn may_begin(socket: &Socket) -> bool {
    /// The first byte of a record of the handshake.
    const HANDSHAKE: u8 = 22;
    match sys::peek(socket) {
        Ok(first) => first == Some(HANDSHAKE),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// How often files are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Tls {
    /// Reads the files. Their names are made absolute: a host that goes into the background
    /// changes its directory.
    pub fn load(mut settings: TlsSettings, now: Instant) -> Result<Self, TlsError> {
        for path in settings.files_mut() {
            *path = path::absolute(&*path).map_err(|error| TlsError::File(path.clone(), error))?;
        }
        let stamps = settings.stamps();
        let context = settings.context()?;
        Ok(Self { settings, state: Mutex::new(State { context, stamps, looked: now }) })
    }

    /// The context for a connection that begins now. When files have changed they are read
    /// again; if that fails the former context stays, and the log says why.
    pub fn context(&self, now: Instant) -> SslContext {
        let mut state = self.state.lock();
        if now.saturating_duration_since(state.looked) >= LOOK_AGAIN {
            state.looked = now;
            let stamps = self.settings.stamps();
            if stamps != state.stamps {
                match self.settings.context() {
                    Ok(context) => {
                        state.stamps = stamps;
                        state.context = context;
                        crate::info!("TLS: the certificate was read again");
                    }
                    // Nothing is wrong with the files: they are read again the next time.
                    Err(error) if error.is_passing() => {
                        crate::warning!("TLS: changed files cannot be read now: {error}");
                    }
                    Err(error) => {
                        state.stamps = stamps;
                        crate::warning!(
                            "TLS: changed files are no good, the former ones stay in use: {error}"
                        );
                    }
                }
            }
        }
        state.context.clone()
    }
}

impl TlsSettings {
    fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.certificates, &self.key].into_iter().chain(&self.dh).map(PathBuf::as_path)
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.ca, &mut self.certificates, &mut self.key].into_iter().chain(&mut self.dh)
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files().map(|path| Stamp::of(path).ok()).collect()
    }

    fn context(&self) -> Result<SslContext, TlsError> {
        let at = |what: &dyn fmt::Display| {
            let what = what.to_string();
            |stack: ErrorStack| TlsError::Refused(what, stack)
        };
        let path = |path: &Path| at(&path.display());
        let mut builder = SslContext::builder(SslMethod::tls_server()).map_err(at(&"OpenSSL"))?;
        builder.set_options(
            SslOptions::NO_COMPRESSION
                | SslOptions::NO_RENEGOTIATION
                | SslOptions::NO_TICKET
                | SslOptions::CIPHER_SERVER_PREFERENCE
                | SslOptions::SINGLE_DH_USE,
        );
        builder.set_min_proto_version(Some(version(self.oldest))).map_err(at(&"the version"))?;
        builder.set_mode(SslMode::RELEASE_BUFFERS);
        // Every channel makes a handshake of its own, and no client resumes.
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_num_tickets(0).map_err(at(&"OpenSSL"))?;
        builder.set_session_id_context(b"SPICE").map_err(at(&"OpenSSL"))?;
        if let Some(ciphers) = &self.ciphers {
            let (new, old): (Vec<_>, Vec<_>) = ciphers
                .split([':', ',', ' ', ';'])
                .filter(|name| !name.is_empty())
                .partition(|name| name.starts_with("TLS_"));
            // Names that OpenSSL does not know are passed over in a list with others: the
            // reference library passes over all of these.
            if !new.is_empty()
                && let Err(stack) = builder.set_ciphersuites(&new.join(":"))
            {
                let error = at(&"TLS 1.3 suites")(stack);
                if old.is_empty() {
                    return Err(error);
                }
                crate::warning!("TLS: {error}: OpenSSL's own choice stays");
            }
            if old.is_empty() && !new.is_empty() {
                // OpenSSL would go on to offer its own choice to older clients.
                let only = builder.set_min_proto_version(Some(SslVersion::TLS1_3));
                only.map_err(at(&"the version"))?;
            } else if !old.is_empty() {
                builder.set_cipher_list(&old.join(":")).map_err(at(&"cipher suites"))?;
            }
        }
        readable(&self.certificates)?;
        builder.set_certificate_chain_file(&self.certificates).map_err(path(&self.certificates))?;
        let key = self.private_key()?;
        builder.set_private_key(&key).map_err(path(&self.key))?;
        builder.check_private_key().map_err(path(&self.key))?;
        readable(&self.ca)?;
        builder.set_ca_file(&self.ca).map_err(path(&self.ca))?;
        if let Some(dh) = &self.dh {
            let parameters = Dh::params_from_pem(&readable(dh)?).map_err(path(dh))?;
            builder.set_tmp_dh(&parameters).map_err(path(dh))?;
        }
        Ok(builder.build())
    }

    /// The key, decrypted. Without a password an encrypted one is refused: OpenSSL would
    /// ask for it on the terminal.
    fn private_key(&self) -> Result<PKey<openssl::pkey::Private>, TlsError> {
        let pem = readable(&self.key)?;
        let password = self.password.as_ref().map_or(&[][..], |password| &password.0);
        let mut asked = false;
        let key = PKey::private_key_from_pem_callback(&pem, |room| {
            asked = true;
            let fits = password.len() <= room.len();
            if fits {
                room[..password.len()].copy_from_slice(password);
            }
            Ok(if fits { password.len() } else { 0 })
        });
        key.map_err(|stack| {
            if asked {
                TlsError::Password(self.key.clone(), stack)
            } else {
                TlsError::Refused(self.key.display().to_string(), stack)
            }
        })
    }
}

/// What OpenSSL complains of, in its words and without its places.
fn reasons(stack: &ErrorStack) -> String {
    let reasons: Vec<_> = stack.errors().iter().filter_map(openssl::error::Error::reason).collect();
    if reasons.is_empty() { stack.to_string() } else { reasons.join(", ") }
}

/// As OpenSSL has it.
fn version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::Tls10 => SslVersion::TLS1,
        TlsVersion::Tls11 => SslVersion::TLS1_1,
        TlsVersion::Tls12 => SslVersion::TLS1_2,
        TlsVersion::Tls13 => SslVersion::TLS1_3,
    }
}

/// The file's content: OpenSSL's own complaints do not name files.
fn readable(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::File(path.to_owned(), error))
}

//! Both ends in memory: certificates of each kind, versions, suites, files that change.

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslStream, SslVersion};
use openssl::symm::Cipher;
use openssl::x509::{X509, X509NameBuilder};
use proptest::prelude::*;
use socket2::{Domain, Type};

use super::layer::{Pipe, TlsLayer};
use super::*;
use crate::net::layers::{Layers, State as LayerState};

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tls-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        // As certbot does it: a new file in the place of the old one.
        let (new, path) = (self.0.join("new"), self.0.join(name));
        fs::write(&new, bytes).expect("written");
        fs::rename(new, &path).expect("moved");
        path
    }

    /// A certificate of its own signing, its key, and settings with both.
    fn settings(&self, key: &PKey<Private>, name: &str) -> TlsSettings {
        let certificate = certificate(key, name).to_pem().expect("PEM");
        TlsSettings {
            ca: self.write("ca", &certificate),
            certificates: self.write("cert", &certificate),
            key: self.write("key", &key.private_key_to_pem_pkcs8().expect("PEM")),
            ..TlsSettings::default()
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key")
}

fn ecdsa() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
}

fn ed25519() -> PKey<Private> {
    PKey::generate_ed25519().expect("a key")
}

fn certificate(key: &PKey<Private>, name: &str) -> X509 {
    let mut subject = X509NameBuilder::new().expect("a name");
    subject.append_entry_by_text("CN", name).expect("a name");
    let subject = subject.build();
    let mut builder = X509::builder().expect("a builder");
    builder.set_version(2).expect("version 3");
    builder.set_subject_name(&subject).expect("a subject");
    builder.set_issuer_name(&subject).expect("an issuer");
    builder.set_pubkey(key).expect("a key");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("now")).expect("from now");
    builder.set_not_after(&Asn1Time::days_from_now(1).expect("tomorrow")).expect("until");
    let digest = if key.id() == openssl::pkey::Id::ED25519 {
        MessageDigest::null()
    } else {
        MessageDigest::sha256()
    };
    builder.sign(key, digest).expect("signed");
    builder.build()
}

/// A client and the server's layer.
struct Pair {
    client: SslStream<Pipe>,
    server: Layers,
    /// What the server unwrapped.
    plain: BytesMut,
    /// Bytes that arrive at once at either end.
    portion: usize,
}

impl Pair {
    fn new(context: &SslContext, change: impl FnOnce(&mut Ssl)) -> Self {
        let own = SslContext::builder(SslMethod::tls_client()).expect("a context").build();
        let mut ssl = Ssl::new(&own).expect("a client");
        ssl.set_connect_state();
        change(&mut ssl);
        let client = SslStream::new(ssl, Pipe::default()).expect("a client");
        let mut server = Layers::default();
        server.push(Box::new(TlsLayer::new(context).expect("a server")));
        Self { client, server, plain: BytesMut::new(), portion: usize::MAX }
    }

    /// Carries bytes both ways until nothing moves.
    fn carry(&mut self) -> io::Result<LayerState> {
        let mut state = LayerState::Open;
        loop {
            let leaving = &mut self.client.get_mut().leaving;
            let count = leaving.len().min(self.portion);
            let to_server = leaving.split_to(count);
            if !to_server.is_empty() {
                self.server.arrived().expect("a layer").extend_from_slice(&to_server);
                state = self.server.unwrap(&mut self.plain)?;
            }
            let count = self.server.unsent().len().min(self.portion);
            let to_client = self.server.unsent()[..count].to_vec();
            self.server.consume(count);
            self.client.get_mut().arrived.extend_from_slice(&to_client);
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(state);
            }
            if !self.client.ssl().is_init_finished() {
                match self.client.do_handshake() {
                    Ok(()) => {}
                    Err(error) if error.code() == ErrorCode::WANT_READ => {}
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        }
    }

    fn handshake(&mut self) -> io::Result<()> {
        let _ = self.client.do_handshake();
        self.carry()?;
        let done = self.client.ssl().is_init_finished();
        if done { Ok(()) } else { Err(io::Error::other("not finished")) }
    }

    fn send_up(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.client.write_all(bytes).expect("a pipe takes all");
        self.carry().expect("a good connection");
        std::mem::take(&mut self.plain).to_vec()
    }

    fn send_down(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut received = Vec::new();
        let mut buffer = vec![0; 20_000];
        while !bytes.is_empty() {
            bytes.advance(self.server.wrap(bytes).expect("wrapped"));
            self.carry().expect("a good connection");
            while let Ok(count @ 1..) = self.client.read(&mut buffer) {
                received.extend_from_slice(&buffer[..count]);
            }
        }
        received
    }

    /// The name in the certificate that the client was shown.
    fn shown(&self) -> String {
        let certificate = self.client.ssl().peer_certificate().expect("a certificate");
        let entry = certificate.subject_name().entries().next().expect("a name");
        entry.data().to_string().expect("text")
    }
}

fn load(settings: &TlsSettings) -> Result<Tls, TlsError> {
    Tls::load(settings.clone(), Instant::now())
}

fn context(settings: &TlsSettings) -> SslContext {
    load(settings).expect("good files").context(Instant::now())
}

#[test]
fn each_kind_of_key_serves_both_versions() {
    for key in [rsa(), ecdsa(), ed25519()] {
        let directory = Directory::new();
        let context = context(&directory.settings(&key, "kind"));
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let mut pair =
                Pair::new(&context, |ssl| ssl.set_max_proto_version(Some(version)).expect("set"));
            pair.handshake().expect("a handshake");
            assert_eq!(pair.client.ssl().version2(), Some(version));
            assert_eq!(pair.send_up(b"REDQ"), b"REDQ");
            assert_eq!(pair.send_down(b"reply"), b"reply");
        }
    }
}

#[test]
fn data_of_any_length_in_any_portions() {
    let directory = Directory::new();
    let context = context(&directory.settings(&ecdsa(), "data"));
    let data: Vec<u8> =
        (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for portion in [usize::MAX, 16_000, 1_000, 7] {
        let mut pair = Pair::new(&context, |_| ());
        pair.portion = portion;
        pair.handshake().expect("a handshake");
        let length = if portion < 100 { 20_000 } else { data.len() };
        assert!(pair.send_up(&data[..length]) == data[..length], "portions of {portion}");
        assert!(pair.send_down(&data[..length]) == data[..length], "portions of {portion}");
    }
}

#[test]
fn nothing_is_wrapped_before_the_handshake() {
    let directory = Directory::new();
    let context = context(&directory.settings(&ecdsa(), "early"));
    let mut pair = Pair::new(&context, |_| ());
    assert_eq!(pair.server.wrap(b"too early").expect("not now"), 0);
    pair.handshake().expect("a handshake");
    assert_eq!(pair.send_down(b"now"), b"now");
}

#[test]
fn an_end_is_told_from_a_cut() {
    let directory = Directory::new();
    let context = context(&directory.settings(&ecdsa(), "end"));
    let mut pair = Pair::new(&context, |_| ());
    pair.handshake().expect("a handshake");
    pair.client.shutdown().expect("a goodbye");
    assert_eq!(pair.carry().expect("no error"), LayerState::Ended);
    let mut pair = Pair::new(&context, |_| ());
    pair.handshake().expect("a handshake");
    pair.server.farewell();
    pair.carry().expect("no error");
    let error = pair.client.ssl_read(&mut [0]).expect_err("the end");
    assert_eq!(error.code(), ErrorCode::ZERO_RETURN);
}

#[test]
fn garbage_is_an_error_that_says_why() {
    let directory = Directory::new();
    let context = context(&directory.settings(&ecdsa(), "garbage"));
    let mut layers = Layers::default();
    layers.push(Box::new(TlsLayer::new(&context).expect("a server")));
    layers.arrived().expect("a layer").extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    let error = layers.unwrap(&mut BytesMut::new()).expect_err("no TLS");
    assert_eq!(error.to_string(), "TLS: http request");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Noise, and a client's hello with something changed: the handshake fails or goes on,
    /// nothing comes out of it, and an answer is no longer than a server's.
    #[test]
    fn any_bytes_before_the_handshake(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        begins_well in any::<bool>(),
        cut in 1usize..200,
    ) {
        static CONTEXT: OnceLock<SslContext> = OnceLock::new();
        let context = CONTEXT.get_or_init(|| {
            let directory = Directory::new();
            context(&directory.settings(&ecdsa(), "any"))
        });
        let mut pair = Pair::new(context, |_| ());
        let mut bytes = Vec::new();
        if begins_well {
            let _ = pair.client.do_handshake();
            bytes.extend_from_slice(&pair.client.get_ref().leaving);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] ^= byte;
            }
        }
        bytes.extend(noise);
        for part in bytes.chunks(cut) {
            pair.server.arrived().expect("a layer").extend_from_slice(part);
            let state = pair.server.unwrap(&mut pair.plain);
            prop_assert!(pair.plain.is_empty() && pair.server.unsent().len() < 8 * 1024);
            if state.is_err() {
                break;
            }
        }
        pair.server.farewell();
    }
}

#[test]
fn old_versions_have_to_be_asked_for() {
    let directory = Directory::new();
    let mut settings = directory.settings(&rsa(), "old");
    let old = |ssl: &mut Ssl| {
        ssl.set_min_proto_version(Some(SslVersion::TLS1)).expect("set");
        ssl.set_max_proto_version(Some(SslVersion::TLS1)).expect("set");
        ssl.set_cipher_list("ALL:@SECLEVEL=0").expect("set");
    };
    settings.ciphers = Some("ALL:@SECLEVEL=0".to_owned());
    let refused = Pair::new(&context(&settings), old).handshake().expect_err("too old");
    assert_eq!(refused.to_string(), "TLS: unsupported protocol");
    settings.oldest = TlsVersion::Tls10;
    Pair::new(&context(&settings), old).handshake().expect("a handshake");
    settings.oldest = TlsVersion::Tls13;
    let only_12 = |ssl: &mut Ssl| ssl.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("set");
    Pair::new(&context(&settings), only_12).handshake().expect_err("too old");
}

#[test]
fn suites_of_both_kinds_stand_in_one_list() {
    let directory = Directory::new();
    let mut settings = directory.settings(&rsa(), "suites");
    settings.ciphers = Some("ECDHE-RSA-AES256-GCM-SHA384:TLS_CHACHA20_POLY1305_SHA256".to_owned());
    let context = context(&settings);
    let suite = |version| {
        let mut pair =
            Pair::new(&context, |ssl| ssl.set_max_proto_version(Some(version)).expect("set"));
        pair.handshake().expect("a handshake");
        pair.client.ssl().current_cipher().expect("a suite").name()
    };
    assert_eq!(suite(SslVersion::TLS1_2), "ECDHE-RSA-AES256-GCM-SHA384");
    assert_eq!(suite(SslVersion::TLS1_3), "TLS_CHACHA20_POLY1305_SHA256");
    settings.ciphers = Some("TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384".to_owned());
    let context = self::context(&settings);
    let only_12 = |ssl: &mut Ssl| ssl.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("set");
    Pair::new(&context, only_12).handshake().expect_err("no suite of TLS 1.2 is listed");
    Pair::new(&context, |_| ()).handshake().expect("a handshake");
    settings.ciphers = Some("no-such-suite".to_owned());
    assert!(load(&settings).is_err());
    settings.ciphers = Some("TLS_NO_SUCH".to_owned());
    assert!(load(&settings).is_err());
    settings.ciphers = Some("ECDHE-RSA-AES256-GCM-SHA384:TLS_NO_SUCH".to_owned());
    assert!(load(&settings).is_ok());
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let directory = Directory::new();
    let key = rsa();
    let mut settings = directory.settings(&key, "secret");
    let pem = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame");
    settings.key = directory.write("encrypted", &pem.expect("PEM"));
    let text = load(&settings).expect_err("no password").to_string();
    assert!(text.contains("encrypted: the password is missing or wrong"), "{text}");
    settings.password = Some(Password(b"wrong".to_vec()));
    assert!(load(&settings).is_err(), "a wrong password");
    settings.password = Some(Password(vec![b'x'; 100_000]));
    assert!(load(&settings).is_err(), "one that no key has");
    settings.password = Some(Password(b"open sesame".to_vec()));
    Pair::new(&context(&settings), |_| ()).handshake().expect("a handshake");
    assert_eq!(format!("{:?}", settings.password), "Some(Password(…))");
}

#[test]
fn diffie_hellman_parameters_are_used_and_must_be_good() {
    let directory = Directory::new();
    let mut settings = directory.settings(&rsa(), "dh");
    let parameters = Dh::get_2048_256().expect("a group").params_to_pem().expect("PEM");
    settings.dh = Some(directory.write("dh", &parameters));
    settings.ciphers = Some("DHE-RSA-AES128-GCM-SHA256".to_owned());
    let only_12 = |ssl: &mut Ssl| ssl.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("set");
    Pair::new(&context(&settings), only_12).handshake().expect("a handshake");
    settings.dh = Some(directory.write("dh", b"no parameters"));
    assert!(load(&settings).is_err());
}

#[test]
fn what_is_wrong_names_its_file() {
    let directory = Directory::new();
    let good = directory.settings(&rsa(), "good");
    let missing = directory.0.join("missing");
    let foreign = directory.write("foreign", &rsa().private_key_to_pem_pkcs8().expect("PEM"));
    let empty = directory.write("empty", b"");
    for (settings, name) in [
        (TlsSettings { ca: missing.clone(), ..good.clone() }, "missing"),
        (TlsSettings { certificates: missing.clone(), ..good.clone() }, "missing"),
        (TlsSettings { key: missing.clone(), ..good.clone() }, "missing"),
        (TlsSettings { dh: Some(missing), ..good.clone() }, "missing"),
        (TlsSettings { certificates: empty.clone(), ..good.clone() }, "empty"),
        (TlsSettings { ca: empty, ..good.clone() }, "empty"),
        (TlsSettings { key: foreign, ..good }, "foreign"),
    ] {
        let text = load(&settings).expect_err("a wrong file").to_string();
        assert!(text.contains(name), "{text}");
        assert!(!text.contains("error:"), "{text}");
    }
}

#[test]
fn errors_of_others_are_not_ours() {
    let directory = Directory::new();
    let context = context(&directory.settings(&ecdsa(), "others"));
    let mut pair = Pair::new(&context, |_| ());
    pair.handshake().expect("a handshake");
    let others = Rsa::private_key_from_pem(b"no key").expect_err("no key");
    pair.client.write_all(b"some words").expect("a pipe takes all");
    let record = std::mem::take(&mut pair.client.get_mut().leaving);
    for part in record.chunks(record.len() - 1) {
        others.put();
        pair.server.arrived().expect("a layer").extend_from_slice(part);
        pair.server.unwrap(&mut pair.plain).expect("a good connection");
    }
    assert_eq!(pair.plain, b"some words"[..]);
}

#[test]
fn what_begins_with_something_else_is_known_before_it_is_taken() {
    let (ours, client) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("two sockets");
    assert!(may_begin(&ours), "it has sent nothing");
    client.send(&[22, 3, 1]).expect("sent");
    assert!(may_begin(&ours) && may_begin(&ours), "nothing is taken");
    let (ours, client) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("two sockets");
    client.send(b"REDQ").expect("sent");
    assert!(!may_begin(&ours));
    let (ours, client) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("two sockets");
    drop(client);
    assert!(!may_begin(&ours));
}

#[test]
fn changed_files_are_for_new_connections() {
    let directory = Directory::new();
    let settings = directory.settings(&ecdsa(), "first");
    let begun = Instant::now();
    let tls = Tls::load(settings, begun).expect("good files");
    let shown = |after: u64| {
        let context = tls.context(begun + Duration::from_secs(after));
        let mut pair = Pair::new(&context, |_| ());
        pair.handshake().expect("a handshake");
        pair.shown()
    };
    assert_eq!(shown(5), "first");
    directory.settings(&rsa(), "second");
    assert_eq!(shown(10), "second");
    // Half of a renewal: the certificate does not fit the key.
    let third = ecdsa();
    directory.write("cert", &certificate(&third, "third").to_pem().expect("PEM"));
    assert_eq!(shown(15), "second");
    directory.write("key", &third.private_key_to_pem_pkcs8().expect("PEM"));
    assert_eq!(shown(20), "third");
    fs::remove_file(directory.0.join("cert")).expect("removed");
    assert_eq!(shown(25), "third");
}

#[test]
fn what_is_wrong_with_the_process_is_not_wrong_with_the_files() {
    let file = |code| TlsError::File("c.pem".into(), io::Error::from_raw_os_error(code));
    for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
        assert!(file(code).is_passing(), "{code}");
    }
    for code in [libc::ENOENT, libc::EACCES] {
        assert!(!file(code).is_passing(), "{code}");
    }
}

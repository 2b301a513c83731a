//! TLS between a client and a connection's stream. The client is OpenSSL's, and what it
//! sends is cut into pieces, damaged, or replaced by anything. Nothing comes out that the
//! client did not say; without damage all of it does, and the answer arrives.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::Instant;

use bytes::BytesMut;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVersion};
use openssl::x509::X509;
use spice_server::net::stream::{Received, Stream};
use spice_server::net::tls::{Tls, TlsSettings};

use super::{Body, Input};

pub(crate) const BODY: Body = Body { name: "tls", run, seeds };

static SERVER: LazyLock<SslContext> = LazyLock::new(server_context);
static CLIENTS: LazyLock<[SslContext; 2]> = LazyLock::new(|| {
    [SslVersion::TLS1_2, SslVersion::TLS1_3].map(|newest| {
        let mut builder = SslContext::builder(SslMethod::tls_client()).expect("OpenSSL works");
        builder.set_max_proto_version(Some(newest)).expect("a version");
        builder.build()
    })
});

/// From files, as the host gives them.
fn server_context() -> SslContext {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
    let mut builder = X509::builder().expect("OpenSSL works");
    builder.set_version(2).expect("version 3");
    builder.set_pubkey(&key).expect("a key");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("now")).expect("from now");
    builder.set_not_after(&Asn1Time::days_from_now(9).expect("later")).expect("until");
    builder.sign(&key, MessageDigest::sha256()).expect("signed");
    let certificate = builder.build().to_pem().expect("PEM");
    let directory = std::env::temp_dir().join(format!("fuzz-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let settings = TlsSettings {
        ca: file("ca", &certificate),
        certificates: file("certificate", &certificate),
        key: file("key", &key.private_key_to_pem_pkcs8().expect("PEM")),
        ..TlsSettings::default()
    };
    let context = Tls::load(settings, Instant::now()).expect("good files").context(Instant::now());
    let _ = std::fs::remove_dir_all(directory);
    context
}

/// The client's network: what it is sent, and what it has sent.
#[derive(Default)]
struct Pipe {
    arrived: Vec<u8>,
    leaving: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.arrived.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.arrived.len());
        buffer[..count].copy_from_slice(&self.arrived[..count]);
        self.arrived.drain(..count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.leaving.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let (ours, theirs) = UnixStream::pair().expect("descriptors are left");
    ours.set_nonblocking(true).expect("a socket");
    let mut server = Stream::new(theirs.into()).expect("a socket");
    server.begin_tls(&SERVER).expect("OpenSSL works");
    let ssl = Ssl::new(&CLIENTS[usize::from(options & 1)]).expect("a client");
    let client = SslStream::new(ssl, Pipe::default()).expect("a client");
    let mut pair = Pair { client, ours, server, said: Vec::new(), heard: BytesMut::new() };
    let mut damaged = false;
    let mut written = 0;
    while !input.is_empty() {
        let operation = input.byte();
        match operation % 8 {
            0 => {
                damaged = true;
                if pair.ours.write_all(input.run()).is_err() {
                    break;
                }
            }
            1 => {
                let (at, with) = (usize::from(input.word()), input.byte());
                if let Some(byte) = pair.client.get_mut().leaving.get_mut(at) {
                    *byte ^= with;
                    damaged |= with != 0;
                }
            }
            2 => {
                let count = usize::from(input.byte());
                if !pair.carry(count) {
                    break;
                }
            }
            3 if !damaged => {
                // What the server says once it may.
                let text = input.run();
                if let Ok(count) = pair.server.send(&[IoSlice::new(text)]) {
                    written += count;
                }
            }
            4 | 5 => {
                let text = input.run();
                if pair.client.ssl().is_init_finished() && pair.client.write(text).is_ok() {
                    pair.said.extend_from_slice(text);
                }
            }
            _ => {
                if !pair.turn() {
                    break;
                }
            }
        }
        assert!(pair.said.starts_with(&pair.heard), "something that the client never said");
    }
    if !damaged {
        for _ in 0..8 {
            assert!(pair.turn(), "a good client is refused");
        }
        assert!(pair.client.ssl().is_init_finished());
        assert!(pair.said == pair.heard[..], "something is lost");
        let mut answer = Vec::new();
        let _ = pair.client.read_to_end(&mut answer);
        assert_eq!(answer.len(), written);
    }
}

struct Pair {
    client: SslStream<Pipe>,
    ours: UnixStream,
    server: Stream,
    said: Vec<u8>,
    heard: BytesMut,
}

impl Pair {
    /// Carries so many bytes of the client's; false when the server has had enough.
    fn carry(&mut self, count: usize) -> bool {
        let leaving = &mut self.client.get_mut().leaving;
        let count = count.min(leaving.len());
        let sent = self.ours.write_all(&leaving[..count]).is_ok();
        leaving.drain(..count);
        sent && self.serve()
    }

    /// Lets both ends do what they can.
    fn turn(&mut self) -> bool {
        if !self.client.ssl().is_init_finished() {
            // What is wrong with it is the client's affair.
            let _ = self.client.connect();
        }
        self.carry(usize::MAX)
    }

    fn serve(&mut self) -> bool {
        loop {
            match self.server.recv(&mut self.heard) {
                Ok(Received::Data { .. }) => {}
                Ok(Received::Nothing) => break,
                Ok(Received::End) | Err(_) => return false,
            }
        }
        if self.server.flush().is_err() {
            return false;
        }
        let mut buffer = [0; 8192];
        while let Ok(count) = self.ours.read(&mut buffer) {
            if count == 0 {
                return false;
            }
            self.client.get_mut().arrived.extend_from_slice(&buffer[..count]);
        }
        true
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let hello =
        [7, 7, 7, 7, 4, 5, b'h', b'e', b'l', b'l', b'o', 7, 3, 2, b'o', b'k', 7, 5, 1, 9, 7];
    let pieces = [7, 2, 9, 2, 90, 7, 2, 3, 7, 7, 4, 3, 1, 2, 3, 2, 5, 7];
    let damage = [7, 7, 7, 4, 3, 1, 2, 3, 1, 9, 0, 4, 7, 7];
    let raw = [0, 9, 22, 3, 1, 0, 4, 1, 0, 0, 0, 7];
    let mut scripts = Vec::new();
    for options in [0, 1] {
        for script in [&hello[..], &pieces, &damage, &raw] {
            scripts.push([&[options], script].concat());
        }
    }
    scripts
}

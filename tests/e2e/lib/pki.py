"""Authorities, certificates and keys for TLS, made by the openssl program."""

import os
import subprocess
import tempfile
from pathlib import Path

KEYS = {
    "rsa": ["rsa", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ecdsa": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ed25519": ["ed25519"],
}


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=60)


class Pki:
    """A directory as QEMU's `x509-dir` wants it: ca-cert.pem, server-cert.pem and
    server-key.pem, the certificate for 127.0.0.1 and for the subject `subject`."""

    def __init__(self, directory, kind="ecdsa", name="server", password=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca = self.directory / "ca-cert.pem"
        self.certificate = self.directory / "server-cert.pem"
        self.key = self.directory / "server-key.pem"
        self._ca_key = self.directory / "ca-key.pem"
        openssl("req", "-x509", "-newkey", *_new_key("ecdsa"), "-nodes", "-keyout", self._ca_key,
                "-out", self.ca, "-days", 2, "-subj", "/O=Example/CN=authority")
        self.renew(kind, name, password)

    @property
    def subject(self):
        """As spice-gtk compares it."""
        return f"O=Example,CN={self.name}"

    def renew(self, kind="ecdsa", name="server", password=None):
        """Another key and certificate in the place of those before."""
        self.name = name
        encrypted = ["-aes-256-cbc", "-pass", f"pass:{password}"] if password else []
        key = _replaced(self.key)
        openssl("genpkey", "-algorithm", *KEYS[kind], *encrypted, "-out", key)
        certificate = self._sign(key, password)
        os.replace(key, self.key)
        os.replace(certificate, self.certificate)

    def _sign(self, key, password):
        certificate = _replaced(self.certificate)
        with tempfile.NamedTemporaryFile("w", dir=self.directory, suffix=".cnf") as extensions:
            extensions.write("subjectAltName=IP:127.0.0.1\n")
            extensions.flush()
            request = _replaced(self.directory / "request")
            openssl("req", "-new", "-key", key, "-out", request, "-subj",
                    f"/O=Example/CN={self.name}",
                    *(["-passin", f"pass:{password}"] if password else []))
            openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._ca_key,
                    "-set_serial", 2, "-days", 2, "-extfile", extensions.name,
                    "-out", certificate)
            request.unlink()
        return certificate


def _new_key(kind):
    name, *options = KEYS[kind]
    return [name, *options]


def _replaced(path):
    """Where the successor of a file is written before it takes its place."""
    return path.with_name(path.name + ".new")

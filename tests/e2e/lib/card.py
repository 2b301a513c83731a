"""A card in software: what spice-gtk offers out of an NSS database."""

import os
import subprocess

CERTIFICATES = ["id-cert", "signing-cert", "encryption-cert"]


class Card:
    """Three certificates and their keys, made anew, as spice-gtk's cards have them.
    `offer` is what SpiceClient.open takes as `smartcard=`."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(exist_ok=True)
        noise = directory / "noise"
        noise.write_bytes(os.urandom(64))
        self._certutil("-N", "--empty-password")
        make = ["-S", "-z", noise, "-k", "rsa", "-g", "2048"]
        self._certutil(*make, "-n", "ca", "-s", "CN=end-to-end checks", "-x", "-t", "TC,TC,TC",
                       "-m", "1")
        for number, name in enumerate(CERTIFICATES, 2):
            self._certutil(*make, "-n", name, "-s", f"CN=e2e {name}", "-c", "ca", "-t", "u,u,u",
                           "-m", str(number))
        self.offer = {"database": str(directory), "certificates": CERTIFICATES}

    def certificate(self, name):
        """As the card holds it: DER."""
        return self._certutil("-L", "-n", name, "-r")

    def verifies(self, name, signature, digest):
        """Whether the certificate's key made this signature of a SHA-256 digest."""
        files = {"cert": self.certificate(name), "sig": signature, "digest": digest}
        for file, content in files.items():
            (self.directory / file).write_bytes(content)
        done = subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-certin", "-inkey", "cert", "-keyform", "DER",
             "-sigfile", "sig", "-in", "digest", "-pkeyopt", "digest:sha256"],
            cwd=self.directory, capture_output=True, check=False)
        return done.returncode == 0

    def _certutil(self, command, *arguments):
        done = subprocess.run(["certutil", command, "-d", f"sql:{self.directory}", *arguments],
                              capture_output=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"certutil {command} {arguments}: {done.stderr.decode()}")
        return done.stdout

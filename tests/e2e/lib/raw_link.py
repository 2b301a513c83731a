"""The SPICE link phase by hand: for what no real client would send."""

import hashlib
import os
import socket
import struct

MAGIC = b"REDQ"
CAP_AUTH_SELECTION, CAP_AUTH_SPICE, CAP_MINI_HEADER = 1 << 0, 1 << 1, 1 << 3
OUR_CAPS = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER
AUTH_SPICE = 1
MAIN, DISPLAY, INPUTS, CURSOR, PORT = 1, 2, 3, 4, 10
KEY_BYTES = 162
LINK_OK = 0


class Closed(Exception):
    """The server closed the connection."""


def connect(address, seconds=10, tls=None):
    """A TCP port number on the loopback interface, or a unix socket's path (with a
    leading @: in the abstract namespace); `tls`: an ssl.SSLContext for the TCP port."""
    if isinstance(address, int):
        sock = socket.create_connection(("127.0.0.1", address), seconds)
        return tls.wrap_socket(sock, server_hostname="127.0.0.1") if tls else sock
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(seconds)
    sock.connect("\0" + address[1:] if address.startswith("@") else str(address))
    return sock


def exactly(sock, count):
    data = b""
    while len(data) < count:
        chunk = sock.recv(count - len(data))
        if not chunk:
            raise Closed(f"closed after {len(data)} of {count} bytes")
        data += chunk
    return data


def link_message(channel_type, channel_id=0, connection_id=0, caps=(OUR_CAPS,), channel_caps=()):
    body = struct.pack("<IBBIII", connection_id, channel_type, channel_id,
                       len(caps), len(channel_caps), 18)
    body += struct.pack(f"<{len(caps) + len(channel_caps)}I", *caps, *channel_caps)
    return MAGIC + struct.pack("<III", 2, 2, len(body)) + body


def link_reply(sock):
    """Reads the reply: (error, key)."""
    return whole_reply(sock)[:2]


def whole_reply(sock):
    """Reads the reply: (error, key, words of capabilities for this type of channel)."""
    magic, _major, _minor, size = struct.unpack("<4sIII", exactly(sock, 16))
    if magic != MAGIC:
        raise AssertionError(f"the reply begins with {magic}")
    body = exactly(sock, size)
    (error,) = struct.unpack_from("<I", body)
    common, channel, offset = struct.unpack_from("<III", body, 4 + KEY_BYTES)
    caps = struct.unpack_from(f"<{channel}I", body, offset + 4 * common)
    return error, body[4:4 + KEY_BYTES], caps


def link(sock, channel_type, channel_id=0, connection_id=0, password="", channel_caps=()):
    """A whole link; returns the link result (0: the channel is up)."""
    sock.sendall(link_message(channel_type, channel_id, connection_id, channel_caps=channel_caps))
    error, key = link_reply(sock)
    if error != LINK_OK:
        return error
    return authenticate(sock, key, password)


def authenticate(sock, key, password=""):
    """What follows the reply; returns the link result."""
    sock.sendall(struct.pack("<I", AUTH_SPICE) + encrypt(key, password.encode() + b"\0"))
    return struct.unpack("<I", exactly(sock, 4))[0]


def message(kind, body=b""):
    """A message with the short header."""
    return struct.pack("<HI", kind, len(body)) + body


def read_message(sock):
    kind, size = struct.unpack("<HI", exactly(sock, 6))
    return kind, exactly(sock, size)


class Messages:
    """The messages of a channel whose link is done. Pings and windows are answered as a
    client does it, and not shown."""

    SET_ACK, PING = 3, 4
    ACK_SYNC, ACK, PONG = 1, 2, 3

    def __init__(self, sock, seconds=10):
        self.sock = sock
        self.sock.settimeout(seconds)
        self._window = 0
        self._unacknowledged = 0

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.sock.close()

    def send(self, *messages):
        self.sock.sendall(b"".join(messages))

    def next(self, wanted=None):
        """The next message, or the next one of a type: (type, body)."""
        while True:
            kind, body = read_message(self.sock)
            self._acknowledge()
            if kind == self.SET_ACK:
                generation, self._window = struct.unpack("<II", body)
                self._unacknowledged = 0
                self.send(message(self.ACK_SYNC, struct.pack("<I", generation)))
            elif kind == self.PING:
                self.send(message(self.PONG, body[:12]))
            elif wanted in (None, kind):
                return kind, body

    def until(self, wanted):
        """All messages up to the next one of a type."""
        messages = []
        while not messages or messages[-1][0] != wanted:
            messages.append(self.next())
        return messages

    def rest(self):
        """All messages until the server closes the connection."""
        messages = []
        try:
            while True:
                messages.append(self.next())
        except (Closed, ConnectionError):
            return messages

    def _acknowledge(self):
        self._unacknowledged += 1
        if self._window and self._unacknowledged == self._window:
            self._unacknowledged = 0
            self.send(message(self.ACK))


class Session:
    """The main channel of a client by hand, and the channels that the server lists."""

    INIT, ATTACH_CHANNELS, CHANNELS_LIST = 103, 104, 104

    def __init__(self, address, tls=None):
        self.address = address
        self.tls = tls
        self.main = connect(address, tls=tls)
        assert link(self.main, MAIN) == LINK_OK
        kind, body = read_message(self.main)
        assert kind == self.INIT, kind
        self.id = int.from_bytes(body[:4], "little")
        self.main.sendall(message(self.ATTACH_CHANNELS))
        while kind != self.CHANNELS_LIST:
            kind, body = read_message(self.main)
        self.channels = list(zip(body[4::2], body[5::2]))

    def channel(self, kind, number=0, **options):
        """Another connection of the session; its link result was 0."""
        sock = connect(self.address, tls=self.tls)
        assert link(sock, kind, number, self.id, **options) == LINK_OK
        return sock


def encrypt(key, text):
    """RSAES-OAEP with SHA-1 under the server's 1024-bit key."""
    modulus, exponent = _public_key(key)
    length = (modulus.bit_length() + 7) // 8
    digest = hashlib.sha1(b"").digest()
    block = digest + bytes(length - len(text) - 2 * len(digest) - 2) + b"\1" + text
    seed = os.urandom(len(digest))
    block = _xor(block, _mask(seed, len(block)))
    seed = _xor(seed, _mask(block, len(seed)))
    number = pow(int.from_bytes(b"\0" + seed + block, "big"), exponent, modulus)
    return number.to_bytes(length, "big")


def _mask(seed, length):
    out = b""
    while len(out) < length:
        out += hashlib.sha1(seed + struct.pack(">I", len(out) // 20)).digest()
    return out[:length]


def _xor(left, right):
    return bytes(a ^ b for a, b in zip(left, right))


def _public_key(der):
    """Modulus and exponent out of a SubjectPublicKeyInfo."""
    outer, _ = _element(der, 0x30)
    _algorithm, rest = _element(outer, 0x30)
    bits, _ = _element(rest, 0x03)
    pair, _ = _element(bits[1:], 0x30)
    modulus, rest = _element(pair, 0x02)
    exponent, _ = _element(rest, 0x02)
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def _element(data, tag):
    """Contents of the DER element at the start of `data`, and what follows it."""
    if data[0] != tag:
        raise AssertionError(f"DER tag {data[0]:#x} where {tag:#x} was expected")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7f
        length = int.from_bytes(data[2:start], "big")
    return data[start:start + length], data[start + length:]

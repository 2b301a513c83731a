"""A WebSocket client by hand. What is inside behaves like a socket, so that
`raw_link` can speak through it."""

import base64
import hashlib
import os
import random
import struct

from . import raw_link

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, BINARY, CLOSE, PING, PONG = 0, 2, 8, 9, 10
FIN = 0x80
LONGEST_FRAME = 100_000


def request(key=b"dGhlIHNhbXBsZSBub25jZQ==", origin=None, protocol="binary", more=()):
    lines = ["GET /websockify HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket",
             "Connection: Upgrade", "Sec-WebSocket-Version: 13",
             f"Sec-WebSocket-Key: {key.decode()}"]
    lines += [f"Origin: {origin}"] if origin else []
    lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
    return "\r\n".join([*lines, *more, "", ""]).encode()


def answer_to(sock, data):
    """Sends a request: the status of HTTP's, or the error of SPICE's answer."""
    sock.sendall(data)
    first = raw_link.exactly(sock, 4)
    if first == raw_link.MAGIC:
        return "link error", struct.unpack("<12xI", raw_link.exactly(sock, 16))[0]
    line = first
    while b"\r\n\r\n" not in line:
        line += raw_link.exactly(sock, 1)
    return "HTTP", int(line.split()[1])


class WebSocket:
    """Begins a WebSocket on a connected socket. What is sent is cut at random into
    frames and fragments, with a ping now and then."""

    def __init__(self, sock, origin=None, seed=0):
        self._sock = sock
        self._random = random.Random(seed)
        self._buffer = b""
        self._in_message = False
        self.pings = []
        self.pongs = []
        key = base64.b64encode(os.urandom(16))
        sock.sendall(request(key, origin))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += raw_link.exactly(sock, 1)
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        assert b"\r\nSec-WebSocket-Accept: " + accept + b"\r\n" in answer, answer

    def sendall(self, data):
        while data:
            length = 1 + int(LONGEST_FRAME * self._random.random() ** 4)
            part, data = data[:length], data[length:]
            opcode = CONTINUATION if self._in_message else BINARY
            self._in_message = bool(data) and self._random.random() < 0.5
            self._frame(opcode | (0 if self._in_message else FIN), part)
            if self._random.random() < 0.02:
                self.pings.append(os.urandom(self._random.randrange(126)))
                self._frame(FIN | PING, self.pings[-1])

    def recv(self, count):
        while not self._buffer:
            head, length = raw_link.exactly(self._sock, 2)
            assert not length & 0x80, "a server's frame has a mask"
            if length == 126:
                length, = struct.unpack(">H", raw_link.exactly(self._sock, 2))
            elif length == 127:
                length, = struct.unpack(">Q", raw_link.exactly(self._sock, 8))
            payload = raw_link.exactly(self._sock, length)
            if head == FIN | BINARY:
                self._buffer = payload
            elif head == FIN | PONG:
                self.pongs.append(payload)
            elif head == FIN | CLOSE:
                return b""
            else:
                raise AssertionError(f"a frame begins with {head:#x}")
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def close(self):
        self._sock.close()

    def _frame(self, head, payload):
        mask = os.urandom(4)
        length = len(payload)
        if length < 126:
            header = struct.pack(">BB", head, 0x80 | length)
        elif length < 1 << 16:
            header = struct.pack(">BBH", head, 0x80 | 126, length)
        else:
            header = struct.pack(">BBQ", head, 0x80 | 127, length)
        cover = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        hidden = (int.from_bytes(payload, "big") ^ cover).to_bytes(length, "big")
        self._sock.sendall(header + mask + hidden)

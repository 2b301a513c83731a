#!/usr/bin/env python3
"""A SPICE client that speaks the channel of a port: what it reads goes into the channel, what
comes out of the channel is written.

    channel-client.py HOST:PORT TYPE [ID]  <FILE >FILE

Standard input goes into the channel of this type; when it has ended and the channel has
been silent for three seconds, the program ends. SPICE_PASSWORD holds the password, if
there is one. Made to be copied: standard library only, and `openssl` for the password.
"""

import os
import select
import socket
import struct
import subprocess
import sys
import tempfile

MAIN = 1
AUTH_SELECTION, AUTH_SPICE, MINI_HEADER = 1 << 0, 1 << 1, 1 << 3
# Messages to the client; DATA is the same in both directions.
PING, INIT, CHANNELS_LIST, DATA, PORT_INIT, PORT_EVENT = 4, 103, 104, 101, 201, 202
# Messages from the client on the main channel.
PONG, ATTACH_CHANNELS = 3, 104
QUIET_SECONDS = 3


def read(sock, count):
    """Exactly so many bytes."""
    data = b""
    while len(data) < count:
        chunk = sock.recv(count - len(data))
        if not chunk:
            sys.exit("the server closed the connection")
        data += chunk
    return data


def link(address, kind, number=0, session=0):
    """Opens a connection and links it to a channel."""
    sock = socket.create_connection(address, 10)
    caps = AUTH_SELECTION | AUTH_SPICE | MINI_HEADER
    body = struct.pack("<IBBIIII", session, kind, number, 1, 0, 18, caps)
    sock.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(body)) + body)
    size = struct.unpack("<12xI", read(sock, 16))[0]
    reply = read(sock, size)
    error = struct.unpack_from("<I", reply)[0]
    if error:
        sys.exit(f"channel {kind}: the server answers with link error {error}")
    # 1: the password comes encrypted under the server's key.
    sock.sendall(struct.pack("<I", 1) + encrypt(reply[4:166]))
    result = struct.unpack("<I", read(sock, 4))[0]
    if result:
        sys.exit(f"channel {kind}: refused with link result {result}")
    return sock


def encrypt(key):
    with tempfile.NamedTemporaryFile() as file:
        file.write(key)
        file.flush()
        password = os.environ.get("SPICE_PASSWORD", "").encode() + b"\0"
        return subprocess.run(
            ["openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", file.name,
             "-pkeyopt", "rsa_padding_mode:oaep"],
            input=password, stdout=subprocess.PIPE, check=True).stdout


def message(kind, body=b""):
    return struct.pack("<HI", kind, len(body)) + body


def next_message(sock):
    kind, size = struct.unpack("<HI", read(sock, 6))
    return kind, read(sock, size)


def open_session(address):
    """The main channel: its socket, the session's number, and the channels there are."""
    sock = link(address, MAIN)
    session = 0
    while True:
        kind, body = next_message(sock)
        if kind == INIT:
            session = struct.unpack_from("<I", body)[0]
            sock.sendall(message(ATTACH_CHANNELS))
        elif kind == PING:
            sock.sendall(message(PONG, body[:12]))
        elif kind == CHANNELS_LIST:
            count = struct.unpack_from("<I", body)[0]
            return sock, session, [tuple(body[4 + 2 * n:6 + 2 * n]) for n in range(count)]


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    kind = int(sys.argv[2])
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    main_channel, session, channels = open_session((host, int(port)))
    print(f"channels: {channels}", file=sys.stderr)
    if (kind, number) not in channels:
        sys.exit(f"there is no channel of type {kind} with number {number}")
    channel = link((host, int(port)), kind, number, session)

    unsent, ended, opened, out = b"", False, False, sys.stdout.buffer
    while True:
        sources = [main_channel, channel]
        if opened and not unsent and not ended:
            sources.append(sys.stdin)
        quiet = QUIET_SECONDS if ended and not unsent else None
        readable, writable, _ = select.select(sources, [channel] if unsent else [], [], quiet)
        if not readable and not writable:
            return
        if sys.stdin in readable:
            data = os.read(sys.stdin.fileno(), 64 * 1024)
            ended = not data
            unsent = message(DATA, data) if data else b""
        if main_channel in readable:
            # A session lives as long as its main channel answers.
            kind, body = next_message(main_channel)
            if kind == PING:
                main_channel.sendall(message(PONG, body[:12]))
        if writable:
            unsent = unsent[channel.send(unsent):]
        if channel in readable:
            kind, body = next_message(channel)
            if kind == DATA:
                out.write(body)
                out.flush()
            elif kind == PORT_INIT:
                # Whether a program in the guest listens. What is sent before has to wait.
                opened = bool(body[8])
                print(f"port {body[9:-1].decode()}, opened: {opened}", file=sys.stderr)
            elif kind == PORT_EVENT:
                opened = opened or body[0] == 0
                print(f"port event {body[0]}", file=sys.stderr)


main()

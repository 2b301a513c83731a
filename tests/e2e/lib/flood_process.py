"""A program of its own that floods a SPICE port by eight processes, until its input ends:
`flood_process.py PORT KIND [RATE]`, at most RATE connections a second in all. Writes how
many connections that were.

What they do with each connection:

    silent  nothing; each process keeps its last 200 open
    open    the link message, the same
    noise   bytes that are not the protocol, until the server closes
    link    the link message, and leave when the answer has come
    wrong   the whole link with a wrong password
    mixed   silent, noise and link by turns
"""

import collections
import itertools
import mmap
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from lib import raw_link  # noqa: E402
from lib.process import end_with_parent  # noqa: E402

PROCESSES = 8
KEPT = 200
SECONDS = 20
COUNT = struct.Struct("<Q")


def silent(sock, kept):
    kept.append(sock)


def half_open(sock, kept):
    sock.sendall(raw_link.link_message(raw_link.MAIN))
    kept.append(sock)


def noise(sock, _kept):
    sock.sendall(b"this is not the protocol")
    while sock.recv(4096):
        pass


def link(sock, _kept):
    sock.sendall(raw_link.link_message(raw_link.MAIN))
    raw_link.link_reply(sock)


def wrong(sock, _kept):
    raw_link.link(sock, raw_link.MAIN, password="wrong")


KINDS = {"silent": [silent], "open": [half_open], "noise": [noise], "link": [link],
         "wrong": [wrong], "mixed": [silent, noise, link]}


def work(port, kind, pause, counts, number):
    """Until the process is killed; a connection every `pause` seconds at most."""
    kept = collections.deque(maxlen=KEPT)
    steps = KINDS[kind]
    due = time.monotonic()
    for count in itertools.count(1):
        # Who is late does not make up for it.
        due = max(due + pause, time.monotonic() - pause)
        time.sleep(max(0, due - time.monotonic()))
        try:
            sock = socket.create_connection(("127.0.0.1", port), SECONDS)
            steps[count % len(steps)](sock, kept)
        except (OSError, raw_link.Closed):
            pass  # the server may do with it what it likes
        COUNT.pack_into(counts, number * COUNT.size, count)


def main():
    port, kind = int(sys.argv[1]), sys.argv[2]
    pause = PROCESSES / float(sys.argv[3]) if len(sys.argv) > 3 else 0
    end_with_parent()
    counts = mmap.mmap(-1, PROCESSES * COUNT.size)
    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:
            end_with_parent()
            work(port, kind, pause, counts, number)
        children.append(child)
    sys.stdin.read()
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    print(sum(number for (number,) in COUNT.iter_unpack(counts[:PROCESSES * COUNT.size])))


main()

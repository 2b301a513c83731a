"""The guest's end of a stream device: a process in the guest that hands over prepared
messages and keeps what it is told."""

import base64
import struct

from . import flat_jpeg
from .waiting import Timeout, wait_until

NAME = "org.spice-space.stream.0"
CAPABILITIES, FORMAT, DATA, START_STOP, NOTIFY_ERROR, CURSOR_SET, CURSOR_MOVE, DISPLAY_INFO, \
    QUALITY = range(1, 10)
MJPEG, VP8, H264, VP9, H265 = range(1, 6)
ALPHA, MONO, COLOR24, COLOR32 = 0, 1, 5, 6

# What the host says when the port is opened, to a client that can decode MJPEG, and when
# there is no client any more.
CAPABILITIES_OF_HOST = (CAPABILITIES, b"\0")
START_MJPEG, STOP = (START_STOP, bytes([1, MJPEG])), (START_STOP, b"\0")

_HEADER = struct.Struct("<BBHI")
# A script for the guest's agent holds that much beside the words around it.
_PIECE = 1800


def message(kind, body=b"", size=None, version=1):
    return _HEADER.pack(version, 0, kind, len(body) if size is None else size) + body


def format_message(width, height, codec=MJPEG):
    return message(FORMAT, struct.pack("<IIB3x", width, height, codec))


def cursor_set(width, height, hot, data, kind=ALPHA):
    return message(CURSOR_SET, struct.pack("<HHHHB3x", width, height, *hot, kind) + data)


def cursor_move(x, y):
    return message(CURSOR_MOVE, struct.pack("<ii", x, y))


class Producer:
    """Has the port open from `open` to `close`; what comes from the host is kept."""

    def __init__(self, guest, name=NAME):
        self.guest = guest
        self.device = f"/dev/virtio-ports/{name}"
        self._name = name
        self._files = 0

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, kind, *_error):
        if kind is None:
            self.close()

    def open(self):
        # One writer for all messages: the port is open once, and stays so between them.
        # An agent's shell that has it open would keep it open.
        self._files += 1
        self.out = f"/tmp/stream.out{self._files}"
        self.guest.sh(f"""wait_host {self._name}; rm -f /tmp/stream.in; mkfifo /tmp/stream.in
            exec 4<>{self.device} 5<>/tmp/stream.in || exit
            cat <&4 >{self.out} 2>/dev/null 5<&- & echo $! >/tmp/stream.pids
            cat <&5 >&4 2>/dev/null & echo $! >>/tmp/stream.pids""", 20)
        self._read = 0

    def close(self):
        self.guest.sh("""kill $(cat /tmp/stream.pids) 2>/dev/null
            gone() { for p in $(cat /tmp/stream.pids); do
                [ ! -e /proc/$p ] || grep -q '^State:.Z' /proc/$p/status || return 1; done; }
            wait_until 10 gone""", 20)

    def send(self, *messages):
        """Hands messages over; the guest may still be busy with it."""
        data = b"".join(messages)
        if len(data) <= _PIECE:
            self.guest.sh(f"echo {_base64(data)} | base64 -d >/tmp/stream.in")
        else:
            self._prepare(data)
            self.guest.sh("cat /tmp/stream.next >/tmp/stream.in")

    def send_zeros(self, header, count):
        """A message's header and that many bytes of nothing."""
        self.guest.background(f"{{ printf '{_escaped(header)}'; head -c {count} /dev/zero; }} "
                              ">/tmp/stream.in", "zeros")

    def send_byte_by_byte(self, data):
        """Each byte is a write of its own."""
        self._prepare(data)
        self.guest.sh("dd if=/tmp/stream.next of=/tmp/stream.in bs=1 2>/dev/null")

    def send_numbered(self, count, size):
        """Frames of `size` bytes that begin with their number in eight digits, from a job
        named "numbered"; /tmp/numbered.sent is how many were handed over."""
        self.guest.background(f"""head -c {size - 8} /dev/zero >/tmp/numbered.rest
            echo 0 >/tmp/numbered.sent; exec 6>/tmp/stream.in
            for n in $(seq 0 {count - 1}); do
                {{ printf '{_escaped(message(DATA, size=size))}'; printf %08d $n
                   cat /tmp/numbered.rest; }} >&6
                echo $((n + 1)) >/tmp/numbered.next; mv /tmp/numbered.next /tmp/numbered.sent
            done""", "numbered")

    def send_padded(self, pictures, size, pause):
        """JPEGs as frames blown up by comments in them, `pause` seconds apart, from a job
        named "padded"."""
        comment = 32 << 10
        count = size // comment
        self.guest.sh(f"""{{ printf '{_escaped(flat_jpeg.comment(comment))}'
            head -c {comment - 4} /dev/zero; }} >/tmp/comment; rm -f /tmp/padded.*
            repeat_to /tmp/comment {count * comment} >/tmp/padding""")
        for number, picture in enumerate(pictures):
            start = message(DATA, picture[:2], size=len(picture) + count * comment)
            self.guest.sh(f"""{{ echo {_base64(start)} | base64 -d; cat /tmp/padding
                echo {_base64(picture[2:])} | base64 -d; }} >/tmp/padded.{number + 1000}""")
        self.guest.background(f"for f in /tmp/padded.*; do cat $f >/tmp/stream.in; "
                              f"usleep {round(pause * 1e6)}; done", "padded")

    def send_again_and_again(self, data):
        """Until `stop_sending`."""
        self._prepare(data)
        self.guest.background("""touch /tmp/stream.more
            while [ -e /tmp/stream.more ]; do
                cat /tmp/stream.next >/tmp/stream.in; usleep 20000; done""", "again")

    def stop_sending(self):
        self.guest.sh("rm /tmp/stream.more")
        self.guest.wait_job(job="again")

    def received(self):
        """The messages that came so far and were not taken: [(type, body)]."""
        status, data = self.guest.run(f"tail -c +{self._read + 1} {self.out}")
        assert status == 0, data
        found = []
        while len(data) >= _HEADER.size:
            version, _pad, kind, size = _HEADER.unpack_from(data)
            assert version == 1, f"the host says version {version}"
            if len(data) < _HEADER.size + size:
                break
            found.append((kind, data[_HEADER.size:_HEADER.size + size]))
            data = data[_HEADER.size + size:]
        return found

    def take(self, count, seconds=10):
        """Waits for that many messages and takes them."""
        came = []

        def enough():
            came[:] = self.received()
            return len(came) >= count
        try:
            wait_until(enough, seconds, f"{count} messages for the guest")
        except Timeout as error:
            raise Timeout(f"{error}; it received {came}") from None
        taken = came[:count]
        self._read += sum(_HEADER.size + len(body) for _kind, body in taken)
        return taken

    def _prepare(self, data):
        self.guest.sh("rm -f /tmp/stream.next")
        for start in range(0, len(data), _PIECE):
            self.guest.sh(f"echo {_base64(data[start:start + _PIECE])} | "
                          "base64 -d >>/tmp/stream.next")


def _base64(data):
    return base64.b64encode(data).decode()


def _escaped(data):
    """For printf in the guest's shell."""
    return "".join(f"\\{byte:03o}" for byte in data)

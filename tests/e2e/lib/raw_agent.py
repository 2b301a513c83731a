"""The agent's messages by hand, on either side: for what neither spice-gtk nor
spice-vdagentd would say, and to see each message as it is."""

import struct

from . import raw_link
from .vdagent import PORT_NAME
from .waiting import Deadline, wait_until

# What messages there are, as far as the tests look at them (vd_agent.h).
MOUSE_STATE, MONITORS_CONFIG, REPLY = 1, 2, 3
CLIPBOARD, ANNOUNCE_CAPABILITIES = 4, 6
CLIPBOARD_GRAB, CLIPBOARD_REQUEST, CLIPBOARD_RELEASE = 7, 8, 9
FILE_XFER_START, FILE_XFER_STATUS, FILE_XFER_DATA, CLIENT_DISCONNECTED = 10, 11, 12, 13

CAP_MONITORS_CONFIG, CAP_REPLY, CAP_CLIPBOARD, CAP_BY_DEMAND, CAP_SELECTION = 1, 2, 3, 5, 6
CAP_FILE_XFER_DISABLED = 13
CLIPBOARD_CAPS = {CAP_CLIPBOARD, CAP_BY_DEMAND, CAP_SELECTION}

TEXT = 1  # the clipboard type for UTF-8

_CHUNK = struct.Struct("<II")  # port, size
_HEAD = struct.Struct("<IIQI")  # protocol, type, opaque, size
FROM_CLIENT, FROM_SERVER = 1, 2  # a chunk's port


class ByHand:
    """The guest's end of the port, held by a shell: an agent that says what it is told
    to, and notes what it hears."""

    def __init__(self, guest):
        self.guest = guest
        guest.sh(f"""wait_until 10 test -e /dev/virtio-ports/{PORT_NAME} || exit
            mkfifo /tmp/say
            {{ wait_host {PORT_NAME}; cat <>/tmp/say >&4 &
               exec cat <&4 >/tmp/heard; }} 4<>/dev/virtio-ports/{PORT_NAME} &
            wait_until 10 test -e /tmp/heard""")

    def announce(self, *caps):
        self.say(ANNOUNCE_CAPABILITIES, struct.pack("<II", 0, sum(1 << cap for cap in caps)))

    def say(self, kind, data=b""):
        text = _HEAD.pack(1, kind, 0, len(data)) + data
        octal = "".join(f"\\{byte:03o}" for byte in _CHUNK.pack(FROM_CLIENT, len(text)) + text)
        self.guest.sh(f"printf '{octal}' >/tmp/say")

    def heard(self, source=FROM_CLIENT):
        """All complete messages so far: [(type, data)]."""
        status, data = self.guest.run("cat /tmp/heard")
        assert status == 0, data
        stream = b""
        while len(data) >= _CHUNK.size:
            port, size = _CHUNK.unpack_from(data)
            assert port in (FROM_CLIENT, FROM_SERVER), f"a chunk of port {port}"
            chunk, data = data[_CHUNK.size:_CHUNK.size + size], data[_CHUNK.size + size:]
            stream += chunk if port == source else b""
        return split(stream)

    def wait(self, kind, source=FROM_CLIENT, mark=0, seconds=20):
        """The data of the first message of this type behind `mark` messages."""
        def found():
            return [data for k, data in self.heard(source)[mark:] if k == kind]
        return wait_until(found, seconds, f"agent message {kind} in the guest", 0.1)[0]


def split(stream):
    """The messages in what one side of the agent has said: [(type, data)]. The stream
    must begin at a message; one that is cut off at the end is left out."""
    messages = []
    while len(stream) >= _HEAD.size:
        protocol, kind, _opaque, size = _HEAD.unpack_from(stream)
        assert protocol == 1 and kind <= 20, f"no agent message: {stream[:40].hex()}"
        if len(stream) < _HEAD.size + size:
            break
        messages.append((kind, stream[_HEAD.size:_HEAD.size + size]))
        stream = stream[_HEAD.size + size:]
    return messages


class RawClient:
    """A client that talks to the agent by hand."""

    START, DATA, FROM_AGENT = 106, 107, 109

    def __init__(self, port):
        self.session = raw_link.Session(port)
        self.stream = b""
        self.messages = []  # all that came: (type, data)
        self.session.main.sendall(raw_link.message(self.START, struct.pack("<I", 0xffffffff)))

    def say(self, kind, data=b""):
        text = _HEAD.pack(1, kind, 0, len(data)) + data
        self.session.main.sendall(raw_link.message(self.DATA, text))

    def ask_caps(self, *caps):
        self.say(ANNOUNCE_CAPABILITIES, struct.pack("<II", 1, sum(1 << cap for cap in caps)))

    def monitors(self, *sizes):
        """Sizes of monitors side by side, and nothing about millimetres."""
        data, left = struct.pack("<II", len(sizes), 1), 0
        for width, height in sizes:
            data += struct.pack("<IIIii", height, width, 32, left, 0)
            left += width
        self.say(MONITORS_CONFIG, data)

    def wait(self, wanted, seconds=20):
        """The data of the agent's next message of this type; others are dropped, as long
        as they are whole messages."""
        deadline = Deadline(seconds)
        while True:
            messages = split(self.stream)
            for kind, data in messages:
                self.stream = self.stream[_HEAD.size + len(data):]
                self.messages.append((kind, data))
                if kind == wanted:
                    return data
            self.session.main.settimeout(deadline.left() + 0.001)
            kind, body = raw_link.read_message(self.session.main)
            if kind == self.FROM_AGENT:
                self.stream += body

    def close(self):
        self.session.main.close()

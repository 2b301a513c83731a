"""What a client's playback and record channels carry, told as events. Part of the client
process (spice_client_process.py). What is played goes to a file, as samples of 16 bits for
each ear; what is recorded is a tone."""

import array
import ctypes
import math
import time

from gi.repository import GLib

RATE, EARS = 48000, 2
FRAME = 480
FRAME_MS = 1000 * FRAME // RATE

# The introspected call takes the data, their number of bytes is another argument.
_spice = ctypes.CDLL("libspice-client-glib-2.0.so.8")
_send_data = _spice.spice_record_send_data
_send_data.restype = None
_send_data.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32]


class Levels:
    """Volume and mute, told whenever they are set."""

    def __init__(self, client, name, channel, on):
        self.client = client
        self.name = name
        self.channel = channel
        on(channel, "notify::volume", self._changed)
        on(channel, "notify::mute", self._changed)

    def _changed(self, channel, _spec):
        count = channel.get_property("nchannels")
        pointer = channel.get_property("volume")
        volume = list((ctypes.c_uint16 * count).from_address(pointer)) if pointer else []
        self.client.tell("levels", channel=self.name, volume=volume,
                         mute=channel.get_property("mute"))


class Playback(Levels):
    """A playback channel."""

    def __init__(self, client, name, channel, on, path):
        super().__init__(client, name, channel, on)
        self.file = open(path, "wb", buffering=0)
        on(channel, "playback-start", self._start)
        on(channel, "playback-data", self._data)
        on(channel, "playback-stop", lambda _c: client.tell("sound-stop", channel=name))

    def _start(self, _channel, _format, ears, rate):
        self.client.tell("sound-start", channel=self.name, ears=ears, rate=rate)

    def _data(self, _channel, pointer, size):
        self.file.write(ctypes.string_at(pointer, size))


class Record(Levels):
    """A record channel with a tone in front of it, in real time."""

    def __init__(self, client, name, channel, on):
        super().__init__(client, name, channel, on)
        self.frequency = 1000
        self.timer = None
        on(channel, "record-start", self._start)
        on(channel, "record-stop", self._stop)

    def _start(self, _channel, _format, ears, rate):
        self.begin, self.sent = time.monotonic(), 0
        self.timer = GLib.timeout_add(FRAME_MS, self._speak)
        self.client.tell("sound-start", channel=self.name, ears=ears, rate=rate)

    def _stop(self, _channel):
        if self.timer is not None:
            GLib.source_remove(self.timer)
            self.timer = None
        self.client.tell("sound-stop", channel=self.name)

    def _speak(self):
        due = int((time.monotonic() - self.begin) * RATE)
        while self.sent + FRAME <= due:
            samples = array.array("h")
            for at in range(self.sent, self.sent + FRAME):
                value = int(10000 * math.sin(2 * math.pi * self.frequency * at / RATE))
                samples.extend([value] * EARS)
            data = samples.tobytes()
            _send_data(hash(self.channel), data, len(data), 0)
            self.sent += FRAME
        return True

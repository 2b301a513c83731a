"""A real SPICE client (spice-gtk's SpiceClientGLib, no window) in a process of its
own, driven by JSON lines over the socket whose number is the first argument.

Commands carry an "id" and are answered by {"reply": id, ...}; everything that
happens is told as {"event": ...}. Channels are named "port:0" (type:id). What a
port channel receives goes to the file named in its "channel-new" event; the
"data" events say how much there is.
"""

import ctypes
import json
import os
import random
import socket
import sys
from pathlib import Path

import gi

gi.require_version("SpiceClientGLib", "2.0")
from client_agent import AgentCommands  # noqa: E402
from client_display import Cursor, Display  # noqa: E402
from client_sound import Playback, Record  # noqa: E402
from gi.repository import GLib, GObject, SpiceClientGLib  # noqa: E402
from shared_cd import SharedCds  # noqa: E402

CHUNK = 64 * 1024
ODD_CHUNK = 200 * 1024
DATA_EVENT_MS = 50

# spice_port_channel_write_async keeps the pointer until its callback runs, which
# the introspected call cannot promise: it is called through ctypes.
_spice = ctypes.CDLL("libspice-client-glib-2.0.so.8")
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_write_async = _spice.spice_port_channel_write_async
_write_async.restype = None
_write_async.argtypes = [
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t,
    ctypes.c_void_p, _CALLBACK, ctypes.c_void_p,
]
_write_finish = _spice.spice_port_channel_write_finish
_write_finish.restype = ctypes.c_ssize_t
_write_finish.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]


def on(obj, signal, function):
    """SpiceSession and SpiceChannel have methods of their own called `connect`."""
    GObject.Object.connect(obj, signal, function)


def channel_name(channel):
    kind = channel.get_property("channel-type")
    return f"{SpiceClientGLib.Channel.type_to_string(kind)}:{channel.get_property('channel-id')}"


class Port:
    """What a port channel has received, and the transfer in the other direction."""

    def __init__(self, client, channel, path):
        self.client = client
        self.channel = channel
        self.name = channel_name(channel)
        self.path = path
        self.file = open(path, "wb", buffering=0)
        self.total = 0
        self.told = 0
        self.timer = None
        self.sending = None
        self.keep = None
        self.callback = _CALLBACK(self._written)
        on(channel, "port-data", self._data)
        on(channel, "port-event", self._event)
        on(channel, "notify::port-name", self._init)
        on(channel, "notify::port-opened", self._opened)

    def _init(self, channel, _spec):
        self.client.tell("port-init", channel=self.name, name=channel.get_property("port-name"))

    def _opened(self, channel, _spec):
        """Only changes are notified: a port that is closed at PORT_INIT says nothing."""
        self.client.tell("port-opened", channel=self.name,
                         opened=channel.get_property("port-opened"))

    def _event(self, _channel, event):
        self._flush()
        self.client.tell("port-event", channel=self.name, number=event)

    def _data(self, _channel, pointer, size):
        self.file.write(ctypes.string_at(pointer, size))
        self.total += size
        if self.timer is None:
            self.timer = GLib.timeout_add(DATA_EVENT_MS, self._flush_timer)

    def _flush_timer(self):
        self.timer = None
        self._flush()
        return False

    def _flush(self):
        if self.total != self.told:
            self.told = self.total
            self.client.tell("data", channel=self.name, total=self.total, path=self.path)

    def closed(self):
        """A write that waits may yet end well in spice-gtk's eyes: nobody asks then."""
        self._flush()
        self._fail("the channel ended")

    def send(self, transfer):
        self.sending = transfer
        self._send_next()

    def _send_next(self):
        # The buffer lives until the callback: `keep` is that promise.
        self.keep = self.sending.next_chunk()
        if self.keep:
            _write_async(hash(self.channel), self.keep, len(self.keep), None, self.callback, None)
        else:
            transfer, self.sending = self.sending, None
            self.client.reply(transfer.reply, sent=transfer.sent)

    def _written(self, channel, result, _data):
        error = ctypes.c_void_p()
        written = _write_finish(channel, result, ctypes.byref(error))
        if written < 0:
            self._fail("the write failed")
        elif self.sending:
            self._send_next()

    def _fail(self, why):
        if self.sending:
            transfer, self.sending = self.sending, None
            self.client.reply(transfer.reply, error=why, sent=transfer.sent)


class Transfer:
    """A file on its way to the server, in chunks of one size, or with a seed of random
    sizes, every sixth of them less than 1 KiB."""

    def __init__(self, reply, path, seed=None):
        self.reply = reply
        self.file = open(path, "rb")
        self.sizes = None if seed is None else random.Random(seed)
        self.sent = 0
        self.chunk = b""

    def next_chunk(self):
        """Asks for more only when the last chunk was taken; empty at the end."""
        self.sent += len(self.chunk)
        size = CHUNK if self.sizes is None else 1 + int(ODD_CHUNK * self.sizes.random() ** 3)
        self.chunk = self.file.read(size)
        return self.chunk


class Client(AgentCommands):
    """One session and its channels."""

    def __init__(self, sock, directory):
        super().__init__()
        self.sock = sock
        self.directory = directory
        self.buffer = b""
        self.fds = []
        self.loop = GLib.MainLoop()
        self.connect_types = set()
        self.channels = {}
        self.ports = {}
        self.sounds = {}
        self.displays = {}
        self.files = 0
        self.session = SpiceClientGLib.Session.new()
        self.cds = None
        self.cards = None
        self.wants_fd = {}
        on(self.session, "channel-new", self._channel_new)
        on(self.session, "channel-destroy", self._channel_destroy)
        on(self.session, "disconnected", lambda _s: self.tell("disconnected"))
        for prop in ("name", "uuid"):
            on(self.session, f"notify::{prop}", self._session_notify)
        on(self.session, "notify::migration-state", self._migration_notify)
        GLib.io_add_watch(sock.fileno(), GLib.PRIORITY_DEFAULT,
                          GLib.IOCondition.IN | GLib.IOCondition.HUP, self._readable)

    # ---- the control socket

    def _write(self, message):
        try:
            self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.loop.quit() # the test is gone

    def tell(self, event, **fields):
        self._write({"event": event, **fields})

    def reply(self, number, **fields):
        self._write({"reply": number, **fields})

    def _readable(self, _fd, _condition):
        data, fds, _flags, _address = socket.recv_fds(self.sock, 65536, 8)
        self.fds += fds
        if not data:
            self.loop.quit()
            return False
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            command = json.loads(line)
            number = command.pop("id")
            try:
                getattr(self, "do_" + command.pop("command"))(number, **command)
            except Exception as error: # the test must learn of every failure
                self.reply(number, error=f"{type(error).__name__}: {error}")
        return True

    # ---- what the session tells

    def _session_notify(self, session, spec):
        value = session.get_property(spec.name)
        if spec.name == "uuid":
            value = ctypes.string_at(value, 16).hex() if value else None
        self.tell("session", property=spec.name, value=value)

    def _migration_notify(self, session, _spec):
        self.tell("migration", state=session.get_property("migration-state").value_nick)

    def _channel_new(self, _session, channel):
        name = channel_name(channel)
        self.channels[name] = channel
        path = None
        if isinstance(channel, SpiceClientGLib.PortChannel):
            self.files += 1
            path = str(self.directory / f"{name.replace(':', '-')}.{self.files}.data")
            self.ports[name] = Port(self, channel, path)
        elif isinstance(channel, SpiceClientGLib.DisplayChannel):
            self.displays[name] = Display(self, name, channel, on)
        elif isinstance(channel, SpiceClientGLib.CursorChannel):
            Cursor(self, name, channel, on)
        elif isinstance(channel, SpiceClientGLib.PlaybackChannel):
            self.files += 1
            path = str(self.directory / f"{name.replace(':', '-')}.{self.files}.pcm")
            self.sounds[name] = Playback(self, name, channel, on, path)
        elif isinstance(channel, SpiceClientGLib.RecordChannel):
            self.sounds[name] = Record(self, name, channel, on)
        elif isinstance(channel, SpiceClientGLib.InputsChannel):
            on(channel, "inputs-modifiers", self._modifiers)
        self.tell("channel-new", channel=name, path=path)
        on(channel, "channel-event", self._channel_event)
        on(channel, "open-fd", self._channel_open_fd)
        if isinstance(channel, SpiceClientGLib.MainChannel):
            for prop in ("mouse-mode", "agent-connected"):
                on(channel, f"notify::{prop}", self._main_notify)
            self.watch_agent(channel)
        elif name.split(":")[0] in self.connect_types:
            SpiceClientGLib.Channel.connect(channel)

    def _main_notify(self, channel, spec):
        value = channel.get_property(spec.name)
        self.tell("main", property=spec.name, value=int(value))

    def _modifiers(self, channel):
        self.tell("modifiers", value=channel.get_property("key-modifiers"))

    def _channel_event(self, channel, event):
        name = channel_name(channel)
        if event != SpiceClientGLib.ChannelEvent.OPENED and name in self.ports:
            self.ports[name].closed()
        error = channel.get_error()
        self.tell("channel-event", channel=name, what=event.value_nick,
                  error=error.message if error else None)

    def _channel_destroy(self, _session, channel):
        name = channel_name(channel)
        if self.channels.get(name) is channel:
            del self.channels[name]
            self.ports.pop(name, None)
        self.tell("channel-destroy", channel=name)

    def _channel_open_fd(self, channel, _with_tls):
        """A session over given fds: the test makes one for each channel."""
        name = channel_name(channel)
        self.wants_fd[name] = channel
        self.tell("want-fd", channel=name)

    # ---- commands

    def do_open(self, number, connect=(), host=None, port=None, tls_port=None, ca_file=None,
                cert_subject=None, unix_path=None, password=None, usb=False, shared_dir=None,
                smartcard=None, username=None):
        self.connect_types = set(connect)
        for name, value in (("host", host), ("unix-path", unix_path), ("password", password),
                            ("username", username),
                            ("port", None if port is None else str(port)),
                            ("tls-port", None if tls_port is None else str(tls_port)),
                            ("ca-file", ca_file), ("cert-subject", cert_subject),
                            ("shared-dir", shared_dir)):
            if value is not None:
                self.session.set_property(name, value)
        if smartcard and self.cards is None:
            self._offer_card(**smartcard)
        if usb and self.cds is None:
            self.cds = SharedCds(SpiceClientGLib.UsbDeviceManager.get(self.session))
        self.reply(number, ok=SpiceClientGLib.Session.connect(self.session))

    def _offer_card(self, database, certificates):
        """A card in software: certificates by their names in an NSS database."""
        for name, value in (("enable-smartcard", True), ("smartcard-db", database),
                            ("smartcard-certificates", certificates)):
            self.session.set_property(name, value)
        self.cards = SpiceClientGLib.SmartcardManager.get()

    def do_open_fd(self, number, connect=(), password=None):
        self.connect_types = set(connect)
        if password is not None:
            self.session.set_property("password", password)
        self.reply(number, ok=SpiceClientGLib.Session.open_fd(self.session, self.fds.pop(0)))

    def do_give_fd(self, number, channel):
        ok = SpiceClientGLib.Channel.open_fd(self.wants_fd.pop(channel), self.fds.pop(0))
        self.reply(number, ok=ok)

    def do_connect_channel(self, number, channel):
        self.reply(number, ok=SpiceClientGLib.Channel.connect(self.channels[channel]))

    def do_disconnect_channel(self, number, channel):
        SpiceClientGLib.Channel.disconnect(
            self.channels[channel], SpiceClientGLib.ChannelEvent.CLOSED)
        self.reply(number)

    def do_close(self, number):
        SpiceClientGLib.Session.disconnect(self.session)
        self.reply(number)

    def do_list(self, number):
        self.reply(number, channels=sorted(self.channels))

    def do_send(self, number, channel, path, seed=None):
        self.ports[channel].send(Transfer(number, path, seed))

    def do_picture(self, number, channel, path):
        """Saves what a display channel shows as a PPM file; false if it shows nothing."""
        display = self.displays.get(channel)
        self.reply(number, saved=bool(display) and display.save(path))

    def do_port_state(self, number, channel):
        port = self.channels[channel]
        self.reply(number, name=port.get_property("port-name"),
                   opened=port.get_property("port-opened"))

    def do_port_event(self, number, channel, event):
        SpiceClientGLib.PortChannel.event(self.channels[channel], event)
        self.reply(number)

    def do_request_mouse_mode(self, number, mode):
        main = self.channels["main:0"]
        main.request_mouse_mode(mode)
        self.reply(number)

    def do_inputs(self, number, calls):
        """A list of calls of the inputs channel: [["key_press", 30], ...]."""
        for method, *arguments in calls:
            getattr(self.channels["inputs:0"], method)(*arguments)
        self.reply(number)

    def do_insert_card(self, number):
        self.reply(number, ok=self.cards.insert_card())

    def do_remove_card(self, number):
        self.reply(number, ok=self.cards.remove_card())

    def do_share_cd(self, number, path):
        self.cds.share(path, lambda **fields: self.reply(number, **fields))

    def do_unshare_cd(self, number, path):
        self.cds.unshare(path, lambda **fields: self.reply(number, **fields))


def main():
    sock = socket.socket(fileno=int(sys.argv[1]))
    client = Client(sock, Path(sys.argv[2]))
    client.tell("ready", pid=os.getpid())
    client.loop.run()


main()

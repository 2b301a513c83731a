"""The CD drives that spice-gtk emulates, shared with the guest over usbredir."""

import ctypes
from collections import deque

from gi.repository import GObject

_spice = ctypes.CDLL("libspice-client-glib-2.0.so.8")
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class _GError(ctypes.Structure):
    _fields_ = [("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p)]


def _function(name, result, *arguments):
    function = getattr(_spice, name)
    function.restype = result
    function.argtypes = arguments
    return function


_P = ctypes.c_void_p
_connect = _function("spice_usb_device_manager_connect_device_async", None,
                     _P, _P, _P, _CALLBACK, _P)
_connect_finish = _function("spice_usb_device_manager_connect_device_finish", ctypes.c_int,
                            _P, _P, ctypes.POINTER(ctypes.POINTER(_GError)))
_disconnect = _function("spice_usb_device_manager_disconnect_device_async", None,
                        _P, _P, _P, _CALLBACK, _P)
_disconnect_finish = _function("spice_usb_device_manager_disconnect_device_finish", ctypes.c_int,
                               _P, _P, ctypes.POINTER(ctypes.POINTER(_GError)))


class SharedCds:
    """The images that one client shares, by their paths; spice-gtk gives each a free
    redirection channel. It forgets an image when it is disconnected; another `share`
    makes a new one. Callbacks are kept: C holds plain pointers to them."""

    def __init__(self, manager):
        self.manager = manager
        self._devices = {}
        self._created = deque()
        self._kept = []
        GObject.Object.connect(manager, "device-added", self._added)

    def share(self, path, done):
        """The new device is announced by a signal, a turn of the main loop later."""
        self._created.append((path, done))
        if not self.manager.create_shared_cd_device(path):
            self._created.pop()
            done(error=f"spice-gtk shares no disc from {path}")

    def unshare(self, path, done):
        self._start(_disconnect, _disconnect_finish, self._devices.pop(path), done)

    def _added(self, _manager, device):
        if self._created:  # else it is a device of the host's own
            path, done = self._created.popleft()
            self._devices[path] = device
            self._start(_connect, _connect_finish, device, done)

    def _start(self, start, finish, device, done):
        def callback(source, result, _data):
            error = ctypes.POINTER(_GError)()
            if finish(source, result, ctypes.byref(error)):
                done()
            else:
                done(error=error.contents.message.decode() if error else "no reason given")

        self._kept.append((_CALLBACK(callback), device))
        start(hash(self.manager), hash(device), None, self._kept[-1][0], None)

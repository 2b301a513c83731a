"""What the guest's input devices report, recorded in the guest and read here."""

import struct

from .waiting import Timeout, wait_until

EV_SYN, EV_KEY, EV_REL, EV_ABS, EV_MSC, EV_LED = 0, 1, 2, 3, 4, 17
REL_X, REL_Y, REL_WHEEL = 0, 1, 8
ABS_X, ABS_Y = 0, 1
BTN_LEFT, BTN_RIGHT, BTN_MIDDLE, BTN_SIDE, BTN_EXTRA = 0x110, 0x111, 0x112, 0x113, 0x114
LED_NUML, LED_CAPSL, LED_SCROLLL = 0, 1, 2
AUTOREPEAT = 2

KEYBOARD = "AT Translated Set 2 keyboard"
MOUSE = "ImExPS/2 Generic Explorer Mouse"
USB_MOUSE = "QEMU QEMU USB Mouse"
TABLET = "QEMU QEMU USB Tablet"

_EVENT = struct.Struct("<qqHHi")  # seconds, microseconds, type, code, value
_WHEEL_HI_RES = 11


class Recorder:
    """One device by the name that the kernel gives it, from now on. What is read was
    written by `cat`, which hands on each event as it comes."""

    def __init__(self, guest, name, seconds=20):
        self.guest = guest
        self.name = name
        find = f"""node() {{ for d in /sys/class/input/event*; do
                [ "$(cat $d/device/name)" = "{name}" ] && node=/dev/input/${{d##*/}} && return; done
            false; }}
            wait_until {seconds} node || exit"""
        self.node = guest.sh(find + "; echo $node", seconds + 5)
        self._file = f"/tmp/{self.node.rsplit('/', 1)[-1]}.recorded"
        self._read = 0
        self._new = []
        # The shell has the device open before this returns: no event is missed.
        guest.sh(f"exec 4<{self.node}; rm -f {self._file}; cat <&4 >{self._file} 2>/dev/null &")

    def take(self):
        """What came since the last time, without repeats, the ends of packets, and lights
        (the kernel's own changes of those end no packet): [(type, code, value)]."""
        self._fetch()
        new, self._new = self._new, []
        return new

    def wait(self, enough, what, seconds=20):
        """Takes events until `enough(events)` of those that came since the last time."""
        try:
            wait_until(lambda: self._fetch() and enough(self._new), seconds, what)
        except Timeout as error:
            raise Timeout(f"{error}; the guest's {self.name} reported {self._new[-30:]}") from None
        return self.take()

    def expect(self, events, what="input events"):
        """Waits for as many events and compares."""
        events = [tuple(event) for event in events]
        came = self.wait(lambda new: len(new) >= len(events), what)
        assert came == events, f"{what}: {came} instead of {events}"

    def _fetch(self):
        status, data = self.guest.run(f"tail -c +{self._read + 1} {self._file}")
        assert status == 0, data
        whole = len(data) - len(data) % _EVENT.size
        self._read += whole
        for _s, _us, kind, code, value in _EVENT.iter_unpack(data[:whole]):
            noise = kind in (EV_SYN, EV_MSC, EV_LED) or (kind, value) == (EV_KEY, AUTOREPEAT) \
                or (kind, code) == (EV_REL, _WHEEL_HI_RES)
            if not noise:
                self._new.append((kind, code, value))
        return True


def write_event(guest, node, kind, code, value):
    """An event towards the device, like the state of a light."""
    events = _EVENT.pack(0, 0, kind, code, value) + _EVENT.pack(0, 0, EV_SYN, 0, 0)
    guest.sh("printf '%s' >%s" % ("".join(f"\\{byte:03o}" for byte in events), node))


def keyboard_lights(guest):
    """The lights of the keyboard as the kernel has them: scroll 1, num 2, caps 4."""
    names = guest.sh("cd /sys/class/leds; grep -l '^1' *lock/brightness; true").split()
    bits = {"scrolllock": 1, "numlock": 2, "capslock": 4}
    return sum(bits[name.split("/")[0].split("::")[1]] for name in names)

"""Keyboard, mouse and tablet: what a real client sends arrives in the guest's input
devices, in order, and nothing stays pressed when a client is lost."""

import struct

from lib import raw_link
from lib.bench import check
from lib.devices import MOUSE_CLIENT, MOUSE_SERVER, SPICE_TCP, USB_BUS
from lib.evdev import (
    ABS_X, ABS_Y, BTN_EXTRA, BTN_LEFT, BTN_MIDDLE, BTN_RIGHT, BTN_SIDE, EV_ABS, EV_KEY, EV_LED,
    EV_REL, KEYBOARD, LED_CAPSL, LED_NUML, LED_SCROLLL, MOUSE, REL_WHEEL, REL_X, REL_Y, TABLET,
    USB_MOUSE, Recorder, keyboard_lights, write_event,
)
from lib.waiting import wait_until

# Scan codes as spice-gtk takes them: 0x100 stands for the prefix 0xE0.
KEY_A, KEY_B, KEY_SPACE, KEY_LEFT_CTRL = 0x1e, 0x30, 0x39, 0x1d
CAPS_LOCK, NUM_LOCK, SCROLL_LOCK = 0x3a, 0x45, 0x46
EXTENDED = {
    0x11c: 96, 0x11d: 97, 0x135: 98, 0x137: 99, 0x138: 100, 0x147: 102, 0x148: 103, 0x149: 104,
    0x14b: 105, 0x14d: 106, 0x14f: 107, 0x150: 108, 0x151: 109, 0x152: 110, 0x153: 111,
    0x15b: 125, 0x15c: 126, 0x15d: 127,
}
RIGHT_CTRL, RIGHT_ALT, UP = 0x11d, 0x138, 0x148
EVDEV_PAUSE = 119
# For these Linux's codes are the scan codes. Without the locks, which have LEDs.
PLAIN = [code for code in [*range(1, 0x54), 0x57, 0x58]
         if code not in (CAPS_LOCK, NUM_LOCK, SCROLL_LOCK)]
# The PC's keyboard holds 16 bytes for the guest, and drops what comes when it is full: a
# key is 3 bytes or, extended, 5; Print is 10.
PLAIN_AT_A_TIME, EXTENDED_AT_A_TIME = 5, 2

SCROLL, NUM, CAPS = 1, 2, 4
LEFT, MIDDLE, RIGHT, WHEEL_UP, WHEEL_DOWN, SIDE, EXTRA = range(1, 8)
BUTTONS = {LEFT: BTN_LEFT, MIDDLE: BTN_MIDDLE, RIGHT: BTN_RIGHT, SIDE: BTN_SIDE,
           EXTRA: BTN_EXTRA}
NOTIFY, WARN, HIGH = 7, 1, 2
INIT, KEY_MODIFIERS, MOTION_ACK = 101, 102, 111
MAIN_INIT = 103
MOUSE_MODE = MOUSE_MODE_REQUEST = 105
MOTION = raw_link.message(111, struct.pack("<iiH", 0, 0, 0))
ABS_MAX = 0x7fff


def start_vm(bench):
    vm = bench.qemu(["-M", "pc", "-vga", "qxl"] + USB_BUS + SPICE_TCP, boot=True)
    vm.guest.wait_boot()
    vm.guest.sh("for m in evdev psmouse ehci_pci uhci_hcd usbhid hid_generic; do "
                "load $m || exit 1; done", 60)
    # The scroll lock is the console's, and only while somebody has it open.
    vm.guest.sh("sleep 3600 </dev/tty1 &")
    return vm


def connect(bench):
    client = bench.client()
    client.open(port=bench.vm.port, connect=["inputs"], opened="inputs:0")
    return client


def send(client, *calls):
    client.command("inputs", calls=calls)


def inputs_of(session, **options):
    """The inputs channel of a client by hand."""
    return raw_link.Messages(session.channel(raw_link.INPUTS), **options)


def evdev(code):
    return EXTENDED.get(code, code)


def typed(*codes):
    """The events of these keys, each pressed and released."""
    return [(EV_KEY, evdev(code), value) for code in codes for value in (1, 0)]


def type_keys(client, keyboard, codes, how):
    """Types keys a few at a time and compares what arrived."""
    many = EXTENDED_AT_A_TIME if max(codes) > 0xff else PLAIN_AT_A_TIME
    for start in range(0, len(codes), many):
        part = codes[start:start + many]
        send(client, *(call for code in part for call in how(code)))
        keyboard.expect(typed(*part), "keys in order")


def press_release(code):
    return ["key_press", code], ["key_release", code]


def press_and_release(code):
    """One message: KEY_SCANCODE."""
    return [["key_press_and_release", code]]


# ---- keyboard


@check
def every_key(bench):
    """Plain and extended keys, as two messages and as one with both scan codes."""
    keyboard = Recorder(bench.vm.guest, KEYBOARD)
    client = connect(bench)
    for how in (press_release, press_and_release):
        type_keys(client, keyboard, PLAIN, how)
        type_keys(client, keyboard, list(EXTENDED), how)
    client.close()


@check
def text_in_order(bench):
    """Three hundred keys of a text."""
    letters = dict(zip("qwertyuiop", range(0x10, 0x1a))) | dict(zip("asdfghjkl", range(0x1e, 0x27)))
    letters |= dict(zip("zxcvbnm", range(0x2c, 0x33))) | dict(zip("1234567890", range(2, 12)))
    letters[" "] = KEY_SPACE
    text = "the quick brown fox jumps over the lazy dog 1234567890 " * 6
    keyboard = Recorder(bench.vm.guest, KEYBOARD)
    client = connect(bench)
    type_keys(client, keyboard, [letters[letter] for letter in text[:300]], press_release)
    client.close()


@check
def held_keys_and_pause(bench):
    """Modifiers stay down while others are typed; the key whose scan code is three bytes
    is sent as clients with a window send it."""
    keyboard = Recorder(bench.vm.guest, KEYBOARD)
    client = connect(bench)
    send(client, ["key_press", KEY_LEFT_CTRL], ["key_press", RIGHT_ALT], *press_release(KEY_A))
    keyboard.expect([(EV_KEY, KEY_LEFT_CTRL, 1), (EV_KEY, evdev(RIGHT_ALT), 1), *typed(KEY_A)])
    send(client, ["key_release", RIGHT_ALT], *press_release(KEY_B),
         ["key_release", KEY_LEFT_CTRL])
    keyboard.expect([(EV_KEY, evdev(RIGHT_ALT), 0), *typed(KEY_B), (EV_KEY, KEY_LEFT_CTRL, 0)])
    send(client, ["key_press", 0x21d], ["key_press", NUM_LOCK],
         ["key_release", 0x21d], ["key_release", NUM_LOCK])
    keyboard.expect([(EV_KEY, EVDEV_PAUSE, 1), (EV_KEY, EVDEV_PAUSE, 0)], "pause")
    # Its third byte is the num lock key's, and Debian's library takes it for that: it
    # puts out a num lock that is not on.
    send(client, ["set_key_locks", 0], *press_release(KEY_A))
    if bench.library.name == "ours":
        keyboard.expect(typed(KEY_A))
    else:
        keyboard.expect(typed(NUM_LOCK, KEY_A))
        mark = client.events.mark()
        send(client, *press_release(NUM_LOCK))
        keyboard.expect(typed(NUM_LOCK))
        lights(bench, client, 0, mark)
    client.close()


def hold(bench, codes):
    """A client that holds keys down, and the guest has seen it."""
    keyboard = Recorder(bench.vm.guest, KEYBOARD)
    client = connect(bench)
    send(client, *(["key_press", code] for code in codes))
    keyboard.expect([(EV_KEY, evdev(code), 1) for code in codes])
    return client, keyboard


@check
def nothing_stays_pressed(bench):
    """A client is killed, ends its session or is pushed out by another one while it
    holds keys down: the guest sees them go up, and the next client's keys arrive."""
    held = [KEY_SPACE, RIGHT_CTRL, KEY_A, RIGHT_ALT, UP]
    for end in ("killed", "closed", "pushed out"):
        client, keyboard = hold(bench, held)
        if end == "killed":
            client.kill()
        elif end == "closed":
            client.close()
        else:
            other = connect(bench)
        came = keyboard.wait(lambda new: len(new) >= len(held), f"keys going up: {end}")
        assert sorted(came) == sorted((EV_KEY, evdev(code), 0) for code in held), f"{end}: {came}"
        bench.observe(f"order of release, {end}", came)
        if end != "pushed out":
            other = connect(bench)
        send(other, *press_release(KEY_B))
        keyboard.expect(typed(KEY_B))
        other.close()


@check
def released_keys_are_not_released_again(bench):
    """Keys that a client let go in time say nothing at its end."""
    client, keyboard = hold(bench, [KEY_A, RIGHT_CTRL])
    send(client, ["key_release", RIGHT_CTRL], ["key_release", KEY_A])
    keyboard.expect([(EV_KEY, evdev(RIGHT_CTRL), 0), (EV_KEY, KEY_A, 0)])
    client.kill()
    other = connect(bench)
    send(other, *press_release(KEY_B))
    keyboard.expect(typed(KEY_B))
    other.close()


# ---- lights


def lights(bench, client, value, mark):
    """The guest's lights are so, and the client has been told."""
    client.wait("modifiers", mark=mark, value=value)
    wait_until(lambda: keyboard_lights(bench.vm.guest) == value, 10, f"lights {value} in the guest")


@check
def client_sets_locks(bench):
    """The client's wish for its lights becomes key presses in the guest, whose lights
    come back to the client."""
    keyboard = Recorder(bench.vm.guest, KEYBOARD)
    client = connect(bench)
    bench.observe("lights at connect", client.wait("modifiers")["value"])
    state = 0
    for wish in (CAPS, CAPS | NUM, NUM, SCROLL | NUM, SCROLL | NUM | CAPS, 0):
        mark = client.events.mark()
        send(client, ["set_key_locks", wish])
        keys = [code for bit, code in ((SCROLL, SCROLL_LOCK), (NUM, NUM_LOCK), (CAPS, CAPS_LOCK))
                if (wish ^ state) & bit]
        keyboard.expect(typed(*keys), f"lock keys from {state} to {wish}")
        lights(bench, client, wish, mark)
        state = wish
    # What is so already needs no key.
    send(client, ["set_key_locks", 0], *press_release(KEY_A))
    keyboard.expect(typed(KEY_A))
    client.close()


@check
def client_types_locks(bench):
    """Lock keys are keys like others; the guest's light follows and is told."""
    keyboard = Recorder(bench.vm.guest, KEYBOARD)
    client = connect(bench)
    client.wait("modifiers")
    for code, bit in ((CAPS_LOCK, CAPS), (NUM_LOCK, NUM), (SCROLL_LOCK, SCROLL)):
        for wanted in (bit, 0):
            mark = client.events.mark()
            send(client, *press_release(code))
            keyboard.expect(typed(code))
            lights(bench, client, wanted, mark)
    client.close()


@check
def guest_sets_lights(bench):
    """What a program in the guest does to the keyboard's lights reaches the client; the
    next client hears of it when it connects."""
    guest = bench.vm.guest
    keyboard = Recorder(guest, KEYBOARD)
    client = connect(bench)
    client.wait("modifiers")
    for led, bit in ((LED_CAPSL, CAPS), (LED_NUML, NUM), (LED_SCROLLL, SCROLL)):
        for value in (1, 0):
            mark = client.events.mark()
            write_event(guest, keyboard.node, EV_LED, led, value)
            lights(bench, client, value * bit, mark)
    mark = client.events.mark()
    write_event(guest, keyboard.node, EV_LED, LED_CAPSL, 1)
    lights(bench, client, CAPS, mark)
    client.close()
    # spice-gtk would put the light out: it brings its own idea of the locks.
    session = raw_link.Session(bench.vm.port)
    with session.main, inputs_of(session) as inputs:
        assert inputs.next() == (INIT, struct.pack("<H", CAPS))
        write_event(guest, keyboard.node, EV_LED, LED_CAPSL, 0)
        assert inputs.next() == (KEY_MODIFIERS, struct.pack("<H", 0))


@check
def lock_while_the_guest_stands_still(bench):
    """A guest that is stopped cannot answer a lock key: two seconds later the server
    tells what it takes the lights to be."""
    vm = bench.vm
    told = lambda client, value, mark: client.wait("modifiers", mark=mark, value=value)
    client = connect(bench)
    client.wait("modifiers", value=0)
    vm.qmp.command("stop")
    for wanted in (CAPS, 0):
        mark = client.events.mark()
        send(client, *press_release(CAPS_LOCK))
        told(client, wanted, mark)
    # Several within the two seconds are told once.
    mark = client.events.mark()
    send(client, *press_release(CAPS_LOCK), *press_release(NUM_LOCK), *press_release(CAPS_LOCK),
         *press_release(NUM_LOCK), *press_release(SCROLL_LOCK))
    told(client, SCROLL, mark)
    send(client, *press_release(SCROLL_LOCK))
    told(client, 0, mark)
    assert [e["value"] for e in client.seen("modifiers", mark)] == [SCROLL, 0]
    vm.qmp.command("cont")
    client.close()


# ---- mouse


def sum_of(events, code):
    return sum(value for kind, axis, value in events if (kind, axis) == (EV_REL, code))


@check
def mouse_moves(bench):
    """Two hundred motions, far more than may be under way without acknowledgement: the
    pointer goes where they lead. On a USB mouse: the PC's own keeps back what does not
    fit until the next one."""
    client = connect(bench)
    client.wait("main", property="mouse-mode", value=MOUSE_SERVER)
    with Plugged(bench, "usb-mouse", USB_MOUSE) as mouse:
        for way in ((3, -2), (-1, 1), (5, 0)):
            send(client, *(["motion", *way, 0] for _ in range(200)))
            events = mouse.wait(lambda new: (sum_of(new, REL_X), sum_of(new, REL_Y))
                                == (200 * way[0], 200 * way[1]), "the way of 200 motions")
            assert all(kind == EV_REL for kind, _, _ in events), events
            mouse_is_quiet(client, mouse)
        turn_wheel(client, mouse)
    client.close()


def mouse_is_quiet(client, mouse):
    """A button shows that nothing else is on its way."""
    send(client, ["button_press", LEFT, 1 << LEFT - 1], ["button_release", LEFT, 0])
    mouse.expect([(EV_KEY, BTN_LEFT, 1), (EV_KEY, BTN_LEFT, 0)])


@check
def mouse_buttons(bench):
    """Every button alone and with the others held, and while the mouse moves."""
    mouse = Recorder(bench.vm.guest, MOUSE)
    client = connect(bench)
    buttons_one_by_one(client, mouse)
    send(client, ["button_press", LEFT, 1 << LEFT - 1])
    mouse.expect([(EV_KEY, BTN_LEFT, 1)])
    send(client, ["motion", 7, 9, 1 << LEFT - 1])
    mouse.expect([(EV_REL, REL_X, 7), (EV_REL, REL_Y, 9)], "a drag")
    send(client, ["button_release", LEFT, 0])
    mouse.expect([(EV_KEY, BTN_LEFT, 0)])
    client.close()


def buttons_one_by_one(client, pointer):
    held = 0
    for button, code in BUTTONS.items():
        held |= 1 << button - 1
        send(client, ["button_press", button, held])
        pointer.expect([(EV_KEY, code, 1)], f"button {button}")
    for button, code in BUTTONS.items():
        held &= ~(1 << button - 1)
        send(client, ["button_release", button, held])
        pointer.expect([(EV_KEY, code, 0)], f"button {button}")


def turn_wheel(client, pointer):
    """Each notch is a press and a release."""
    for button, way in ((WHEEL_UP, 1), (WHEEL_UP, 1), (WHEEL_DOWN, -1), (WHEEL_UP, 1)):
        send(client, ["button_press", button, 1 << button - 1], ["button_release", button, 0])
        pointer.expect([(EV_REL, REL_WHEEL, way)], "a notch of the wheel")


@check
def mouse_wheel(bench):
    mouse = Recorder(bench.vm.guest, MOUSE)
    client = connect(bench)
    turn_wheel(client, mouse)
    mouse_is_quiet(client, mouse)
    client.close()


@check
def mouse_without_its_client(bench):
    """Whether a button that a killed client held goes up by itself is told, not judged."""
    mouse = Recorder(bench.vm.guest, MOUSE)
    client = connect(bench)
    send(client, ["button_press", RIGHT, 1 << RIGHT - 1])
    mouse.expect([(EV_KEY, BTN_RIGHT, 1)])
    client.kill()
    other = connect(bench)
    send(other, ["motion", 1, 1, 0])
    came = mouse.wait(lambda new: (EV_REL, REL_Y, 1) in new, "the next client's motion")
    bench.observe("after a client that held a button", came)
    mouse_is_quiet(other, mouse)
    other.close()


@check
def motion_acknowledged(bench):
    """One acknowledgement for four messages about motion, whether they have an effect
    in this mode or not, and for nothing else."""
    bench.expect_stderr(r"Spice: .*message type 99")
    session = raw_link.Session(bench.vm.port)
    with session.main, inputs_of(session) as inputs:
        kind, body = inputs.next()
        assert (kind, len(body)) == (INIT, 2), (kind, body)
        position = raw_link.message(112, struct.pack("<IIHB", 10, 10, 0, 0))
        buttons = raw_link.message(114, struct.pack("<BH", LEFT, 0)) * 8
        for step, acks in ((MOTION * 4, 1), (buttons + MOTION * 3, 0), (MOTION, 1),
                           (position * 8, 2), (MOTION * 2 + position * 2, 1), (MOTION * 400, 100)):
            inputs.send(step)
            for _ in range(acks):
                assert inputs.next() == (MOTION_ACK, b"")
        inputs.send(MOTION * 3 + raw_link.message(99))
        assert inputs.rest() == [], "more acknowledgements than motions"


# ---- tablet


class Plugged:
    """A USB device plugged in and recorded; pulled out at the end of the block."""

    def __init__(self, bench, driver, name):
        self.vm = bench.vm
        self.driver = driver
        self.name = name

    def __enter__(self):
        return self.plug()

    def __exit__(self, kind, *_error):
        if kind is None:
            self.unplug()

    def plug(self):
        self.vm.qmp.command("device_add", driver=self.driver, bus="usb.0", id="plugged")
        return Recorder(self.vm.guest, self.name)

    def unplug(self):
        mark = self.vm.qmp.events.mark()
        self.vm.qmp.command("device_del", id="plugged")
        self.vm.qmp.wait_event("DEVICE_DELETED", mark=mark,
                               matches=lambda data: data.get("device") == "plugged")


def tablet_of(bench):
    return Plugged(bench, "usb-tablet", TABLET)


def mode(vm):
    return vm.qmp.command("query-spice")["mouse-mode"]


def wait_mode(bench, client, wanted, mark=0):
    client.wait("main", mark=mark, property="mouse-mode", value=wanted)
    name = {MOUSE_SERVER: "server", MOUSE_CLIENT: "client"}[wanted]
    wait_until(lambda: mode(bench.vm) == name, 10, f"mouse mode {name} in query-spice")


def screen_size(bench):
    path = bench.logs / "screen.ppm"
    bench.vm.qmp.command("screendump", filename=str(path))
    with open(path, "rb") as file:
        file.readline()
        return tuple(map(int, file.readline().split()))


@check
def tablet_places_the_pointer(bench):
    """Positions arrive scaled to the tablet's range, in order."""
    client = connect(bench)
    client.wait("main", property="mouse-mode", value=MOUSE_SERVER)
    with tablet_of(bench) as tablet:
        wait_mode(bench, client, MOUSE_CLIENT)
        width, height = screen_size(bench)
        bench.observe("screen", [width, height])
        for x, y in ((width // 2, height // 2), (1, 2), (width - 1, 7), (100, height - 1)):
            send(client, ["position", x, y, 0, 0])
            tablet.expect([(EV_ABS, ABS_X, x * ABS_MAX // width),
                                    (EV_ABS, ABS_Y, y * ABS_MAX // height)], "a position")
        # A line drawn at once: a point may be left out, the last one may not.
        points = [(10 + 4 * n, 20 + 2 * n) for n in range(60)]
        send(client, *(["position", x, y, 0, 0] for x, y in points))
        last = (EV_ABS, ABS_Y, points[-1][1] * ABS_MAX // height)
        line = tablet.wait(lambda new: last in new, "the end of a line")
        for axis in (ABS_X, ABS_Y):
            way = [value for _kind, code, value in line if code == axis]
            assert way == sorted(way), f"positions out of order: {way}"
        mark = client.events.mark()
    wait_mode(bench, client, MOUSE_SERVER, mark)
    client.close()


@check
def tablet_buttons_and_wheel(bench):
    client = connect(bench)
    with tablet_of(bench) as tablet:
        wait_mode(bench, client, MOUSE_CLIENT)
        send(client, ["position", 50, 60, 0, 0])
        tablet.wait(lambda new: len(new) >= 2, "a position")
        for button in (LEFT, MIDDLE, RIGHT):
            send(client, ["button_press", button, 1 << button - 1])
            tablet.expect([(EV_KEY, BUTTONS[button], 1)])
            send(client, ["button_release", button, 0])
            tablet.expect([(EV_KEY, BUTTONS[button], 0)])
        turn_wheel(client, tablet)
        # A button that is held while the pointer moves.
        send(client, ["button_press", LEFT, 1 << LEFT - 1])
        tablet.expect([(EV_KEY, BTN_LEFT, 1)])
        send(client, ["position", 70, 80, 0, 1 << LEFT - 1])
        moved = tablet.wait(lambda new: len(new) >= 2, "a drag")
        assert all(kind == EV_ABS for kind, _, _ in moved), moved
        send(client, ["button_release", LEFT, 0])
        tablet.expect([(EV_KEY, BTN_LEFT, 0)])
    client.close()


@check
def tablet_comes_and_goes(bench):
    """The mouse mode follows the tablet, and in each mode the right device moves."""
    mouse = Recorder(bench.vm.guest, MOUSE)
    client = connect(bench)
    client.wait("main", property="mouse-mode", value=MOUSE_SERVER)
    for _ in range(3):
        mark = client.events.mark()
        with tablet_of(bench) as tablet:
            wait_mode(bench, client, MOUSE_CLIENT, mark)
            send(client, ["motion", 3, 3, 0], ["position", 30, 40, 0, 0])
            tablet.wait(lambda new: len(new) >= 2, "a position")
            mark = client.events.mark()
        wait_mode(bench, client, MOUSE_SERVER, mark)
        send(client, ["position", 99, 99, 0, 0], ["motion", 5, 6, 0])
        mouse.expect([(EV_REL, REL_X, 5), (EV_REL, REL_Y, 6)], "a motion without the tablet")
    client.close()


@check
def mouse_mode_by_request(bench):
    """A client may choose while there is a choice; what is not allowed or not a mode is
    without effect. The mode stays for the next client."""
    bench.expect_stderr(r"Spice: .*mouse mode")
    client = connect(bench)
    client.wait("main", property="mouse-mode", value=MOUSE_SERVER)
    client.command("request_mouse_mode", mode=MOUSE_CLIENT)
    tablet = tablet_of(bench)
    with tablet:
        wait_mode(bench, client, MOUSE_CLIENT)
        for wish in (MOUSE_SERVER, MOUSE_CLIENT):
            mark = client.events.mark()
            client.command("request_mouse_mode", mode=wish)
            wait_mode(bench, client, wish, mark)
        client.close()
    tablet.plug()
    sock = raw_link.connect(bench.vm.port)
    assert raw_link.link(sock, raw_link.MAIN) == raw_link.LINK_OK
    with raw_link.Messages(sock) as main:
        modes = [struct.unpack_from("<II", main.next(MAIN_INIT)[1], 8)]
        told = lambda: struct.unpack("<HH", main.next(MOUSE_MODE)[1])
        for wish in (3, 0, MOUSE_CLIENT, MOUSE_CLIENT, MOUSE_SERVER, MOUSE_SERVER, MOUSE_CLIENT):
            main.send(raw_link.message(MOUSE_MODE_REQUEST, struct.pack("<H", wish)))
        modes += [told() for _ in range(3)]
        tablet.unplug()
        modes.append(told())
    bench.observe("supported and current modes", modes)
    assert modes == [(3, 1), (3, 2), (3, 1), (3, 2), (1, 1)], modes


# ---- what is said of an insecure keyboard


def notify_of(session):
    """The first NOTIFY on main: all fields but the time."""
    with inputs_of(session) as inputs:
        inputs.next(INIT)
        _kind, body = raw_link.Messages(session.main).next(NOTIFY)
        time, severity, visibility, what, length = struct.unpack_from("<QIIII", body)
        assert time > 0 and len(body) == 24 + length + 1 and body[-1] == 0, body
        # The words are each library's own.
        assert body[24:].startswith(b"keyboard channel is "), body
        return [severity, visibility, what]


@check
def insecure_keyboard_is_told(bench):
    """Each plain connection of the inputs channel, also over a unix socket."""
    session = raw_link.Session(bench.vm.port)
    with session.main:
        notes = [notify_of(session), notify_of(session)]
    path = bench.logs / "spice.sock"
    vm = bench.own_vm(["-M", "pc", "-spice", f"unix=on,addr={path},disable-ticketing=on"])
    session = raw_link.Session(str(path))
    with session.main:
        notes.append(notify_of(session))
    bench.quit_cleanly(vm)
    bench.observe("notes", notes)
    assert notes == [[WARN, HIGH, 0]] * 3, notes


# ---- what no honest client sends


BAD_MESSAGES = {
    "unknown type 99": raw_link.message(99, bytes(8)),
    "unknown type 105": raw_link.message(105, bytes(8)),
    "unknown type 110": raw_link.message(110, bytes(8)),
    "unknown type 115": raw_link.message(115, bytes(8)),
    "unknown type 65535": raw_link.message(65535),
    "key down without a body": raw_link.message(101),
    "key down of 3 bytes": raw_link.message(101, b"\x1e\0\0"),
    "key down of 5 bytes": raw_link.message(101, b"\x1e\0\0\0\0"),
    "key down of ones": raw_link.message(101, b"\xff" * 4),
    "key up of 3 bytes": raw_link.message(102, b"\x9e\0\0"),
    "key up": raw_link.message(102, b"\x9e\0\0\0"),
    "lights of 1 byte": raw_link.message(103, b"\0"),
    "lights 0xfff8": raw_link.message(103, b"\xf8\xff"),
    "scan codes, none": raw_link.message(104),
    "scan codes, one": raw_link.message(104, b"\x9e"),
    "scan codes, 2048": raw_link.message(104, b"\x1e\x9e" * 1024),
    "scan codes, 2049": raw_link.message(104, b"\x9e" * 2049),
    "scan codes, 2^32-1": struct.pack("<HI", 104, 0xffffffff) + bytes(1000),
    "motion of 9 bytes": raw_link.message(111, bytes(9)),
    "motion far away": raw_link.message(111, struct.pack("<iiH", -1 << 31, (1 << 31) - 1, 0xffff)),
    "position of 10 bytes": raw_link.message(112, bytes(10)),
    "position far away": raw_link.message(112, b"\xff" * 11),
    "press of 2 bytes": raw_link.message(113, b"\1\0"),
    "press of button 0": raw_link.message(113, b"\0\0\0"),
    "press of button 255": raw_link.message(113, b"\xff\xff\xff"),
    "release of 2 bytes": raw_link.message(114, b"\1\0"),
    "release of button 255": raw_link.message(114, b"\xff\0\0"),
    "zeros": bytes(600),
    "ones": b"\xff" * 600,
}


def answers(main):
    """Whether the main channel still does what it is asked."""
    main.sendall(raw_link.message(raw_link.Session.ATTACH_CHANNELS))
    try:
        raw_link.Messages(main).next(raw_link.Session.CHANNELS_LIST)
    except (raw_link.Closed, ConnectionError):
        return False
    return True


def fate(inputs, data):
    """What becomes of a channel that gets this: one that lives acknowledges motions."""
    try:
        inputs.send(data, MOTION * 4)
        inputs.next(MOTION_ACK)
        return "lives"
    except TimeoutError:
        return "waits"
    except (raw_link.Closed, ConnectionError):
        return "closed"


@check
def bad_messages(bench):
    """The inputs channel ends, or the message is without harm; the session goes on, and
    the machine with it."""
    bench.expect_stderr(r"Spice:")
    vm = bench.vm
    results = {}
    for name, data in BAD_MESSAGES.items():
        session = raw_link.Session(vm.port)
        with session.main, inputs_of(session, seconds=2) as inputs:
            inputs.next(INIT)
            results[name] = [fate(inputs, data), "main lives" if answers(session.main) else "main too"]
        assert vm.status() == "running", name
    bench.observe("results", results)
    for name in ("unknown type 99", "key down of 3 bytes", "scan codes, none", "scan codes, 2049"):
        assert results[name][0] == "closed", (name, results[name])
    keyboard = Recorder(vm.guest, KEYBOARD)
    client = connect(bench)
    send(client, *press_release(KEY_A))
    keyboard.expect(typed(KEY_A), "a key after all that")
    client.close()

"""The stream device on the wire: what its channels say, at what pace, what happens to
messages that no honest guest or client sends. The client is made by hand."""

import struct

from lib import raw_link
from lib.bench import check
from lib.devices import MOUSE_SERVER, SERIAL_BUS, SPICE_TCP, USB_BUS, port
from lib.evdev import TABLET, Recorder
from lib.stream_device import (
    ALPHA, CAPABILITIES, CAPABILITIES_OF_HOST, COLOR24, COLOR32, CURSOR_MOVE, CURSOR_SET, DATA,
    DISPLAY_INFO, FORMAT, H264, MONO, NAME, NOTIFY_ERROR, QUALITY, START_MJPEG, START_STOP, STOP,
    VP8, Producer, cursor_move, cursor_set, format_message, message,
)
from lib.waiting import settled

KIB, MIB = 1 << 10, 1 << 20

# Messages and capabilities of the display, the main and the cursor channel.
INVAL_ALL_PALETTES = 108
STREAM_CREATE, STREAM_DATA = 122, 123
SURFACE_DESTROY, ACTIVATE_REPORT = 315, 319
MAIN_INIT, CURSOR_INIT = 103, 101
MONITORS, STREAM_REPORT, MULTI_CODEC = 1 << 1, 1 << 4, 1 << 8
CODEC_MJPEG, CODEC_VP8, CODEC_H264, CODEC_VP9, CODEC_H265 = (1 << bit for bit in (9, 10, 11, 13, 14))
EVERY_CODEC = CODEC_MJPEG | CODEC_VP8 | CODEC_H264 | CODEC_VP9 | CODEC_H265


def start_vm(bench):
    vm = bench.qemu(["-M", "pc", "-vga", "none"] + SERIAL_BUS + port(1, NAME) + SPICE_TCP,
                    boot=True)
    vm.guest.wait_boot()
    return vm


def producer_of(bench):
    return Producer(bench.vm.guest)


class Wire:
    """A session by hand with the stream's display channel, and what the guest was told."""

    def __init__(self, bench, caps=MONITORS | STREAM_REPORT | MULTI_CODEC | EVERY_CODEC):
        self.session = raw_link.Session(bench.vm.port)
        self.display = raw_link.Messages(
            self.session.channel(raw_link.DISPLAY, channel_caps=(caps,)))

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.display.sock.close()
        self.session.main.close()

    def cursor(self):
        return raw_link.Messages(self.session.channel(raw_link.CURSOR))


def written(messages):
    """For a human eye: the types and bodies; the time of a frame is not a fact."""
    return [[kind, (body[:4] + b"time" + body[8:] if kind == STREAM_DATA else body).hex()]
            for kind, body in messages]


@check
def channels_of_a_port_never_opened(bench):
    """Display and cursor are there as soon as a client comes, before the guest has
    opened the port."""
    with raw_link.Session(bench.vm.port).main:
        pass
    session = raw_link.Session(bench.vm.port)
    with session.main:
        bench.observe("channels", session.channels)
        assert (raw_link.DISPLAY, 0) in session.channels, session.channels
        assert (raw_link.CURSOR, 0) in session.channels, session.channels
        caps = {}
        for kind in (raw_link.DISPLAY, raw_link.CURSOR):
            with raw_link.connect(bench.vm.port) as sock:
                sock.sendall(raw_link.link_message(kind, 0, session.id))
                error, key, caps[kind] = raw_link.whole_reply(sock)
                assert error == raw_link.LINK_OK
                assert raw_link.authenticate(sock, key) == raw_link.LINK_OK
        bench.observe("capabilities", caps)


@check
def display_messages(bench):
    """What goes over the display channel from connecting to the port's end."""
    with Wire(bench) as wire, producer_of(bench) as producer:
        assert producer.take(2) == [
            CAPABILITIES_OF_HOST, (START_STOP, bytes([5, 1, 2, 3, 4, 5]))]
        seen = {"connected": wire.display.until(INVAL_ALL_PALETTES)}
        steps = {
            "format": ([message(DATA, b"too early"), format_message(64, 48)], ACTIVATE_REPORT),
            "frame": ([message(DATA, b""), message(DATA, b"frame")], STREAM_DATA),
            "same format": ([format_message(64, 48)], ACTIVATE_REPORT),
            "another codec": ([format_message(64, 48, H264)], ACTIVATE_REPORT),
            "frame of another codec": ([message(DATA, b"h264")], STREAM_DATA),
            "another size": ([format_message(128, 48)], ACTIVATE_REPORT),
        }
        for name, (messages, last) in steps.items():
            producer.send(*messages)
            seen[name] = wire.display.until(last)
        # Debian's library looks up a surface's size when it sends the message, and may tell
        # the second size twice.
        producer.send(format_message(16, 16), format_message(32, 32, VP8))
        both = wire.display.until(ACTIVATE_REPORT) + wire.display.until(ACTIVATE_REPORT)
        bench.observe("two formats at once", [kind for kind, _ in both])
        seen["the second of them"] = both[len(both) // 2:]
        producer.close()
        seen["closed"] = wire.display.until(SURFACE_DESTROY)
        producer.open()
        assert producer.take(2)[0] == CAPABILITIES_OF_HOST
        producer.send(format_message(48, 64))
        seen["opened"] = wire.display.until(ACTIVATE_REPORT)
        bench.observe("messages", {name: written(part) for name, part in seen.items()})


@check
def display_messages_for_old_clients(bench):
    """A client that knows of no capability gets neither monitors nor reports."""
    with Wire(bench, caps=0) as wire, producer_of(bench) as producer:
        assert producer.take(2) == [CAPABILITIES_OF_HOST, START_MJPEG]
        producer.send(format_message(64, 48), message(DATA, b"frame"))
        seen = wire.display.until(STREAM_DATA)
        producer.send(format_message(64, 64), message(DATA, b"frame"))
        seen += wire.display.until(STREAM_DATA)
        bench.observe("messages", written(seen))


@check
def codecs_of_the_client(bench):
    """The guest is told what the client can decode."""
    with producer_of(bench) as producer:
        assert producer.take(1) == [CAPABILITIES_OF_HOST]
        told = {}
        for name, caps in {"none": 0, "multi codec alone": MULTI_CODEC, "mjpeg": CODEC_MJPEG,
                           "vp8, not multi codec": CODEC_VP8, "vp8": MULTI_CODEC | CODEC_VP8,
                           "h264, mjpeg": MULTI_CODEC | CODEC_MJPEG | CODEC_H264,
                           "vp9, h265": MULTI_CODEC | CODEC_VP9 | CODEC_H265}.items():
            with Wire(bench, caps=caps):
                told[name] = [(kind, list(body)) for kind, body in producer.take(1)]
            assert producer.take(1) == [STOP], name
        bench.observe("codecs", told)


@check
def cursor_messages(bench):
    """Every kind of shape that is allowed, data that is too long, and moves; the last shape
    and position are there for the next client."""
    with Wire(bench) as wire, producer_of(bench) as producer, wire.cursor() as cursor:
        cursor.until(CURSOR_INIT)
        seen = {}
        steps = {
            "alpha": cursor_set(2, 2, (1, 1), bytes(range(16))),
            "three bytes more": cursor_set(2, 2, (1, 1), bytes(range(16)) + b"xyz"),
            "color24": cursor_set(4, 4, (0, 3), bytes(range(50)), COLOR24),
            "color32": cursor_set(4, 4, (0, 3), bytes(range(66)), COLOR32),
            "no pixel": cursor_set(0, 0, (0, 0), b""),
            "hot spot outside": cursor_set(2, 2, (9, 65535), bytes(16)),
            "move": cursor_move(7, 8),
            "move far": cursor_move(-7, 70000),
            "shape after a move": cursor_set(2, 2, (1, 1), bytes(range(16))),
        }
        for name, step in steps.items():
            producer.send(step)
            seen[name] = [cursor.next()]
        bench.observe("messages", {name: written(part) for name, part in seen.items()})
    with Wire(bench) as wire, wire.cursor() as cursor:
        bench.observe("for the next client", written(cursor.until(CURSOR_INIT)))


@check
def paced_by_the_client(bench):
    """A client that does not read holds the guest up, and gets all frames in the end."""
    count, size = 24, 512 * KIB
    with Wire(bench) as wire, producer_of(bench) as producer:
        producer.send(format_message(64, 48))
        wire.display.until(ACTIVATE_REPORT)
        producer.send_numbered(count, size)
        producer.guest.sh("wait_until 20 grep -q '[1-9]' /tmp/numbered.sent")
        before = settled(lambda: int(producer.guest.sh("cat /tmp/numbered.sent")))
        assert before < count, "the guest was not held up"
        for number in range(count):
            _kind, body = wire.display.next(STREAM_DATA)
            _id, _time, length = struct.unpack_from("<III", body)
            assert length == size and body[12:20] == b"%08d" % number, (number, body[:40])
        producer.guest.wait_job(job="numbered")


@check
def frames_for_nobody(bench):
    """Without a client the guest is not held up."""
    with producer_of(bench) as producer:
        producer.send(format_message(64, 48))
        producer.send_numbered(24, 512 * KIB)
        producer.guest.wait_job(job="numbered")


@check
def pieces_of_any_size(bench):
    """Messages that arrive byte by byte are messages."""
    with Wire(bench) as wire, producer_of(bench) as producer:
        data = b"".join([message(CAPABILITIES, b"\0"), format_message(64, 48),
                         message(DATA, b"frame"), cursor_move(3, 4), message(DATA, b"again")])
        producer.send_byte_by_byte(data)
        wire.display.until(ACTIVATE_REPORT)
        frames = [wire.display.next(STREAM_DATA)[1][12:] for _ in range(2)]
        assert frames == [b"frame", b"again"], frames


# ---- where there are other displays


@check
def beside_a_graphics_device(bench):
    """The stream's display takes the next number. With two displays there is no client
    mouse mode for a tablet that comes then."""
    vm = bench.own_vm(["-M", "pc", "-vga", "qxl"] + USB_BUS + SERIAL_BUS + port(1, NAME)
                      + SPICE_TCP, boot=True)
    vm.guest.wait_boot()
    vm.guest.sh("for m in evdev ehci_pci uhci_hcd usbhid hid_generic; do load $m || exit; done", 60)
    with Producer(vm.guest) as producer:
        session = raw_link.Session(vm.port)
        with session.main:
            streams = sorted((kind, number) for kind, number in session.channels
                             if kind in (raw_link.DISPLAY, raw_link.CURSOR) and number != 0)
            assert streams == [(raw_link.DISPLAY, 1), (raw_link.CURSOR, 1)], session.channels
            caps = (MULTI_CODEC | CODEC_MJPEG,)
            display = raw_link.Messages(
                session.channel(raw_link.DISPLAY, 1, channel_caps=caps))
            with display:
                assert producer.take(2) == [CAPABILITIES_OF_HOST, START_MJPEG]
                producer.send(format_message(64, 48), message(DATA, b"frame"))
                assert display.next(STREAM_DATA)[1][12:] == b"frame"
        vm.qmp.command("device_add", driver="usb-tablet", bus="usb.0", id="tablet")
        Recorder(vm.guest, TABLET)
        sock = raw_link.connect(vm.port)
        assert raw_link.link(sock, raw_link.MAIN) == raw_link.LINK_OK
        with raw_link.Messages(sock) as main:
            modes = struct.unpack_from("<II", main.next(MAIN_INIT)[1], 8)
        assert modes == (MOUSE_SERVER, MOUSE_SERVER), modes
    bench.quit_cleanly(vm)


@check
def unplugged_and_plugged(bench):
    """Without the port there are no channels, and their connections end; when it is
    plugged and opened again they are announced one by one."""
    vm = bench.vm
    for _ in range(2):
        with Wire(bench) as wire, wire.cursor() as cursor:
            producer = producer_of(bench)
            producer.open()
            producer.send(format_message(64, 48), message(DATA, b"frame"))
            wire.display.next(STREAM_DATA)
            cursor.until(CURSOR_INIT)
            mark = vm.qmp.events.mark()
            vm.qmp.command("device_del", id="vport1")
            vm.qmp.wait_event("DEVICE_DELETED", mark=mark,
                              matches=lambda data: data.get("device") == "vport1")
            vm.qmp.command("chardev-remove", id="port1")
            seen = {"display": written(wire.display.rest()), "cursor": written(cursor.rest())}
            main = raw_link.Messages(wire.session.main)
            main.send(raw_link.message(wire.session.ATTACH_CHANNELS))
            seen["channels"] = main.next(wire.session.CHANNELS_LIST)[1].hex()
            vm.qmp.command("chardev-add", id="port1",
                           backend={"type": "spiceport", "data": {"fqdn": NAME}})
            vm.qmp.command("device_add", driver="virtserialport", chardev="port1", name=NAME,
                           id="vport1")
            vm.guest.sh(f"wait_until 10 sh -c '. /guest.sh; link_ports; "
                        f"[ -e /dev/virtio-ports/{NAME} ]'")
            with producer_of(bench) as producer:
                seen["announced"] = [main.next(wire.session.CHANNELS_LIST)[1].hex()
                                     for _ in range(2)]
                display = raw_link.Messages(
                    wire.session.channel(raw_link.DISPLAY, channel_caps=(MULTI_CODEC,)))
                with display, wire.cursor() as cursor:
                    seen["new cursor"] = written(cursor.until(CURSOR_INIT))
                    producer.take(2)
                    producer.send(format_message(64, 48), message(DATA, b"frame"))
                    display.next(STREAM_DATA)
            bench.observe("messages", seen)


# ---- what no honest guest or client sends


def too_large(kind, size):
    return message(kind, bytes(32), size=size)


BAD_MESSAGES = {
    "type 0": message(0),
    "type 10": message(10),
    "type 65535": message(0xffff),
    "start/stop": message(START_STOP, b"\0"),
    "error": message(NOTIFY_ERROR, bytes(4) + b"x\0"),
    "quality": message(QUALITY, bytes(8)),
    "capabilities of 1025 bytes": too_large(CAPABILITIES, 1025),
    "format of 11 bytes": message(FORMAT, bytes(11)),
    "format of 13 bytes": message(FORMAT, bytes(13)),
    "format of 2^32-1 bytes": too_large(FORMAT, 0xffffffff),
    "data of 32 MiB and 1": too_large(DATA, 32 * MIB + 1),
    "data of 2^32-1 bytes": too_large(DATA, 0xffffffff),
    "cursor of 11 bytes": message(CURSOR_SET, bytes(11)),
    "cursor too large a message": too_large(CURSOR_SET, 12 + (4096 + 128) * 1024 + 1),
    "cursor 1025 wide": message(CURSOR_SET, struct.pack("<HHHHB3x", 1025, 1, 0, 0, ALPHA)
                                + bytes(4100)),
    "cursor 1025 high": message(CURSOR_SET, struct.pack("<HHHHB3x", 1, 1025, 0, 0, ALPHA)
                                + bytes(4100)),
    "cursor lacks a byte": cursor_set(2, 2, (0, 0), bytes(15)),
    "cursor of one colour": cursor_set(8, 8, (0, 0), bytes(200), MONO),
    "cursor type 77": cursor_set(8, 8, (0, 0), bytes(400), 77),
    "move of 7 bytes": message(CURSOR_MOVE, bytes(7)),
    "move of 9 bytes": message(CURSOR_MOVE, bytes(9)),
    "display info of 269 bytes": too_large(DISPLAY_INFO, 12 + 256 + 1),
}
HARMLESS = {
    "version 7": message(CAPABILITIES, b"\0", version=7),
    "capabilities of 1024 bytes": message(CAPABILITIES, bytes(1024)),
    "capabilities, none": message(CAPABILITIES),
    "display info": message(DISPLAY_INFO, struct.pack("<III", 0, 0, 10) + b"pci/0000\0\0"),
    "display info, address longer than the message":
        message(DISPLAY_INFO, struct.pack("<III", 0, 0, 200) + b"pci\0"),
    "display info, no address": message(DISPLAY_INFO, struct.pack("<III", 0, 0, 0)),
    "display info of 3 bytes": message(DISPLAY_INFO, bytes(3)),
    "cursor 1024 by 1": cursor_set(1024, 1, (0, 0), bytes(4096)),
    "data without a format": message(DATA, b"frame"),
    "no data": message(DATA),
}


@check
def bad_messages_of_the_guest(bench):
    """The guest is told, whatever follows is ignored, and the device works again after
    the port was closed and opened."""
    bench.expect_stderr(r"Spice: .*([Ss]tream|cursor|DisplayInfo|display[ _]info)")
    with Wire(bench, caps=0) as wire:
        for name, bad in BAD_MESSAGES.items():
            producer = producer_of(bench)
            producer.open()
            assert producer.take(2) == [CAPABILITIES_OF_HOST, START_MJPEG], name
            producer.send(bad, format_message(64, 48), message(DATA, b"lost"))
            (kind, body), = producer.take(1)
            # The words are each library's own.
            assert kind == NOTIFY_ERROR and body[:4] == bytes(4), (name, kind, body)
            assert body.index(0, 4) == len(body) - 1, f"{name}: the text's end in {body}"
            producer.close()
        with producer_of(bench) as producer:
            producer.send(format_message(64, 48), message(DATA, b"frame"))
            seen = wire.display.until(STREAM_DATA)
            assert seen[-1][1][12:] == b"frame", seen
            assert [kind for kind, _ in seen].count(STREAM_CREATE) == 1, written(seen)


@check
def odd_messages_of_the_guest(bench):
    """What is without effect, and what is a format or a frame like any other."""
    bench.expect_stderr(r"Spice: .*([Ss]tream|DisplayInfo|display[ _]info)")
    with Wire(bench) as wire, producer_of(bench) as producer:
        producer.take(2)
        told = {}
        for name, odd in HARMLESS.items():
            producer.send(odd, format_message(64, 48))
            wire.display.next(ACTIVATE_REPORT)
            told[name] = written(producer.received())
        formats = {}
        for codec in (0, 77):
            producer.send(format_message(5, 7, codec))
            formats[codec] = written(wire.display.until(ACTIVATE_REPORT))
        bench.observe("formats", formats)
        assert not any(told.values()), told


@check
def impossible_sizes(bench):
    """Debian's library hands sizes on to the client that no surface can have; ours tells
    the guest of an error. With both the device can be used again."""
    bench.expect_stderr(r"Spice: .*stream device: .*no surface has this size")
    for width, height in ((0, 0), (0, 7), (7, 0), (0xffffffff, 0xffffffff)):
        with Wire(bench) as wire:
            with producer_of(bench) as producer:
                producer.take(2)
                producer.send(format_message(width, height))
                if bench.library.name == "ours":
                    assert [kind for kind, _ in producer.take(1)] == [NOTIFY_ERROR]
                else:
                    wire.display.next(ACTIVATE_REPORT)
            with producer_of(bench) as producer:
                producer.send(format_message(64, 48), message(DATA, b"frame"))
                assert wire.display.next(STREAM_DATA)[1][12:] == b"frame"


@check
def largest_frame(bench):
    """32 MiB are a frame."""
    with Wire(bench) as wire, producer_of(bench) as producer:
        producer.send(format_message(64, 48))
        wire.display.until(ACTIVATE_REPORT)
        producer.send_zeros(message(DATA, size=32 * MIB), 32 * MIB)
        wire.display.sock.settimeout(60)
        _kind, body = wire.display.next(STREAM_DATA)
        assert len(body) == 12 + 32 * MIB, len(body)
        producer.send(message(DATA, b"frame"))
        assert wire.display.next(STREAM_DATA)[1][12:] == b"frame"


BAD_FOR_DISPLAY = {
    "unknown type 99": raw_link.message(99, bytes(8)),
    "unknown type 65535": raw_link.message(65535),
    "init": raw_link.message(101, bytes(14)),
    "init of 13 bytes": raw_link.message(101, bytes(13)),
    "report": raw_link.message(102, bytes(32)),
    "report of 31 bytes": raw_link.message(102, bytes(31)),
    "preferred compression": raw_link.message(103, b"\1"),
    "preferred compression 200": raw_link.message(103, b"\xc8"),
    "drawn": raw_link.message(104),
    "preferred codecs": raw_link.message(105, b"\2\1\2"),
    "preferred codecs, none": raw_link.message(105, b"\0"),
    "preferred codecs, fewer than said": raw_link.message(105, b"\7\1"),
    "preferred codec 200": raw_link.message(105, b"\1\xc8"),
    "1024 bytes": raw_link.message(101, bytes(1024)),
    "1025 bytes": raw_link.message(101, bytes(1025)),
    "2^32-1 bytes": struct.pack("<HI", 101, 0xffffffff) + bytes(1000),
    "ones": b"\xff" * 600,
}


@check
def bad_messages_of_the_client(bench):
    """The display channel ends, or the message is without harm; the session goes on."""
    bench.expect_stderr(r"Spice:")
    results = {}
    with producer_of(bench) as producer:
        producer.take(1)
        for name, data in BAD_FOR_DISPLAY.items():
            with Wire(bench) as wire:
                producer.take(1)
                wire.display.send(data)
                results[name] = fate(wire, producer)
            assert producer.take(1) == [STOP], name
    bench.observe("results", results)
    assert results["init"] == "lives" and results["unknown type 99"] == "closed", results


def fate(wire, producer):
    """A display channel that lives shows a frame."""
    try:
        wire.display.next(INVAL_ALL_PALETTES)
        producer.send(format_message(64, 48), message(DATA, b"frame"))
        wire.display.sock.settimeout(3)
        wire.display.next(STREAM_DATA)
        return "lives"
    except TimeoutError:
        return "waits"
    except (raw_link.Closed, ConnectionError):
        return "closed"

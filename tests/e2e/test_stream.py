"""The stream device: a program in the guest hands over pictures, a client shows them."""

from lib import flat_jpeg
from lib.bench import check
from lib.devices import SERIAL_BUS, SPICE_TCP, port
from lib.slow_path import SlowPath
from lib.stream_device import (
    CAPABILITIES, CAPABILITIES_OF_HOST, DATA, NAME, START_MJPEG, STOP, Producer, cursor_move,
    cursor_set, format_message, message,
)
from lib.waiting import Timeout

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)
COLOURS = [RED, GREEN, BLUE, (250, 200, 10), (5, 10, 15), (240, 240, 240)]
WIDTH, HEIGHT = 64, 48


def start_vm(bench):
    vm = bench.qemu(["-M", "pc", "-vga", "none"] + SERIAL_BUS + port(1, NAME) + SPICE_TCP,
                    boot=True)
    vm.guest.wait_boot()
    return vm


def producer_of(bench):
    return Producer(bench.vm.guest)


def connect(bench, number=None):
    client = bench.client()
    client.open(port=number or bench.vm.port, connect=["display", "cursor"], opened="display:0")
    client.wait_channel("cursor:0", "opened")
    return client


def frame(colours, width=WIDTH, height=HEIGHT):
    return message(DATA, flat_jpeg.quarters(width, height, colours))


def alike(shown, wanted):
    """JPEG and the way from YCbCr round here and there."""
    return all(abs(a - b) <= 4 for one, other in zip(shown, wanted)
               for a, b in zip(one, other))


def show(client, producer, colours, mark, *before, width=WIDTH, height=HEIGHT):
    """Sends a picture until the client shows it: a client drops what comes too late for
    its clock, as on a machine that is busy."""
    for attempt in range(5):
        producer.send(*before, frame(colours, width, height))
        before = ()
        try:
            return wait_picture(client, colours, mark, 3)
        except Timeout:
            if attempt == 4:
                raise


def wait_picture(client, colours, mark, seconds=10):
    return client.events.wait(lambda e: e["event"] == "colours" and alike(e["colours"], colours),
                              seconds, f"a picture of {colours}", mark)


@check
def frames_are_shown(bench):
    """One after the other, with the right colours at the right places."""
    client = connect(bench)
    with producer_of(bench) as producer:
        assert producer.take(2) == [CAPABILITIES_OF_HOST, START_MJPEG]
        mark = client.events.mark()
        before = [message(CAPABILITIES, b"\0"), format_message(WIDTH, HEIGHT)]
        pictures = [[colour] * 4 for colour in COLOURS] + [[RED, GREEN, BLUE, GREY]]
        for picture in pictures:
            show(client, producer, picture, mark, *before)
            before = []
        sizes = [(e["width"], e["height"]) for e in client.seen("surface", mark)]
        assert sizes == [(WIDTH, HEIGHT)], sizes
        assert client.seen("mark", mark, value=1), "the surface was not shown"
        shown = [e["colours"] for e in client.seen("colours", mark)]
        assert len(shown) == len(pictures) and all(map(alike, shown, pictures)), shown
    client.close()


@check
def frames_at_once(bench):
    """Thirty frames without a pause: the client may leave out what is late, but shows
    nothing out of order, and the last one at the end."""
    client = connect(bench)
    with producer_of(bench) as producer:
        mark = client.events.mark()
        greys = [(level, level, level) for level in range(10, 250, 8)]
        producer.send(format_message(WIDTH, HEIGHT), *(frame([grey] * 4) for grey in greys))
        show(client, producer, [RED] * 4, mark)
        levels = [e["colours"][0][1] for e in client.seen("colours", mark)][:-1]
        assert levels == sorted(levels), f"frames out of order: {levels}"
    client.close()


@check
def frames_over_a_slow_network(bench):
    """20 Mbit/s, where each frame takes about 50 ms: clients show it all the same, which
    is what the server's delay of the client's clock is for."""
    vm = bench.vm
    with SlowPath(vm.port, 2_500_000) as path, producer_of(bench) as producer:
        client = connect(bench, path.port)
        producer.send(format_message(WIDTH, HEIGHT))
        client.wait("surface")
        greys = [(level, level, level) for level in range(20, 240, 11)]
        producer.send_padded([flat_jpeg.plain(WIDTH, HEIGHT, grey) for grey in greys],
                             128 << 10, 0.1)
        producer.guest.wait_job(job="padded")
        show(client, producer, [RED] * 4, 0)
        # A machine that is busy may be slower still.
        shown = [e["colours"] for e in client.seen("colours")][:-1]
        assert len(shown) >= len(greys) // 2, f"only {len(shown)} of {len(greys)} were shown"
        client.close()


@check
def other_sizes(bench):
    """A new format with another size is a new surface, one with the same size is not."""
    client = connect(bench)
    with producer_of(bench) as producer:
        mark = client.events.mark()
        sizes = [(64, 48), (128, 96), (32, 32), (32, 32), (640, 480)]
        for number, (width, height) in enumerate(sizes):
            show(client, producer, [COLOURS[number]] * 4, client.events.mark(),
                 format_message(width, height), width=width, height=height)
        told = [(e["event"], e.get("width"), e.get("height")) for e in client.events.since(mark)
                if e["event"].startswith("surface")]
        bench.observe("surfaces", told)
        assert [(w, h) for event, w, h in told if event == "surface"] == \
            [(64, 48), (128, 96), (32, 32), (640, 480)], told
    client.wait("surface-gone", mark=mark)
    client.close()


@check
def cursor_is_shown(bench):
    """Shapes and positions; a client that comes later gets the last shape."""
    client = connect(bench)
    with producer_of(bench) as producer:
        shapes = [(4, 2, (1, 1), bytes(range(32))), (16, 16, (3, 15), b"\x10\x20\x30\x80" * 256)]
        told = []
        for number, (width, height, hot, data) in enumerate(shapes):
            mark = client.events.mark()
            producer.send(cursor_set(width, height, hot, data))
            event = client.wait("cursor-set", mark=mark)
            assert event["size"] == [width, height] and event["hot"] == list(hot), event
            # spice-gtk turns blue, green, red, alpha around.
            rgba = b"".join(bytes([r, g, b, a]) for b, g, r, a in zip(*[iter(data)] * 4))
            assert event["rgba"] == rgba.hex(), event
            for position in ([10 + number, 20], [300, 7]):
                producer.send(cursor_move(*position))
                client.wait("cursor-move", mark=mark, position=position)
            told.append([[e["event"], e.get("position")] for e in client.events.since(mark)
                         if e["event"].startswith("cursor")])
        bench.observe("cursor events", told)
        client.kill()
        later = connect(bench)
        event = later.wait("cursor-set")
        assert event["size"] == [16, 16] and event["hot"] == [3, 15], event
        later.close()


@check
def clients_come_and_go(bench):
    """The guest is told to start and to stop; a client that is killed in the middle of
    a stream leaves nothing behind, and the next one sees frames after a new format."""
    with producer_of(bench) as producer:
        assert producer.take(1) == [CAPABILITIES_OF_HOST]
        for end in ("kill", "close", "kill"):
            client = connect(bench)
            assert producer.take(1) == [START_MJPEG], end
            mark = client.events.mark()
            show(client, producer, [RED] * 4, mark, format_message(WIDTH, HEIGHT))
            # The guest goes on as a program would that has not been told yet.
            producer.send_again_and_again(frame([BLUE] * 4))
            wait_picture(client, [BLUE] * 4, mark)
            getattr(client, end)()
            assert producer.take(1) == [STOP], end
            producer.stop_sending()
        # Frames of the old format are for nobody.
        client = connect(bench)
        assert producer.take(1) == [START_MJPEG]
        mark = client.events.mark()
        producer.send(frame([GREEN] * 4))
        show(client, producer, [GREY] * 4, mark, format_message(WIDTH, HEIGHT))
        assert len(client.seen("colours", mark)) == 1, client.seen("colours", mark)
        client.close()
        assert producer.take(1) == [STOP]
        assert not producer.received()


@check
def pushed_out_by_another_client(bench):
    first = connect(bench)
    with producer_of(bench) as producer:
        show(first, producer, [RED] * 4, 0, format_message(WIDTH, HEIGHT))
        assert producer.take(2) == [CAPABILITIES_OF_HOST, START_MJPEG]
        second = connect(bench)
        first.wait_channel("display:0", "closed")
        assert producer.take(2) == [STOP, START_MJPEG]
        show(second, producer, [GREEN] * 4, 0, format_message(WIDTH, HEIGHT))
        second.close()


@check
def port_closed_and_opened(bench):
    """What the guest's program leaves at its end is taken away; its next run starts
    afresh, with the client still there."""
    client = connect(bench)
    for colour in COLOURS[:3]:
        with producer_of(bench) as producer:
            assert producer.take(2) == [CAPABILITIES_OF_HOST, START_MJPEG]
            mark = client.events.mark()
            show(client, producer, [colour] * 4, mark, format_message(WIDTH, HEIGHT))
            # An unfinished message is forgotten too.
            producer.send(message(DATA, b"begun", size=1000))
        client.wait("surface-gone", mark=mark)
    client.close()


@check
def guest_reset(bench):
    client = connect(bench)
    producer = producer_of(bench)
    producer.open()
    show(client, producer, [RED] * 4, 0, format_message(WIDTH, HEIGHT))
    mark = client.events.mark()
    bench.vm.qmp.command("system_reset")
    client.wait("surface-gone", 20, mark)
    bench.vm.guest.wait_boot()
    with producer_of(bench) as producer:
        assert producer.take(2) == [CAPABILITIES_OF_HOST, START_MJPEG]
        show(client, producer, [GREEN] * 4, mark, format_message(WIDTH, HEIGHT))
    client.close()

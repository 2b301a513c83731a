"""Port channels between a real client and a process in a real Linux guest."""

import hashlib
import os
import random
import socket

from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, port, serial
from lib.spice_client import random_file, sha256_file
from lib.waiting import Timeout, wait_until

SECOND = "org.example.second.0"
SERIAL = "org.example.serial.0"
DEVICE = f"/dev/virtio-ports/{PORT}"
MIB = 1 << 20
OPENED, CLOSED, BREAK = 0, 1, 2


def start_vm(bench):
    vm = bench.qemu(MACHINE + SERIAL_BUS + port(1, PORT) + port(2, SECOND) + serial(3, SERIAL)
                    + SPICE_TCP, boot=True)
    vm.guest.wait_boot()
    return vm


def connect(bench, **options):
    client = bench.client()
    client.open(port=bench.vm.port, connect=["port"], **options)
    return client


def given_socket(vm):
    """A connected socket whose other end QEMU has got."""
    near, far = socket.socketpair()
    vm.qmp.command("getfd", fds=[far.fileno()], fdname="client")
    vm.qmp.command("add_client", protocol="spice", fdname="client")
    far.close()
    return near


def connect_given(bench):
    """A client over unix sockets that QEMU was given, one for each channel."""
    vm = bench.vm
    client = bench.client()
    with given_socket(vm) as end:
        client.command("open_fd", fds=[end.fileno()], connect=["port"])
    for channel in ("port:0", "port:1", "port:2"):
        client.wait("want-fd", channel=channel)
        with given_socket(vm) as end:
            client.command("give_fd", fds=[end.fileno()], channel=channel)
    return client


def echo(bench, data, client=None):
    """Sends a file into the guest and back; compares it at both ends."""
    vm = bench.vm
    client = client or connect(bench)
    size = data.stat().st_size
    vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c {size} <&3 >/tmp/in; "
                        "sha256sum </tmp/in; cat /tmp/in >&3")
    channel = client.port_named(PORT, opened=True)
    client.send(channel, data)
    path = client.wait_received(channel, size)
    in_guest = vm.guest.wait_job().split()[0]
    assert in_guest == sha256_file(data), "the guest received other bytes than were sent"
    assert sha256_file(path) == sha256_file(data), "the client got other bytes back"
    total, _ = client.received(channel)
    assert total == size, f"{total} bytes came back instead of {size}"
    client.close()


@check
def echo_8_mib_random(bench):
    echo(bench, random_file(bench.logs / "random", 8 * MIB))


@check
def echo_4_mib_text(bench):
    """Text compresses well: a server with LZ4 uses it here."""
    words = [f"{n * 7919 % 1000003:x} " for n in range(4000)]
    generator = random.Random(1)
    text = "".join(generator.choices(words, k=800_000))[:4 * MIB]
    path = bench.logs / "text"
    path.write_text(text)
    echo(bench, path)


@check
def echo_over_given_sockets(bench):
    """The client comes over sockets that QEMU was given: unix sockets, where no
    speed is measured and nothing is compressed."""
    data = random_file(bench.logs / "random", 4 * MIB)
    echo(bench, data, connect_given(bench))


@check
def echo_64_mib_in_odd_chunks(bench):
    """The client goes on sending while the guest sends back. What either hands over at
    a time is between 1 byte and 200 KiB, and nowhere the same."""
    vm = bench.vm
    size = 64 * MIB
    data = random_file(bench.logs / "random", size)
    client = connect(bench)
    vm.guest.sh(f"""mkfifo /tmp/copy; awk 'BEGIN {{ srand(64); left = {size}
        while (left > 0) {{ r = rand(); n = 1 + int({200 << 10} * r * r * r)
            if (n > left) n = left; print n; left -= n }} }}' >/tmp/sizes""")
    vm.guest.background(f"""wait_host {PORT}; exec 3<>{DEVICE}; sha256sum </tmp/copy >/tmp/sum &
        cat <&3 | tee /tmp/copy | for n in $(cat /tmp/sizes); do
            dd bs=$n count=1 iflag=fullblock 2>/dev/null || exit 1; done >&3""")
    channel = client.port_named(PORT, opened=True)
    client.send(channel, data, seconds=120, seed=64)
    assert client.received(channel)[0] > 8 * MIB, "nothing came back while the client sent"
    path = client.wait_received(channel, size)
    client.close()  # without a client the guest's `cat` reads an end of file
    vm.guest.wait_job()
    vm.guest.sh("wait_until 10 test -s /tmp/sum")
    assert vm.guest.sh("cat /tmp/sum").split()[0] == sha256_file(data), \
        "the guest received other bytes than were sent"
    assert sha256_file(path) == sha256_file(data), "the client got other bytes back"
    data.unlink()
    vm.guest.sh("rm /tmp/copy /tmp/sum /tmp/sizes")


@check
def echo_through_second_port(bench):
    """Two ports at once; each byte on its own port."""
    vm = bench.vm
    client = connect(bench)
    vm.guest.sh(f"""
        for name in {PORT} {SECOND}; do
            {{ wait_host $name; exec 3<>/dev/virtio-ports/$name; head -c {MIB} <&3 >/tmp/in.$name
               cat /tmp/in.$name >&3; }} >/dev/null 2>&1 &
        done""")
    sent = {}
    for name in (PORT, SECOND):
        channel = client.port_named(name, opened=True)
        data = random_file(bench.logs / name, MIB)
        sent[channel] = (data, client.begin("send", channel=channel, path=str(data)))
    assert len(sent) == 2, f"both names led to {sent}"
    for channel, (data, begun) in sent.items():
        client.finish(begun)
        path = client.wait_received(channel, MIB)
        assert sha256_file(path) == sha256_file(data), f"{channel}: other bytes came back"


@check
def channel_list(bench):
    client = connect(bench)
    client.wait("channel-new", channel="inputs:0") if bench.library.name == "debian" else None
    client.port_named(PORT)
    client.port_named(SECOND)
    client.port_named(SERIAL)
    ports = [name for name in client.channels() if name.split(":")[0] not in
             ("inputs", "display", "cursor")]
    bench.observe("channels besides display, cursor and inputs", ports)
    assert ports == ["main:0", "port:0", "port:1", "port:2"], ports


@check
def init_and_events(bench):
    """PORT_INIT's name and state; the guest opens and closes the device."""
    vm = bench.vm
    client = connect(bench)
    channel = client.port_named(PORT)
    assert client.command("port_state", channel=channel)["opened"] is False
    vm.guest.sh(f"exec 3<>{DEVICE}; exec 3>&-; exec 3<>{DEVICE}; exec 3>&-")
    wait_until(lambda: len(client.seen("port-event")) >= 4, 10, "four port events")
    numbers = [e["number"] for e in client.seen("port-event", channel=channel)]
    assert numbers == [OPENED, CLOSED, OPENED, CLOSED], numbers
    assert not client.seen("port-event", channel=client.port_named(SECOND))
    # The state a client finds when it comes later.
    vm.guest.background(f"exec 3<>{DEVICE}; touch /tmp/holding; "
                        "wait_until 20 test -e /tmp/let-go; rm -f /tmp/let-go")
    vm.guest.sh("wait_until 10 test -e /tmp/holding; rm -f /tmp/holding")
    second = connect(bench)
    channel = second.port_named(PORT, opened=True)
    vm.guest.sh("touch /tmp/let-go")
    second.wait("port-event", number=CLOSED, channel=channel)
    vm.guest.wait_job()


@check
def break_from_client(bench):
    """A BREAK does nothing to a virtio port, and it must do no harm."""
    vm = bench.vm
    client = connect(bench)
    vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c 6 <&3")
    channel = client.port_named(PORT, opened=True)
    data = bench.logs / "three"
    data.write_bytes(b"abc")
    client.send(channel, data)
    for event in (BREAK, BREAK, 200):
        client.command("port_event", channel=channel, event=event)
    client.send(channel, data)
    assert vm.guest.wait_job() == "abcabc"


@check
def break_reaches_a_serial_port(bench):
    """QEMU's own serial port makes something of a BREAK: the guest's kernel counts it,
    and whoever reads finds a zero byte in its place between the bytes. The port is
    open as long as QEMU has it, no matter what the guest does."""
    vm = bench.vm
    client = connect(bench)
    channel = client.port_named(SERIAL, opened=True)
    random_bytes = os.urandom(16 << 10)  # no more: nothing stops the sender of a serial line
    parts = (b"abc", BREAK, random_bytes, BREAK, OPENED, CLOSED, 200, b"def", BREAK, b"end\n")
    wanted = b"".join(b"\0" if part == BREAK else part for part in parts
                      if part == BREAK or isinstance(part, bytes))
    vm.guest.sh("stty -F /dev/ttyS2 raw -echo 115200")
    vm.guest.background("exec 3<>/dev/ttyS2; exec tee /tmp/serial <&3 >&3")
    vm.guest.sh("wait_until 10 grep -q '^2:.*RTS' /proc/tty/driver/serial")
    data = bench.logs / "part"
    breaks = arrived = 0
    for part in parts:
        if isinstance(part, bytes):
            data.write_bytes(part)
            client.send(channel, data)
            arrived += len(part)
        else:
            client.command("port_event", channel=channel, event=part)
            breaks += part == BREAK
            arrived += part == BREAK
        path = client.wait_received(channel, arrived)
    counted = vm.guest.sh("grep -o '^2:.*' /proc/tty/driver/serial | grep -o 'brk:[0-9]*'")
    bench.observe("breaks that the guest's kernel counted", counted)
    assert counted == f"brk:{breaks}", counted
    assert vm.guest.sha256("/tmp/serial") == hashlib.sha256(wanted).hexdigest(), \
        "the guest read other bytes from its serial port"
    assert sha256_file(path) == hashlib.sha256(wanted).hexdigest(), "other bytes came back"
    vm.guest.sh("kill $(pidof tee)")
    vm.guest.job_end()
    assert not client.seen("port-event", channel=channel, number=CLOSED)


@check
def written_before_a_client_comes(bench):
    """The guest writes with nobody there: it blocks or waits, and nothing is lost."""
    vm = bench.vm
    vm.guest.sh(f"head -c {3 * MIB} /dev/urandom >/tmp/early")
    vm.guest.background(f"exec 3<>{DEVICE}; cat /tmp/early >&3; read answer <&3; echo \"$answer\"")
    wanted = vm.guest.sha256("/tmp/early")
    assert vm.guest.run("test -s /tmp/job.status")[0] != 0, "3 MiB went nowhere"
    client = connect(bench)
    channel = client.port_named(PORT, opened=True)
    path = client.wait_received(channel, 3 * MIB)
    assert sha256_file(path) == wanted, "other bytes arrived than the guest had written"
    data = bench.logs / "answer"
    data.write_bytes(b"thanks\n")
    client.send(channel, data)
    assert vm.guest.wait_job() == "thanks"


def stalled(vm, progress):
    """Waits until what `progress` prints in the guest does not change any more."""
    seen = []

    def settled():
        seen.append(vm.guest.sh(f"{progress}; usleep 300000"))
        return len(seen) > 1 and seen[-1] == seen[-2] not in ("", "0")

    wait_until(settled, 30, "the guest to stop writing")
    return seen[-1]


def numbered(first, count):
    """Lines of 8 bytes, each naming its own position."""
    return b"".join(b"%07d\n" % n for n in range(first, first + count))


@check
def client_lost_while_the_guest_writes(bench):
    """Two clients in turn get one stream: what the second receives goes on behind
    what the first received, whole lines missing only where they were already on
    their way to the first (1 MiB in the library, and the socket's buffers)."""
    vm = bench.vm
    lines = 3 * MIB
    size = lines * 8
    data = bench.logs / "numbers"
    data.write_bytes(numbered(0, lines))
    vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c {size} <&3 >/tmp/numbers; "
                        f"tee /tmp/written </tmp/numbers >&3; wait_host {PORT}; read answer <&3")
    first = connect(bench)
    channel = first.port_named(PORT, opened=True)
    first.send(channel, data)
    first.wait_received(channel, MIB)
    first.pause()  # the sockets fill, the guest has to wait
    stalled(vm, "stat -c %s /tmp/written")
    first.kill()
    total, path = first.received(channel)
    with open(path, "rb") as file:
        head = file.read()
    assert head == numbered(0, lines)[:len(head)], "the first client's bytes are not the guest's"
    assert len(head) < size, "the first client had everything already"
    second = connect(bench)
    channel = second.port_named(PORT, opened=True)

    def complete():
        path = second.received(channel)[1]
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 8))
            return file.read() == numbered(lines - 1, 1) and path

    path = wait_until(complete, 40, "the last line at the second client", 0.1)
    with open(path, "rb") as file:
        tail = file.read()
    assert tail == numbered(0, lines)[-len(tail):], "the second client's stream has a hole"
    lost = size - len(head) - len(tail)
    assert 0 <= lost <= 8 * MIB, f"{lost} bytes got lost between the two clients"
    data = bench.logs / "answer"
    data.write_bytes(b"\n")
    second.send(channel, data)
    vm.guest.wait_job()


@check
def client_lost_while_it_sends(bench):
    """The guest does not read while a client sends and goes; what the next client
    sends comes whole and behind it."""
    vm = bench.vm
    vm.guest.background(f"""exec 3<>{DEVICE}; wait_until 60 test -e /tmp/go || exit 1; rm /tmp/go
        : >/tmp/in
        until test -e /tmp/stop; do cat <&3 >>/tmp/in; usleep 20000; done; rm /tmp/stop""")
    first = connect(bench)
    channel = first.port_named(PORT, opened=True)
    data = bench.logs / "numbers"
    data.write_bytes(numbered(0, 3 * MIB))
    begun = first.begin("send", channel=channel, path=str(data))
    try:
        first.finish(begun, 1)
    except Timeout:
        pass
    else:
        raise AssertionError("24 MiB were taken although the guest reads nothing")
    first.kill()
    second = connect(bench)
    channel = second.port_named(PORT, opened=True)
    late = bench.logs / "late"
    late.write_bytes(b"late" * 50_000 + b"END")
    vm.guest.sh("touch /tmp/go")
    second.send(channel, late)
    vm.guest.sh("wait_until 30 sh -c 'tail -c 3 /tmp/in | grep -q END'; touch /tmp/stop", 35)
    second.close()  # without a client the guest's `cat` reads an end of file
    vm.guest.wait_job()
    size = int(vm.guest.sh("stat -c %s /tmp/in"))
    mine = late.stat().st_size
    kept = size - mine
    assert vm.guest.sh(f"tail -c {mine} /tmp/in | sha256sum").split()[0] == sha256_file(late), \
        "the second client's bytes did not arrive whole"
    assert kept > 0, "nothing of what the first client had handed over survived"
    assert vm.guest.sh(f"head -c {kept} /tmp/in | sha256sum").split()[0] == \
        sha256_file(data, 0, kept), "the first client's bytes are not a prefix of what it sent"


@check
def guest_waits_for_a_paused_client(bench):
    """A client that stops reading stops the guest; nothing piles up in QEMU."""
    vm = bench.vm
    size = 24 * MIB
    client = connect(bench)
    channel = client.port_named(PORT)
    client.pause()
    vm.guest.background(f"exec 3<>{DEVICE}; head -c {size} /dev/urandom | tee /tmp/sent >&3")
    written = int(stalled(vm, "stat -c %s /tmp/sent"))
    assert written < size, "the guest could write everything to a client that reads nothing"
    client.resume()
    path = client.wait_received(channel, size)
    vm.guest.wait_job()
    assert sha256_file(path) == vm.guest.sha256("/tmp/sent")
    vm.guest.sh("rm -f /tmp/sent /tmp/in /tmp/numbers /tmp/early /tmp/written")


@check
def guest_writes_and_closes(bench):
    """Programs in the guest that write and exit at once: the CLOSED event passes by
    what still waits in QEMU, and all of it arrives without anybody's further doing.
    A unix socket takes little at a time and QEMU's main loop seldom gets its turn, so
    that the library's queue is often full when the event comes."""
    vm = bench.vm
    os.setpriority(os.PRIO_PROCESS, vm.pid, 19)  # this is QEMU's main thread only
    rounds, size = 60, MIB
    client = connect_given(bench)
    channel = client.port_named(PORT)
    vm.guest.sh(f"head -c {size} /dev/urandom >/tmp/chunk")
    vm.guest.background(f"wait_host {PORT}; for i in $(seq {rounds}); do "
                        f"cat /tmp/chunk >{DEVICE}; done")
    path = client.wait_received(channel, rounds * size, 90)
    vm.guest.wait_job()
    wanted = vm.guest.sha256("/tmp/chunk")
    for number in range(rounds):
        assert sha256_file(path, number * size, size) == wanted, f"chunk {number} is damaged"
    wait_until(lambda: len(client.seen("port-event", channel=channel)) == 2 * rounds, 10,
               "an event for every opening and closing")
    vm.guest.sh("rm -f /tmp/chunk")

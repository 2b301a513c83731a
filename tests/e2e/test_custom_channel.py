"""Channels by configuration: stock QEMU, a port that becomes a channel of its own, and
the policies for clients that come second or cannot be reached. Debian's library knows no
configuration: with it the same command line gives a plain port, as upstream serves it."""

import hashlib
import re
import subprocess
import threading
from pathlib import Path

from lib import raw_link
from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, port
from lib.network import Network
from lib.spice_client import random_file, sha256_file
from lib.waiting import wait_until

REPOSITORY = Path(__file__).parent.parent.parent
GUIDE = REPOSITORY / "docs" / "custom-channels.md"
CLIENT = REPOSITORY / "docs" / "examples" / "channel-client.py"
DEVICE = f"/dev/virtio-ports/{PORT}"
DISPLAY, INPUTS, CURSOR, FS, PLAIN_PORT = 2, 3, 4, 100, 10
MIB = 1 << 20
DATA, PORT_INIT = 101, 201
IDLE_SECONDS = 3


def block(kind):
    """The guide's block of this kind, as it is printed there."""
    return re.search(rf"^```{kind}\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)[1].strip()


def is_ours(bench):
    return bench.library.name == "ours"


def channel_type(bench):
    return FS if is_ours(bench) else PLAIN_PORT


def start_vm(bench):
    config = bench.logs / "config.toml"
    config.write_text(block("toml"))
    vm = bench.qemu(MACHINE + block("qemu").split(), boot=True, config=config)
    vm.guest.wait_boot()
    return vm


@check
def the_guide_as_written(bench):
    """Every step of docs/custom-channels.md with the words that stand there."""
    vm = bench.vm
    # A group of its own, so that nothing of it keeps the port afterwards.
    vm.guest.sh(f"cat >/tmp/guide <<'END'\n{block('guest')}\nEND\n"
                "setsid sh /tmp/guide >/dev/null 2>&1 & echo $! >/tmp/guide.pid")
    command = block("client").replace("PORT", str(vm.port))
    if not is_ours(bench):
        command = command.replace(f" {FS}", f" {PLAIN_PORT}")
    printed = subprocess.run(command, shell=True, cwd=REPOSITORY, stdout=subprocess.PIPE,
                             check=True, timeout=60).stdout
    assert printed == b"HELLO, GUEST\n", printed
    vm.guest.sh("kill -- -$(cat /tmp/guide.pid)")


@check
def eight_mib_both_ways(bench):
    """The guide's client, which is no SPICE library's, moves files whole."""
    vm = bench.vm
    data = random_file(bench.logs / "random", 8 * MIB)
    vm.guest.sh(f"{{ wait_host {PORT} 30; exec 3<>{DEVICE}; head -c {8 * MIB} <&3 >/tmp/in; "
                "sha256sum </tmp/in >/tmp/sum; cat /tmp/in >&3; } >/dev/null 2>&1 &")
    client = bench.process([CLIENT, f"127.0.0.1:{vm.port}", str(channel_type(bench))])
    # The client ends by itself soon after its input: that stays open until all is back.
    sender = threading.Thread(target=client.stdin.write, args=(data.read_bytes(),))
    sender.start()
    watchdog = threading.Timer(60, client.kill)
    watchdog.start()
    back = client.stdout.read(8 * MIB)
    watchdog.cancel()
    sender.join(10)
    client.stdin.close()
    assert client.wait(20) == 0
    wanted = sha256_file(data)
    assert hashlib.sha256(back).hexdigest() == wanted, f"{len(back)} other bytes came back"
    assert vm.guest.sh("cat /tmp/sum").split()[0] == wanted, "the guest got other bytes"


@check
def a_client_without_the_type_works(bench):
    """spice-gtk does not know type 100: it leaves that channel alone."""
    client = bench.client()
    client.open(port=bench.vm.port, connect=["port"])
    client.command("request_mouse_mode", mode=1)
    assert "main:0" in client.channels()
    if is_ours(bench):
        assert not any(name.startswith("port") for name in client.channels()), client.channels()
    client.close()


@check
def a_second_client_of_a_busy_channel(bench):
    """By the guide's rule the newcomer takes over; without one the first client stays.
    The guest's bytes go to whoever is there."""
    bench.expect_stderr(r"Spice: .*(takes over from|refusing|link to channel|already connected)")
    vm = bench.vm
    session = raw_link.Session(vm.port)
    kind = channel_type(bench)
    assert (kind, 0) in session.channels, session.channels
    first = session.channel(kind)
    assert raw_link.read_message(first)[0] == PORT_INIT
    second = session.channel(kind)
    winner, loser = (second, first) if is_ours(bench) else (first, second)
    if is_ours(bench):
        assert raw_link.read_message(second)[0] == PORT_INIT
    try:
        raw_link.read_message(loser)
        raise AssertionError("both clients have the channel")
    except (raw_link.Closed, ConnectionResetError):
        pass
    if is_ours(bench):
        line = next(line for line in vm.stderr().splitlines() if "takes over from" in line)
        peers = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in (first, second)]
        assert "fs:0" in line and all(peer in line for peer in peers), line
    vm.guest.sh(f"wait_host {PORT}; echo for the winner >{DEVICE}")
    kind, body = raw_link.read_message(winner)
    while kind != DATA:
        kind, body = raw_link.read_message(winner)
    assert body == b"for the winner\n", body
    for sock in (first, second, session.main):
        sock.close()


MACHINE_CONFIG = """
[[channel]]
port = "org.example.*"
type = 99

[[vm]]
name = "a mach*"
[[vm.channel]]
port = "org.example.camera.0"
type = 101
name = "cam"

[[vm]]
uuid = "00112233445566778899AABBCCDDEEFF"
[[vm.channel]]
subtype = "sensor"
type = 120
compression = false

[[vm]]
name = "another machine"
[[vm.channel]]
port = "org.example.camera.0"
type = 102
"""


@check
def a_section_for_this_machine(bench):
    """Sections chosen by name and by UUID; a channel that QEMU's own options name; a new
    subtype of `-chardev spicevmc`. QEMU refuses both with Debian's library."""
    if not is_ours(bench):
        return
    config = bench.logs / "machine.toml"
    config.write_text(MACHINE_CONFIG)
    vm = bench.own_vm(
        MACHINE + SERIAL_BUS + port(1, "org.example.camera.0") + port(2, "org.example.other.0")
        + ["-chardev", "spicevmc,name=sensor,id=sensor",
           "-device", "virtserialport,chardev=sensor,name=org.example.sensor.0",
           "-name", "a machine", "-uuid", "00112233-4455-6677-8899-aabbccddeeff",
           "-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on,plaintext-channel=cam"],
        boot=True, config=config)
    vm.guest.wait_boot()
    # QEMU has the device only while the guest has the port open.
    vm.guest.background("exec 3<>/dev/virtio-ports/org.example.sensor.0; "
                        "wait_host org.example.sensor.0 30; echo ready >&3; head -c 5 <&3")
    session = wait_until(lambda: with_types(vm, {99, 101, 120}), 20, "all three channels")
    sensor = session.channel(120)
    assert raw_link.read_message(sensor) == (DATA, b"ready\n"), "no PORT_INIT on a subtype"
    sensor.sendall(raw_link.message(DATA, b"12 C\n"))
    assert vm.guest.wait_job() == "12 C"
    for sock in (sensor, session.main):
        sock.close()


def with_types(vm, types):
    """A session whose channels are of these types, besides those of every machine."""
    session = raw_link.Session(vm.port)
    if {kind for kind, _ in session.channels} - {DISPLAY, INPUTS, CURSOR} == types:
        return session
    session.main.close()
    return None


@check
def an_unreachable_client_frees_its_channel(bench):
    """The network between breaks while the channel is idle, and nobody is told. With an
    idle timeout the server notices by itself, long before the session's main channel
    would; then the next client gets the device."""
    bench.expect_stderr(r"Spice: .*(timed out|Connection|unreachable|No route)")
    network = Network()
    try:
        config = bench.logs / "idle.toml"
        config.write_text(f"[channels]\nidle-timeout = {IDLE_SECONDS}\n")
        vm = bench.own_vm(MACHINE + SERIAL_BUS + port(1, PORT) + SPICE_TCP, config=config,
                          network=network)

        def connect():
            mark = vm.qmp.events.mark()
            bench.process(network.words + [CLIENT, f"127.0.0.1:{vm.port}", str(PLAIN_PORT)])
            vm.qmp.wait_event("SPICE_INITIALIZED", 20, mark,
                              lambda data: data["client"]["channel-type"] == PLAIN_PORT)

        connect()
        mark = vm.qmp.events.mark()
        network.cut()
        if not is_ours(bench):
            return  # Debian's library waits for the kernel's ten minutes
        gone = vm.qmp.wait_event("SPICE_DISCONNECTED", IDLE_SECONDS * 3, mark)
        ports = [c["port"] for c in vm.qmp.command("query-spice")["channels"]
                 if c["channel-type"] == PLAIN_PORT]
        assert gone["data"]["client"]["port"] not in ports
        assert not ports, "the channel is not free"
        network.mend()
        connect()
    finally:
        network.close()

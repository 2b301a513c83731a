"""A client's session follows its machine from one real QEMU to another."""

from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, VDAGENT, port
from lib.qemu import Library, free_port
from lib.spice_client import random_file, sha256_file
from lib.waiting import wait_until

DEVICE = f"/dev/virtio-ports/{PORT}"
MIB = 1 << 20
# QEMU before 9.0 loses writes of emulated processors when it moves memory whose size is a
# multiple of 256 KiB (its commit 03bfc2188f; docs/migration.md).
MEMORY = f"{192 * 1024 + 64}K"
CHANNELS = ["main", "port", "display", "inputs", "cursor"]


def machine(bench, seamless, *more, **options):
    spice = ["-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on,"
             f"seamless-migration={'on' if seamless else 'off'}"]
    words = MACHINE + SERIAL_BUS + port(1, PORT) + VDAGENT + spice + list(more)
    # Each end says that the other one's clients have gone, or that they were not there yet.
    bench.expect_stderr("Spice: ")
    return bench.own_vm(words, boot=True, memory=MEMORY, **options)


def source(bench, seamless=True, **options):
    vm = machine(bench, seamless, **options)
    vm.guest.wait_boot()
    client = bench.client()
    client.open(port=vm.port, connect=CHANNELS)
    client.port_named(PORT)
    client.wait_channel("display:0", "opened")
    return vm, client


def target(bench, seamless=True, **options):
    incoming = free_port()
    vm = machine(bench, seamless, "-incoming", f"tcp:127.0.0.1:{incoming}", **options)
    vm.incoming = incoming
    return vm


def announce(vm, port_number):
    vm.qmp.command("client_migrate_info", protocol="spice", hostname="127.0.0.1",
                   port=port_number)


def status(vm):
    return vm.qmp.command("query-migrate").get("status")


def migrate(vm, there):
    vm.qmp.command("migrate", uri=f"tcp:127.0.0.1:{there.incoming}")
    wait_until(lambda: status(vm) in ("completed", "failed"), 60, "the machine to move")
    assert status(vm) == "completed"


def move(vm, there, client):
    """The machine goes, and its client with it."""
    mark = client.events.mark()
    count, before = len(clients_of(vm)), peers(there)
    announce(vm, there.port)
    # QEMU does not wait: whoever is not there when the machine is has to begin anew.
    wait_until(lambda: len(peers(there) - before) == count, 10, "the client at the other host")
    migrate(vm, there)
    client.wait("migration", 30, mark, state="none")
    assert client.seen("migration", mark, state="migrating") or \
        client.seen("migration", mark, state="switching"), client.seen("migration", mark)
    assert not client.seen("disconnected", mark)
    wait_until(lambda: not clients_of(vm), 20, "the client to leave the first host")
    assert clients_of(there)


def clients_of(vm):
    return vm.qmp.command("query-spice").get("channels", [])


def peers(vm):
    return {c["port"] for c in clients_of(vm)}


def begin(vm, client, script):
    """Something in the guest that has the port open."""
    mark = client.events.mark()
    vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; {script}")
    client.wait("port-opened", 20, mark, opened=True)


def echo(vm, client, data):
    size, before = data.stat().st_size, client.received("port:0")[0]
    begin(vm, client, f"head -c {size} <&3 >/tmp/in; sha256sum /tmp/in; cat /tmp/in >&3")
    client.send("port:0", data)
    path = client.wait_received("port:0", before + size)
    assert vm.guest.wait_job().split()[0] == sha256_file(data), "the guest got other bytes"
    assert sha256_file(path, before) == sha256_file(data), "the client got other bytes back"


def send_through_a_move(vm, there, client, data):
    """spice-gtk takes all that there is while it moves, and then writes it without reading:
    nothing may have to come back meanwhile."""
    size = data.stat().st_size
    begin(vm, client, f"head -c {size} <&3 >/tmp/in; sha256sum /tmp/in")
    sending = client.begin("send", channel="port:0", path=str(data))
    vm.guest.sh(f"until test $(wc -c </tmp/in) -gt {size // 8}; do sleep 0.05; done")
    assert not client.finished(sending)
    move(vm, there, client)
    client.finish(sending)
    assert there.guest.wait_job().split()[0] == sha256_file(data), "the guest got other bytes"


def receive_through_a_move(vm, there, client, size):
    before = client.received("port:0")[0]
    vm.guest.sh(f"head -c {size} /dev/urandom >/tmp/out")
    begin(vm, client, "cat /tmp/out >&3; sha256sum /tmp/out")
    wait_until(lambda: client.received("port:0")[0] > before + size // 8, 30, "the transfer")
    mark = client.events.mark()
    move(vm, there, client)
    assert client.seen("data", mark, channel="port:0"), "it was over before the move"
    path = client.wait_received("port:0", before + size)
    assert there.guest.wait_job().split()[0] == sha256_file(path, before)
    assert client.received("port:0")[0] == before + size, "something was doubled"


def reads_on(bench):
    """Debian's library reads no further when a device is full, so that a client with more
    to say never gets to move (docs/migration.md)."""
    return bench.library.name == "ours"


@check
def a_session_goes_on(bench):
    """With 32 MiB on their way to the guest."""
    vm, client = source(bench)
    there = target(bench)
    data = random_file(bench.logs / "random", 32 * MIB)
    if reads_on(bench):
        send_through_a_move(vm, there, client, data)
    else:
        move(vm, there, client)
    assert there.status() == "running"
    client.command("inputs", calls=[["key_press", 30], ["key_release", 30]])
    shown = client.directory / "picture.ppm"
    assert client.command("picture", channel="display:0", path=str(shown))["saved"]
    echo(there, client, random_file(bench.logs / "small", MIB))


@check
def a_guest_goes_on_talking(bench):
    """With 32 MiB on their way to the client."""
    vm, client = source(bench)
    receive_through_a_move(vm, target(bench), client, 32 * MIB)


@check
def a_session_goes_on_and_on(bench):
    """From host to host to host."""
    vm, client = source(bench)
    data = random_file(bench.logs / "random", MIB)
    for _ in range(3):
        there = target(bench)
        move(vm, there, client)
        echo(there, client, data)
        vm.kill()
        vm = there


@check
def a_session_begins_anew(bench):
    vm, client = source(bench, seamless=False)
    there = target(bench, seamless=False)
    move(vm, there, client)
    client.wait("port-init", name=PORT)
    echo(there, client, random_file(bench.logs / "random", MIB))


@check
def the_other_host_is_not_reached(bench):
    """The machine moves in spite of that; the client tries, and ends."""
    vm, client = source(bench)
    there = target(bench)
    mark = client.events.mark()
    announce(vm, free_port())
    migrate(vm, there)
    client.wait_channel("main:0", "error-connect", 30, mark)
    other = bench.client()
    other.open(port=there.port, connect=["port"])
    other.port_named(PORT)
    echo(there, other, random_file(bench.logs / "random", MIB))


@check
def the_machine_stays(bench):
    """Its client has been at the other host already, and comes back."""
    vm, client = source(bench)
    there = target(bench)
    mark = client.events.mark()
    announce(vm, there.port)
    vm.qmp.command("migrate", uri=f"tcp:127.0.0.1:{free_port()}")
    wait_until(lambda: status(vm) == "failed", 20, "the machine to stay")
    client.wait("migration", 20, mark, state="none")
    wait_until(lambda: len(clients_of(there)) < 2, 20, "the client to leave the other host")
    echo(vm, client, random_file(bench.logs / "random", MIB))
    assert not client.seen("disconnected", mark)


@check
def between_the_libraries(bench):
    """From Debian's library to ours and back, with something on its way."""
    if bench.library.name == "debian":
        return  # the same as the others
    debian = Library("debian")
    vm, client = source(bench, library=debian)
    here = target(bench)
    receive_through_a_move(vm, here, client, 32 * MIB)
    vm.kill()
    there = target(bench, library=debian)
    receive_through_a_move(here, there, client, 32 * MIB)
    echo(there, client, random_file(bench.logs / "small", MIB))

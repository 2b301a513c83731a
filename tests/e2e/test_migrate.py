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
MAIN = 1  # a channel's type
CHANNELS = ["main", "port", "display", "inputs", "cursor"]


def machine(bench, seamless, *more, port_number=None, spice=None, **options):
    """`spice` are other words for its -spice option than those of a plain port."""
    spice = spice or f"port={port_number or 'PORT'}"
    spice = ["-spice", f"{spice},addr=127.0.0.1,disable-ticketing=on,"
             f"seamless-migration={'on' if seamless else 'off'}"]
    words = MACHINE + SERIAL_BUS + port(1, PORT) + VDAGENT + spice + list(more)
    vm = bench.own_vm(words, boot=True, memory=MEMORY, **options)
    if port_number:
        vm.port = port_number
    return vm


def source(bench, seamless=True, more=(), library=None, spice=None, config=None,
           **client_options):
    vm = machine(bench, seamless, *more, library=library, spice=spice, config=config)
    vm.guest.wait_boot()
    client = bench.client()
    where = {"tls_port": vm.tls_port} if "ca_file" in client_options else {"port": vm.port}
    client.open(connect=CHANNELS, **where, **client_options)
    client.port_named(PORT)
    client.wait_channel("display:0", "opened")
    return vm, client


def target(bench, seamless=True, more=(), **options):
    incoming = free_port()
    vm = machine(bench, seamless, *more, "-incoming", f"tcp:127.0.0.1:{incoming}", **options)
    vm.incoming = incoming
    return vm


def announce(vm, port_number=None, **where):
    if port_number:
        where["port"] = port_number
    vm.qmp.command("client_migrate_info", protocol="spice", hostname="127.0.0.1", **where)


def status(vm):
    return vm.qmp.command("query-migrate").get("status")


def migrate(vm, there):
    vm.qmp.command("migrate", uri=f"tcp:127.0.0.1:{there.incoming}")
    wait_until(lambda: status(vm) in ("completed", "failed"), 60, "the machine to move")
    assert status(vm) == "completed"


def move(vm, there, client, **where):
    """The machine goes, and its client with it. `where` is announced instead of the port."""
    mark = client.events.mark()
    count, before = len(clients_of(vm)), peers(there)
    announce(vm, **(where or {"port": there.port}))
    # QEMU does not wait: whoever is not there when the machine is has to begin anew.
    wait_until(lambda: len(peers(there) - before) == count, 10, "the client at the other host")
    migrate(vm, there)

    def moved():
        # The end of an earlier move may come late: only what is behind a beginning counts.
        states = [event["state"] for event in client.seen("migration", mark)]
        return states[-1:] == ["none"] and {"migrating", "switching"} & set(states)

    wait_until(moved, 30, "the client to move")
    assert not client.seen("disconnected", mark)
    wait_left(vm)
    assert clients_of(there)


def clients_of(vm):
    return vm.qmp.command("query-spice").get("channels", [])


def quit_all(bench, *machines):
    """Each host ends in order and has complained of nothing."""
    for vm in machines:
        bench.quit_cleanly(vm)


def peers(vm):
    return {c["port"] for c in clients_of(vm)}


def wait_left(vm):
    """Waits until the client has left this host. What it had connected to Debian's library
    besides the main channel stays there when it did not come after all."""
    wait_until(lambda: not [c for c in clients_of(vm) if c["channel-type"] == MAIN
                            or vm.library.name == "ours"], 20, "the client to leave a host")


def wait_back(there):
    """Waits until a client that does not come after all has gone from the other host. Its
    main channel may stay: spice-gtk does not look at that one until something comes on it.
    The rest stays with Debian's library."""
    if there.library.name == "ours":
        wait_until(lambda: {c["channel-type"] for c in clients_of(there)} <= {MAIN}, 20,
                   "the client's way back")


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


def receive_through_a_move(vm, there, client, size, what="cat /dev/urandom", **where):
    before = client.received("port:0")[0]
    vm.guest.sh(f"{what} | head -c {size} >/tmp/out", 60)
    begin(vm, client, "cat /tmp/out >&3; sha256sum /tmp/out")
    wait_until(lambda: client.received("port:0")[0] > before + size // 8, 30, "the transfer")
    mark = client.events.mark()
    move(vm, there, client, **where)
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
    quit_all(bench, vm, there)


@check
def a_guest_goes_on_talking(bench):
    """With 32 MiB on their way to the client."""
    vm, client = source(bench)
    there = target(bench)
    receive_through_a_move(vm, there, client, 32 * MIB)
    quit_all(bench, vm, there)


@check
def a_session_begins_anew(bench):
    vm, client = source(bench, seamless=False)
    there = target(bench, seamless=False)
    move(vm, there, client)
    client.wait("port-init", name=PORT)
    echo(there, client, random_file(bench.logs / "random", MIB))
    quit_all(bench, vm, there)


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
    quit_all(bench, vm, there)


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
    wait_back(there)
    echo(vm, client, random_file(bench.logs / "random", MIB))
    assert not client.seen("disconnected", mark)
    bench.expect_stderr("Failed to connect to '127.0.0.1:")
    quit_all(bench, vm, there)


@check
def between_the_libraries(bench):
    """From Debian's library to ours and back, with something on its way."""
    if bench.library.name == "debian":
        return  # the same as the others
    debian = Library("debian")
    vm, client = source(bench, library=debian)
    here = target(bench)
    receive_through_a_move(vm, here, client, 32 * MIB)
    bench.quit_cleanly(vm)
    there = target(bench, library=debian)
    receive_through_a_move(here, there, client, 32 * MIB)
    echo(there, client, random_file(bench.logs / "small", MIB))
    quit_all(bench, here, there)

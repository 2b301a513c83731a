"""The ways that a move can take: it is called off, fails, or the other host is not there
when the client looks for it; a machine that goes back and forth; and all of that between
Debian's library and ours."""

from lib.bench import check
from lib.qemu import Library, free_port
from lib.spice_client import random_file
from lib.waiting import wait_until
from test_migrate import (CHANNELS, MIB, PORT, announce, clients_of, echo, migrate, move, quit_all,
                          source, status, target, wait_back, wait_left)

KIB = 1 << 10
SLOW = 512 * KIB  # bytes a second: a minute at least for what the guest has in its memory


def speed(vm, bytes_a_second):
    vm.qmp.command("migrate-set-parameters", **{"max-bandwidth": bytes_a_second})


def transferred(vm):
    return vm.qmp.command("query-migrate").get("ram", {}).get("transferred", 0)


def stays(vm, there, client, mark):
    """The client was at the other host, has come back, and was never cut."""
    client.wait("migration", 20, mark, state="none")
    if there.alive():
        wait_back(there)
    assert not client.seen("disconnected", mark)
    assert len(clients_of(vm)) == len(CHANNELS), clients_of(vm)


def fail(bench, vm, there, client):
    """The machine finds nobody who takes it."""
    bench.expect_stderr("Failed to connect to '127.0.0.1:")
    mark = client.events.mark()
    announce(vm, there.port)
    vm.qmp.command("migrate", uri=f"tcp:127.0.0.1:{free_port()}")
    wait_until(lambda: status(vm) == "failed", 20, "the machine to stay")
    stays(vm, there, client, mark)


def call_off(bench, vm, client, data, **options):
    """A move to a host of its own, that ends with it."""
    there = target(bench, **options)
    mark = client.events.mark()
    announce(vm, there.port)
    speed(vm, SLOW)
    vm.qmp.command("migrate", uri=f"tcp:127.0.0.1:{there.incoming}")
    wait_until(lambda: transferred(vm) > SLOW, 30, "the machine to be under way")
    echo(vm, client, data)
    assert status(vm) == "active"
    vm.qmp.command("migrate_cancel")
    wait_until(lambda: status(vm) == "cancelled", 20, "the machine to stay")
    speed(vm, 1 << 30)
    # A QEMU whose machine does not come ends, and not by a signal.
    assert there.wait_exit() == 1, there.stderr()
    stays(vm, there, client, mark)


def host_is_late(bench, vm, client, **options):
    """Nobody is at the other host when the client looks for it, so that it is sent there
    when the machine is: it begins there, like a new one."""
    late = free_port()
    mark = client.events.mark()
    announce(vm, late)
    there = target(bench, port_number=late, **options)
    migrate(vm, there)
    client.wait_channel("main:0", "opened", 30, mark)
    client.port_named(PORT, 30, mark)
    wait_until(lambda: len(clients_of(there)) == len(CHANNELS), 20, "the channels")
    wait_left(vm)
    return there


@check
def it_is_called_off(bench):
    vm, client = source(bench)
    data = random_file(bench.logs / "random", 256 * KIB)
    call_off(bench, vm, client, data)
    echo(vm, client, data)
    there = target(bench)
    move(vm, there, client)
    echo(there, client, data)
    quit_all(bench, vm, there)


@check
def back_and_forth(bench):
    """Ten times, each time to a new QEMU; what is said meanwhile is neither lost nor said
    twice, and no host keeps anything of the client."""
    vm, client = source(bench)
    data = random_file(bench.logs / "random", 64 * KIB)
    mark = client.events.mark()
    for _ in range(10):
        there = target(bench)
        move(vm, there, client)
        echo(there, client, data)
        bench.quit_cleanly(vm)
        vm = there
    assert not client.seen("disconnected", mark)
    assert not client.seen("port-init", mark)
    bench.quit_cleanly(vm)


@check
def the_other_host_is_late(bench):
    vm, client = source(bench)
    there = host_is_late(bench, vm, client)
    echo(there, client, random_file(bench.logs / "random", MIB))
    quit_all(bench, vm, there)


@check
def each_way_between_the_libraries(bench):
    """From Debian's library to ours and back: a failure, one called off, a client that
    begins anew, and a host that is late."""
    if bench.library.name == "debian":
        return  # the same as the others
    data = random_file(bench.logs / "random", 256 * KIB)
    libraries = [Library("debian"), bench.library]
    vm, client = source(bench, seamless=False, library=libraries[0])
    for ways in ("anew", "late"):
        for library in (libraries[1], libraries[0]):
            if ways == "late":
                there = host_is_late(bench, vm, client, seamless=False, library=library)
            else:
                call_off(bench, vm, client, data, seamless=False, library=library)
                there = target(bench, seamless=False, library=library)
                fail(bench, vm, there, client)
                echo(vm, client, data)
                move(vm, there, client)
            echo(there, client, data)
            bench.quit_cleanly(vm)
            vm = there
    bench.quit_cleanly(vm)

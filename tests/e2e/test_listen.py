"""Where QEMU can be told to listen, and what it says when it cannot."""

import socket

from lib import raw_link
from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, port
from lib.qemu import Qemu
from lib.spice_client import ClientError

DEVICES = MACHINE + SERIAL_BUS + port(1, PORT)


def use(bench, **where):
    client = bench.client()
    client.open(connect=["port"], **where)
    assert client.port_named(PORT) == "port:0"
    client.close()


@check
def tcp(bench):
    vm = bench.own_vm(DEVICES + ["-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on"])
    use(bench, port=vm.port)
    bench.quit_cleanly(vm)


@check
def tcp_on_all_addresses(bench):
    vm = bench.own_vm(DEVICES + ["-spice", "port=PORT,disable-ticketing=on"])
    use(bench, port=vm.port)
    use(bench, host="localhost", port=vm.port)
    bench.quit_cleanly(vm)


@check
def tcp_ipv4_only(bench):
    vm = bench.own_vm(DEVICES + ["-spice", "port=PORT,ipv4=on,disable-ticketing=on"])
    use(bench, port=vm.port)
    server = vm.qmp.command("query-spice")
    bench.observe("host", server["host"])
    with socket.socket(socket.AF_INET6) as sock:
        assert sock.connect_ex(("::1", vm.port)) != 0, "ipv4=on listens on IPv6 too"


@check
def tcp_ipv6(bench):
    vm = bench.own_vm(DEVICES + ["-spice", "port=PORT,addr=::1,ipv6=on,disable-ticketing=on"])
    use(bench, host="::1", port=vm.port)
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", vm.port)) != 0, "addr=::1 listens on IPv4 too"
    bench.quit_cleanly(vm)


@check
def unix_socket(bench):
    path = bench.logs / "spice.sock"
    path.write_text("a file that is in the way\n")  # what was there is replaced
    vm = bench.own_vm(DEVICES + ["-spice", f"unix=on,addr={path},disable-ticketing=on"])
    mark = vm.qmp.events.mark()
    use(bench, unix_path=str(path))
    event = vm.qmp.wait_event("SPICE_INITIALIZED", mark=mark)["data"]
    bench.observe("families", [event["server"]["family"], event["client"]["family"]])
    bench.quit_cleanly(vm)


@check
def abstract_socket(bench):
    """A leading @ names a socket that is no file; Linux only."""
    name = f"@spice-e2e-{bench.library.name}-{bench.library.home}-{id(bench)}"
    vm = bench.own_vm(DEVICES + ["-spice", f"unix=on,addr={name},disable-ticketing=on"])
    with raw_link.connect(name) as sock:
        assert raw_link.link(sock, raw_link.MAIN) == raw_link.LINK_OK
    bench.quit_cleanly(vm)


def start_failure(bench, number, spice):
    """QEMU's exit status when it cannot listen."""
    try:
        vm = Qemu(bench.library, bench.logs / f"failure{number}", DEVICES + ["-spice", spice])
    except AssertionError:
        text = (bench.logs / f"failure{number}" / "qemu.stderr").read_text()
        assert "failed to initialize spice server" in text, text
        return text.strip().splitlines()[-1].split(": ", 1)[-1]
    vm.kill()
    raise AssertionError(f"QEMU started with -spice {spice}")


@check
def cannot_listen(bench):
    """A port that is taken, a directory that is not there: QEMU says so and ends."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        bench.observe("port taken", start_failure(
            bench, 1, f"port={number},addr=127.0.0.1,disable-ticketing=on"))
    bench.observe("no such directory", start_failure(
        bench, 2, "unix=on,addr=/nonexistent/spice.sock,disable-ticketing=on"))


@check
def nothing_listens_without_a_port(bench):
    vm = bench.own_vm(DEVICES + ["-spice", "disable-ticketing=on"])
    client = bench.client()
    try:
        client.open(port=vm.port, opened=None)
        client.wait_channel("main:0", "error-connect")
    except ClientError:
        pass
    bench.quit_cleanly(vm)

"""One session: what QEMU's monitor and the client learn of each other.

The machine runs no guest: its firmware is enough for everything here.
"""

import socket

from lib.bench import PASSWORD_REFUSED, check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, port
from lib.qmp import QmpError
from lib.waiting import count_fds, count_threads, wait_until

UUID = "00112233-4455-6677-8899-aabbccddeeff"
NAME = "a machine"
SPICE_EVENTS = ("SPICE_CONNECTED", "SPICE_INITIALIZED", "SPICE_DISCONNECTED")
# What differs from run to run in an event or a query.
VARIABLE = {"port", "connection-id", "host"}
MOUSE_SERVER, MOUSE_CLIENT = 1, 2
DEVICES = SERIAL_BUS + port(1, PORT)


def start_vm(bench):
    return bench.qemu(MACHINE + DEVICES + ["-name", NAME, "-uuid", UUID] + SPICE_TCP)


def spice_events(vm, mark):
    return [e for e in vm.qmp.events.since(mark) if e["event"] in SPICE_EVENTS]


def wait_event_count(vm, mark, name, count, seconds=10):
    wait_until(lambda: sum(e["event"] == name for e in spice_events(vm, mark)) >= count,
               seconds, f"{count} events {name}")


def wait_nobody(vm):
    wait_until(lambda: not vm.qmp.command("query-spice").get("channels"), 10,
               "QEMU to see no client any more")


def shape(value):
    """An event or query without what differs from run to run."""
    if isinstance(value, dict):
        return {k: "…" if k in VARIABLE else shape(v) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [shape(v) for v in value]
    return value


def connect(bench, vm=None, **options):
    client = bench.client()
    options.setdefault("opened", "main:0")
    client.open(port=(vm or bench.vm).port, connect=["port"], **options)
    return client


@check
def events_of_one_client(bench):
    vm = bench.vm
    mark = vm.qmp.events.mark()
    client = connect(bench)
    client.port_named(PORT)
    wait_event_count(vm, mark, "SPICE_INITIALIZED", 2)
    up = spice_events(vm, mark)
    ids = {e["data"]["client"]["connection-id"] for e in up if e["event"] == "SPICE_INITIALIZED"}
    assert len(ids) == 1 and 0 not in ids, f"connection ids of one client: {ids}"
    mark = vm.qmp.events.mark()
    client.close()
    wait_event_count(vm, mark, "SPICE_DISCONNECTED", 2)
    down = spice_events(vm, mark)
    bench.observe("connecting", [shape({"event": e["event"], **e["data"]}) for e in up])
    bench.observe("disconnecting", [shape({"event": e["event"], **e["data"]}) for e in down])
    order = [(e["event"].removeprefix("SPICE_"), e["data"]["client"].get("channel-type"))
             for e in up]
    assert order == [("CONNECTED", None), ("INITIALIZED", 1),
                     ("CONNECTED", None), ("INITIALIZED", 10)], order
    gone = {e["data"]["client"]["port"] for e in down}
    came = {e["data"]["client"]["port"] for e in up}
    assert gone == came, f"connections {came} came, {gone} went"


@check
def query_spice(bench):
    vm = bench.vm
    wait_nobody(vm)
    bench.observe("without a client", shape(vm.qmp.command("query-spice")))
    client = connect(bench)
    client.port_named(PORT)
    wait_until(lambda: len(vm.qmp.command("query-spice").get("channels", [])) == 2, 10,
               "two channels in query-spice")
    answer = vm.qmp.command("query-spice")
    kinds = sorted((c["channel-type"], c["channel-id"]) for c in answer["channels"])
    assert kinds == [(1, 0), (10, 0)], kinds
    answer["channels"].sort(key=lambda c: c["channel-type"])
    bench.observe("with a client", shape(answer))
    info = vm.qmp.hmp("info spice")
    assert info.count("Channel:") == 2 and "channel name: port" in info, info
    client.close()
    wait_nobody(vm)


@check
def name_and_uuid(bench):
    client = connect(bench)
    client.wait("session", property="name", value=NAME)
    client.wait("session", property="uuid", value=UUID.replace("-", ""))


@check
def mouse_mode_without_tablet(bench):
    vm = bench.vm
    client = connect(bench)
    client.wait("main", property="mouse-mode", value=MOUSE_SERVER)
    client.command("request_mouse_mode", mode=MOUSE_CLIENT)
    client.port_named(PORT)
    modes = [e["value"] for e in client.seen("main", property="mouse-mode")]
    assert modes == [MOUSE_SERVER], modes
    assert vm.qmp.command("query-spice")["mouse-mode"] == "server"


@check
def second_client_takes_over(bench):
    vm = bench.vm
    first = connect(bench)
    first.port_named(PORT)
    mark = vm.qmp.events.mark()
    second = connect(bench)
    first.wait_channel("main:0", "closed")
    second.port_named(PORT)
    wait_event_count(vm, mark, "SPICE_DISCONNECTED", 2)
    wait_event_count(vm, mark, "SPICE_INITIALIZED", 2)
    answer = vm.qmp.command("query-spice")
    assert len({c["connection-id"] for c in answer["channels"]}) == 1, answer
    assert len(answer["channels"]) == 2, answer
    second.close()
    wait_nobody(vm)


@check
def passwords(bench):
    bench.expect_stderr(PASSWORD_REFUSED)
    vm = bench.own_vm(MACHINE + DEVICES + ["-spice", "port=PORT,addr=127.0.0.1"])
    refused = lambda password: connect(bench, vm, password=password, opened=None).wait_channel(
        "main:0", "error-auth")

    def accepted(password):
        client = connect(bench, vm, password=password)
        client.port_named(PORT)
        client.close()

    mark = vm.qmp.events.mark()
    refused("anything")  # no password has been set yet
    # The client may know of the refusal before QEMU's monitor does.
    wait_event_count(vm, mark, "SPICE_DISCONNECTED", 1)
    vm.qmp.command("set_password", protocol="spice", password="right")
    mark = vm.qmp.events.mark()
    refused("wrong")
    wait_event_count(vm, mark, "SPICE_DISCONNECTED", 1)
    bench.observe("events of a wrong password",
                  [shape({"event": e["event"], **e["data"]}) for e in spice_events(vm, mark)])
    accepted("right")
    refused("")
    refused("righ")
    refused("rightt")
    vm.qmp.command("expire_password", protocol="spice", time="now")
    refused("right")
    vm.qmp.command("expire_password", protocol="spice", time="never")
    accepted("right")
    vm.qmp.command("expire_password", protocol="spice", time="+2")
    accepted("right")
    wait_until(lambda: not admitted(bench, vm, "right"), 8, "the password to expire", 0.2)
    vm.qmp.command("expire_password", protocol="spice", time="+1000")
    accepted("right")
    longest = "p" * 59
    vm.qmp.command("set_password", protocol="spice", password=longest)
    vm.qmp.command("expire_password", protocol="spice", time="never")
    accepted(longest)
    try:
        vm.qmp.command("set_password", protocol="spice", password="p" * 61)
        bench.observe("a password of 61 characters", "taken")
    except QmpError as error:
        bench.observe("a password of 61 characters", error.description)
    bench.quit_cleanly(vm)


def admitted(bench, vm, password):
    client = connect(bench, vm, password=password, opened=None)
    event = client.events.wait(
        lambda e: e["event"] == "channel-event" and e["channel"] == "main:0", 10, "an answer")
    client.stop()
    return event["what"] == "opened"


@check
def password_and_a_connected_client(bench):
    bench.expect_stderr(PASSWORD_REFUSED)
    vm = bench.own_vm(MACHINE + DEVICES + ["-spice", "port=PORT,addr=127.0.0.1"])
    set_password = lambda **options: vm.qmp.command("set_password", protocol="spice", **options)
    set_password(password="one", connected="fail")
    client = connect(bench, vm, password="one")
    client.port_named(PORT)
    try:
        set_password(password="two", connected="fail")
        raise AssertionError("connected=fail was accepted with a client connected")
    except QmpError as error:
        bench.observe("connected=fail", error.description)
    set_password(password="three", connected="keep")
    assert client.command("list")["channels"], "connected=keep cut the client"
    assert not client.seen("channel-event", what="closed")
    set_password(password="four", connected="disconnect")
    client.wait_channel("main:0", "closed")
    wait_nobody(vm)
    for password in ("one", "two", "three"):
        assert not admitted(bench, vm, password), f"{password} is an old password"
    assert admitted(bench, vm, "four")


@check
def wrong_password_does_not_cut_the_session(bench):
    bench.expect_stderr(PASSWORD_REFUSED)
    vm = bench.own_vm(MACHINE + DEVICES + ["-spice", "port=PORT,addr=127.0.0.1"])
    vm.qmp.command("set_password", protocol="spice", password="right")
    client = connect(bench, vm, password="right")
    client.port_named(PORT)
    assert not admitted(bench, vm, "wrong")
    assert len(vm.qmp.command("query-spice")["channels"]) == 2
    assert not client.seen("channel-event", what="closed")


def add_client(vm, **options):
    """A connected socket whose other end QEMU was given; returns ours."""
    near, far = socket.socketpair()
    vm.qmp.command("getfd", fds=[far.fileno()], fdname="client")
    vm.qmp.command("add_client", protocol="spice", fdname="client", **options)
    far.close()
    return near


@check
def add_client_by_fd(bench):
    """A machine that listens nowhere gets its clients as open sockets."""
    vm = bench.own_vm(MACHINE + DEVICES + ["-spice", "disable-ticketing=on"])
    client = bench.client()
    mark = vm.qmp.events.mark()
    with add_client(vm, tls=False) as end:
        client.command("open_fd", fds=[end.fileno()], connect=["port"])
    client.wait_channel("main:0", "opened")
    channel = client.wait("want-fd")["channel"]
    with add_client(vm, skipauth=False, tls=False) as end:
        client.command("give_fd", fds=[end.fileno()], channel=channel)
    assert client.port_named(PORT) == channel
    wait_event_count(vm, mark, "SPICE_INITIALIZED", 2)
    bench.observe("events", [shape({"event": e["event"], **e["data"]})
                             for e in spice_events(vm, mark)])
    client.close()
    wait_event_count(vm, mark, "SPICE_DISCONNECTED", 2)
    bench.quit_cleanly(vm)


@check
def add_client_without_authentication(bench):
    """`skipauth` lets a client in that knows no password."""
    bench.expect_stderr(PASSWORD_REFUSED)
    vm = bench.own_vm(MACHINE + DEVICES + ["-spice", "port=PORT,addr=127.0.0.1"])
    for skip, what in ((False, "error-auth"), (True, "opened")):
        client = bench.client()
        with add_client(vm, skipauth=skip) as end:
            client.command("open_fd", fds=[end.fileno()], password="unknown")
        client.wait_channel("main:0", what)


@check
def forty_sessions_leave_nothing(bench):
    """Sessions come and go; QEMU's descriptors and threads stay as many."""
    vm = bench.vm
    client = connect(bench)
    client.port_named(PORT)
    client.close()
    wait_nobody(vm)
    before = count_fds(vm.pid), count_threads(vm.pid)
    for _ in range(40):
        mark = client.events.mark()
        client.open(port=vm.port, connect=["port"])
        client.port_named(PORT, mark=mark)
        client.close()
    wait_nobody(vm)
    wait_until(lambda: count_fds(vm.pid) <= before[0], 10, f"no more than {before[0]} descriptors")
    wait_until(lambda: count_threads(vm.pid) <= before[1] + 1, 10, f"about {before[1]} threads")

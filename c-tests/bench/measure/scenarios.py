"""What is measured, and what the goals are (issue "Speed")."""

import time

from runs import compare

SIZES = {64: "64 B", 1024: "1 KiB", 16384: "16 KiB", 65536: "64 KiB"}
TRANSPORTS = {"unix": "unix", "tcp": "TCP", "tls": "TLS"}
KIB = 1024

# More is better for these, less for all others.
RATES = ("MB/s", "per s", "fairness")


class Goal:
    """A bound on ours/Debian's, or on ours alone; `more`: it is one from below."""

    def __init__(self, bound, of_debian=True, more=True):
        self.bound, self.of_debian, self.more = bound, of_debian, more

    def is_met(self, debian, ours):
        value = ours
        if self.of_debian:
            if not debian:
                return None
            value = ours / debian
        return value >= self.bound if self.more else value <= self.bound

    def __str__(self):
        return f"{'≥' if self.more else '≤'} {self.bound:g}{' ×' if self.of_debian else ''}"


def at_least(bound):
    return Goal(bound)


def at_most(bound):
    return Goal(bound, more=False)


def no_more_than(bound):
    return Goal(bound, of_debian=False, more=False)


def no_less_than(bound):
    return Goal(bound, of_debian=False)


class Scenario:
    """`run(bench, library, seconds)` gives values by unit; `goals` are some of them."""

    def __init__(self, name, title, run, goals, bare=True):
        self.name, self.title, self.run, self.goals, self.has_bare = name, title, run, goals, bare


def to_device(transport, size, **keys):
    """The client floods."""
    def run(bench, library, seconds):
        content = {"content": keys["content"]} if "content" in keys else {}
        with bench.host(library, transport, "in", **content) as host, \
                bench.client(library, host, transport, "flood", size=size, seconds=seconds,
                             **keys) as client:
            said = client.line()
            return flow(host, said, "heard", None)
    return run


def to_client(transport, size, channels=1, **keys):
    """The guest floods."""
    def run(bench, library, seconds):
        content = {"content": keys["content"]} if "content" in keys else {}
        with bench.host(library, transport, "out", block=size, seconds=seconds,
                        channels=channels, **content) as host, \
                bench.client(library, host, transport, "drain", channels=channels,
                             **keys) as client:
            said = client.line()
            return flow(host, said, "said", said["seconds"])
    return run


def flow(host, said, what, seconds):
    host.go_on()
    result = host.line()
    compare(result, said)
    amount = result[what]
    values = {"MB/s": amount / 1e6 / (seconds or result["seconds"])}
    if "main" in result:
        values["main s/GB"] = result["main"] / (amount / 1e9)
        values["all s/GB"] = result["process"] / (amount / 1e9)
    return values


def echo(transport, channels=1):
    """A dialogue, if there are more channels beside a flood."""
    def run(bench, library, seconds):
        with bench.host(library, transport, "echo", channels=channels) as host, \
                bench.client(library, host, transport, "echo", size=64, channels=channels,
                             seconds=seconds) as client:
            said = client.line()
            host.go_on()
            result = host.line()
            if channels > 1:
                result["heard"] = None  # the flood's bytes are in it
            compare(result, said)
            return {f"{unit} µs": said[unit] * 1e6 for unit in ("p50", "p99", "mean")}
    return run


def fair(bench, library, seconds):
    """Sixteen clients' channels flood at once."""
    with bench.host(library, "tcp", "in", channels=16, seconds=seconds) as host, \
            bench.client(library, host, "tcp", "fair", channels=16, size=1024,
                         seconds=seconds) as client:
        said = client.line()
        host.go_on()
        result = host.line()
        compare(result, said)
        each = result["each"]
        return {"fairness": min(each) / max(1, max(each)), "MB/s": sum(each) / 1e6 / seconds}


def connect(password):
    """Main channel and a port, again and again."""
    def run(bench, library, seconds):
        keys = {"password": password} if password else {}
        with bench.host(library, "unix", "in", **keys) as host, \
                bench.client(library, host, "unix", "connect", seconds=max(seconds, 0.3),
                             **keys) as client:
            said = client.line()
            host.go_on()
            result = host.line()
            return {"per s": said["connects"] / said["seconds"],
                    "main ms": result["main"] * 1e3 / said["connects"]}
    return run


def memory(bench, library, _seconds):
    """What a channel costs that is linked and silent."""
    with bench.host(library, "unix", "in", channels=64) as host:
        where = host.where
        host_where = type("Where", (), {"where": where})
        # The first link costs what all share.
        with bench.client(library, host_where, "unix", "hold", channels=1) as client:
            client.line()
            client.go_on()
            compare({}, client.line())
        before = host.resident("VmRSS")
        with bench.client(library, host_where, "unix", "hold", channels=64) as client:
            client.line()
            settle()
            after = host.resident("VmRSS")
            client.go_on()
            said = client.line()
        host.go_on()
        compare(host.line() | {"heard": None}, said)
        return {"KiB a channel": (after - before) / 65}


def growth(bench, library, seconds):
    """The client stops reading while the guest writes 16 bytes at a time."""
    with bench.host(library, "unix", "out", block=16, seconds=seconds) as host, \
            bench.client(library, host, "unix", "hold", listens=1) as client:
        client.line()
        before = host.resident("VmRSS")
        time.sleep(seconds)
        settle()
        after = host.resident("VmHWM")
        client.go_on()
        said = client.line()
        host.go_on()
        compare(host.line(), said)
        return {"MiB": (after - before) / KIB}


def bomb(bench, library, seconds):
    """The device takes nothing, the client sends little that comes to much."""
    with bench.host(library, "tcp", "stop") as host, \
            bench.client(library, host, "tcp", "bomb", lz4=1,
                         seconds=min(max(seconds, 0.2), 1)) as client:
        host_before = host.resident("VmRSS")
        client.line()
        after = host.resident("VmHWM")
        client.go_on()
        host.go_on()
        compare(host.line(), {})
        return {"MiB": (after - host_before) / KIB}


def idle(bench, library, seconds):
    """Sixteen channels and nothing to do."""
    with bench.host(library, "unix", "in", channels=16) as host, \
            bench.client(library, host, "unix", "hold", channels=16) as client:
        client.line()
        settle()
        before = host.sleeps()
        time.sleep(max(seconds, 0.5))
        count = host.sleeps() - before
        client.go_on()
        said = client.line()
        host.go_on()
        compare(host.line(), said)
        return {"wake-ups": count}


def settle():
    """Until what was begun has come to rest; nothing tells when."""
    time.sleep(0.2)


def stay(bench, library, seconds):
    """The longest that the library keeps the main thread in one go, in several flows."""
    longest = 0
    for transport, flow_name, size in (("unix", "in", 64), ("unix", "in", 65536),
                                       ("unix", "out", 64), ("unix", "out", 65536),
                                       ("tls", "in", 1024), ("tls", "out", 65536)):
        with bench.host(library, transport, flow_name, block=size, seconds=seconds,
                        stay=1) as host:
            flow_of_client = {"in": "flood", "out": "drain"}[flow_name]
            with bench.client(library, host, transport, flow_of_client, size=size,
                              seconds=seconds) as client:
                said = client.line()
            host.go_on()
            result = host.line()
            compare(result, said)
            longest = max(longest, result["stay"])
    return {"ms": longest * 1e3}


# Ours/Debian's by message size.
TO_DEVICE = {"unix": (30, 5, 1.1, 1.05), "tcp": (30, 6, 1.05, 1.0), "tls": (2, 1.1, 1.0, 1.0)}
TO_CLIENT = {"unix": (50, 12, 1.8, 1.05), "tcp": (50, 12, 1.4, 1.2), "tls": (50, 8, 1.4, 1.3)}
LZ4_SIZES = (1024, 16384, 65536)
LZ4_TO_CLIENT = {"text": (4, 1.5, 1.3), "random": (8, 1.8, 1.3)}
LZ4_TO_DEVICE = (3.5, 1.6, 1.2)
# The main thread's seconds.
MAIN = {"in-unix-64": 0.03, "in-unix-65536": 0.9, "out-unix-64": 0.03, "out-unix-65536": 0.5,
        "out-tls-65536": 0.15, "out-lz4-text-65536": 0.15}


def all_scenarios(text):
    """In the order of the tables; `text` is a file that shrinks."""
    scenarios = []

    def add(name, title, run, goals, bare=True):
        if name in MAIN:
            goals["main s/GB"] = at_most(MAIN[name])
        scenarios.append(Scenario(name, title, run, goals, bare))

    for letter, way, goals, make in (("in", "client → device", TO_DEVICE, to_device),
                                     ("out", "device → client", TO_CLIENT, to_client)):
        for transport, title in TRANSPORTS.items():
            for size, goal in zip(SIZES, goals[transport]):
                add(f"{letter}-{transport}-{size}", f"{way}, {title}, {SIZES[size]}",
                    make(transport, size), {"MB/s": at_least(goal)})
    for content, goals in LZ4_TO_CLIENT.items():
        for size, goal in zip(LZ4_SIZES, goals):
            keys = {"lz4": 1, "content": text if content == "text" else content}
            add(f"out-lz4-{content}-{size}", f"device → client, LZ4, {content}, {SIZES[size]}",
                to_client("tcp", size, **keys), {"MB/s": at_least(goal)}, bare=False)
    for size, goal in zip(LZ4_SIZES, LZ4_TO_DEVICE):
        add(f"in-lz4-{size}", f"client → device, LZ4, text, {SIZES[size]}",
            to_device("tcp", size, lz4=1, content=text), {"MB/s": at_least(goal)})
    for transport, goal in (("unix", 0.8), ("tcp", 0.8), ("tls", 0.9)):
        add(f"echo-{transport}", f"echo of 64 B, {TRANSPORTS[transport]}", echo(transport),
            {"p50 µs": at_most(goal), "p99 µs": at_most(1.0)})
    add("echo-flood", "echo beside a flood of 1 KiB", echo("unix", 2), {"mean µs": at_most(0.05)})
    add("fair", "16 channels at once, TCP: slowest/fastest", fair,
        {"fairness": no_less_than(0.9)})
    add("many", "64 channels at once, unix, 4 KiB, sum", to_client("unix", 4096, 64),
        {"MB/s": at_least(2)})
    for name, password, goal in (("noauth", None, 15), ("password", "secret", 2)):
        add(f"connect-{name}", f"connects, unix, {name}", connect(password),
            {"per s": at_least(goal), "main ms": no_more_than(0.5)}, bare=False)
    add("stay", "longest stay in the library", stay, {"ms": no_more_than(2)}, bare=False)
    add("memory", "memory of a connected channel", memory,
        {"KiB a channel": no_more_than(30)}, bare=False)
    add("growth", "memory, client stops reading, 16 B", growth,
        {"MiB": no_more_than(2)}, bare=False)
    add("bomb", "memory, device stopped, LZ4 zeros", bomb, {"MiB": no_more_than(4)}, bare=False)
    add("idle", "wake-ups, 16 idle channels", idle, {"wake-ups": no_more_than(0)}, bare=False)
    return scenarios

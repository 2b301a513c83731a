"""scripts/demo --no-qemu: spice-serve, spice-port and spice-gtk without a machine."""

import hashlib
import subprocess

from lib.spice_client import SpiceClient, random_file, sha256_file
from lib.tools import Tools

SIZE = 8 << 20
ECHO, FILE = "org.example.echo.0", "org.example.file.0"


def demonstrate(steps, library, logs, compare):
    """A command and a file as ports; `compare` shows two sums and fails if they differ."""
    tools = Tools(library, logs)
    client = SpiceClient(logs, "client")
    data = random_file(logs / "random", SIZE)
    digest = sha256_file(data)
    try:
        with steps.step("Serving a command (cat) and a file as SPICE ports with spice-serve"):
            serve = tools.serve(f"{ECHO}=exec:cat", f"{FILE}=file:{data}")
        _, listed, _ = tools.port("--list", serve.uri)
        for line in listed.decode().splitlines():
            steps.note(line.replace("\t", "  "))
        with steps.step("Sending 8 MiB through the command with spice-port"), \
                open(data, "rb") as file:
            got = expect(tools.port(serve.uri, ECHO, stdin=file))
        compare(steps, ("sent", digest), ("received", got))
        with steps.step("Fetching the file with spice-port"):
            got = expect(tools.port(serve.uri, FILE, stdin=subprocess.DEVNULL))
        compare(steps, ("file", digest), ("received", got))
        with steps.step("Sending 8 MiB through the command with spice-gtk's library"):
            client.open(port=serve.port, connect=["port"])
            channel = client.port_named(ECHO, opened=True)
            client.send(channel, data)
            path = client.wait_received(channel, SIZE)
            client.close()
        compare(steps, ("sent", digest), ("received", sha256_file(path)))
        with steps.step("Ending spice-serve"):
            serve.terminate()
            status = serve.wait(10)
        assert status == 0, f"spice-serve ended with status {status}: {serve.log.read_text()}"
    finally:
        client.stop()
        tools.stop()


def expect(run):
    status, out, err = run
    assert status == 0, f"spice-port ended with status {status}: {err}"
    return hashlib.sha256(out).hexdigest()

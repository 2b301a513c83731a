#!/usr/bin/env python3
"""A real SPICE client (spice-gtk's library) uses a channel made by
spicevmc_device_connect(): 4 MiB of random bytes go to the C program port-host and
come back the same."""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))
from lib.spice_client import SpiceClient, random_file, sha256_file  # noqa: E402

SIZE = 4 << 20


def main(program):
    with tempfile.TemporaryDirectory() as directory:
        logs = Path(directory)
        path = logs / "spice.sock"
        host = subprocess.Popen([program, str(path)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        client = None
        try:
            assert host.stdout.readline() == "listening\n", "the program does not listen"
            client = SpiceClient(logs)
            client.open(unix_path=str(path), connect=["port"])
            channel = client.port_named("org.example.echo.0")
            data = random_file(logs / "random", SIZE)
            client.send(channel, data)
            client.wait_received(channel, SIZE)
            received, path = client.received(channel)
            assert received == SIZE, f"{received} bytes came back"
            digest = sha256_file(path)
            assert digest == sha256_file(data), "other bytes came back"
            client.close()
            host.stdin.close()
            assert host.wait(20) == 0, f"the program ended with {host.returncode}"
            print(f"{SIZE >> 20} MiB there and back on {channel}, SHA-256 {digest}")
        finally:
            if client:
                client.stop()
            if host.poll() is None:
                host.kill()
                host.wait()


main(sys.argv[1])

"""A small program without a C library, built here and sent to the guest."""

import base64
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent.parent / "guest"
# Everything that a kernel does not need to start it is left out.
FLAGS = ["-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie",
         "-fno-asynchronous-unwind-tables", "-no-pie", "-Wall", "-Wextra", "-Werror", "-s",
         "-Wl,--build-id=none", "-Wl,-n", "-Wl,--no-warn-rwx-segments", "-Wl,-z,norelro"]


def install(guest, name, logs):
    """Builds guest/NAME.c and puts it into the guest's /bin."""
    program = Path(logs) / name
    subprocess.run(["cc", *FLAGS, "-o", program, SOURCES / f"{name}.c"], check=True)
    text = base64.b64encode(program.read_bytes()).decode()
    for at in range(0, len(text), 2000):
        guest.sh(f"echo {text[at:at + 2000]} >>/tmp/{name}.text")
    guest.sh(f"base64 -d /tmp/{name}.text >/bin/{name} && chmod 755 /bin/{name}")

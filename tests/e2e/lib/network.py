"""A network of the tests' own: a namespace with nothing but a loopback interface, which
can be cut. Needs no privileges where user namespaces are allowed."""

import subprocess

from .process import end_with_parent

HOLD = "ip link set lo up && echo ready && exec sleep infinity"


class Network:
    """Lives as long as its holding process. `words` in front of a command run it inside."""

    def __init__(self):
        self._holder = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net",
                                         "sh", "-c", HOLD],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        preexec_fn=end_with_parent)
        if self._holder.stdout.readline() != b"ready\n":
            raise AssertionError("no network namespace can be made here")
        self.words = ["nsenter", "--target", str(self._holder.pid), "--user", "--net",
                      "--preserve-credentials"]

    def cut(self):
        """From now on nothing arrives, and nobody is told."""
        self._set("down")

    def mend(self):
        self._set("up")

    def close(self):
        self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()

    def _set(self, state):
        subprocess.run(self.words + ["ip", "link", "set", "lo", state], check=True)

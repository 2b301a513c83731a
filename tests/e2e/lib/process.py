"""Child processes that cannot outlive the test that started them."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def end_with_parent():
    """For the child between fork and exec, or for a program of ours when it
    starts: the kernel kills it when its parent ends, however that happens."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

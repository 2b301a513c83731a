"""What QEMU may have more of after a check than before."""

from .waiting import count_fds, count_threads, wait_until


class Growth:
    """Descriptors and threads of QEMU before and after."""

    def __init__(self, vm):
        self.vm = vm
        self.before = self.now()

    def now(self):
        return count_fds(self.vm.pid), count_threads(self.vm.pid)

    def check(self):
        def settled():
            fds, threads = self.now()
            # QEMU's own worker threads come and go by ones.
            return fds <= self.before[0] and threads <= self.before[1] + 2

        try:
            wait_until(settled, 10, "")
        except AssertionError:
            raise AssertionError(
                f"descriptors and threads: {self.before} before, {self.now()} after") from None

"""A network of few bytes a second between a client and QEMU."""

import socket
import threading
import time

PIECE = 32 * 1024


class SlowPath:
    """Listens on `port` of the loopback interface and carries connections to another
    one; what the server says is held back so that no more than `rate` bytes a second
    pass. Ends with the block."""

    def __init__(self, target, rate):
        self.target = target
        self.rate = rate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.passed = 0  # bytes that the server said
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            _end(sock)

    def _accept(self):
        while True:
            try:
                near, _address = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._sockets += [near, far]
            for source, sink, rate in ((near, far, None), (far, near, self.rate)):
                threading.Thread(target=self._carry, args=(source, sink, rate),
                                 daemon=True).start()

    def _carry(self, source, sink, rate):
        free = 0.0  # when what was sent before has passed
        try:
            while data := source.recv(PIECE):
                if rate:
                    now = time.monotonic()
                    free = max(free, now) + len(data) / rate
                    time.sleep(free - now)
                    self.passed += len(data)
                sink.sendall(data)
        except OSError:
            pass
        _end(source)
        _end(sink)


def _end(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already

"""Chromium without a window, driven over its DevTools pipe, and the web server that
its pages come from."""

import base64
import functools
import hashlib
import http.server
import json
import os
import select
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

from .process import end_with_parent
from .waiting import Deadline, Timeout, wait_until

SPICE_HTML5 = "/usr/share/spice-html5"
CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--disable-dev-shm-usage", "--window-size=800,600",
            "--remote-debugging-pipe"]


class WebServer:
    """Serves spice-html5 on the loopback interface, by https with the certificate of
    a `pki`."""

    def __init__(self, pki=None):
        handler = functools.partial(_Quiet, directory=SPICE_HTML5)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        scheme = "http"
        if pki:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pki.certificate, pki.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.origin = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words):
        pass


class Browser:
    """One browser with one page. It takes the server's key of a `pki` besides those that
    the system's authorities vouch for."""

    def __init__(self, logs, name, pki=None):
        self._profile = Path(logs) / f"{name}.profile"
        self._buffer = b""
        self._number = 0
        words = [*CHROMIUM, f"--user-data-dir={self._profile}"]
        if pki:
            words.append(f"--ignore-certificate-errors-spki-list={_key_digest(pki)}")
        # Chromium reads commands from descriptor 3 and writes to descriptor 4.
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()

        def in_child():
            end_with_parent()
            ours = os.dup(commands), os.dup(answers)
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        with open(Path(logs) / f"{name}.stderr", "wb") as stderr:
            self._process = subprocess.Popen(
                [*words, "about:blank"], stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                preexec_fn=in_child, close_fds=False)
        os.close(commands)
        os.close(answers)
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.command("Page.enable")

    _session = None

    def command(self, method, seconds=60, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = Deadline(seconds)
        while True:
            answer = self._read(deadline, method)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, url, before=""):
        """Opens a page; `before` is a script that runs in it first."""
        self.command("Page.addScriptToEvaluateOnNewDocument", source=before)
        result = self.command("Page.navigate", url=url)
        assert "errorText" not in result, f"{url}: {result}"

    def value(self, script):
        """What a script in the page comes to."""
        result = self.command("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, f"{script}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def wait(self, script, what, seconds=30):
        """Waits until a script in the page comes to something true."""
        return wait_until(lambda: self.value(script), seconds, what)

    def type(self, text):
        """Presses and releases the keys of small letters, digits and line ends."""
        for letter in text:
            key = {"key": "Enter", "code": "Enter"} if letter == "\n" else {"key": letter}
            code = 13 if letter == "\n" else ord(letter.upper())
            for kind in ("rawKeyDown", "keyUp"):
                self.command("Input.dispatchKeyEvent", type=kind, windowsVirtualKeyCode=code,
                             nativeVirtualKeyCode=code, **key)

    def screenshot(self, path):
        data = self.command("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def stop(self):
        try:
            self._session = None
            self.command("Browser.close", seconds=10)
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            pass
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _read(self, deadline, what):
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], deadline.left())[0]:
                raise Timeout(f"{what}: no answer from Chromium within {deadline.seconds} s")
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                raise Timeout(f"{what}: Chromium has ended, status {self._process.poll()}")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)


def _key_digest(pki):
    """As Chromium wants it: SHA-256 of the public key's DER, in base64."""
    pem = subprocess.run(["openssl", "x509", "-in", pki.certificate, "-pubkey",
                          "-noout"], check=True, capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, check=True,
                         capture_output=True).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()

"""What a client process (spice_client_process.py) can do with the guest's agent:
clipboards, files for the guest, the sizes of monitors."""

import ctypes

from gi.repository import Gio, GObject

PROGRESS_STEP = 256 * 1024


def on(obj, signal, function):
    GObject.Object.connect(obj, signal, function)


class AgentCommands:
    """Commands of Client; it calls `watch_agent` with its main channel. What the guest
    asks for while the client owns a clipboard is answered at once; what the guest sends
    goes to the file that the "clipboard-data" event names."""

    def __init__(self):
        self.clipboard = None
        self.clipboards = 0
        self.monitors = 0

    def watch_agent(self, main):
        on(main, "main-agent-update", self._agent_update)
        on(main, "main-clipboard-selection-grab", self._clipboard_grabbed)
        on(main, "main-clipboard-selection-request", self._clipboard_requested)
        on(main, "main-clipboard-selection", self._clipboard_data)
        on(main, "main-clipboard-selection-release", self._clipboard_released)
        on(main, "new-file-transfer", self._transfer_begun)

    # ---- what the agent tells

    def _agent_update(self, main):
        self.tell("agent-caps", caps=[n for n in range(32) if main.agent_test_capability(n)])

    def _clipboard_grabbed(self, _main, selection, types, _count):

        self.tell("clipboard-grab", selection=selection, types=types)
        return True

    def _clipboard_requested(self, main, selection, kind):
        self.tell("clipboard-request", selection=selection, type=kind)
        if self.clipboard is None:
            return False
        main.clipboard_selection_notify(selection, kind, self.clipboard)
        return True

    def _clipboard_data(self, _main, selection, kind, pointer, size):
        self.clipboards += 1
        path = self.directory / f"clipboard.{self.clipboards}"
        path.write_bytes(ctypes.string_at(pointer, size) if size else b"")
        self.tell("clipboard-data", selection=selection, type=kind, size=size, path=str(path))

    def _clipboard_released(self, _main, selection):
        self.tell("clipboard-release", selection=selection)

    # ---- commands

    def do_clipboard_grab(self, number, types, path=None, selection=0):
        """Without a `path` requests stay unanswered."""
        self.clipboard = None
        if path is not None:
            with open(path, "rb") as file:
                self.clipboard = file.read()
        self.channels["main:0"].clipboard_selection_grab(selection, types)
        self.reply(number)

    def do_clipboard_request(self, number, type, selection=0):
        self.channels["main:0"].clipboard_selection_request(selection, type)
        self.reply(number)

    def do_clipboard_release(self, number, selection=0):
        self.channels["main:0"].clipboard_selection_release(selection)
        self.reply(number)

    def do_copy_file(self, number, path):
        """The reply comes when the guest has said how it ended."""
        def done(main, result):
            try:
                main.file_copy_finish(result)
                self.reply(number)
            except Exception as error: # a GLib.Error: the reason
                self.reply(number, error=str(error))

        self.channels["main:0"].file_copy_async(
            [Gio.File.new_for_path(path)], Gio.FileCopyFlags.NONE, None, None, None, done)

    def _transfer_begun(self, _main, task):
        told = 0

        def progress(task, _spec):
            nonlocal told
            sent, total = (task.get_property(p) for p in ("transferred-bytes", "total-bytes"))
            if sent - told >= PROGRESS_STEP or sent == total:
                told = sent
                self.tell("file-progress", sent=sent, total=total)

        on(task, "notify::progress", progress)

    def do_monitors(self, number, sizes):
        """`sizes`: [width, height] of each, side by side from the left; there are no
        others any more."""
        main = self.channels["main:0"]
        left = 0
        for display, (width, height) in enumerate(sizes):
            main.update_display_enabled(display, True, False)
            main.update_display(display, left, 0, width, height, False)
            left += width
        for display in range(len(sizes), self.monitors):
            main.update_display_enabled(display, False, False)
        self.monitors = len(sizes)
        self.reply(number, ok=main.send_monitor_config())

"""A headless Chromium, spoken to through a pipe (the DevTools protocol), with nothing but the standard library."""

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --no-default-browser-check --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe"
).split()
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Delete": 46}
SECONDS = 120  # until an answer is given up


def find():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One browser with one page; a context manager.

    `events` collects what the page reports (console messages, exceptions, requests) since the last `open`.
    """

    def __enter__(self):
        self._folder = tempfile.mkdtemp(prefix="fffref-chromium-")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The protocol wants descriptors 3 and 4; a shell puts ours there.
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", find(), *FLAGS, f"--user-data-dir={self._folder}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env=os.environ | {"HOME": self._folder},
        )  # fmt: skip
        os.close(theirs_in), os.close(theirs_out)
        self._buffer, self._number, self._session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # our own session: the browser and its children
        self._process.wait()
        os.close(self._in), os.close(self._out)
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method, **parameters):
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        answer = self._until(lambda message: message.get("id") == self._number, method)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, url):
        """Go to a page and wait until all of it is loaded."""
        self.events.clear()
        error = self.call("Page.navigate", url=url).get("errorText")
        if error:
            raise RuntimeError(f"{url}: {error}")
        if not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._until(lambda message: message.get("method") == "Page.loadEventFired", url)

    def evaluate(self, expression):
        """The value of a JavaScript expression, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", answer))
        return answer["result"].get("value")

    def screenshot(self, path, width, height, dark=False, whole=False):
        """Write a picture of the page as it looks in a window of this size."""
        self.resize(width, height, dark)
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture))

    def resize(self, width, height, dark=False):
        """Make the window this large, and the reader one who likes it dark, or not."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def key(self, name, shift=False):
        """Press a key and let it go."""
        code = KEYS.get(name, 0)
        text = {"text": name} if len(name) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code, modifiers=8 * shift, **text
            )
            text = {}

    def fingers(self, there):
        """Have a screen that is touched, or not."""
        self.call("Emulation.setTouchEmulationEnabled", enabled=there)

    def touch(self, x, y, dx=0, dy=0):
        """Touch a place of the window, move the finger so far, lift it."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        for part in (i / 20 for i in range(1, 21) if dx or dy):
            at = {"x": x + part * dx, "y": y + part * dy}
            self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[at])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def _until(self, wanted, what):
        """Read messages until one is wanted, keep the events among the others."""
        end = time.monotonic() + SECONDS
        while True:
            head, zero, rest = self._buffer.partition(b"\0")
            if zero:
                self._buffer, message = rest, json.loads(head)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
                continue
            if not select.select([self._in], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no answer from the browser in {SECONDS} s: {what}")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise RuntimeError(f"the browser has gone: {what}")
            self._buffer += data

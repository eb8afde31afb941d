"""A browser for tests: Chromium through chromedriver, over the WebDriver protocol (W3C), with the standard library alone."""
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from appliance import free_port

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element reference, WebDriver section 11


class Browser:
    """Starts at construction; use as a context manager, or call stop()."""

    def __init__(self, width=1280, height=900, dark=False):
        self.folder = tempfile.mkdtemp(prefix="ingot-browser-")
        self.port = free_port()
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
        self.session = None
        try:
            self._wait_driver()
            arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
                         "--hide-scrollbars", f"--user-data-dir={self.folder}"] + (["--force-dark-mode"] if dark else [])
            options = {"args": arguments, "mobileEmulation": {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1,
                                                                                "mobile": width < 600}}}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            reply = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}}, seconds=90)
            self.session = f"/session/{reply['sessionId']}"
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.session:
            try:
                self._call("DELETE", self.session, seconds=20)
            except (OSError, AssertionError):
                pass  # the group is ended below in any case
        if self.driver.poll() is None:
            os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_driver(self, seconds=30):
        end = time.monotonic() + seconds
        while True:
            assert self.driver.poll() is None, "chromedriver ended at once"
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except OSError:
                pass
            assert time.monotonic() < end, "chromedriver is not ready"
            time.sleep(0.1)

    def _call(self, method, path, body=None, seconds=60):
        data = None if body is None and method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=seconds) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{method} {path}: {refused.read().decode()[:600]}") from None

    # ---- what tests do ----

    def open(self, url):
        self._call("POST", f"{self.session}/url", {"url": url})

    def script(self, code, *arguments):
        return self._call("POST", f"{self.session}/execute/sync", {"script": code, "args": list(arguments)})

    def find(self, css):
        """The element, or None."""
        found = self._call("POST", f"{self.session}/elements", {"using": "css selector", "value": css})
        return found[0][ELEMENT] if found else None

    def click(self, css):
        self._call("POST", f"{self.session}/element/{self._have(css)}/click")

    def type(self, css, text):
        self._call("POST", f"{self.session}/element/{self._have(css)}/clear")
        self._call("POST", f"{self.session}/element/{self._have(css)}/value", {"text": text})

    def text(self, css):
        """What a person sees in it; "" when it is not there or not shown."""
        return self.script("const e = document.querySelector(arguments[0]); return e && e.checkVisibility() ? e.innerText : ''", css)

    def is_shown(self, css):
        return self.script("const e = document.querySelector(arguments[0]); return !!e && e.checkVisibility()", css)

    def _have(self, css):
        found = self.find(css)
        assert found, f"nothing matches {css}"
        return found

    def wait(self, condition, what, seconds=20):
        """Until condition() is true; returns its value."""
        end = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, f"not within {seconds} s: {what}\n{self.text('body')[:3000]}\n{self.log()}"
            time.sleep(0.1)

    def log(self):
        """Console messages since the last call: errors of scripts and of the content policy are among them."""
        return self._call("POST", f"{self.session}/se/log", {"type": "browser"})

    def screenshot(self, path):
        with open(path, "wb") as out:
            out.write(base64.b64decode(self._call("GET", f"{self.session}/screenshot")))

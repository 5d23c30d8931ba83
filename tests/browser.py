"""Headless Chromium, driven over a pipe by its DevTools protocol: pages are tried as readers see them."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.image import imread

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 30.0  # s, for any answer
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
NO_WEBGL = ("--disable-3d-apis",)


class Page:
    """A page that is open in Chromium, with what its console said and what it asked the network for."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._number, self._rest = to, back, 0, b""
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            piece = os.read(self._back, 1 << 20)
            assert piece, "Chromium has ended"
            self._rest += piece
        first, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(first)
        return answer

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def audit(self) -> list[str]:
        """What axe-core (tests/axe) finds wrong for readers with a screen reader, a keyboard or weak eyes: rule, impact
        and the elements."""
        self.run((Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8") + "; 0")
        found = self.run(
            "axe.run(document, {resultTypes: ['violations']}).then(all => [all.passes.length, all.violations.map(one =>"
            " `${one.id} (${one.impact}): ${one.nodes.map(node => node.html.slice(0, 200)).join(' | ')}`)])"
        )
        assert found[0] > 20, "axe-core has looked at nothing"
        violations: list[str] = found[1]
        return violations

    def picture(self, selector: str) -> Any:
        """Pixels [h, w, 4] from 0 to 1 of an element, as it is seen."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        box = self.run(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return {x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height}; })()"
        )
        data = self.call("Page.captureScreenshot", format="png", clip={**box, "scale": 1})["data"]
        return imread(BytesIO(base64.b64decode(data)))

    def press(self, key: str) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        for type in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=type, key=key, **(text if type == "keyDown" else {}))

    def said(self) -> list[Any]:
        """Errors of scripts, warnings and errors of the console, and what the browser logged."""
        self.run("0")
        bad = ("Runtime.exceptionThrown", "Log.entryAdded")
        self.events = [event for event in self.events if "GPU stall due to ReadPixels" not in str(event)]  # of pictures
        console = [
            event for event in self.events
            if event.get("method") == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning")
        ]  # fmt: skip
        return [event["params"] for event in self.events if event.get("method") in bad] + console

    def requested(self) -> list[str]:
        """URLs that the page asked for, without data that it holds itself."""
        self.run("0")
        urls = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]


@contextmanager
def opened(path: Path, profile: Path, *flags: str) -> Iterator[Page]:
    """A page of a file in a new browser with these flags, loaded."""
    assert CHROMIUM is not None
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
        *flags, "about:blank",
    ]  # fmt: skip

    def place_pipes() -> None:  # the protocol is at file descriptors 3 and 4
        one, two = os.dup(to_read), os.dup(back_write)
        os.dup2(one, 3)
        os.dup2(two, 4)

    browser = subprocess.Popen(
        command, close_fds=False, preexec_fn=place_pipes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        os.close(to_read)
        os.close(back_write)
        page = Page(to_write, back_read)
        target = page.call("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=path.as_uri())
        end = time.monotonic() + _PATIENCE
        while page.run("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < end, "the page does not load"
            time.sleep(0.05)
        yield page
    finally:
        browser.kill()
        browser.wait()
        os.close(to_write)
        os.close(back_read)

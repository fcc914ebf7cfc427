"""A real Chromium, spoken to over its own protocol: no driver to install, and nothing between the test and the browser.

Every page that is visited is watched: an error in its script, a request that leaves the origin and anything that the
content security policy stopped are collected, and `Tab.watched` fails the test with them.
"""

import asyncio
import base64
import importlib.util
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp

_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--ignore-certificate-errors",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
FINISH: Final = """document.getAnimations()
  .filter((one) => one.effect.getTiming().iterations !== Infinity).forEach((one) => one.finish())"""
"""What moves or fades in is there."""
_START_SECONDS: Final = 60
_WAIT_SECONDS: Final = 60
"""A shared machine stalls for seconds; a test that waits for what comes must not depend on being fast."""


def found() -> str | None:
    """The browser of this machine, if it has one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@lru_cache(maxsize=1)
def axe_core() -> str:
    """The rules of accessibility, as a program for the page."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or not found.submodule_search_locations:
        raise BrowserError("axe is not installed: pip install --no-deps --require-hashes -r requirements/proof.txt")
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


class BrowserError(AssertionError):
    """The page, or what was asked of it, is not as it should be."""


class Tab:
    """One page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, origin: str) -> None:
        self._socket = socket
        self._origin = origin
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())
        self._begun: list[str] = []
        self._loaded: set[str] = set()
        self.problems: list[str] = []
        """What no page may do: console errors, foreign requests, violations of the policy."""
        self.also: set[str] = set()
        """Other origins' hosts that a test leads to on purpose."""

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                waiting = self._waiting.pop(told["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
            else:
                self._event(told["method"], told["params"])

    def _event(self, name: str, facts: dict[str, Any]) -> None:
        match name:
            case "Page.lifecycleEvent" if facts["name"] == "init":
                self._begun.append(facts["loaderId"])
            case "Page.lifecycleEvent" if facts["name"] == "load":
                self._loaded.add(facts["loaderId"])
            case "Runtime.exceptionThrown":
                details = facts["exceptionDetails"]
                self.problems.append(f"script: {details.get('exception', {}).get('description', details['text'])}")
            case "Runtime.consoleAPICalled" if facts["type"] in ("error", "assert", "warning"):
                self.problems.append(f"console: {[one.get('value', one.get('description')) for one in facts['args']]}")
            case "Log.entryAdded" if facts["entry"]["level"] == "error":
                self.problems.append(f"log: {facts['entry']['text']} {facts['entry'].get('url', '')}")
            case "Audits.issueAdded" if facts["issue"]["code"] == "ContentSecurityPolicyIssue":
                self.problems.append(f"policy: {facts['issue']['details']}")
            case "Network.requestWillBeSent":
                url = facts["request"]["url"]
                ours = {urlsplit(self._origin).netloc, *self.also}
                if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc not in ours:
                    self.problems.append(f"foreign request: {url}")

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(_WAIT_SECONDS):
            told = await answer
        if "error" in told:
            raise BrowserError(f"{method}: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    async def open(self) -> Self:
        """Watch everything from now on."""
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            await self.send(f"{domain}.enable")
        await self.send("Page.setLifecycleEventsEnabled", enabled=True)
        return self

    async def close(self) -> None:
        """Leave."""
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader
        await self._socket.close()

    async def go(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        before = len(self._begun)
        await self.send("Page.navigate", url=url)
        async with asyncio.timeout(_WAIT_SECONDS):
            # This page or one that it leads to at once, and not one that was still being loaded when it was left.
            while not self._loaded.intersection(self._begun[before:]):
                await asyncio.sleep(0.02)
        self.watched()

    async def axe(self) -> list[str]:
        """What axe finds wrong with the page as it is now, one line each."""
        if not await self.value("'axe' in window"):
            await self.value(f"{axe_core()}; 0")
        # What moves or fades in is looked at when it is there.
        await self.value(FINISH)
        found = await self.value("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    async def value(self, expression: str) -> Any:
        """What an expression is in the page. The debugger is not bound by the page's policy."""
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(str(result["exceptionDetails"].get("exception", result["exceptionDetails"])))
        return result["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true in the page, also over the loading of another one."""
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                while True:
                    with suppress(BrowserError):
                        if value := await self.value(f"!!({expression})"):
                            return value
                    await asyncio.sleep(0.02)
        except TimeoutError:
            text = await self.value("location.href + '\\n' + document.body.innerText")
            raise BrowserError(f"never true: {expression}\n{text}") from None

    async def text(self) -> str:
        """What a person reads on the page."""
        return str(await self.value("document.querySelector('main').innerText"))

    async def key(self, key: str, *, modifiers: int = 0) -> None:
        """Press one key, such as `j`, `Enter` or `Tab`."""
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32, "ArrowDown": 40}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 and not modifiers else "")
        facts: dict[str, Any] = {
            "key": key,
            "modifiers": modifiers,
            "windowsVirtualKeyCode": codes.get(key, ord(key[0])),
        }
        await self.send("Input.dispatchKeyEvent", type="keyDown", **facts, **({"text": text} if text else {}))
        await self.send("Input.dispatchKeyEvent", type="keyUp", **facts)

    async def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        await self.send("Input.insertText", text=text)

    async def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Be a screen of this size, of a person who likes it light or dark."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, file: Path, *, whole: bool = False) -> None:
        """Keep what the page looks like as a PNG."""
        made = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(made["data"]))  # noqa: ASYNC240  # a picture is small

    def watched(self) -> None:
        """Raises BrowserError when a page did what none may."""
        if self.problems:
            raise BrowserError("\n".join(self.problems))


@asynccontextmanager
async def browser(origin: str) -> AsyncIterator[Tab]:
    """A fresh browser with one page, for the pages of one origin."""
    program = found()
    if program is None:
        raise BrowserError("there is no Chromium on this machine: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            *_FLAGS,
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(folder) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    page = next(one for one in await answer.json() if one["type"] == "page")
                socket = await session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
                tab = Tab(socket, origin)
                try:
                    yield await tab.open()
                finally:
                    await tab.close()
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _port(file: Path) -> str:
    """What the browser writes into its folder when it is ready."""

    def written() -> str:
        return file.read_text().partition("\n")[0] if file.exists() else ""

    async with asyncio.timeout(_START_SECONDS):
        while not (port := written()):
            await asyncio.sleep(0.05)
    return port

"""The pictures of the guides: which there are, and how one is taken so that it changes only when its page does.

What another day or machine would change stands on none of them: times, ids, digests, ports and tokens are replaced by
examples, and the page is cut off from the plane before that. Beside the pictures lies what can be read on each:
`seen.json`. A picture is as old as its page when the page, opened again, says the same and looks the same.
`make pictures` takes anew what changed.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.console.browser import FINISH, Tab

FOLDER: Final = Path(__file__).parent.parent.parent / "docs/guide/pictures"
SEEN: Final = FOLDER / "seen.json"
MOST_BYTES: Final = 60_000
"""Of one picture: they are committed, and looked at over slow lines."""
MOST_BYTES_IN_ALL: Final = 700_000
_QUALITY: Final = 75
"""Of WebP: letters are sharp, and a page has 20 to 50 kB."""
MOST_DIFFERENT: Final = 0.004
"""The share of points that may look different where the words are the same: half a line of text is more."""

EXAMPLE_ID: Final = "7f0c2d1e-5a34-4c1b-9d28-0e6f3a9b1c42"
EXAMPLE_HEX: Final = "4a31c05be97d62f8" * 8
EXAMPLE_TOKEN: Final = "the-token-is-here-once"
EXAMPLE_DAY: Final = "2026-11-23"
_PORTS: Final = ("8443", "8444")


@dataclass(frozen=True)
class Picture:
    """A page, and how it is looked at."""

    page: str
    """Its address below the console; names in braces are those of the landscape."""
    until: str
    """True in the page when there is to be seen what the picture is about."""
    height: int
    width: int = 1180
    dark: bool = False
    palette: str = ""
    """What is typed into the palette above it."""
    opens: str = ""
    """What of its details are opened, as a selector."""


PICTURES: Final = {
    "overview": Picture("/", "document.querySelector('.needs').innerText.includes('no heartbeat')", 735),
    "overview-phone": Picture(
        "/", "document.querySelector('.needs').innerText.includes('no heartbeat')", 800, width=360, dark=True
    ),
    "topology": Picture("/topology", "document.querySelectorAll('.picture svg a').length === 7", 480),
    "application": Picture("/applications/{shop}", "document.querySelector('.title .badge.good')", 780),
    "pair": Picture("/applications/{billing}/pair/{client}", "document.querySelector('#pair-command')", 700),
    "group": Picture("/groups/{retail}", "document.querySelector('table.matrix')", 900),
    "access": Picture("/access", "document.querySelector('main').innerText.includes('edge-01')", 560),
    "definition": Picture(
        "/applications/{shop}/apis/{orders}", "document.querySelector('main .card details')", 900, opens=".card details"
    ),
    "differences": Picture(
        "/applications/{shop}/apis/{orders}?tab=differences",
        "document.querySelector('main').innerText.includes('breaking')",
        560,
    ),
    "runtimes": Picture("/runtimes", "document.querySelector('main').innerText.includes('no heartbeat')", 420),
    "runtime": Picture(
        "/runtimes/{silent}",
        "document.querySelector('main').innerText.includes('no heartbeat')",
        660,
        opens=".card details",
    ),
    "deliveries": Picture("/deliveries", "document.querySelector('main').innerText.includes('given up')", 620),
    "palette": Picture(
        "/applications", "document.querySelector('#palette .hits[data-typed=shop]')", 620, dark=True, palette="shop"
    ),
}

_STILL: Final = r"""((examples) => {
  // Nothing comes from the plane any more: htmx watches another main part, and no clock of the page finds these.
  const main = document.querySelector("main");
  const typed = [...main.querySelectorAll("input:not([type=file]), textarea, select")].map((one) => one.value);
  const still = main.cloneNode(true);
  main.replaceWith(still);
  still.querySelectorAll("input:not([type=file]), textarea, select").forEach((one, at) => (one.value = typed[at]));
  for (const time of document.querySelectorAll("time")) {
    time.removeAttribute("datetime");
    time.textContent = /^in /.test(time.textContent) ? "in 2 minutes" : "2 minutes ago";
  }
  for (const left of document.querySelectorAll("[data-until]")) {
    left.removeAttribute("data-until");
    left.textContent = "4:41";
  }
  document.querySelector("#banner")?.remove();
  if (!document.querySelector("dialog[open]")) document.activeElement?.blur();
  const hex = (found) => examples.hex.slice(0, found.length);
  const rules = [
    [/(<<< )'[^']+'/g, `$1'${examples.token}'`],
    [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, examples.id],
    [/\b[0-9a-fA-F]{16,}\b/g, hex],
    [/\b[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){7,}\b/g, (found) => hex(found.replaceAll(":", "")).match(/../g).join(":")],
    [/(https?:\/\/)127\.0\.0\.1:\d+/g, "$1shop.example"],
    [/127\.0\.0\.1:\d+/g, "shop.example"],
    [/localhost:\d+/g, "localhost:8443"],
    [/\b20\d\d-\d\d-\d\d(?<at>[T ])\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?/g, `${examples.day}$<at>10:31:07Z`],
    [/\b20\d\d-\d\d-\d\d\b/g, examples.day],
    [/\b(\d+ (second|minute)s? ago|just now|in a moment)\b/g, "2 minutes ago"],
    [/\b\d+(\.\d+)? ms\b/g, "12 ms"],
    [/\bno heartbeat for \d+ min\b/g, "no heartbeat for 12 s"],
    [/\b\d+ s\b/g, "12 s"],
    [/\bends in \d+ d\b/g, "ends in 89 d"],
  ];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest("script, style")) continue;
    const said = rules.reduce((text, [from, to]) => text.replace(from, to), node.data);
    if (said !== node.data) node.data = said;
  }
  return document.body.innerText;
})"""
_DIFFERENT: Final = """(async (pictures) => {
  const [one, two] = await Promise.all(pictures.map(async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: "image/webp" }));
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    return canvas.getImageData(0, 0, image.width, image.height);
  }));
  if (one.width !== two.width || one.height !== two.height) return 1;
  let different = 0;
  for (let at = 0; at < one.data.length; at += 4)
    if ([0, 1, 2].some((by) => Math.abs(one.data[at + by] - two.data[at + by]) > 48)) different += 1;
  return (4 * different) / one.data.length;
})"""

_PRIVATE: Final = (
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    r"(?:localhost|127\.0\.0\.1|\[::1\]):\d+",
    r"\b20\d\d-\d\d-\d\d\b",
    r"/(?:tmp|home|root|var|private)/\S*",
    # Digests, serials and tokens: nothing that people say is that long without a space, a dot or a slash.
    r"[0-9A-Za-z_+=-]{28,}",
)


def private(text: str) -> Iterator[str]:
    """What stands on a picture, and belongs to the machine or to the day on which it was taken."""
    allowed = {EXAMPLE_ID, EXAMPLE_DAY, *(f"localhost:{port}" for port in _PORTS)}
    for pattern in _PRIVATE:
        for found in re.findall(pattern, text):
            if found not in allowed and not EXAMPLE_HEX.startswith(found.lower()):
                yield found


@dataclass(frozen=True)
class Taken:
    """A picture as its page is now."""

    image: bytes
    """WebP."""
    words: Sequence[str]
    """What can be read on the page, line by line."""
    browser: str


async def take(tab: Tab, origin: str, picture: Picture, names: dict[str, str]) -> Taken:
    """Open the page, wait for what the picture is about, and take it."""
    await tab.look(width=picture.width, height=picture.height, dark=picture.dark)
    await tab.go(f"{origin}/console{picture.page.format_map(names)}")
    if picture.palette:
        await tab.key("k", modifiers=2)
        await tab.until("document.activeElement.id === 'palette-typed'")
        await tab.type(picture.palette)
    await tab.until(picture.until)
    if picture.opens:
        await tab.value(f"document.querySelectorAll('{picture.opens}').forEach((one) => (one.open = true))")
    examples = {"id": EXAMPLE_ID, "hex": EXAMPLE_HEX, "token": EXAMPLE_TOKEN, "day": EXAMPLE_DAY}
    text = str(await tab.value(f"{_STILL}({json.dumps(examples)})"))
    await tab.value(FINISH)
    await tab.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
    made = await tab.send("Page.captureScreenshot", format="webp", quality=_QUALITY)
    lines = (" ".join(line.split()) for line in text.splitlines())
    version = await tab.send("Browser.getVersion")
    return Taken(base64.b64decode(made["data"]), [line for line in lines if line], version["product"])


async def different(tab: Tab, one: bytes, two: bytes) -> float:
    """The share of the points in which two pictures differ so that one sees it; 1 when they differ in size."""
    both = json.dumps([base64.b64encode(each).decode() for each in (one, two)])
    return float(await tab.value(f"{_DIFFERENT}({both})"))


def seen() -> dict[str, dict[str, Any]]:
    """What was read on the page of each picture, also below its edge, and by which browser it was taken."""
    found: dict[str, dict[str, Any]] = json.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}
    return found


def keep(name: str, taken: Taken) -> None:
    """Have a picture of that name in the guides."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.webp").write_bytes(taken.image)
    kept = {**seen(), name: {"browser": taken.browser, "words": list(taken.words)}}
    text = json.dumps({each: kept[each] for each in sorted(kept)}, indent=1, ensure_ascii=False)
    SEEN.write_text(text + "\n", encoding="utf-8")

"""Forms with files, as browsers send them. Source: RFC 7578."""

import re
from itertools import islice
from typing import Final

_BOUNDARY: Final = re.compile(
    r'(?i)multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^";,\s]{1,70}))\s*(?:;|$)'
)
_NAME: Final = re.compile(rb'(?im)^content-disposition:[ \t]*form-data[ \t]*;[ \t]*name="([^"]*)"')
_FILE: Final = re.compile(rb"(?i);[ \t]*filename\*?=")
_MOST_PARTS: Final = 200


def boundary(content_type: str) -> str | None:
    """What stands between the parts of such a form; None for a body of another kind."""
    found = _BOUNDARY.match(content_type.strip())
    return (found[1] or found[2]) if found else None


def parts(body: bytes, between: str) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    """The fields, and the files that were chosen, by name; of both the first two hundred.

    Names of files and the kinds that they claim are nobody's business here. What is malformed is as if it was not sent.
    """
    fields: dict[str, list[str]] = {}
    files: dict[str, bytes] = {}
    line = b"--" + between.encode("latin-1", "replace")
    if not body.startswith(line):
        return fields, files
    for part in islice(body.removeprefix(line).split(b"\r\n" + line), _MOST_PARTS):
        if part.startswith(b"--"):
            break
        head, empty_line, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not empty_line or name is None:
            continue
        called = name[1].decode("utf-8", "replace")
        if _FILE.search(head):
            if content:
                files[called] = content
        else:
            fields.setdefault(called, []).append(content.decode("utf-8", "replace"))
    return fields, files

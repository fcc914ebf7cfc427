"""A tenant at its worst: `python -m tests.faults.flood <facts>` asks a plane until it is killed, at a given rate,
whatever it is told; how many answers of which kind came is written to a file, again and again.

The facts are JSON: `url`, `ca`, `headers`, `per_second`, `application`, `counts`.
"""

import asyncio
import json
import sys
from collections import Counter
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from compass.client.graphql import Trust

CONNECTIONS: Final = 32
STREAMS: Final = 20
READ: Final = "{ applications(first: 100) { data { id name labels } totalCount } }"
SEARCH: Final = 'query { applications(filter: {key: "region", query: "\\"eu\\""}) { data { id } } }'
WRITE: Final = """mutation ($id: ID!, $value: Any!) {
  setApplicationLabel(applicationID: $id, key: "region", value: $value) { key } }"""


class Flood:
    """What is asked, and what came back."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self._counts: Counter[str] = Counter()
        self._numbers = count()

    async def run(self) -> None:
        """Until the process is killed."""
        connector = aiohttp.TCPConnector(ssl=Trust.to(self._facts["ca"]).context(), limit=CONNECTIONS + STREAMS)
        async with aiohttp.ClientSession(connector=connector, headers=self._facts["headers"]) as session:
            streams = [asyncio.create_task(self._follow(session)) for _ in range(STREAMS)]
            # Streams first: what they ask for counts against the tenant's share, and would be refused for that.
            while self._counts["streams open"] + self._counts["streams refused"] < STREAMS:
                await asyncio.sleep(0.01)
            asking = [asyncio.create_task(self._ask(session)) for _ in range(CONNECTIONS)]
            await asyncio.gather(self._tell(), *asking, *streams)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        pause = CONNECTIONS / self._facts["per_second"]
        loop = asyncio.get_running_loop()
        for text in cycle((READ, SEARCH, READ, WRITE)):
            began = loop.time()
            variables = {"id": self._facts["application"], "value": f"value {next(self._numbers)}"}
            body = {"query": text, "variables": variables if text is WRITE else {}}
            async with session.post(f"{self._facts['url']}/director/graphql", json=body) as answer:
                told = await answer.read()
            is_refused = answer.status == 429 or b'"errors"' in told
            self._counts["refused" if is_refused else "answered"] += 1
            await asyncio.sleep(max(0.0, pause - (loop.time() - began)))

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get(f"{self._facts['url']}/v1/events", timeout=timeout) as answer:
            if answer.status != 200:
                self._counts["streams refused"] += 1
                return
            self._counts["streams open"] += 1
            async for _ in answer.content.iter_any():
                pass

    async def _tell(self) -> None:
        file = Path(self._facts["counts"])
        draft = file.with_suffix(".draft")
        while True:
            draft.write_bytes(orjson.dumps(dict(self._counts)))
            draft.replace(file)
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(Flood(json.loads(sys.argv[1])).run())

"""The proof `outbox`."""

from typing import Final

from proof.promise import Bug, Proof

PROOF: Final = Proof(
    "outbox",
    ("I5", "I6", "I8", "I15"),
    "what was committed is told at least once, in order, whoever is killed; a stale worker writes nothing",
    ("tests/outbox", "tests/postgres/test_queue.py", "tests/delivery", "tests/operations"),
    (
        Bug(
            "the change feed goes on past transactions that are still open",
            "compass/outbox/feed.py",
            "WHERE (event.xid, event.id) > ($1::text::xid8, $2::bigint) AND event.xid < bound.horizon\n"
            "        ORDER BY event.xid, event.id\n        LIMIT $3\n    ) AS events",
            "WHERE (event.xid, event.id) > ($1::text::xid8, $2::bigint)\n"
            "        ORDER BY event.xid, event.id\n        LIMIT $3\n    ) AS events",
            ("tests/outbox/test_feed.py",),
        ),
        Bug(
            "a worker whose lease was taken over gives the work back all the same",
            "compass/postgres/queue.py",
            "next_at = clock_timestamp() + %(after)s\nWHERE id = %(id)s AND fence = %(fence)s AND holder IS NOT NULL",
            "next_at = clock_timestamp() + %(after)s\nWHERE id = %(id)s AND (true OR fence = %(fence)s)",
            ("tests/postgres/test_queue.py",),
        ),
        Bug(
            "a worker whose lease was taken over writes its result",
            "compass/postgres/queue.py",
            "SELECT id FROM {table} WHERE id = %(id)s AND fence = %(fence)s AND holder IS NOT NULL FOR UPDATE",
            "SELECT id FROM {table} WHERE id = %(id)s AND (true OR fence = %(fence)s) FOR UPDATE",
            ("tests/postgres/test_queue.py",),
        ),
    ),
)

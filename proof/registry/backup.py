"""The proof `backup`."""

from typing import Final

from proof.promise import Bug, Proof

_RESTORE = ("tests/backup/test_restore.py",)

PROOF: Final = Proof(
    "backup",
    ("I5", "F25"),
    "what is restored is what was backed up, less what may have been used since; or it is not there at all",
    ("tests/backup",),
    (
        Bug(
            "a database that has something in it is overwritten",
            "compass/backup/restore.py",
            "            raise DatabaseNotEmpty\n",
            "            return True\n",
            _RESTORE,
        ),
        Bug(
            "what was begun with one backup is finished with another",
            "compass/backup/restore.py",
            "        if began != archive.digest:\n",
            "        if False:\n",
            _RESTORE,
        ),
    ),
    minutes=40,
)

"""The proof `foreign-revocation`."""

from typing import Final

from proof.promise import Bug, Proof

_LIST = ("tests/access/test_crl.py",)
_LISTS = ("tests/access/test_foreign_revocation.py",)

PROOF: Final = Proof(
    "foreign-revocation",
    ("I3", "A9"),
    "a certificate that another authority took back by its list is refused, and so is whoever no list speaks of",
    (*_LIST, *_LISTS),
    (
        Bug(
            "a list is believed after its time",
            "compass/access/foreign_revocation.py",
            "        return self.known is not None and self._clock() < self.known.good_until\n",
            "        return self.known is not None\n",
            _LISTS,
        ),
        Bug(
            "an authority whose list cannot be had lets everybody in",
            "compass/access/foreign_revocation.py",
            "            raise RevocationUnknown\n",
            "            return False\n",
            _LISTS,
        ),
        Bug(
            "an older list brings back who was revoked since",
            "compass/access/foreign_revocation.py",
            "            if self.known is not None and found.issued_at < self.known.issued_at:\n",
            "            if False:\n",
            _LISTS,
        ),
        Bug(
            "who comes by an authority in between is on no list, and let in",
            "compass/access/foreign_revocation.py",
            "        if not signers:\n",
            "        if False:\n",
            _LISTS,
        ),
        Bug(
            "a list is looked at when a connection begins, and by no request",
            "compass/access/external.py",
            "            self._foreign.refuse(der)\n",
            "            pass\n",
            _LISTS,
        ),
        Bug(
            "who follows changes goes on doing so when the list names it",
            "compass/access/authenticate.py",
            " or self._is_listed(caller)",
            "",
            _LISTS,
        ),
        Bug(
            "anybody signs an authority's list",
            "compass/access/crl.py",
            "    if not found.is_signature_valid(key):\n",
            "    if False:\n",
            _LIST,
        ),
        Bug(
            "a list of what has changed is taken for all there is",
            "compass/access/crl.py",
            '                raise ListUnusable("it is a list of changes to another one (delta)")\n',
            "                pass\n",
            _LIST,
        ),
        Bug(
            "what is critical and not understood is passed over",
            "compass/access/crl.py",
            "                if extension.critical:\n",
            "                if False:\n",
            _LIST,
        ),
    ),
    {"test_no_list_that_was_changed_is_believed": 20_000},
)

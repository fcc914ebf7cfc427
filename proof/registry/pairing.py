"""The proof `pairing`."""

from typing import Final

from proof.promise import Bug, Proof

_TOKENS = ("tests/connector/test_one_time_token.py",)
_IN_FORCE = "  AND replaced_at IS NULL AND expires_at > clock_timestamp()\nRETURNING system_auth_id, purpose"
_REPLICAS = "tests/faults/test_replicas.py"
_RACE = "test_of_32_clients_with_one_token_over_both_planes_one_gets_a_configuration_and_one_a_certificate"

PROOF: Final = Proof(
    "pairing",
    ("I1", "I16", "A1", "A2", "A3"),
    "one token binds at most one key, also when answers are lost and planes are killed",
    (
        *_TOKENS,
        "tests/connector/test_pairing.py",
        "tests/faults/test_lost_answers.py",
        "tests/faults/test_pairing.py",
        f"{_REPLICAS}::{_RACE}",
    ),
    (
        Bug(
            "a client whose certificate was lost on its way gets it no more",
            "compass/connector/one_time_token.py",
            "AND (used_at IS NULL OR key_thumbprint = %(key)s)\n",
            "AND used_at IS NULL\n",
            ("tests/faults/test_lost_answers.py",),
        ),
        Bug(
            "a token can be spent twice",
            "compass/connector/one_time_token.py",
            "WHERE digest = %(digest)s AND used_at IS NULL AND (bound_key",
            "WHERE digest = %(digest)s AND (bound_key",
            _TOKENS,
        ),
        Bug(
            "a token that was replaced can be spent",
            "compass/connector/one_time_token.py",
            _IN_FORCE,
            "  AND expires_at > clock_timestamp()\nRETURNING system_auth_id, purpose",
            _TOKENS,
        ),
        Bug(
            "a token can be spent after its time",
            "compass/connector/one_time_token.py",
            _IN_FORCE,
            "  AND replaced_at IS NULL\nRETURNING system_auth_id, purpose",
            _TOKENS,
        ),
        Bug(
            "tokens are kept in clear (original)",
            "compass/connector/one_time_token.py",
            'return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()',
            'return token.encode("utf-8", "surrogatepass")',
            _TOKENS,
        ),
        Bug(
            "nobody hears that a token was shown with another key",
            "compass/connector/one_time_token.py",
            "SELECT coalesce(key_thumbprint, bound_key) <> %(key)s FROM",
            "SELECT false AND coalesce(key_thumbprint, bound_key) <> %(key)s FROM",
            _TOKENS,
        ),
    ),
    {
        _RACE: 500 * 32,
        "test_whatever_answer_is_lost_every_client_ends_with_one_certificate": 1_800,
    },
)

"""What proves which promise, and the bugs that each proof has to catch.

A promise is an id of design/guarantees.md. A proof names the tests that show it; with `COMPASS_PROOF=1` they run their
long form. A planted bug is one replacement in one file. When code that a bug changes is rewritten, the bug is rewritten
with it: `tests/test_proof.py` says which no longer fit. `(original)` marks defects that the original Compass had.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Bug:
    """One small change of the code that breaks a promise."""

    name: str
    """What is wrong then."""
    file: str
    old: str
    """Text that the file has exactly once."""
    new: str
    tests: Sequence[str] = ()
    """Who has to see it; the tests of the proof when nobody is named."""


@dataclass(frozen=True)
class Proof:
    """Tests that show promises, and bugs that they have to see."""

    name: str
    promises: Sequence[str]
    says: str
    tests: Sequence[str]
    bugs: Sequence[Bug] = ()
    at_least: Mapping[str, int] = field(default_factory=dict)
    """Cases that the long form of a test has to try, by the test's name."""
    needs_quiet: bool = False
    """Whether something is held against the clock: on a machine that does other things too, a failure says nothing."""
    minutes: int = 20
    """After which a run is broken off, and has failed. Several times of what it takes."""

    @property
    def command(self) -> str:
        """How to run its long form alone."""
        return f"python -m proof {self.name}"


_TOKENS = ("tests/connector/test_one_time_token.py",)
_CERTIFICATES = ("tests/connector/test_certificate.py",)
_IN_FORCE = "  AND replaced_at IS NULL AND expires_at > clock_timestamp()\nRETURNING system_auth_id, purpose"
_PROBE = ("tests/access/test_probe.py",)
_DOORS = ("tests/access/test_doors.py",)
_MATRIX = ("tests/access/test_matrix.py",)
_REPLICAS = "tests/faults/test_replicas.py"
_RACE = "test_of_32_clients_with_one_token_over_both_planes_one_gets_a_configuration_and_one_a_certificate"
_REVOKED = "test_a_revoked_certificate_is_refused_on_every_open_connection_to_either_plane"
_ROTATION = ("tests/test_vault_rotation.py",)

PAIRING: Final = Proof(
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
CERTIFICATES: Final = Proof(
    "certificates",
    ("I2", "A4", "A5", "A6", "A7", "A8"),
    "every certificate has our profile, a subject of our making and a record",
    (*_CERTIFICATES, "tests/connector/test_hostile_requests.py", "tests/connector/test_recorded.py"),
    (
        Bug(
            "a request that was signed with another key is taken",
            "compass/connector/certificate.py",
            " and request.is_signature_valid",
            "",
            _CERTIFICATES,
        ),
        Bug(
            "keys of 1024 bits are signed (original)",
            "compass/connector/certificate.py",
            "_RSA_BITS: Final = range(2048, 4097)",
            "_RSA_BITS: Final = range(1024, 4097)",
            _CERTIFICATES,
        ),
        Bug(
            "keys with a tiny exponent are signed (original)",
            "compass/connector/certificate.py",
            "if numbers.e == _RSA_EXPONENT and not _breakable(numbers.n):",
            "if not _breakable(numbers.n):",
            _CERTIFICATES,
        ),
    ),
    {
        "test_through_the_api_the_hostile_are_refused_and_what_is_smuggled_is_left_behind": 200,
        "test_no_mutant_escapes_the_checks_or_gets_a_certificate_outside_the_profile": 1_000_000,
        "test_mutants_through_the_api_are_answered_and_never_with_a_fault_of_ours": 20_000,
    },
    minutes=30,
)
REVOCATION: Final = Proof(
    "revocation",
    ("I3", "A9", "A10"),
    "a revoked certificate, and what was renewed from it, is refused at once",
    ("tests/connector/test_revocation.py", "tests/access/test_authenticate.py", f"{_REPLICAS}::{_REVOKED}"),
    (
        Bug(
            "a revoked certificate is good for as long as its connection is open",
            "compass/access/authenticate.py",
            "        if await self._revoked.is_revoked(fingerprint):\n",
            "        if not fingerprint:\n",
            (f"{_REPLICAS}::{_REVOKED}",),
        ),
        Bug(
            "a revocation leaves what was renewed from the certificate",
            "compass/connector/revocation.py",
            "WHERE lineage = ANY(%(lines)s::text[]) AND revoked_at IS NULL",
            "WHERE serial = ANY(%(lines)s::text[]) AND revoked_at IS NULL",
            ("tests/connector/test_revocation.py",),
        ),
        Bug(
            "a replica that hears nothing believes what it knew",
            "compass/connector/revocation.py",
            "        return listening and time.monotonic() - self._counted_at < FRESH_SECONDS",
            "        return True or listening",
            ("tests/connector/test_revocation.py",),
        ),
        Bug(
            "an announcement that was lost is never made up for",
            "compass/connector/revocation.py",
            '        if (await self._ask(COUNT))["counted"] == self._counted:',
            '        if (await self._ask(COUNT))["counted"] is not None:',
            ("tests/connector/test_revocation.py",),
        ),
    ),
    {_REVOKED: 100},
    needs_quiet=True,
)
KILLED: Final = Proof(
    "points",
    ("I2", "F1", "G5", "F16"),
    "pairing, renewal, revocation and rotation are killed at every point between two things they write",
    ("tests/faults/test_points.py",),
    (
        Bug(
            "what was done is recorded beside its transaction, not in it",
            "compass/api/request.py",
            "                await self._audited.done(tx, caller, selected.name, given, result, noted)\n",
            "                async with self._database.transaction() as another:\n"
            "                    await self._audited.done(another, caller, selected.name, given, result, noted)\n",
        ),
    ),
    {
        "test_a_pairing_that_is_killed_at_any_point_ends_with_one_certificate_for_one_key": 45,
        "test_a_renewal_that_is_killed_at_any_point_loses_no_certificate_and_leaves_none_without_record": 14,
        "test_a_revocation_that_is_killed_at_any_point_is_made_once_or_not_at_all": 12,
        "test_a_rotation_that_is_killed_at_any_point_is_as_before_or_one_phase_further": 60,
    },
    minutes=30,
)
HERD: Final = Proof(
    "herd",
    ("F19", "G24"),
    "2,000 clients of one age renew over days, not at one moment, and an outage in the middle leaves none behind",
    ("tests/faults/test_herd.py",),
    (
        Bug(
            "a fleet that was paired in one minute renews in one",
            "compass/agent/pair.py",
            "life * RENEW_BELOW * (1 + jitter / 10)",
            "life * RENEW_BELOW * (1 + 0 * jitter)",
        ),
    ),
    {"test_a_fleet_of_one_age_renews_spread_out_and_whole_though_the_plane_is_away_for_a_while": 2_000},
)
NEIGHBOUR: Final = Proof(
    "neighbour",
    ("I14", "G25"),
    "a tenant that asks for twenty times its share gets its share, and slows no other down",
    ("tests/faults/test_neighbour.py",),
    (
        Bug(
            "a tenant has what all its callers have",
            "compass/api/quota.py",
            "        return [(self._callers, key, _CALLER), (self._tenants, caller.tenant, _TENANT)]",
            "        return [(self._callers, key, _CALLER)]",
        ),
        Bug(
            "a caller may follow changes as often as it likes",
            "compass/api/quota.py",
            "                return [((kind, key), _CALLER, limits.caller_streams)]",
            "                return [((kind, key), _CALLER, 1000 * limits.caller_streams)]",
        ),
    ),
    needs_quiet=True,
)
TENANCY: Final = Proof(
    "tenancy",
    ("I4", "A12", "A13", "G9"),
    "no tenant finds a trace of another: every operation, every argument, six kinds of foreigners",
    (*_PROBE, *_DOORS, "tests/access/test_tenancy.py", "tests/postgres/test_row_security.py"),
    (
        Bug(
            "who may not report about an assignment is told that there is one",
            "compass/director/assignment_status.py",
            "    if is_near:\n",
            "    if is_near or pair:\n",
            _DOORS,
        ),
        Bug(
            "how far an application is can be looked up by its id alone",
            "compass/director/application_operation.py",
            "WHERE access.application_id = %(application)s AND access.tenant_id = %(tenant)s\n",
            "WHERE access.application_id = %(application)s\n",
            _DOORS,
        ),
        Bug(
            "everybody who follows changes hears of all of them",
            "compass/director/change.py",
            "            + ([] if tenants else [_EVERYBODY])\n",
            "            + [_EVERYBODY]\n",
            _DOORS,
        ),
        Bug(
            "an application is found by its id alone",
            "compass/director/application.py",
            '            on="access.tenant_id = {tenant} AND access.application_id = {arg:id}::uuid",\n        ),\n'
            "        for_runtime=Query(",
            '            on="access.application_id = {arg:id}::uuid",\n        ),\n        for_runtime=Query(',
            _PROBE,
        ),
        Bug(
            "a formation is found by its id alone",
            "compass/director/formation.py",
            'on="{c}.id = {arg:id}::uuid AND {c}.tenant_id = {tenant}"',
            'on="{c}.id = {arg:id}::uuid"',
            _PROBE,
        ),
        Bug(
            "who may not change something is told that it exists",
            "compass/access/tenancy.py",
            "    if await tx.value(SEES_RUNTIME, tenant=tenant, id=runtime):",
            '    if await tx.value("SELECT EXISTS (SELECT FROM runtime WHERE id = %(id)s)", id=runtime):',
            _PROBE,
        ),
        Bug(
            "the list of formations is that of all tenants",
            "compass/director/formation.py",
            'read=Page("Formation", on="{c}.tenant_id = {tenant}", order="{c}.id"),',
            'read=Page("Formation", on="true", order="{c}.id"),',
            _PROBE,
        ),
    ),
    {
        "test_a_foreigner_finds_no_trace_of_what_a_tenant_has": 3_000,
        "test_no_path_of_a_plane_tells_a_foreigner_of_what_a_tenant_has": 2_000,
        "test_no_page_of_the_console_tells_a_foreigner_of_what_a_tenant_has": 1_000,
    },
    minutes=40,
)
MATRIX: Final = Proof(
    "matrix",
    ("A14", "A15", "G30"),
    "who may do what is what the checked-in table says: every operation, 15 kinds of callers",
    (*_MATRIX, "tests/access/test_itself.py", "tests/access/test_scopes.py"),
    (
        Bug(
            "an application changes its siblings (original)",
            "compass/access/itself.py",
            "    if own is not None and own != changed.lower():",
            "    if own is not None and not changed:",
            _MATRIX,
        ),
        Bug(
            "a runtime reads what its siblings are to see (original)",
            "compass/director/application.py",
            "AND seen.runtime_id = {runtime} AND ({{runtime}} IS NULL OR {runtime} = {{runtime}}))",
            "AND seen.runtime_id = {runtime})",
            _MATRIX,
        ),
        Bug(
            "mutations ask for no scope",
            "compass/api/request.py",
            "        command.allowed(caller)\n",
            "",
            _MATRIX,
        ),
        Bug(
            "queries ask for no scope",
            "compass/api/request.py",
            "            caller.require(query.scope)\n",
            "",
            _MATRIX,
        ),
        Bug(
            "programs see how to sign in as others (original)",
            "compass/access/itself.py",
            '    return f"({{itself}} IS NULL OR {owner} = {{itself}})"',
            '    return f"({{itself}} IS NULL OR {owner} IS NOT NULL)"',
            ("tests/director/test_system_auth.py", "tests/director/test_webhook.py"),
        ),
    ),
)
TOKENS: Final = Proof(
    "access-tokens",
    ("A11", "A16"),
    "who is asking is decided by signatures under known keys, and by nothing else that a request says",
    (
        "tests/access/test_tokens.py",
        "tests/access/test_authenticate.py",
        "tests/access/test_provider.py",
        "tests/access/test_sign_on.py",
        "tests/access/test_strict_json.py",
        "tests/access/test_subject.py",
        "tests/access/test_external.py",
        "tests/access/test_wire.py",
    ),
    (
        Bug(
            "a token may say something twice",
            "compass/access/strict_json.py",
            "    if len(found) != len(members):",
            "    if len(found) > len(members):",
            ("tests/access/test_strict_json.py",),
        ),
        Bug(
            "one token can be written in several ways",
            "compass/access/strict_json.py",
            '    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:',
            '    if len(base64.urlsafe_b64encode(data).rstrip(b"=").decode()) != len(part):',
            ("tests/access/test_strict_json.py",),
        ),
        Bug(
            "a token for somebody else is taken",
            "compass/access/tokens.py",
            '                aud={"essential": True, "value": _ISSUER},\n',
            "",
            ("tests/access/test_tokens.py",),
        ),
        Bug(
            "a token without an end is taken",
            "compass/access/tokens.py",
            '                exp={"essential": True},\n',
            "",
            ("tests/access/test_tokens.py",),
        ),
        Bug(
            "no signature is checked",
            "compass/access/sign_on.py",
            "        jws.deserialize_compact(text, key.public, registry=registry)\n",
            "        pass\n",
            ("tests/access/test_sign_on.py",),
        ),
        Bug(
            "a public key may be a shared secret",
            "compass/access/provider.py",
            '    "ES256": ("EC", "P-256"),',
            '    "ES256": ("EC", "P-256"),\n    "HS256": ("RSA", None),',
            ("tests/access/test_provider.py",),
        ),
        Bug(
            "a token of the provider for somebody else is taken",
            "compass/access/sign_on.py",
            '        if self._settings.audience not in _texts(claims.get("aud")):',
            '        if self._settings.audience not in str(claims.get("aud")):',
            ("tests/access/test_sign_on.py",),
        ),
        Bug(
            "a token may never end",
            "compass/access/sign_on.py",
            "    if not math.isfinite(moment):\n        raise _Refused\n",
            "",
            ("tests/access/test_sign_on.py",),
        ),
        Bug(
            "critical members of a header are passed over",
            "compass/access/sign_on.py",
            ' or "crit" in header or "b64" in header',
            "",
            ("tests/access/test_sign_on.py",),
        ),
        Bug(
            "a person is known without its provider",
            "compass/access/sign_on.py",
            'return Person(f"{issuer}#{user}"',
            'return Person(f"{user}"',
            ("tests/access/test_sign_on.py",),
        ),
        Bug(
            "people of one tenant are granted what leads to others",
            "compass/access/sign_on.py",
            "            scopes -= BEYOND_A_TENANT\n",
            "            pass\n",
            ("tests/access/test_sign_on.py",),
        ),
        Bug(
            "people may name any tenant",
            "compass/access/authenticate.py",
            "            if not person.may_work_in(wanted):",
            "            if False:",
            ("tests/access/test_sign_on.py",),
        ),
        Bug(
            "every unknown key has the keys fetched",
            "compass/access/provider.py",
            "            if self._tried_at is not None and now - self._tried_at < AGAIN_AFTER_SECONDS:",
            "            if False:",
            ("tests/access/test_provider.py",),
        ),
        Bug(
            "the keys of another issuer are believed",
            "compass/access/provider.py",
            '        if found.get("issuer") != self.issuer:',
            "        if False:",
            ("tests/access/test_provider.py",),
        ),
        Bug(
            "keys are fetched in the clear",
            "compass/access/provider.py",
            ' or not address.startswith("https://")',
            "",
            ("tests/access/test_provider.py",),
        ),
        Bug(
            "a provider that is away takes its keys along",
            "compass/access/provider.py",
            "                return False\n            self._fetched_at = now",
            "                self._keys = ()\n                return False\n            self._fetched_at = now",
            ("tests/access/test_provider.py",),
        ),
        Bug(
            "a value of a subject may look like two",
            "compass/access/subject.py",
            're.compile(r"[\\\\,]")',
            're.compile(r"\\\\")',
            ("tests/access/test_subject.py",),
        ),
        Bug(
            "a certificate that is over goes on while its connection is open",
            "compass/access/external.py",
            "        if _now() > _end(der):",
            "        if False:",
            ("tests/access/test_external.py",),
        ),
        Bug(
            "a name says whose a certificate is",
            "compass/access/external.py",
            "            certificate.verify_directly_issued_by(authority)\n",
            "            if certificate.issuer != authority.subject:\n                continue\n",
            ("tests/access/test_external.py",),
        ),
        Bug(
            "any tenant is open to a mapped certificate",
            "compass/access/external.py",
            '    if row["wanted_id"] is None or row["wanted_type"] not in levels:',
            '    if row["wanted_id"] is None:',
            ("tests/access/test_external.py",),
        ),
        Bug(
            "a mapping that was changed goes on",
            "compass/access/authenticate.py",
            "                AND extract(epoch FROM coalesce(mapping.updated_at, mapping.created_at))::text\n"
            "                    = split_part(asked.mapping, ' ', 2)\n",
            "",
            ("tests/access/test_external.py",),
        ),
        Bug(
            "a bound token is taken without its certificate",
            "compass/access/authenticate.py",
            "        if bearer.certificate != certificate:\n",
            "        if False:\n",
            ("tests/access/test_wire.py",),
        ),
        Bug(
            "a bound token outlives its certificate",
            "compass/access/authenticate.py",
            "        if certificate and await self._revoked.is_revoked(certificate):",
            "        if False:",
            ("tests/access/test_wire.py",),
        ),
        Bug(
            "a header says who is asking (original)",
            "compass/app.py",
            '        name, fingerprint = certificate.common_name(request.peer_der) or "", certificate',
            '        said = request.headers.get("client-id-from-certificate")\n'
            '        name, fingerprint = said or certificate.common_name(request.peer_der) or "", certificate',
            ("tests/access/test_wire.py",),
        ),
    ),
    {
        "test_no_crafted_token_is_believed_told_apart_looked_up_or_logged": 120,
        "test_no_token_that_was_changed_is_believed": 100_000,
    },
)
COST: Final = Proof(
    "bounded-cost",
    ("I9", "A17", "A18", "A19"),
    "what a request costs is bounded before it is paid, and no browser sends one unasked",
    ("tests/reads/test_limits.py", "tests/director/test_hostile_input.py", "tests/api", "tests/definition"),
    (
        Bug(
            "a specification may declare entities",
            "compass/definition/text.py",
            "if found := _DOCTYPE.search(text):",
            "if found := None:",
            ("tests/definition/test_text.py",),
        ),
        Bug(
            "schemas that have each other are compared again and again",
            "compass/definition/changes.py",
            "            if pair not in self._seen:\n",
            "            if True:\n",
            ("tests/definition/test_read.py",),
        ),
        Bug(
            "a fragment costs one field wherever it is put",
            "compass/reads/limits.py",
            "                    fields += more\n",
            "                    fields += min(more, 1)\n",
            ("tests/reads/test_limits.py",),
        ),
        Bug(
            "what stands in fragments has no depth",
            "compass/reads/limits.py",
            "                    deepest = max(deepest, depth + below - 1)",
            "                    deepest = max(deepest, depth)",
            ("tests/reads/test_limits.py",),
        ),
        Bug(
            "a GET may change something",
            "compass/api/request.py",
            "                if queries_only:\n",
            "                if queries_only and not caller.scopes:\n",
            ("tests/api/test_request.py", "tests/api/test_http.py"),
        ),
        Bug(
            "a form of another site may ask",
            "compass/api/http.py",
            'if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:',
            'if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in (JSON, "text/plain"):',
            ("tests/api/test_http.py",),
        ),
    ),
    {
        "test_what_is_written_to_hurt_is_refused_before_it_costs_much": 400,
        "test_no_document_of_a_client_is_refused_as_too_costly": 150,
    },
)
OUTBOUND: Final = Proof(
    "outbound",
    ("I10", "A20", "A21", "A22"),
    "nobody has the plane call an address that it may not call, or read more than it can hold",
    ("tests/outbound",),
    (
        Bug(
            "addresses inside others are not looked at",
            "compass/outbound/addresses.py",
            "    destinations: list[Address] = [*carried] if address in _MAPPED else [address, *carried]",
            "    destinations: list[Address] = [*carried] if address in _MAPPED else [address]",
            ("tests/outbound/test_addresses.py",),
        ),
        Bug(
            "private addresses can be called",
            "compass/outbound/addresses.py",
            '    "10.0.0.0/8": "private",\n',
            "",
            ("tests/outbound/test_addresses.py",),
        ),
        Bug(
            "redirects are followed (original)",
            "compass/outbound/door.py",
            "                    allow_redirects=False,",
            "                    allow_redirects=True,",
            ("tests/outbound/test_door.py",),
        ),
        Bug(
            "addresses are checked when a name is looked up and not when it is called",
            "compass/outbound/door.py",
            "            if not permitted(address, self._settings.allowed_networks):",
            "            if not address.packed and not permitted(address, self._settings.allowed_networks):",
            ("tests/outbound/test_door.py",),
        ),
        Bug(
            "a body is read to its end, whatever its size (original)",
            "compass/outbound/body.py",
            "        if self._received > self._max_bytes:",
            "        if self._received > self._max_bytes * 1_000_000:",
            ("tests/outbound/test_body.py",),
        ),
        Bug(
            "what a compressed body grows to is not looked at",
            "compass/outbound/body.py",
            "min(self._max_bytes, max(_RATIO_COUNTS_FROM_BYTES, self._max_ratio * consumed))",
            "max(self._max_bytes, consumed) * 1_000_000",
            ("tests/outbound/test_body.py",),
        ),
    ),
    {
        "test_no_url_leads_to_a_forbidden_address": 4 * 2_000,
        "test_a_name_that_changes_its_mind_after_the_check_gains_nothing": 200,
    },
)
SECRETS: Final = Proof(
    "secrets",
    ("I12", "A27", "A25"),
    "secrets are sealed, bound to their place, and do not show themselves",
    (
        "tests/test_secret.py",
        "tests/test_vault.py",
        "tests/test_vault_rotation.py",
        "tests/faults/test_vault_rotation.py",
        "tests/e2e/test_planted_secrets.py",
        "tests/delivery/test_signature.py",
        "tests/access/test_tokens.py",
    ),
    (
        Bug(
            "a rotation overwrites what a caller changed meanwhile",
            "compass/vault_rotation.py",
            " AND kept.{each.column} = given.former AND",
            " AND",
            _ROTATION,
        ),
        Bug(
            "a sealed column is forgotten",
            "compass/vault_rotation.py",
            '    Sealed("fetch_request", "auth_sealed", "fetch_request/{}"),\n',
            "",
            _ROTATION,
        ),
        Bug(
            "a key is retired while it seals something",
            "compass/vault_rotation.py",
            "        raise StillSealed(found",
            "        StillSealed(found",
            _ROTATION,
        ),
        Bug(
            "a key is retired past a transaction that has used it",
            "compass/vault_rotation.py",
            "        await tx.value(ALONE)\n",
            "",
            _ROTATION,
        ),
        Bug(
            "a key seals that a replica does not have",
            "compass/vault_rotation.py",
            "    keys = key_file.add_next(path)\n    await _until_replicas_have(database, path, keys)\n",
            "    keys = key_file.add_next(path)\n",
            _ROTATION,
        ),
        Bug(
            "a process that slept through a rotation stores what nobody can open",
            "compass/postgres/migrations/0058_pre_vault_key.sql",
            "split_part(sealed, '.', 2) AND retired_at IS NOT NULL",
            "split_part(sealed, '.', 2) AND false",
            _ROTATION,
        ),
        Bug(
            "the former key leaves the file before it is out of use",
            "compass/vault.py",
            "Keys({kept.next: kept.by_id[kept.next], **kept.by_id})",
            "Keys({kept.next: kept.by_id[kept.next]})",
            _ROTATION,
        ),
        Bug(
            "a process waits for a second before it opens what a new key sealed",
            "compass/vault.py",
            "            self.look()  # another process may seal under a new key already\n",
            "            pass\n",
            ("tests/test_vault.py",),
        ),
        Bug(
            "a sealed secret opens in another row",
            "compass/vault.py",
            'return f"compass v1\\0{key_id}\\0{place}".encode()',
            'return f"compass v1\\0{key_id}".encode()',
            ("tests/test_vault.py",),
        ),
        Bug(
            "a secret shows itself",
            "compass/secret.py",
            '        return "Secret(…)"',
            "        return self._value",
            ("tests/test_secret.py",),
        ),
        Bug(
            "a request shows its headers when it is logged",
            "compass/api/http.py",
            "    headers: Mapping[str, str] = field(repr=False)\n",
            "    headers: Mapping[str, str]\n",
            ("tests/test_secret.py",),
        ),
        Bug(
            "a refusal repeats what was given for an enum",
            "compass/reads/document.py",
            "(?<=Value) [",
            "(?<=No value) [",
            ("tests/e2e/test_planted_secrets.py",),
        ),
        Bug(
            "a webhook's signature does not cover its time",
            "compass/delivery/signature.py",
            '        content = b".".join((delivery.encode(), timestamp.encode(), body))',
            '        content = b".".join((delivery.encode(), b"0", body))',
            ("tests/delivery/test_signature.py",),
        ),
        Bug(
            "client secrets are kept in clear (original)",
            "compass/access/tokens.py",
            'return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()',
            'return secret.encode("utf-8", "surrogatepass")',
            ("tests/access/test_tokens.py", "tests/director/test_system_auth.py"),
        ),
    ),
    {
        "test_no_planted_secret_can_be_read_anywhere": 40,
        "test_a_rotation_that_was_interrupted_anywhere_is_finished_by_the_next_run": 30,
        "test_nothing_is_lost_and_no_caller_notices_wherever_a_rotation_is_killed": 30,
    },
)
OUTBOX: Final = Proof(
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
AUDIT: Final = Proof(
    "audit",
    ("I11", "A28", "G29"),
    "every change leaves a record in its own transaction, and whatever is done to records is seen",
    ("tests/audit", "tests/api/test_audited.py", "tests/director/test_audit_record.py"),
    (
        Bug(
            "a record that was altered is taken for what it was",
            "compass/audit/check.py",
            "            if record.digest() != wanted:",
            "            if not wanted:",
            ("tests/audit/test_check.py", "tests/audit/test_tampering.py"),
        ),
        Bug(
            "what was cut off is not missed by who kept the end",
            "compass/audit/check.py",
            "        if self.anchors.get(number, digest) != digest:",
            "        if not self.anchors.get(number, digest):",
            ("tests/audit/test_check.py", "tests/audit/test_tampering.py"),
        ),
    ),
    {
        "test_every_change_is_found_and_what_was_changed_is_named": 1_000,
        "test_a_log_that_nobody_touched_raises_no_alarm": 1_000,
        "test_a_million_records_are_checked_within_a_minute_and_the_one_that_was_changed_is_named": 1_000_000,
    },
    needs_quiet=True,
    minutes=40,
)
ROTATION: Final = Proof(
    "authority",
    ("I13", "F16", "S1"),
    "the authority's key is kept apart and exchanged under live agents",
    (
        "tests/connector/test_issuer.py",
        "tests/connector/test_signer.py",
        "tests/connector/test_rotation.py",
        "tests/faults/test_rotation.py",
    ),
    (
        Bug(
            "a signature is believed that an external signer made with another key",
            "compass/connector/issuer.py",
            "            certificate.verify_directly_issued_by(self.certificate)\n",
            "            pass\n",
            ("tests/connector/test_signer.py",),
        ),
        Bug(
            "an expired authority signs",
            "compass/connector/issuer.py",
            "        if now >= self.not_after:\n",
            "        if False:\n",
            ("tests/connector/test_issuer.py",),
        ),
        Bug(
            "an authority is retired while clients hang on it",
            "compass/connector/rotation.py",
            "        if hanging:\n",
            "        if False:\n",
            ("tests/connector/test_rotation.py",),
        ),
        Bug(
            "a replica that is late signs with an authority that was retired",
            "compass/connector/certificate.py",
            "ON authority.serial = %(signed_by)s AND authority.retired_at IS NULL",
            "ON authority.serial = %(signed_by)s",
            ("tests/connector/test_rotation.py",),
        ),
        Bug(
            "the two roots do not vouch for each other",
            "compass/connector/authority.py",
            'cross = None if alone or row["cross"] is None else',
            "cross = None if True else",
            ("tests/connector/test_rotation.py",),
        ),
    ),
)
STARTING: Final = Proof(
    "safe-start",
    ("G37",),
    "the plane refuses to start insecurely, and says why",
    ("tests/test_starting.py", "tests/test_settings.py"),
    (
        Bug(
            "keys are safe with whoever is in the plane's group",
            "compass/starting.py",
            "    if _mode(keys) & _OTHERS:\n",
            "    if _mode(keys) & _WORLD_READS:\n",
            ("tests/test_starting.py",),
        ),
        Bug(
            "developers' switches are left on",
            "compass/starting.py",
            "    yield from _of_environment(os.environ if environment is None else environment)\n",
            "",
            ("tests/test_starting.py",),
        ),
        Bug(
            "well-known passwords are known in one spelling only",
            "compass/starting.py",
            "unquote(password).lower() in _WELL_KNOWN",
            "unquote(password) in _WELL_KNOWN",
            ("tests/test_starting.py",),
        ),
    ),
)
READS: Final = Proof(
    "reads",
    ("G1", "G2"),
    "random queries, and random operations by many callers, are answered as a plain model says",
    ("tests/reads/test_differential.py", "tests/model"),
    (
        Bug(
            "what needs a scope is shown without it",
            "compass/reads/compile.py",
            "read.sanitized.get(selected.name)",
            'read.sanitized.get("")',
            ("tests/reads/test_compile.py",),
        ),
    ),
)
FAULTS: Final = Proof(
    "faults",
    ("I5", "I7", "F1", "F2", "G5", "G6"),
    "planes are killed at random moments of every flow; nothing is lost, nothing is double",
    (
        "tests/faults/test_application_operation.py",
        "tests/faults/test_formation_lifecycle.py",
        "tests/faults/test_mutations.py",
        "tests/faults/test_notifications.py",
        "tests/faults/test_provisioning.py",
        *(
            f"{_REPLICAS}::{test}"
            for test in (
                "test_changes_at_both_planes_are_told_once_each_and_in_order_while_one_of_them_is_killed",
                "test_only_one_relays_at_a_time_so_a_backlog_is_told_in_the_order_of_its_causes",
                "test_both_planes_serve_what_either_wrote_and_issue_for_one_authority",
            )
        ),
    ),
    (
        Bug(
            "what a worker held that died is held for hours",
            "compass/postgres/queue.py",
            "    next_at = clock_timestamp() + %(lease)s\n-- An array",
            "    next_at = clock_timestamp() + 10000 * %(lease)s\n-- An array",
            ("tests/faults/test_application_operation.py",),
        ),
        Bug(
            "an operation ends without what its end changes",
            "compass/operations/worker.py",
            "            await self._kinds[op.kind].finished(tx, operation_from(row))\n",
            "            pass\n",
            ("tests/faults/test_application_operation.py",),
        ),
    ),
    minutes=60,
)
COMMAND_LINE: Final = Proof(
    "command-line",
    ("E1",),
    "every command completes in every shell",
    ("tests/cli/test_completion.py",),
    (
        Bug(
            "whatever was begun, every name is suggested",
            "compass/cli/completion.py",
            " if name.startswith(context.incomplete)]",
            "]",
        ),
        Bug(
            "the names of objects are kept where everybody reads them",
            "compass/cli/completion.py",
            "        replace_private(kept, json.dumps(found).encode())\n",
            "        kept.write_text(json.dumps(found))\n",
        ),
    ),
)
FRESH_CLONE: Final = Proof(
    "fresh-clone",
    ("README",),
    "the README's commands work in a fresh clone of the last commit",
    ("tests/docs/test_fresh_clone.py",),
    (
        Bug(
            "the first command that the README names is called otherwise",
            "Makefile",
            "\ndemo: $(READY)",
            "\ndemonstration: $(READY)",
            ("tests/docs/test_readme.py::test_every_make_target_that_is_mentioned_exists",),
        ),
        Bug(
            "the README's list of exit codes is of another release",
            "README.md",
            "| 9 | not the pinned plane",
            "| 19 | not the pinned plane",
            ("tests/docs/test_readme.py::test_every_exit_code_is_listed",),
        ),
    ),
    minutes=80,
)

CONSOLE: Final = Proof(
    "console",
    ("console",),
    "the console shows and does what the person signed in may, in a real browser, and runs nothing that users wrote",
    ("tests/console", "tests/access/test_code_flow.py"),
    (
        Bug(
            "what users wrote is HTML on a page",
            "compass/console/page.py",
            "            autoescape=True,",
            "            autoescape=False,",
            ("tests/console/test_app.py",),
        ),
        Bug(
            "a sign-in link works twice",
            "compass/console/session.py",
            "self._links.pop(_digest(code), None)",
            "self._links.get(_digest(code))",
            ("tests/console/test_session.py",),
        ),
        Bug(
            "a form of another site is taken for one of ours",
            "compass/console/app.py",
            "            session.require(request.form)\n",
            "",
            ("tests/console/test_app.py",),
        ),
        Bug(
            "a provider's answer is taken whoever began the sign-in",
            "compass/access/code_flow.py",
            'if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):',
            'if not answer.get("state"):',
            ("tests/access/test_code_flow.py",),
        ),
        Bug(
            "a provider's token is taken whatever sign-in it is of",
            "compass/access/code_flow.py",
            "if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):",
            "if not isinstance(said, str):",
            ("tests/access/test_code_flow.py",),
        ),
        Bug(
            "a sign-in at a provider is finished twice",
            "compass/console/session.py",
            "self._begun.pop(_digest(cookie), (None, 0.0))",
            "self._begun.get(_digest(cookie), (None, 0.0))",
            ("tests/console/test_sign_in.py",),
        ),
        Bug(
            "the explorer runs another change than the one that was confirmed",
            "compass/console/explorer.py",
            'form.get("confirmed") != _mark(asked):',
            'not form.get("confirmed"):',
            ("tests/console/test_explorer.py",),
        ),
        Bug(
            "an edit overwrites what somebody else said meanwhile",
            "compass/console/edit.py",
            "if field.name in mine and base[field.name] != now[field.name]",
            "if False",
            ("tests/console/test_edit.py",),
        ),
        Bug(
            "what was typed into a refused form is HTML",
            "compass/console/refill.py",
            "html.escape(self._typed[name])",
            "self._typed[name]",
            ("tests/console/test_refill.py",),
        ),
        Bug(
            "a command to copy runs what a name says",
            "compass/console/commands.py",
            "return shlex.join(words)",
            'return " ".join(words)',
            ("tests/console/test_commands.py",),
        ),
    ),
    # Axe looks at every page three times, in a browser.
    minutes=45,
)
PROOFS: Final[Sequence[Proof]] = (
    PAIRING,
    CERTIFICATES,
    REVOCATION,
    KILLED,
    HERD,
    NEIGHBOUR,
    TENANCY,
    MATRIX,
    TOKENS,
    COST,
    OUTBOUND,
    SECRETS,
    OUTBOX,
    AUDIT,
    CONSOLE,
    ROTATION,
    STARTING,
    READS,
    FAULTS,
    COMMAND_LINE,
    FRESH_CLONE,
)

"""Settings: the order of their sources, their types, and what is refused."""

import ast
import inspect
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from compass import settings as settings_module
from compass.settings import (
    DatabaseSettings,
    LogFormat,
    SettingRefused,
    Settings,
    describe,
    load,
)

ADAPTED = "8fd7f7f4-3d6c-4a9a-8f3c-0000000000aa"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of this machine is found."""
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(**arguments: object) -> dict[str, str]:
    with pytest.raises(SettingRefused) as caught:
        load(**{"environment": {}, **arguments})  # type: ignore[arg-type]  # each test passes what load takes
    return caught.value.facts


def test_without_any_source_every_value_is_its_default() -> None:
    loaded = load(environment={})

    assert loaded == Settings()
    assert loaded.listen.token_port == 8443
    assert loaded.tokens.runtime_validity == timedelta(minutes=60)
    assert {one.source for one in describe(loaded)} == {"default"}


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path: Path) -> None:
    file = write(tmp_path / "own.toml", '[listen]\ntoken_port = 1001\nmtls_port = 1002\nhost = "127.0.0.3"\n')
    environment = {"COMPASS_LISTEN__TOKEN_PORT": "2001", "COMPASS_LISTEN__MTLS_PORT": "2002"}

    loaded = load({"listen.token_port": 3001}, environment, file)

    assert loaded.listen == replace(Settings().listen, token_port=3001, mtls_port=2002, host="127.0.0.3")
    sources = {one.key: one.source for one in describe(loaded)}
    assert sources["listen.token_port"] == "flag"
    assert sources["listen.mtls_port"] == "environment COMPASS_LISTEN__MTLS_PORT"
    assert sources["listen.host"] == f"{file}:4"
    assert sources["listen.public_names"] == "default"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("data_folder", "/srv/compass", Path("/srv/compass")),
        ("database.connections", "3", 3),
        ("database.allow_plaintext", "true", True),
        ("listen.public_names", "a.example, b.example", ("a.example", "b.example")),
        ("listen.public_token_url", "https://a.example/compass", "https://a.example/compass"),
        ("tokens.csr_validity", "90s", timedelta(seconds=90)),
        ("authority.client_validity", "2160h", timedelta(days=90)),
        ("delivery.first_retry_after", "250ms", timedelta(milliseconds=250)),
        ("outbound.allowed_networks", "10.0.0.0/8,fd12::/16", (ip_network("10.0.0.0/8"), ip_network("fd12::/16"))),
        ("log.format", "json", LogFormat.JSON),
    ],
)
def test_the_environment_is_read_by_the_type_of_the_setting(key: str, text: str, value: object) -> None:
    loaded: object = load(environment={f"COMPASS_{key.upper().replace('.', '__')}": text})

    for name in key.split("."):
        loaded = getattr(loaded, name)
    assert loaded == value


def test_what_show_prints_reads_back_as_the_same_value() -> None:
    changed = load(
        {"tokens.csr_validity": "90s", "outbound.allowed_networks": "10.0.0.0/8,fd12::/16"},
        {"COMPASS_DELIVERY__GIVE_UP_AFTER": "36h"},
    )
    shown = {one.key: one.value for one in describe(changed) if one.value}

    assert load(shown, {}) == changed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('token_port = "8443"', "expected a whole number, not '8443'"),
        ("token_port = true", "expected a whole number, not True"),
        ("token_port = 8443.0", "expected a whole number, not 8443.0"),
        ('public_names = "localhost"', "expected a list, not 'localhost'"),
        ("public_names = [1]", "expected text, not [1]"),
        ("host = 1", "expected text, not 1"),
    ],
)
def test_a_wrong_type_names_the_key_the_line_and_what_was_expected(tmp_path: Path, line: str, expected: str) -> None:
    file = write(tmp_path / "own.toml", f"# a comment\n[listen]\n{line}\n")

    facts = refusal(file=file)

    assert facts == {"setting": f"listen.{line.partition(' ')[0]}", "source": f"{file}:3", "reason": expected}


@pytest.mark.parametrize("text", ["10", "10 parsecs", "", "-1s", "1h30m"])
def test_a_duration_without_a_known_unit_is_refused(text: str) -> None:
    facts = refusal(environment={"COMPASS_TOKENS__CSR_VALIDITY": text})

    assert facts["setting"] == "tokens.csr_validity"
    assert facts["source"] == "environment COMPASS_TOKENS__CSR_VALIDITY"
    assert facts["reason"] == f'expected a duration with its unit, such as "10s", "5m", "36h" or "2d", not {text!r}'


@pytest.mark.parametrize(
    ("written", "meant"),
    [("COMPASS_DATABSE__DSN", "database.dsn"), ("COMPASS_LISTEN_TOKEN_PORT", "listen.token_port")],
)
def test_an_unknown_variable_is_refused_with_the_name_that_was_probably_meant(written: str, meant: str) -> None:
    assert refusal(environment={written: "x"})["reason"] == f"there is no such setting, did you mean {meant}?"


def test_an_unknown_key_of_the_file_is_refused_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "own.toml", '[tokens]\ncsr_validity = "1m"\nruntime_validty = "1h"\n')

    facts = refusal(file=file)

    assert facts["source"] == f"{file}:3"
    assert facts["reason"] == "there is no such setting, did you mean tokens.runtime_validity?"


def test_a_section_where_a_value_belongs_and_the_reverse_are_refused(tmp_path: Path) -> None:
    assert refusal(file=write(tmp_path / "a.toml", "[data_folder]\nx = 1\n"))["setting"] == "data_folder.x"
    assert refusal(file=write(tmp_path / "b.toml", "listen = 1\n"))["setting"] == "listen"


def test_variables_of_the_command_line_are_no_settings() -> None:
    environment = {"COMPASS_CONTEXT": "a", "COMPASS_TOKEN": "b", "COMPASS_PROOF": "1", "COMPASS_SECRET": "c"}

    assert load(environment=environment) == Settings()


def test_a_secret_is_read_from_a_file_of_its_own_and_never_shown(tmp_path: Path) -> None:
    mounted = write(tmp_path / "dsn", "postgresql://u:geheim@localhost/c\n")

    loaded = load(environment={"COMPASS_DATABASE__DSN_FILE": str(mounted)})

    assert loaded.database.dsn == "postgresql://u:geheim@localhost/c"
    shown = next(one for one in describe(loaded) if one.key == "database.dsn")
    assert shown.value == "(redacted)"
    assert shown.source == f"environment COMPASS_DATABASE__DSN_FILE = {mounted}"
    assert "geheim" not in repr(loaded)


def test_any_value_of_the_file_may_name_a_file_of_its_own(tmp_path: Path) -> None:
    port = write(tmp_path / "port", "9443\n")

    assert load(environment={}, file=write(tmp_path / "c.toml", f'[listen]\ntoken_port_file = "{port}"\n')).listen == (
        replace(Settings().listen, token_port=9443)
    )


def test_a_missing_own_file_is_refused_by_the_name_of_the_setting(tmp_path: Path) -> None:
    facts = refusal(environment={"COMPASS_DATABASE__DSN_FILE": str(tmp_path / "none")})

    assert facts["setting"] == "database.dsn"
    assert facts["reason"].startswith("its file cannot be read: ")


def test_a_wrong_secret_is_not_repeated_in_the_refusal(tmp_path: Path) -> None:
    facts = refusal(file=write(tmp_path / "c.toml", "[database]\ndsn = 123456789\n"))

    assert facts["reason"] == "expected text, not what it has"


def test_a_secret_as_a_flag_is_refused_without_repeating_it() -> None:
    facts = refusal(flags={"database.dsn": "postgresql://u:geheim@localhost/c"})

    assert facts["setting"] == "database.dsn"
    assert "COMPASS_DATABASE__DSN_FILE" in facts["reason"]
    assert "geheim" not in facts["reason"]


def test_no_setting_is_named_like_the_file_of_another() -> None:
    keys = {one.key for one in describe(Settings())}

    assert not {key for key in keys if key.removesuffix("_file") != key and key.removesuffix("_file") in keys}


def test_the_file_is_looked_for_in_the_working_folder_then_in_the_users_configuration(tmp_path: Path) -> None:
    home = tmp_path / "home/compass"
    home.mkdir(parents=True)
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "home")}

    write(home / "compass.toml", "[database]\nconnections = 3\n")
    assert load(environment=environment).database.connections == 3
    write(tmp_path / "compass.toml", "[database]\nconnections = 4\n")
    assert load(environment=environment).database.connections == 4
    named = write(tmp_path / "named.toml", "[database]\nconnections = 5\n")
    assert load(environment=environment | {"COMPASS_CONFIG": str(named)}).database.connections == 5


def test_a_named_file_must_exist_and_be_toml(tmp_path: Path) -> None:
    assert refusal(file=tmp_path / "none.toml")["reason"].startswith("the file cannot be read: ")
    broken = refusal(file=write(tmp_path / "broken.toml", "[listen\n"))
    assert "the file is not TOML" in broken["reason"]
    assert "line 1" in broken["reason"]


@pytest.mark.parametrize(
    ("key", "value", "because"),
    [
        ("outbound.allowed_networks", "0.0.0.0/0", "0.0.0.0/0 is every address"),
        ("outbound.allowed_networks", "::/0", "::/0 is every address"),
        ("outbound.allowed_networks", "169.254.0.0/16", "hand out this machine's credentials"),
        ("outbound.allowed_networks", "168.0.0.0/6", "hand out this machine's credentials"),
        ("outbound.allowed_networks", "fd00:ec2::/32", "hand out this machine's credentials"),
        ("outbound.client_certificate_file", "/c.pem", "its key is missing; set outbound.client_key_file too"),
        ("outbound.client_key_file", "/c.pem", "means nothing without outbound.client_certificate_file"),
        ("outbound.client_certificate_hosts", "a.example", "means nothing without outbound.client_certificate_file"),
        ("listen.public_token_url", "http://a.example", "must begin with https://"),
        ("listen.public_mtls_url", "https://user@a.example", "neither user"),
        ("listen.public_legacy_url", "a.example/v1", "must begin with https://"),
        ("tokens.pairing_adapters", "https://a.example/", "<id of an integration system>=<http or https URL>"),
        ("tokens.pairing_adapters", f"{ADAPTED}=ftp://a.example/", "<id of an integration system>=<http or https URL>"),
        ("tokens.pairing_adapters", f"{ADAPTED}=https://u:p@a.example", "<id of an integration system>="),
        ("landscape.tenant_mappings", "no JSON", "must be a JSON object of modes"),
        ("landscape.tenant_mappings", '{"SYNC": []}', "must be a JSON object of modes"),
        ("landscape.tenant_mappings", '{"SYNC": {"1.0": {}}}', "must be a JSON object of modes"),
        ("landscape.tenant_mappings", '{"SYNC": {"1.0": [{"url": "%s"}]}}', "must be a JSON object of modes"),
        (
            "landscape.tenant_mappings",
            '{"SYNC": {"1.0": [{"type": "X", "url": {}}]}}',
            "must be a JSON object of modes",
        ),
        ("landscape.hidden_applications", "secret", "is not <label>=<value>"),
        ("landscape.hidden_applications", "a-b=c", "is not <label>=<value>"),
        ("landscape.hidden_applications", "secret= ", "is not <label>=<value>"),
        ("landscape.discovery_webhooks", "SAP Order", "is not <application type>=<suffix>/<path>"),
        ("landscape.discovery_webhooks", "SAP Order=path", "is not <application type>=<suffix>/<path>"),
        ("landscape.discovery_webhooks", "=/path", "is not <application type>=<suffix>/<path>"),
        ("landscape.discovery_webhooks", "SAP Order=.evil.example/path", "is not <application type>=<suffix>/<path>"),
        ("landscape.kyma_adapter_mode", "ASYNC", "must be SYNC or ASYNC_CALLBACK"),
        ("landscape.kyma_adapter_input_template", "{}", "means nothing without landscape.kyma_adapter_url_template"),
        ("listen.public_names", "", "at least one name"),
        ("listen.public_names", "a b", "neither a host name nor an address"),
        ("listen.mtls_port", "8443", "a port each"),
        ("listen.token_port", "65536", "a port is 0 to 65535"),
        ("tokens.application_validity", "25h", "at most 1d"),
        ("tokens.runtime_validity", "0s", "longer than nothing"),
        ("authority.client_validity", "400d", "at most 397d"),
        ("authority.organization", "a,CN=root", "without / , ="),
        ("authority.country", "Germany", "two capital letters"),
        ("database.connections", "0", "at least 1"),
        ("limits.max_request_bytes", "0", "at least 1"),
    ],
)
def test_an_insecure_or_impossible_value_is_refused(key: str, value: str, because: str) -> None:
    facts = refusal(flags={key: value})

    assert facts["setting"] == key
    assert because in facts["reason"]


@pytest.mark.parametrize("hosts", ["a.example", "*.a.example,10.0.0.1", "::1", "*", "a_b"])
def test_a_client_certificate_has_a_key_and_hosts_that_may_see_it(hosts: str) -> None:
    both = {"outbound.client_certificate_file": "/c.pem", "outbound.client_key_file": "/k.pem"}

    assert refusal(flags=both)["setting"] == "outbound.client_certificate_hosts"
    loaded = load(flags={**both, "outbound.client_certificate_hosts": hosts}, environment={}).outbound
    assert (loaded.client_certificate_file, loaded.client_key_file) == (Path("/c.pem"), Path("/k.pem"))
    assert loaded.client_certificate_hosts == tuple(hosts.split(","))


@pytest.mark.parametrize(
    "host", ["https://a.example", "a.example:443", "a.*.example", "*a.example", "**", "a b", "a..b"]
)
def test_what_is_no_host_may_not_see_a_client_certificate(host: str) -> None:
    both = {"outbound.client_certificate_file": "/c.pem", "outbound.client_key_file": "/k.pem"}

    facts = refusal(flags={**both, "outbound.client_certificate_hosts": host})

    assert facts["setting"] == "outbound.client_certificate_hosts"
    assert "is neither a host, nor *.<name>, nor *" in facts["reason"]


SIGN_ON = {
    "oidc.issuers": "https://login.example.com/realms/a",
    "oidc.audience": "compass",
    "oidc.scopes": "a=admin",
    "oidc.tenants": "a=*",
}


def test_single_sign_on_needs_no_more_than_who_for_whom_what_and_where(tmp_path: Path) -> None:
    assert load(SIGN_ON, environment={}).oidc.issuers == ("https://login.example.com/realms/a",)
    by_claim = {**SIGN_ON, "oidc.tenants": "", "oidc.tenants_claim": "tenants"}
    assert load(by_claim, environment={}).oidc.tenants_claim == "tenants"
    groups = 'scopes = ["cn=ops, ou=all=runtime:read operator", "cn=ops, ou=all=webhook:write"]\ntenants = ["x = a b"]'
    loaded = load(SIGN_ON, {}, write(tmp_path / "own.toml", f"[oidc]\n{groups}\n")).oidc
    assert loaded.group_scopes() == {"a": ["admin"]}
    alone = {key: value for key, value in SIGN_ON.items() if key not in ("oidc.scopes", "oidc.tenants")}
    loaded = load(alone, {}, tmp_path / "own.toml").oidc
    assert loaded.group_scopes() == {"cn=ops, ou=all": ["runtime:read", "operator", "webhook:write"]}
    assert loaded.group_tenants() == {"x": ["a", "b"]}


@pytest.mark.parametrize(
    ("key", "value", "because"),
    [
        ("oidc.issuers", "http://login.example.com", "must begin with https://"),
        ("oidc.issuers", "https://u:p@login.example.com", "must begin with https://"),
        ("oidc.issuers", "https://login.example.com/?a=b", "must begin with https://"),
        ("oidc.issuers", "", "means nothing without oidc.issuers"),
        ("oidc.audience", "", "others would open it too"),
        ("oidc.scopes", "", "nobody who signs on may do anything"),
        ("oidc.scopes", "admins", "'admins' is not <group>=<one or more, with spaces in between>"),
        ("oidc.scopes", "=admin", "'=admin' is not <group>="),
        ("oidc.scopes", "admins=", "'admins=' is not <group>="),
        ("oidc.tenants", "", "say where people may work"),
        ("oidc.tenants", "everybody", "'everybody' is not <group>="),
        ("oidc.user_claim", " ", "must name a claim"),
        ("oidc.groups_claim", "", "must name a claim"),
        ("oidc.leeway", "6m", "at most 5m"),
        ("oidc.keys_refresh", "0s", "must be longer than nothing"),
    ],
)
def test_single_sign_on_that_would_let_in_others_or_nobody_is_refused(key: str, value: str, because: str) -> None:
    facts = refusal(flags={**SIGN_ON, key: value})

    assert facts["setting"] == ("oidc.audience" if key == "oidc.issuers" and not value else key)
    assert because in facts["reason"]


def test_scopes_of_external_certificates_are_found_by_type(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    given = {
        "external_certificates.ca_file": str(file),
        "external_certificates.scopes": "Formation Viewer=a:read b:read",
    }

    assert load(given, environment={}).external_certificates.consumer_scopes() == {
        "Formation Viewer": ["a:read", "b:read"]
    }
    del given["external_certificates.ca_file"]
    assert refusal(flags=given)["reason"] == "means nothing without external_certificates.ca_file"
    for wrong in ("Formation Viewer", "=a:read", "Formation Viewer="):
        chosen = {"external_certificates.ca_file": str(file), "external_certificates.scopes": wrong}
        assert refusal(flags=chosen)["reason"] == f"{wrong!r} is not <consumer type>=<scope> <scope>"


def test_revocation_lists_are_found_by_the_fingerprint_of_their_authority_in_any_spelling() -> None:
    pin = "ab" * 32
    spelled = (pin, f"sha256:{pin}", ":".join(["AB"] * 32))
    given = {"external_certificates.ca_file": "/ca.pem"}
    lists = "external_certificates.revocation_lists"

    for name in spelled:
        for source in ("/etc/list.crl", "http://pki.example/a/list.crl?delta=no", "https://pki.example"):
            found = load({**given, lists: f"{name} = {source}"}, environment={}).external_certificates
            assert found.list_sources() == {pin: source}
    assert refusal(flags={lists: f"{pin}=/x"})["reason"] == "means nothing without external_certificates.ca_file"
    for wrong in (f"{pin}=", pin, "abc=/x", f"{pin[1:]}g=/x"):
        reason = f"{wrong!r} is not <SHA-256 fingerprint of an authority>=<file or URL>"
        assert refusal(flags={**given, lists: wrong})["reason"] == reason
    for wrong in ("ftp://a.example/x", "http://u:p@a.example/x", "http:///x", "https://a.example/x#y"):
        reason = f"{wrong!r} must begin with http:// or https:// and have neither user nor fragment"
        assert refusal(flags={**given, lists: f"{pin}={wrong}"})["reason"] == reason
    twice = refusal(flags={**given, lists: f"{spelled[0]}=/x,{spelled[1]}=/y"})
    assert twice["reason"] == "an authority has one list; one of them is named twice"
    late = refusal(flags={**given, f"{lists}_refresh": "25h"})
    assert late["reason"] == "whoever was revoked would go on for all that time; at most 1d"


def test_pairing_adapters_are_found_by_the_id_of_their_integration_system() -> None:
    loaded = load(environment={"COMPASS_TOKENS__PAIRING_ADAPTERS": f"{ADAPTED.upper()} = https://a.example/?a=b"})

    assert loaded.tokens.adapter_urls() == {ADAPTED: "https://a.example/?a=b"}
    assert Settings().tokens.adapter_urls() == {}


def test_webhooks_stand_for_a_mode_and_a_version() -> None:
    text = '{"SYNC": {"1.0": [{"type": "CONFIGURATION_CHANGED"}], "2.0": []}}'
    landscape = load(environment={"COMPASS_LANDSCAPE__TENANT_MAPPINGS": text}).landscape

    assert landscape.mapped_webhooks("SYNC", "1.0") == [{"type": "CONFIGURATION_CHANGED"}]
    assert landscape.mapped_webhooks("SYNC", "2.0") == []
    for mode, version in (("SYNC", "3.0"), ("ASYNC_CALLBACK", "1.0")):
        assert landscape.mapped_webhooks(mode, version) is None
    assert Settings().landscape.mapped_webhooks("SYNC", "1.0") is None


def test_what_the_landscape_hides_and_discovers_is_found_by_label_and_type() -> None:
    loaded = load(
        environment={
            "COMPASS_LANDSCAPE__HIDDEN_APPLICATIONS": "secret=a b,secret = c=d,listed=s",
            "COMPASS_LANDSCAPE__DISCOVERY_WEBHOOKS": "SAP Order=-api/ord/v1,a=b=/",
        }
    )

    assert loaded.landscape.hidden_labels() == {"secret": ["a b", "c=d"], "listed": ["s"]}
    assert loaded.landscape.discovery_urls() == {"SAP Order": ("-api", "/ord/v1"), "a=b": ("", "/")}
    assert (Settings().landscape.hidden_labels(), Settings().landscape.discovery_urls()) == ({}, {})


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u@db.example/c",
        "postgresql://u@db.example/c?sslmode=prefer",
        "postgresql://u@10.0.0.1/c",
        "postgresql://u@localhost,db.example/c",
        "postgresql:///c?host=db.example",
        "mysql://localhost/c",
    ],
)
def test_a_database_elsewhere_must_be_reached_over_tls(dsn: str) -> None:
    facts = refusal(environment={"COMPASS_DATABASE__DSN": dsn})

    assert facts["setting"] == "database.dsn"
    assert dsn not in facts["reason"]


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u@db.example/c?sslmode=verify-full",
        "postgresql://u@localhost:5433/c",
        "postgres://u@127.0.0.1/c",
        "postgresql://u@[::1]/c",
        "postgresql://compass@/compass?host=%2Frun%2Fcompass",
    ],
)
def test_a_database_here_or_over_tls_is_accepted(dsn: str) -> None:
    assert load(environment={"COMPASS_DATABASE__DSN": dsn}).database == DatabaseSettings(dsn=dsn)


def test_plaintext_to_another_machine_can_be_allowed_by_name() -> None:
    environment = {"COMPASS_DATABASE__DSN": "postgresql://u@db/c", "COMPASS_DATABASE__ALLOW_PLAINTEXT": "true"}

    assert load(environment=environment).database.dsn == "postgresql://u@db/c"


def test_every_setting_states_its_reason() -> None:
    """A docstring stands under every field; the reference is made from them."""
    tree = ast.parse(inspect.getsource(settings_module))
    silent = []
    for section in (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Settings")):
        for field, after in zip(section.body, [*section.body[1:], None], strict=True):
            is_section = isinstance(field, ast.AnnAssign) and ast.unparse(field.annotation).endswith("Settings")
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and not is_section and not said:
                silent.append(f"{section.name}.{ast.unparse(field.target)}")
    assert silent == []

"""What the code must look like everywhere, where no linter has a rule for it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in (ROOT / "compass").rglob("*.py") if path.name != "__init__.py")
MIGRATIONS = sorted((ROOT / "compass/postgres/migrations").glob("*.sql"))

TESTED_ELSEWHERE = {
    "compass/reads/plan.py": "declarations; tests/reads/test_compile.py compiles each of them",
    "compass/demo/orders/": "a service of its own, tested as a process: tests/demo/test_orders_process.py",
    "compass/cli/server_start.py": "a plane as a process: tests/e2e",
    "compass/cli/demo.py": "the demo as a process: tests/e2e",
    "compass/demo/script.py": "run whole, as a process: tests/e2e/test_demo.py",
    "compass/demo/plane_process.py": "starts the planes of tests/e2e",
    "compass/__main__.py": "how tests/e2e starts everything",
    "compass/gotemplate/nodes.py": "types without behaviour; mypy is their test",
    "compass/client/failed.py": "through the commands that fail: tests/cli/test_failures.py",
    "compass/landscape/conversation.py": "types without behaviour; mypy is their test",
    "compass/landscape/kinds.py": "declarations; tests/cli/test_definition.py",
    "compass/landscape/labels.py": "handed on by the command line: tests/cli/test_labels.py",
    "compass/landscape/meant.py": "handed on by the command line: tests/cli/test_find.py",
    "compass/landscape/offers.py": "through the command that applies files: tests/cli/test_offers.py",
    "compass/landscape/owned.py": "through the command that applies files: tests/cli/test_owned.py",
    "compass/landscape/planned.py": "through the command that applies files: tests/cli/test_apply.py",
    "compass/landscape/webhooks.py": "through the command that applies files: tests/cli/test_apply.py",
    "compass/cli/sign_in.py": "through the commands that sign in: tests/cli/test_login.py, test_graphql.py",
}
"""Modules, or folders of them, without a test file of their own, and why."""

STATEMENTS_MADE = {
    "compass/audit/record.py": "the same statement for each type whose objects it shows",
    "compass/director/definition.py": "the same statements for API and for event definitions",
    "compass/postgres/queue.py": "the same statements for each table that is a queue, made when it is declared",
    "compass/vault_rotation.py": "the same statements for each sealed column",
}
"""Modules that put statements together from names in our own code."""

DATABASE = {"compass/postgres/pool.py", "compass/postgres/embedded.py", "compass/postgres/migrate.py"}

DOORS = {
    "asyncpg.connect": DATABASE,
    "asyncpg.create_pool": DATABASE,
    "cryptography.hazmat.primitives.ciphers": {"compass/vault.py"},
    # The second one is the sample company's own authority, outside the plane.
    "cryptography.x509.CertificateBuilder": {"compass/connector/issuer.py", "compass/demo/orders/company_ca.py"},
    "socket.create_connection": set[str](),
    "urllib.request": set[str](),
}
"""Who alone connects to the database, encrypts, signs certificates; nobody opens connections past the doors."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_file(module: Path) -> Path:
    """`compass/a/b.py` is tested by `tests/a/test_b.py`."""
    inside = module.relative_to(ROOT / "compass")
    return ROOT / "tests" / inside.parent / f"test_{inside.name}"


test_file.__test__ = False  # type: ignore[attr-defined]  # its name is a noun, not a test


def is_tested_elsewhere(module: Path) -> bool:
    return any(
        name(module) == listed or (listed[-1] == "/" and name(module).startswith(listed)) for listed in TESTED_ELSEWHERE
    )


def test_every_module_has_its_tests() -> None:
    untested = {
        name(module)
        for module in MODULES
        if module.name != "__main__.py" and not is_tested_elsewhere(module) and not test_file(module).exists()
    }
    assert untested == set()


def test_what_is_listed_as_tested_elsewhere_exists_and_has_no_tests_of_its_own() -> None:
    assert {listed for listed in TESTED_ELSEWHERE if not (ROOT / listed).exists()} == set()
    assert {name(module) for module in MODULES if is_tested_elsewhere(module) and test_file(module).exists()} == set()


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.name)
def test_a_migration_says_why_what_old_code_sees_and_what_it_locks(path: Path) -> None:
    header = "\n".join(
        line for line in path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if line[:2] == "--"
    )

    assert re.fullmatch(r"\d{4}_(pre|post)_[a-z0-9_]+\.sql", path.name)
    assert [
        word for word in ("Why", "Old code", "Lock") if not re.search(rf"^-- {word}: \S", header, re.MULTILINE)
    ] == []


def test_migrations_are_numbered_without_repetition() -> None:
    numbers = [path.name[:4] for path in MIGRATIONS]
    assert len(numbers) == len(set(numbers))


def test_every_statement_is_a_named_constant() -> None:
    ours = [module for module in MODULES if name(module) not in STATEMENTS_MADE]

    assert [problem for module in ours for problem in statement_problems(module.read_text(), name(module))] == []


def test_every_danger_has_one_door() -> None:
    assert [problem for module in MODULES for problem in door_problems(module.read_text(), name(module))] == []


# --- the two checks, and that they see what they are for -----------------------------------------------------------


def statement_problems(source: str, where: str) -> Iterator[str]:
    """Each `tx.row(…)` and its kin whose SQL is no constant of a module that begins `-- noun.verb`.

    Such a statement can be found in the database's own statistics and logs, and cannot be built from input.
    """
    tree = ast.parse(source)
    constants = _constants(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        match call:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="tx"), attr="row" | "rows" | "value" | "run"), args=[sql, *_]
            ):
                pass
            case _:
                continue
        match sql:
            case ast.Name(id=constant) if constant in constants:
                if not re.match(r"\s*-- [a-z0-9_]+\.[a-z0-9_]+\b", constants[constant]):
                    yield f"{where}:{call.lineno}: {constant} does not begin with -- noun.verb"
            case ast.Attribute(value=ast.Name(), attr=constant) if constant.isupper():
                pass  # a constant of another module, checked there
            case ast.Name(id=constant) if constant.isupper() and constant in _imported(tree):
                pass
            case _:
                yield f"{where}:{call.lineno}: {ast.unparse(sql)} is not a constant of the module"


def _constants(tree: ast.Module) -> dict[str, str]:
    """The text that each string constant of the module begins with."""
    beginnings: dict[str, str] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                beginnings[target] = _beginning(value, beginnings)
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                beginnings[target] = _beginning(value, beginnings)
    return beginnings


def _beginning(value: ast.expr, known: dict[str, str]) -> str:
    """What the value begins with; a constant may be put together from constants above it."""
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=constant):
            return known.get(constant, "")
        case ast.JoinedStr(values=[first, *_]) | ast.FormattedValue(value=first):
            return _beginning(first, known)
        case ast.BinOp(left=left):
            return _beginning(left, known)
        case ast.Call(func=ast.Attribute(value=inner)):
            return _beginning(inner, known)
        case _:
            return ""


def _imported(tree: ast.Module) -> set[str]:
    return {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def door_problems(source: str, where: str) -> Iterator[str]:
    """Each import or use of something that only another module may touch."""
    tree = ast.parse(source)
    modules = {
        alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    touched = set(modules.values()) | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            touched.add(f"{modules[node.value.id]}.{node.attr}")
    for door, keepers in DOORS.items():
        if where not in keepers and any(f"{used}.".startswith(f"{door}.") for used in touched):
            yield f"{where}: {door} belongs to {', '.join(sorted(keepers)) or 'nobody'}"


@pytest.mark.parametrize(
    "source",
    [
        'async def f(tx):\n    await tx.row("-- noun.verb\\nSELECT 1")',
        'X = "SELECT 1"\nasync def f(tx):\n    await tx.rows(X)',
        'X = "--noun.verb\\nSELECT 1"\nasync def f(tx):\n    await tx.value(X)',
        'X = "-- noun.verb\\nSELECT 1"\nasync def f(tx):\n    await tx.run(X + " WHERE true")',
        'X = "-- noun.verb\\nSELECT 1"\nasync def f(tx, n):\n    await tx.run(f"{X} LIMIT {n}")',
        "async def f(tx, sql):\n    await tx.run(sql)",
    ],
)
def test_the_check_sees_a_statement_that_is_no_named_constant(source: str) -> None:
    assert len(list(statement_problems(source, "compass/x.py"))) == 1


@pytest.mark.parametrize(
    "source",
    [
        'X = "-- noun.verb\\nSELECT 1"\nasync def f(tx):\n    await tx.row(X, a=1)',
        'X: Final = """\n-- noun.verb\nSELECT 1"""\nasync def f(tx):\n    await tx.row(X)',
        'X = f"-- noun.verb\\nSELECT {COLUMNS}"\nasync def f(tx):\n    await tx.row(X)',
        'A = "-- noun.verb\\nSELECT {x}"\nX = A.format(x=1)\nasync def f(tx):\n    await tx.row(X)',
        "async def f(tx):\n    await tx.row(other.X)",
        "async def f(task):\n    await task.run('anything')",
    ],
)
def test_the_check_accepts_named_constants(source: str) -> None:
    assert list(statement_problems(source, "compass/x.py")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from cryptography.hazmat.primitives.ciphers.aead import AESGCM",
        "from cryptography.hazmat.primitives import ciphers",
        "import cryptography.hazmat.primitives.ciphers.aead",
        "from cryptography import x509\nx509.CertificateBuilder()",
        "from cryptography.x509 import CertificateBuilder",
        "import asyncpg\nasyncpg.connect()",
        "import socket\nsocket.create_connection(('a', 1))",
        "from urllib.request import urlopen",
        "def f():\n    import urllib.request",
    ],
)
def test_the_check_sees_who_uses_another_modules_door(source: str) -> None:
    assert len(list(door_problems(source, "compass/x.py"))) == 1


def test_the_check_lets_the_keeper_of_a_door_through() -> None:
    source = "from cryptography.hazmat.primitives.ciphers.aead import AESGCM"

    assert list(door_problems(source, "compass/vault.py")) == []

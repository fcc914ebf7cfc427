"""`compass whoami` and `compass logout`."""

from compass.cli import context
from tests.cli.conftest import Cli


def test_it_says_who_one_is_and_where_and_a_signed_out_context_stays_known(cli: Cli, tenant: str) -> None:
    local = context.chosen()

    assert cli("whoami", "-o", "json").json == {
        "id": "admin",
        "type": "USER",
        "tenant": tenant,
        "url": local.url,
        "pin": local.ca_pin,
        "context": "local",
    }

    assert cli("logout").code == 0

    assert not local.secret_file.exists()
    assert context.chosen() == local
    assert cli("whoami").code == 7
    assert cli("logout").code == 1

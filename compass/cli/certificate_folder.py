"""`compass cert renew` and `export`: the certificate of this side, in the folder that `compass pair` has made."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from compass.cli.agent_folder import pid_in
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import done, emit, say
from compass.cli.pair import ANCHOR
from compass.cli.secret_input import read_text, secret

if TYPE_CHECKING:
    from compass.agent.pair import Connection
    from compass.client.protocol import Trust

Folder = Annotated[Path, Parameter(help="Where `compass pair` has put key and certificate.")]


def renew(*, folder: Folder = Path("compass"), if_due: bool = False) -> None:
    """Replace the certificate of this side by one with a new key and a new life. No token is needed.

    For example:

        compass cert renew
        compass cert renew --folder /srv/shop-crm/compass --if-due

    The old one is in use until the plane has been seen to accept the new one, and may be used to its end. An agent
    renews its own. Prints when the certificate in the folder ends.

    Exit codes: 0 renewed, or not due, 4 the folder holds no identity, 6 an agent works in it, 7 the plane refused the
    certificate (it was revoked, or ended), 8 plane not reached, 9 it is not the plane that it was paired with.

    Parameters
    ----------
    if_due
        Only when less than 30 % of its life is left: for a timer that runs once a day.
    """
    from compass.agent.pair import Connection, renewal_due

    if pid := pid_in(folder):
        message = f"process {pid} is the agent of {folder}, which renews by itself"
        raise CommandFailed(message, exit_code=Exit.CONFLICT, hint="compass agent status says how it is doing")
    present = Connection.read(folder)
    if if_due and not renewal_due(present, now=datetime.now(UTC)):
        say("not due yet")
    else:
        try:
            present = asyncio.run(_renewed(present, _trust(folder)))
        except OSError as problem:
            raise CommandFailed(f"{folder} cannot be written: {problem}") from None
        done(f"certificate {folder / 'client.crt'} renewed")
    emit(f"{present.not_after:%Y-%m-%dT%H:%M:%SZ}")


async def _renewed(present: "Connection", trust: "Trust") -> "Connection":
    from compass.agent.pair import renew as renewing

    return await renewing(present, trust=trust)


def _trust(folder: Path) -> "Trust":
    from compass.client.protocol import Trust

    return Trust.to(read_text(folder / ANCHOR))


def export(
    *,
    folder: Folder = Path("compass"),
    pkcs12: Path | None = None,
    password: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    password_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
) -> None:
    """Print the certificate of this side with its chain, or keep it with its key in a PKCS#12 file for other programs.

    For example:

        compass cert export > chain.pem
        compass cert export --pkcs12 shop-crm.p12 --password-file password

    What is printed is public. The file holds the key: it is readable by you only.

    Exit codes: 0 done, 2 there is no password, 4 the folder holds no identity.

    Parameters
    ----------
    pkcs12
        The file to write.
    password
        Only `-`: read the file's password from standard input.
    password_file
        Read the file's password from this file.
    """
    from compass.agent.pair import Connection

    Connection.read(folder)
    if pkcs12 is None:
        if password is not None or password_file is not None:
            raise CommandFailed("a password is for a file", exit_code=Exit.USAGE, hint="--pkcs12 FILE")
        emit(read_text(folder / "chain.crt").rstrip())
        return
    value = secret("password", flag="--password", typed=password, file=password_file, variable="COMPASS_PASSWORD")
    try:
        _write_pkcs12(folder, pkcs12, value)
    except OSError as problem:
        raise CommandFailed(f"{pkcs12} cannot be written: {problem}") from None
    done(f"key, certificate and chain kept in {pkcs12} (0600)")


def _write_pkcs12(folder: Path, file: Path, password: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key
    from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

    from compass.agent.pair import PrivateKey
    from compass.files import write_private

    key = load_pem_private_key((folder / "client.key").read_bytes(), None)
    if not isinstance(key, PrivateKey):
        raise CommandFailed(f"{folder / 'client.key'} is of a kind that is not expected")
    leaf, *others = x509.load_pem_x509_certificates((folder / "chain.crt").read_bytes())
    whole = serialize_key_and_certificates(b"compass", key, leaf, others, BestAvailableEncryption(password.encode()))
    write_private(file, whole)

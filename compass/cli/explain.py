"""`compass explain`: what an error code means and what to do about it."""

from typing import Final

from compass.cli.completion import CodeName
from compass.cli.failures import CommandFailed, Exit, exit_for
from compass.cli.output import Format, Output, emit, show
from compass.errors import Code

MEANINGS: Final = {
    Code.INTERNAL: (
        "The plane could not do it, and has no narrower code for the reason.",
        "Read the reason in the message. If it only has an errorID, give that to whoever runs the plane, for its log.",
    ),
    Code.NOT_FOUND: (
        "The object does not exist, or your tenant may not see it. The two are never told apart.",
        "Check the id, and the tenant you are asking in (`compass context list`).",
    ),
    Code.NOT_UNIQUE: (
        "Another object already holds something that only one may have.",
        "Look for the object that exists and change it, or choose another value.",
    ),
    Code.INVALID_DATA: (
        "The input breaks a rule.",
        "The message names the field and the rule. Nothing was changed.",
    ),
    Code.INSUFFICIENT_SCOPES: (
        "Your credentials are good, but they lack a scope that this operation requires.",
        "Use credentials that have it; the message says which were required.",
    ),
    Code.TENANT_REQUIRED: (
        "The operation works inside a tenant and the request named none.",
        "Say which: `--tenant` of each command, or `compass login --tenant` once; over HTTP the header `Tenant`.",
    ),
    Code.TENANT_NOT_FOUND: (
        "The tenant you named does not exist, or is not yours.",
        "Check its external id.",
    ),
    Code.UNAUTHORIZED: (
        "The plane does not know you or your token, the object is not yours, or it is not the pinned plane.",
        "Sign in again (`compass login`), pair with a new token, or ask for the pin. Certificates end when revoked.",
    ),
    Code.INVALID_OPERATION: (
        "The present state of the object forbids it.",
        "The reason in the message says what has to happen first.",
    ),
    Code.OPERATION_TIMEOUT: (
        "The plane could not finish in time or its database was away, and nothing was changed; or it was not reached.",
        "Try again in a moment; if it stays, run `compass doctor` here, and where the plane runs.",
    ),
    Code.EMPTY_DATA: (
        "Something that must not be empty was.",
        "The message names it.",
    ),
    Code.INCONSISTENT_DATA: (
        "What is stored contradicts itself, so the plane does not act on it.",
        "Give the message to whoever runs the plane.",
    ),
    Code.NOT_UNIQUE_NAME: (
        "Another object of this kind, in your tenant, already has that name.",
        "Choose another name, or use the object that exists.",
    ),
    Code.CONCURRENT_OPERATION: (
        "Another operation on the same object has not finished.",
        "Wait for it, then try again.",
    ),
    Code.INVALID_STATUS_CONDITION: (
        "The status that was sent is not one that this object can have.",
        "The message names the ones it can.",
    ),
    Code.CANNOT_UPDATE_OBJECT_IN_MANY_BUNDLES: (
        "The definition belongs to several bundles, so changing it through one of them is refused.",
        "Change it through the application.",
    ),
    Code.CONCURRENT_UPDATE: (
        "Somebody else changed the object between your reading and your writing.",
        "Read it again and repeat the change.",
    ),
}


def explain(code: CodeName, *, output: Output = Format.TABLE) -> None:
    """Say what an error code means and what to do about it.

    For example:

        compass explain 20

    Exit codes: 0 explained, 4 there is no such code.

    Parameters
    ----------
    code
        As it was printed: `COMPASS-20`, `20`, or the name `NotFound`.
    """
    found = _find(code)
    if found is None:
        known = ", ".join(str(one.value) for one in Code)
        raise CommandFailed(f"there is no error code {code!r}", exit_code=Exit.NOT_FOUND, hint=f"the codes are {known}")
    meaning, remedy = MEANINGS[found]
    if output is Format.TABLE:
        emit(f"COMPASS-{found.value} {found.wire_name}")
        emit(f"  {meaning}")
        emit(f"  What to do: {remedy}")
    else:
        name = f"COMPASS-{found.value}"
        facts = {
            "code": name,
            "name": found.wire_name,
            "meaning": meaning,
            "remedy": remedy,
            "exit": exit_for(found).value,
        }
        show([facts], output)


def _find(text: str) -> Code | None:
    wanted = text.upper().removeprefix("COMPASS-")
    return next((one for one in Code if wanted in {str(one.value), one.wire_name.upper()}), None)

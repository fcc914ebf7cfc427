"""`compass tenant`: who owns which part of the landscape."""

from cyclopts import App

from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import meant
from compass.cli.output import Column, Format, Output, detail, done, emit, show
from compass.cli.speaking import HERE, DryRun, Json, Limit, Speaking, Where, given, speaking

app = App(name="tenant", help="Tenants: who owns which part of the landscape.")

COLUMNS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("type", "type"),
    Column("provider", "provider", wide=True),
    Column("parents", "parents", wide=True),
    Column("in use", "initialized", wide=True),
    Column("internal id", "internalID", wide=True),
)


@app.command(name="list", alias="ls")
def list_tenants(
    term: str | None = None, *, limit: Limit = None, output: Output = Format.TABLE, where: Where = HERE
) -> None:
    """List the tenants, or those with a term in a name or an id.

    For example:

        compass tenant list
        compass tenant list retail -o name

    Exit codes: 0 listed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.

    Parameters
    ----------
    term
        What a name or an id has in it.
    """
    with speaking(where) as plane:
        show(plane.all("Tenants", {"term": term}, limit=limit), output, COLUMNS)


@app.command
def get(tenant_id: str, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one tenant.

    For example:

        compass tenant get retail

    Exit codes: 0 shown, 4 there is none.

    Parameters
    ----------
    tenant_id
        Its external id.
    """
    with speaking(where) as plane:
        detail(_one(plane, tenant_id), output, COLUMNS)


@app.command
def create(
    tenant_id: str,
    *,
    name: str | None = None,
    type_: str = "account",
    provider: str = "Compass",
    parent: tuple[str, ...] = (),
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Add a tenant, or bring a known one up to date, and print its internal id.

    For example:

        compass tenant create retail --name Retail
        compass app list --tenant retail

    Exit codes: 0 written, 1 refused.

    Parameters
    ----------
    tenant_id
        What clients call it in the `Tenant` header: its external id.
    name
        What people read; the external id unless given.
    type_
        customer, account, subaccount, organization, folder, resource-group, cost-object or unknown.
    provider
        Whose directory it comes from.
    parent
        An external or internal id of a tenant that sees what this one has; may be repeated.
    """
    new = given(externalTenant=tenant_id, name=name or tenant_id, type=type_, provider=provider, parents=list(parent))
    with speaking(where, dry_run=dry_run) as plane:
        made = plane.change("WriteTenant", {"in": new})
    done(f"tenant {tenant_id} written")
    emit(made)


@app.command
def delete(tenant_id: str, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove a tenant, its children, and everything registered in them.

    For example:

        compass tenant delete retail

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none.

    Parameters
    ----------
    tenant_id
        Its external id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, tenant_id)
        if not dry_run:
            effects = ["gone with it: its children, and every application, runtime and group in them"]
            confirm(f"Delete tenant {found['name']} ({tenant_id})", effects, yes=yes)
        plane.change("DeleteTenants", {"ids": [tenant_id]})
    done(f"tenant {tenant_id} deleted")


def _one(plane: Speaking, identity: str) -> Json:
    found = plane.all("Tenants", {"term": identity})
    for each in found:
        if each["id"] == identity:
            return each
    known = [each["id"] for each in found] or [each["id"] for each in plane.all("Tenants", limit=1000)]
    hint = meant(identity, known) or "compass tenant list shows what there is"
    raise CommandFailed(f"there is no tenant {identity!r}", exit_code=Exit.NOT_FOUND, hint=hint)

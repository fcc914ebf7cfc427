"""`compass server`: the plane itself, on the machine that has its settings."""

from cyclopts import App

app = App(name="server", help="Run a plane, check it, look at its replicas, migrate it, back it up and restore it.")

# One module per verb, imported when it is used: a backup needs nothing of what a start does.
app.command("compass.cli.server_start:start", name="start")
app.command("compass.cli.server_check:check", name="check")
app.command("compass.cli.server_status:status", name="status")
app.command("compass.cli.server_migrate:migrate", name="migrate")
app.command("compass.cli.server_backup:backup", name="backup")
app.command("compass.cli.server_restore:restore", name="restore")
app.command("compass.cli.server_support_bundle:support_bundle", name="support-bundle")

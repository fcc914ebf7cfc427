"""A plane's database as one file, and a database from such a file."""

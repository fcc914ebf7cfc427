"""The proofs of what the plane promises, as one table: `make proof`, or `python -m proof I4` for one promise."""

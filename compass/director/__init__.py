"""The Director: the directory of applications, runtimes and groups, and who is told of what.

One file per noun of the API. `NOUNS` is what the composition root puts behind `/director/graphql`.
"""

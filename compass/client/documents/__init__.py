"""GraphQL documents sent to the plane, one operation a file, loaded by name by `client/graphql.py`.

The first line of a document is a comment that begins with the endpoint it is sent to: `# connector: …`.
"""

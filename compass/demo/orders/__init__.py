"""The sample Application of the flows: a small order service as any company might run it.

It speaks HTTPS with a certificate of its own company, keeps its orders itself, and reaches the plane only
through the plane's public API, with the certificate it got by pairing.
"""

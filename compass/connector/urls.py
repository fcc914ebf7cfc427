"""Where others reach the plane: known only once its ports are bound, and told to every client that pairs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublicUrls:
    """The two listeners, as `https://host:port` without a path, and what stands beside them."""

    token_port: str
    mtls_port: str
    legacy: str | None = None
    """Where a connector of the legacy REST interface answers, when there is one beside the plane."""

    @property
    def legacy_connector(self) -> str:
        """For clients of the legacy REST interface; a token is added as `?token=`."""
        return self.legacy or f"{self.token_port}/v1/applications/signingRequests/info"

    @property
    def connector(self) -> str:
        """For the first call, with a one-time token."""
        return f"{self.token_port}/connector/graphql"

    @property
    def secured_connector(self) -> str:
        """For clients that have a certificate."""
        return f"{self.mtls_port}/connector/graphql"

    @property
    def director(self) -> str:
        """For clients that have a certificate."""
        return f"{self.mtls_port}/director/graphql"

    @property
    def access_token(self) -> str:
        """Where client credentials become an access token."""
        return f"{self.token_port}/oauth2/token"

from compass.connector.urls import PublicUrls

URLS = PublicUrls("https://plane.example:8443", "https://plane.example:8444")


def test_what_needs_no_certificate_is_on_the_token_port() -> None:
    assert URLS.connector == "https://plane.example:8443/connector/graphql"
    assert URLS.access_token == "https://plane.example:8443/oauth2/token"


def test_what_needs_a_certificate_is_on_the_other_port() -> None:
    assert URLS.secured_connector == "https://plane.example:8444/connector/graphql"
    assert URLS.director == "https://plane.example:8444/director/graphql"


def test_what_the_plane_does_not_have_may_stand_beside_it() -> None:
    assert URLS.legacy_connector == "https://plane.example:8443/v1/applications/signingRequests/info"
    beside = PublicUrls(URLS.token_port, URLS.mtls_port, legacy="https://legacy.example/info")
    assert beside.legacy_connector == "https://legacy.example/info"

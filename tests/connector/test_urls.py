from compass.connector.urls import PublicUrls

URLS = PublicUrls("https://plane.example:8443", "https://plane.example:8444")


def test_what_needs_no_certificate_is_on_the_token_port() -> None:
    assert URLS.connector == "https://plane.example:8443/connector/graphql"
    assert URLS.access_token == "https://plane.example:8443/oauth2/token"


def test_what_needs_a_certificate_is_on_the_other_port() -> None:
    assert URLS.secured_connector == "https://plane.example:8444/connector/graphql"
    assert URLS.director == "https://plane.example:8444/director/graphql"

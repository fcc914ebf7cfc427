import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.outbound.errors import UrlRefused
from compass.outbound.url import Url, parse


@pytest.mark.parametrize(
    ("text", "host_header", "port", "target"),
    [
        ("http://example.com", "example.com", 80, "/"),
        ("HTTPS://EXAMPLE.com:443/A?b=C#d", "example.com", 443, "/A?b=C"),
        ("https://example.com:8443?x", "example.com:8443", 8443, "/?x"),
        ("http://my_service-1.xn--bcher-kva.example/a/../b//c;d=%2F", "my_service-1.xn--bcher-kva.example", 80,
         "/a/../b//c;d=%2F"),
        ("http://h/ü?q=<é>", "h", 80, "/%C3%BC?q=%3C%C3%A9%3E"),
        ("http://8.8.8.8:1/", "8.8.8.8:1", 1, "/"),
        ("http://[2606:4700:0:0::1111]:65535/", "[2606:4700::1111]:65535", 65535, "/"),
        ("https://1.2.3.com/@:x", "1.2.3.com", 443, "/@:x"),
    ],
)  # fmt: skip
def test_a_plain_url_is_read_as_written(text: str, host_header: str, port: int, target: str) -> None:
    ports = frozenset[int]()
    url = parse(text, forbidden_ports=ports)
    assert (url.host_header, url.port, url.target) == (host_header, port, target)
    assert parse(f"{url.origin}{url.target}", forbidden_ports=ports) == url


def test_an_address_is_recognised_and_a_name_is_not() -> None:
    assert str(parse("http://127.0.0.1/").literal) == "127.0.0.1"
    assert str(parse("http://[::1]/").literal) == "::1"
    assert parse("http://127.0.0.1.example/").literal is None


REFUSED = [
    "", "http", "http:", "http:/", "http://", "http:///path", "//example.com/", "/path", "example.com",
    "http:example.com",
    "file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "ldap://example.com/", "dict://example.com/",
    "javascript:alert(1)", "data:text/plain,x", "unix:///run/x", "http+unix://x/", "ws://example.com/", "jar:http://h/",
    "http://user@example.com/", "http://user:pw@example.com/", "http://@example.com/", "http://8.8.8.8@127.0.0.1/",
    "http://example.com:80@127.0.0.1/", "http://127.0.0.1\\@example.com/", "http:\\\\127.0.0.1/", "http://a\\b/",
    "http://0/", "http://1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://017700000001/",
    "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0x7f.1/", "http://127.0.0.0x1/", "http://0177.0.0.1/",
    "http://127.0.0.01/", "http://127.000.000.001/", "http://127.0.0.1.1/", "http://127.0.0.256/", "http://00/",
    "http://0x/", "http://a.0x/", "http://a.1/", "http://127.0.0.1./", "http://127.0.0.1../", "http://example.com./",
    "http://localhost./", "http://.example.com/", "http://example..com/", "http://-a.com/", "http://a-.com/",
    "http://" + "a" * 64 + ".com/", "http://" + "a." * 130 + "com/", "http://h/" + "a" * 5000,
    "http://１２７.0.0.1/", "http://127。0。0。1/", "http://127．0．0．1/", "http://127｡0｡0｡1/", "http://ⓛocalhost/",
    "http://bücher.example/", "http://①②⑦.⓪.⓪.①/", "http://example.com\u200b/", "http://example\u00ad.com/",
    "http://127.0.0.1%00.example.com/", "http://%31%32%37.0.0.1/", "http://127.0.0.1%2f@example.com/", "http://a%2eb/",
    "http://[::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[fe80::1%251]/", "http://[::1/", "http://::1/",
    "http://[]/", "http://[::1]x/", "http://[::1]]/", "http://[[::1]]/", "http://[127.0.0.1]/", "http://[::g]/",
    "http://[::1.2.3]/", "http://[1:2:3:4:5:6:7:8:9]/", "http://[v1.a]/", "http://[::ffff:0x7f.0.0.1]/",
    "http://example.com:/", "http://example.com:0/", "http://example.com:65536/", "http://example.com:-1/",
    "http://example.com:80:80/", "http://example.com:8o/", "http://example.com:+80/", "http://example.com:００/",
    "http://example.com:99999/", "http://example.com:000080/", "http://example.com:22/", "http://example.com:25/",
    "http://example.com:6379/", "http://example.com:11211/", "http://example.com:5432/", "http://example.com:53/",
    " http://example.com/", "http://example.com/ ", "http://exam ple.com/", "http://example.com/a b",
    "http://example.com/\r\nX: y", "http://example.com/\n", "http://example.com/\t", "http://example.com/\x00",
    "http://example.com\r\n.evil/", "http://example.com/\x7f", "http://example.com/\u2028", "http://example.com/\ud800",
    "http://example.com/\u00a0", "ht\ttp://example.com/", "http://exa\nmple.com/", "http://a,b/", "http://a;b/",
    "http://a!b/", "http://a*b/", "http://*/", "http://a=b/", "http://a&b/", "http://a+b/", "http://(a)/", "http://a~b/",
    "http://$a/", "http://a'b/", 'http://a"b/', "http://<a>/", "http://{a}/", "http://a|b/", "http://a^b/", "http://`a`/",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=ascii)
def test_a_url_that_could_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        parse(text)
    assert "127" not in refused.value.reason
    assert refused.value.reason.isascii()
    assert refused.value.reason.startswith("The URL cannot be used: ")


@pytest.mark.parametrize("text", ["http://user@example.com/", "http://user:secret@example.com/"])
def test_credentials_in_a_url_are_named_as_the_reason(text: str) -> None:
    with pytest.raises(UrlRefused, match="it contains a user name or password; use the authentication settings"):
        parse(text)


@given(st.text(max_size=60) | st.text("htps:/.@[]0x127#?%\\ ", max_size=30).map("http://".__add__))
def test_no_text_at_all_makes_the_reader_fail_otherwise(text: str) -> None:
    try:
        url = parse(text)
    except UrlRefused:
        return
    assert isinstance(url, Url)
    assert (url.host + url.target).isascii()
    assert not any(character.isspace() for character in url.host + url.target)

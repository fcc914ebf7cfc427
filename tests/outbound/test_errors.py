import pytest

from compass.outbound import errors
from compass.outbound.errors import OutboundError, RequestRefused, UrlRefused


@pytest.mark.parametrize(
    ("failure", "reason", "retryable"),
    [
        (errors.NoClientCertificate(),
         "A client certificate is needed, and this plane has none: outbound.client_certificate_file is not set", True),
        (errors.OutboundFailed(), "The address could not be reached", True),
        (errors.OutboundTimedOut(), "The receiver did not finish its answer in time", True),
        (errors.CertificateRefused(),
         "The receiver's TLS certificate is not valid for its host name, or not trusted", True),
        (errors.ResponseTooLarge(), "The receiver's answer is too large", False),
        (errors.ResponseMalformed(), "The receiver's answer is not valid HTTP", True),
        (RequestRefused(rule="because"), "The request cannot be sent: because", False),
        (UrlRefused(rule="because"), "The URL cannot be used: because", False),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_failure_says_one_sentence_and_whether_another_try_may_help(
    failure: OutboundError, reason: str, retryable: bool
) -> None:
    assert (failure.reason, failure.retryable) == (reason, retryable)


def test_a_refused_url_is_a_refused_request() -> None:
    assert issubclass(UrlRefused, RequestRefused)

"""How a call through the door fails, as classes a caller can do something about.

What is shown never tells a closed port, a filtered one, an address refused by policy and a name without an address
apart: whoever may register a URL could otherwise map the network the plane stands in. The cause goes to the log.
"""

from compass.errors import Code, CompassError


class OutboundError(CompassError):
    """A call that brought no response. `reason` is the sentence to record and to show."""

    @property
    def reason(self) -> str:
        """The sentence with its facts; it never holds an address, a URL or a byte the receiver sent."""
        return self.wire_text()


class RequestRefused(OutboundError):
    """The request breaks a rule of the door and was not tried; `rule` says which. Trying again is useless."""

    code = Code.INVALID_DATA
    message = "The request cannot be sent: {rule}"


class UrlRefused(RequestRefused):
    """The URL is malformed, of a wrong scheme, or ambiguous about its host."""

    message = "The URL cannot be used: {rule}"


class NoClientCertificate(OutboundError):
    """The request has to show the plane's client certificate, and the plane has none. Nothing was sent."""

    code = Code.INVALID_OPERATION
    message = "A client certificate is needed, and this plane has none: outbound.client_certificate_file is not set"
    retryable = True


class OutboundFailed(OutboundError):
    """The receiver could not be reached, or broke off. One class and one sentence for every cause, on purpose."""

    code = Code.INVALID_OPERATION
    message = "The address could not be reached"
    retryable = True


class OutboundTimedOut(OutboundError):
    """A receiver that may be called accepted the connection and did not finish its answer in time."""

    code = Code.OPERATION_TIMEOUT
    message = "The receiver did not finish its answer in time"
    retryable = True


class CertificateRefused(OutboundError):
    """The receiver's certificate is expired, for another host, or of an authority we do not know. Nothing was sent."""

    code = Code.INVALID_OPERATION
    message = "The receiver's TLS certificate is not valid for its host name, or not trusted"
    retryable = True


class ResponseTooLarge(OutboundError):
    """The body exceeds the byte cap, as sent or as decompressed, or the compression ratio. Reading stopped there."""

    code = Code.INVALID_OPERATION
    message = "The receiver's answer is too large"


class ResponseMalformed(OutboundError):
    """The answer is not valid HTTP, contradicts its own length, or has an encoding that was not asked for."""

    code = Code.INVALID_OPERATION
    message = "The receiver's answer is not valid HTTP"
    retryable = True

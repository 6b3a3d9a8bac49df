"""What an exception on the way to the server means, and what to do about it, in words for a person.

Judged by the names of the classes and by their texts, so that no HTTP library is imported here: requests wraps urllib3,
which wraps http.client, ssl and socket, and each version wraps differently.
"""

from __future__ import annotations

import re

from ..records import dataclass


@dataclass(frozen=True)
class Outage:
    """One way to fail. category: of errors.CATEGORIES; what: the sentence, {host} for where; cure: the next step."""

    category: str
    names: str
    texts: str
    what: str
    cure: str

    def fits(self, names: str, texts: str) -> bool:
        by_name = self.names and re.search(rf"\b(?:{self.names})\b", names)
        return bool(by_name or (self.texts and re.search(self.texts, texts)))


_CUT = "{host} cut the connection"
_AGAIN = "Try again, or check the network."
_UP = "Is the server at {host} running? Check LLM_BASE_URL."
_TRUST = "Install ca-certificates or set REQUESTS_CA_BUNDLE."

# The first that fits. A proxy's refusal also says "refused", a failed look-up may say "timed out", and older urllib3
# derives a refused connection from a timeout: the special come before the general.
_OUTAGES = (
    Outage(
        "network",
        "ProxyError|ProxySchemeUnknown|InvalidProxyURL",
        r"cannot connect to proxy|tunnel connection failed|proxy authentication required"
        r"|missing dependencies for socks",
        "The proxy did not let the request through",
        "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
    ),
    Outage(
        "network",
        "",
        r"wrong_version_number|unknown protocol|record layer failure|http_request|packet length too long",
        "{host} does not speak TLS",
        "Does the address start with http:// instead of https://? Check LLM_BASE_URL.",
    ),
    Outage(
        "network",
        "",
        r"hostname mismatch|doesn't match|not valid for '",
        "The certificate of {host} is for another name",
        "Check the host in LLM_BASE_URL.",
    ),
    Outage(
        "network",
        "",
        r"certificate has expired|certificate is not yet valid",
        "The certificate of {host} is out of date",
        "Check this computer's clock, or renew the server's certificate.",
    ),
    Outage(
        "network",
        "SSLCertVerificationError|CertificateError",
        r"certificate[ _]verify[ _]failed|self[- ]signed|tls ca certificate bundle|unable to get local issuer",
        "The certificate of {host} could not be verified",
        _TRUST,
    ),
    Outage(
        "network",
        "NameResolutionError|gaierror|herror",
        r"name or service not known|nodename nor servname|name resolution|getaddrinfo|no address associated"
        r"|failed to resolve|name does not resolve|no such host",
        "The name {host} could not be looked up",
        "Check LLM_BASE_URL and the network.",
    ),
    Outage(
        "network",
        "ConnectionRefusedError",
        r"connection refused|actively refused|\[errno (?:111|61)\]|winerror 10061",
        "{host} refused the connection",
        _UP,
    ),
    Outage(
        "network",
        "",
        r"network is unreachable|no route to host|host is (?:down|unreachable)|network is down",
        "There is no way to {host}",
        "Check the network and LLM_BASE_URL.",
    ),
    Outage(
        "bad_request",
        "InvalidHeader|UnicodeEncodeError",
        r"invalid header|header value|reserved character\(s\)|codec can't encode",
        "The request could not be written: a header holds characters that it may not",
        "Check LLM_API_KEY for line breaks and other stray characters.",
    ),
    Outage(
        "bad_request",
        "MissingSchema|InvalidSchema|InvalidURL|LocationParseError|LocationValueError|URLSchemeUnknown",
        r"no connection adapters|invalid url|no host supplied|failed to parse|label (?:empty or )?too long"
        r"|unknown url type",
        "The server's address is not a valid URL",
        "Check LLM_BASE_URL; it looks like https://api.example.com/v1.",
    ),
    Outage(
        "bad_request",
        "TooManyRedirects",
        r"too many redirects",
        "The server sends us in circles",
        "Check LLM_BASE_URL.",
    ),
    Outage(
        "timeout",
        "ConnectTimeout|ConnectTimeoutError",
        r"connect timeout|handshake operation timed out|connection timed out|\[errno (?:110|60)\]|winerror 10060",
        "{host} did not take the connection in time",
        _UP,
    ),
    Outage(
        "timeout",
        "Timeout|ReadTimeout|ReadTimeoutError|TimeoutError|TimeoutExpired|timeout",
        r"timed out|timeout",
        "{host} sent nothing for too long",
        "Try again, or raise LLM_TIMEOUT.",
    ),
    # http.client derives "closed without an answer" from "answered in no known way".
    Outage("network", "RemoteDisconnected", r"remote end closed", _CUT, _AGAIN),
    Outage(
        "network",
        "BadStatusLine|UnknownProtocol|LineTooLong",
        r"badstatusline|unknown protocol",
        "{host} does not speak HTTP",
        "Check the port in LLM_BASE_URL.",
    ),
    Outage(
        "network",
        "ConnectionResetError|ConnectionAbortedError|BrokenPipeError|ChunkedEncodingError"
        "|IncompleteRead|ProtocolError|ConnectionClosed|ContentDecodingError|DecodeError|SSLEOFError"
        "|SSLZeroReturnError|StreamConsumedError|EOFError",
        r"connection aborted|connection reset|broken pipe|closed connection|connection broken|incompleteread"
        r"|eof occurred|unexpected_eof|prematurely",
        _CUT,
        _AGAIN,
    ),
    Outage(
        "network",
        "OSError|RequestException|HTTPException|HTTPError|SSLError|ConnectionError",
        r"",
        "The connection to {host} failed",
        "Check LLM_BASE_URL and the network.",
    ),
)
_ELSE = Outage("unknown", "", "", "The request failed in an unexpected way", "The log has the details.")

_HOST = r"host='([\w.:\-\[\]]{1,100})', port=(\d{1,5})"


def outage(error: BaseException) -> tuple[Outage, str, str]:
    """What happened, where ("the server" or host:port), and what the exceptions themselves say."""
    chain = _chain(error)
    names = " ".join(dict.fromkeys(cls.__name__ for link in chain for cls in type(link).__mro__[:-2]))
    texts = " / ".join(dict.fromkeys(filter(None, (_text(link) for link in chain))))[:20_000]
    found = next((known for known in _OUTAGES if known.fits(names, texts.lower())), _ELSE)
    host = re.search(_HOST, texts)
    return found, f"{host[1]}:{host[2]}" if host else "the server", f"{type(error).__name__}: {texts}"


def _chain(error: BaseException) -> list[BaseException]:
    """An exception and what it was made of: causes, contexts, `reason` and `args`, each once."""
    chain: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(chain) < 20:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and not any(link is known for known in chain):
            chain.append(link)
            waiting += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args[:5]]
    return chain


def _text(error: BaseException) -> str:
    try:
        return str(error)[:4_000]
    except Exception:  # a foreign __str__ may do anything, and this is about an error already
        return ""

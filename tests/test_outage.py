"""How transports fail, and what agentkit tells about it."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl

import pytest
import requests
from requests import exceptions as rx
from urllib3 import exceptions as ux

from agentkit.diagnosis import classify

from .answers import valid


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


POOL = "HTTPSConnectionPool(host='api.example.com', port=443): "
TRIES = POOL + "Max retries exceeded with url: /v1 (Caused by {})"
OUTAGES: list[tuple[BaseException, str, str]] = [
    (rx.ReadTimeout(POOL + "Read timed out. (read timeout=120)"), "timeout", "LLM_TIMEOUT"),
    (rx.ConnectionError(POOL + "Read timed out."), "timeout", "LLM_TIMEOUT"),
    (rx.ConnectionError(ux.ReadTimeoutError(None, None, "Read timed out.")), "timeout", "LLM_TIMEOUT"),  # type: ignore[arg-type]
    (rx.ConnectTimeout(TRIES.format("ConnectTimeoutError(<C object at 0x7f>, 'timed out')")), "timeout",
        "LLM_BASE_URL"),
    (TimeoutError("The read operation timed out"), "timeout", "LLM_TIMEOUT"),
    (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "timeout", "LLM_BASE_URL"),
    (TimeoutError("timed out"), "timeout", "LLM_TIMEOUT"),
    (rx.SSLError("_ssl.c:989: The handshake operation timed out"), "timeout", "LLM_BASE_URL"),
    (rx.ConnectionError(TRIES.format("NewConnectionError('<C object at 0x7f> [Errno 111] Connection refused')")),
     "network", "running?"),
    (caused(rx.ConnectionError("x"), ConnectionRefusedError(111, "refused")), "network", "running?"),
    (rx.ConnectionError(TRIES.format("NameResolutionError('Failed to resolve')")), "network", "looked up"),
    (socket.gaierror(-3, "Temporary failure in name resolution"), "network", "looked up"),
    (rx.ConnectionError(("Connection aborted.", ConnectionResetError(104, "Connection reset by peer"))),
     "network", "cut"),
    (rx.ConnectionError("x", http.client.RemoteDisconnected("Remote end closed connection")), "network", "cut"),
    (rx.ChunkedEncodingError(("Connection broken: IncompleteRead(0 bytes read)",)), "network", "cut"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), "network", "cut"),
    (http.client.BadStatusLine("SSH-2.0-OpenSSH"), "network", "HTTP"),
    (OSError(errno.ENETUNREACH, "Network is unreachable"), "network", "network"),
    (OSError(errno.EIO, "strange"), "network", "LLM_BASE_URL"),
    (rx.SSLError(TRIES.format("SSLCertVerificationError(1, 'certificate verify failed: self-signed')")),
     "network", "REQUESTS_CA_BUNDLE"),
    (ssl.SSLCertVerificationError("certificate has expired"), "network", "clock"),
    (rx.SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "network", "http://"),
    (rx.SSLError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol"), "network", "cut"),
    (OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /x"), "network", "REQUESTS_CA_BUNDLE"),
    (rx.ProxyError(TRIES.format("ProxyError('Cannot connect to proxy.', [Errno 111] Connection refused)")),
        "network", "HTTPS_PROXY"),
    (rx.ConnectionError("Tunnel connection failed: 407 Proxy Authentication Required"), "network", "HTTPS_PROXY"),
    (rx.MissingSchema("Invalid URL 'api.x': No scheme supplied."), "bad_request", "LLM_BASE_URL"),
    (rx.InvalidSchema("No connection adapters were found for 'ftp://x'"), "bad_request", "LLM_BASE_URL"),
    (rx.InvalidURL("Failed to parse: http://[::1"), "bad_request", "LLM_BASE_URL"),
    (rx.TooManyRedirects("Exceeded 30 redirects."), "bad_request", "LLM_BASE_URL"),
    (rx.InvalidHeader("Invalid return character(s) in header value: 'Bearer sk-abcdefghi\\n'"), "bad_request",
        "LLM_API_KEY"),
    (UnicodeEncodeError("latin-1", "Bearer ключ", 7, 11, "ordinal not in range(256)"), "bad_request", "LLM_API_KEY"),
    (RuntimeError("strange"), "unknown", "log"),
    (KeyError(), "unknown", "log"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "category", "words"), OUTAGES)
def test_a_transport_error_names_its_own_cure(error: BaseException, category: str, words: str) -> None:
    found = valid(classify(None, {}, b"", error))
    assert (found.category, found.status, found.retry_after) == (category, None, None)
    assert words in found.message
    assert "0x" not in found.message and "Pool" not in found.message and "Caused" not in found.message


def test_a_real_refusal_names_the_host() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    session = requests.Session()
    session.trust_env = False
    with session, pytest.raises(rx.ConnectionError) as caught:
        session.post(f"http://127.0.0.1:{port}/v1/chat/completions", data=b"{}", timeout=20)
    found = valid(classify(None, {}, b"", caught.value))
    assert found.category == "network"
    assert f"Is the server at 127.0.0.1:{port} running? Check LLM_BASE_URL." in found.message


def test_a_refusal_that_was_read_counts_more_than_the_connection_cut_after_it() -> None:
    cut = rx.ChunkedEncodingError("Connection broken")
    assert classify(429, {}, "", cut).category == "rate_limit"
    assert classify(200, {}, "", cut).category == "network"


def test_an_exception_that_cannot_be_printed_or_causes_itself_is_survived() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    circle = Mute()
    circle.args = (circle,)
    assert valid(classify(None, {}, b"", circle)).category == "unknown"

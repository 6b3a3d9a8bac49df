"""What the doctor finds on the way to a server, and in what it answers; what Discord says."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agentkit.checks import model, ways
from agentkit.errors import LLMError
from agentkit.settings import Profile, Settings

from .loopback import Loopback, Request, Response, json_answer, json_error
from .patient import KEY, cure, dead_port, doctor, good
from .program import Terminal, environment, settled

# Of three servers, with one key (openssl ca -selfsign): one that is well, one out of date, one of another name.
KEY_FILE = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVr6SyZz7UkEhHkZc
mXaKX2u+WVQiajjlJcDVDKUkt2ShRANCAAQe8X9mjkoGxKu4L4emxSG/dWTUkTln
P5EailXEWdlEyAN13L6A0NFRjgEZa01a1zVHlauXAWZAt4NC+qaWQmlS
-----END PRIVATE KEY-----
"""
HERE = """-----BEGIN CERTIFICATE-----
MIIBRTCB7KADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBGhlcmUwIBcN
MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA8xDTALBgNVBAMMBGhlcmUw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQe8X9mjkoGxKu4L4emxSG/dWTUkTln
P5EailXEWdlEyAN13L6A0NFRjgEZa01a1zVHlauXAWZAt4NC+qaWQmlSozcwNTAU
BgNVHREEDTALgglsb2NhbGhvc3QwHQYDVR0OBBYEFDVLmPc0GLhKypgf4fJhffBx
TLsQMAoGCCqGSM49BAMCA0gAMEUCIHaf/bKdFuqpHy5Qtpb/80tbtlIIc8QEz9VQ
0abW7+t1AiEAm8N5ZQMC1/XtwvICBkYSU63+DAgBzWDwLjpMBm9EBag=
-----END CERTIFICATE-----
"""
GONE = """-----BEGIN CERTIFICATE-----
MIIBQzCB6qADAgECAgECMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBGdvbmUwHhcN
MjAwMTAxMDAwMDAwWhcNMjEwMTAxMDAwMDAwWjAPMQ0wCwYDVQQDDARnb25lMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEHvF/Zo5KBsSruC+HpsUhv3Vk1JE5Zz+R
GopVxFnZRMgDddy+gNDRUY4BGWtNWtc1R5WrlwFmQLeDQvqmlkJpUqM3MDUwFAYD
VR0RBA0wC4IJbG9jYWxob3N0MB0GA1UdDgQWBBQ1S5j3NBi4SsqYH+HyYX3wcUy7
EDAKBggqhkjOPQQDAgNIADBFAiEAhgqlt/5CHsPtuKJBBk67YthpkzT3sBr82iOw
mnSAakoCIHkF6fF83uHptAVgcU9cgBOPwhCFr7TscJrz06rcLYar
-----END CERTIFICATE-----
"""
OTHER = """-----BEGIN CERTIFICATE-----
MIIBSjCB8KADAgECAgEDMAoGCCqGSM49BAMCMBAxDjAMBgNVBAMMBW90aGVyMCAX
DTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAQMQ4wDAYDVQQDDAVvdGhl
cjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABB7xf2aOSgbEq7gvh6bFIb91ZNSR
OWc/kRqKVcRZ2UTIA3XcvoDQ0VGOARlrTVrXNUeVq5cBZkC3g0L6ppZCaVKjOTA3
MBYGA1UdEQQPMA2CC2V4YW1wbGUub3JnMB0GA1UdDgQWBBQ1S5j3NBi4SsqYH+Hy
YX3wcUy7EDAKBggqhkjOPQQDAgNJADBGAiEA2+v6PuNf/NcNONsbWl3oSO81t/GF
BTyJZz64q29d/foCIQCex7nPhOJ3y8G72k3NyGVhEAqBt4l2nLUD0QistSEoUw==
-----END CERTIFICATE-----
"""


@pytest.mark.parametrize(
    ("answer", "words", "what_to_do"),
    [
        (good(window=8192), "it takes 8,192 tokens", "LLM_CONTEXT_WINDOW=8192"),
        (good(tools=False), "did not call the tool", "--jinja"),
        (good(name="m-large"), "m: .*(?:exist|know)", "m-large"),
        (lambda request, index: json_error(401, f"Incorrect API key provided: {KEY}"), "key", "LLM_API_KEY"),
        (lambda request, index: json_error(402, "Insufficient credits"), "credit|account|paid|balance|quota", "."),
        (
            lambda request, index: Response(chunks=[b"<html>hi</html>"], framing="length"),
            "JSON|answer",
            "LLM_BASE_URL|server",
        ),
        (lambda request, index: json_error(503, "overloaded"), "m: ", "."),
    ],
)
def test_what_a_server_does_wrong_is_named_with_its_cure(
    tmp_path: Path, answer: Callable[[Request, int], Response], words: str, what_to_do: str
) -> None:
    with Loopback(answer) as server:
        code, said = doctor(settled(tmp_path), url=server.url)
    assert re.search(what_to_do, cure(said, words)), said
    assert code == ("FAIL" in said)


def test_a_server_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    with dead_port() as port:
        code, said = doctor(tmp_path, url=f"http://127.0.0.1:{port}/v1")
    assert code == 1 and "start the server" in cure(said, "127.0.0.1:.* no connection")
    code, said = doctor(tmp_path, url="http://nowhere.invalid/v1")
    assert code == 1 and "LLM_BASE_URL" in cure(said, "nowhere.invalid is not known")
    assert "https://" in cure(said, "unencrypted")


def test_each_key_and_each_model_is_tried(tmp_path: Path) -> None:
    agent = settled(tmp_path) / "workspace" / ".agents" / "own" / "AGENT.md"
    agent.parent.mkdir()
    agent.write_text("---\nmodel: special\n---\nYou are special.")
    with Loopback(good()) as first, Loopback(good(window=64_000)) as second:
        more = {"LLM_API_KEY_2": "sk-second-0123456789", "LLM_BASE_URL_2": second.url, "LLM_FALLBACK_MODELS": "other"}
        code, said = doctor(tmp_path, url=first.url, **more)
    assert code == 0, said
    for server, key in ((first, "LLM_API_KEY"), (second, "LLM_API_KEY_2")):
        host = f"127.0.0.1:{server.port}"
        assert re.search(rf"^ok    {host} with {key}: models that it lists: 1$", said, re.MULTILINE)
        assert re.search(rf"^ok    {host}, m: it answers", said, re.MULTILINE)
        for name in ("other", "special"):
            assert "m" in cure(said, f"{host}, {name}: ")
    assert "sk-second" not in said


def test_a_key_that_is_refused_is_called_by_its_name(tmp_path: Path) -> None:
    with Loopback(good()) as first, Loopback(lambda request, index: json_error(401, "no")) as second:
        more = {"LLM_API_KEY_7": "sk-second-0123456789", "LLM_BASE_URL_7": second.url}
        code, said = doctor(settled(tmp_path), url=first.url, **more)
    assert code == 1 and "LLM_API_KEY_7" in cure(said, "with LLM_API_KEY_7: .*refused")


def test_what_LLM_EXTRA_adds_is_tried_too(tmp_path: Path) -> None:
    def strict(request: Request, index: int) -> Response:
        if request.method == "POST" and "top_kk" in request.json:
            return json_error(400, "Unknown parameter: top_kk")
        return good()(request, index)

    with Loopback(strict) as server:
        code, said = doctor(settled(tmp_path), url=server.url, LLM_EXTRA='{"top_kk": 3}')
    assert code == 1 and "LLM_EXTRA" in cure(said, "top_kk")


def test_nobody_has_to_wait_for_a_server_that_says_nothing(tmp_path: Path) -> None:
    never = Response(chunks=[], end="hang")
    with Loopback(lambda request, index: never) as server:
        env = environment(settled(tmp_path), server.url, GATEWAY_PORT="0", NO_COLOR="1")
        with Terminal(tmp_path, "doctor", env=env) as terminal:
            terminal.expect("it takes connections")
            terminal.send("\x03")
            assert terminal.wait() == 130
    assert "Traceback" not in terminal.screen


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_that_does_not_answer_is_named_without_its_password(tmp_path: Path, variable: str) -> None:
    with Loopback(good()) as server, dead_port() as port:
        more = {variable: f"http://me:canary-password@127.0.0.1:{port}"}
        code, said = doctor(settled(tmp_path), url=server.url, **more)
        assert not server.requests
    assert code == 1 and "NO_PROXY" in cure(said, f"the proxy http://127.0.0.1:{port}: no connection")
    assert "NO_PROXY=127.0.0.1" in cure(said, "near by is asked through a proxy") and "canary-password" not in said


def test_a_proxy_that_is_not_meant_for_a_server_is_not_spoken_of(tmp_path: Path) -> None:
    with Loopback(good()) as server, dead_port() as port:
        more = {"HTTP_PROXY": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1"}
        code, said = doctor(settled(tmp_path), url=server.url, **more)
    assert code == 0 and "the proxy" not in said


@contextmanager
def secure(folder: Path, certificate: str) -> Iterator[str]:
    """A server that shows a certificate, and answers nothing; yields its address."""
    (folder / "server.pem").write_text(KEY_FILE + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            accepted, _ = listener.accept()
            with accepted, suppress(OSError):
                if over.is_set():
                    return
                accepted.settimeout(5)
                with context.wrap_socket(accepted, server_side=True) as connection:
                    connection.recv(1000)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}/v1"
    finally:
        over.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    ("certificate", "trusted", "words", "remedy"),
    [
        (HERE, "", "nobody but itself has signed", "REQUESTS_CA_BUNDLE"),
        (HERE, "missing.pem", "REQUESTS_CA_BUNDLE names .*missing.pem", "unset"),
        (GONE, "server.pem", "out of date", "clock"),
        (OTHER, "server.pem", "another name", "LLM_BASE_URL"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named(
    tmp_path: Path, certificate: str, trusted: str, words: str, remedy: str
) -> None:
    with secure(tmp_path, certificate) as url:
        more = {"REQUESTS_CA_BUNDLE": str(tmp_path / trusted)} if trusted else {}
        code, said = doctor(tmp_path, url=url, **more)
    assert code == 1 and remedy in cure(said, words)


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ("[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version (_ssl.c:1006)", "too old"),
        ("[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol", "too old"),
        ("[SSL: DH_KEY_TOO_SMALL] dh key too small", "too old"),
        ("certificate verify failed: unable to get local issuer certificate", "not known here"),
    ],
)
def test_what_openssl_says_is_put_into_words(detail: str, words: str) -> None:
    error = LLMError("network", "The connection failed. Check the network.", detail=detail)
    assert words in model.failed("x", Profile(0, "https://x/v1", ""), error).words


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("https://openrouter.ai/v1", "LLM_BASE_URL=https://openrouter.ai/api/v1"),
        ("https://api.openai.com/chat", "LLM_BASE_URL=https://api.openai.com/v1"),
        ("https://api.openai.com/v1", "/v1"),
        ("https://elsewhere.example.org", "mostly it ends in /v1"),
    ],
)
def test_an_address_where_nothing_is_gets_the_usual_one(url: str, remedy: str) -> None:
    error = LLMError("model_not_found", "Nothing was found at this address (404). Check LLM_BASE_URL.", status=404)
    assert remedy in model.failed("x", Profile(0, url, ""), error).cure


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (json_answer({"name": "kit", "flags": 1 << 19}), "ok", "knows the bot kit"),
        (json_answer({"name": "kit", "flags": 0}), "FAIL", "does not let it read messages"),
        (json_error(401, "401: Unauthorized"), "FAIL", "refuses"),
        (json_answer(["odd"]), "warn", "not understood"),
        (Response(chunks=[b"<html>"], framing="length"), "FAIL", "cannot be asked"),
        (json_error(500, "no"), "FAIL", "cannot be asked"),
    ],
)
def test_what_discord_says_of_the_bot(answer: Response, level: str, words: str) -> None:
    token = "MTA-canary-0123456789.abcdef.0123456789-0123456789"
    settings = Settings("m", "http://127.0.0.1:9", "", 1000, discord_bot_token=token, discord_allowed_users=("1",))
    with Loopback(lambda request, index: answer) as server:
        found = list(ways.discord(settings, f"{server.url}/applications/@me"))
        assert server.requests[0].headers["authorization"] == f"Bot {token}"
    assert [each for each in found if each.level == level and words in each.words], found
    assert token not in str(found)

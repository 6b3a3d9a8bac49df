"""The loopback model's answers as the packets of a Server, which knows nothing but bytes."""

from __future__ import annotations

from ..loopback import Response


def packets(response: Response, *, apart: bool = False) -> list[bytes]:
    """The answer as it travels, in one packet; apart: the head and each chunk in a packet of their own."""
    chunked = response.framing == "chunked"
    pieces = [b"%x\r\n%b\r\n" % (len(each), each) if chunked else each for each in response.pieces()]
    if chunked:
        pieces[-1] += b"0\r\n\r\n"
    whole = [response.head(), *pieces]
    return whole if apart else [b"".join(whole)]

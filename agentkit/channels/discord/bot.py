"""The connection to Discord: all that is used of discord.py, which takes a while to load, and is loaded by this."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

import aiohttp
import discord
from discord.gateway import KeepAliveHandler

from ...envelope import DeliveryError, NobodyThere
from .patience import Patience
from .posts import Post
from .said import Said, one_line

log = logging.getLogger("agentkit")

PORTAL = "https://discord.com/developers/applications"
GOODBYE = 0.5  # seconds that Discord has to answer a close
CANCELS = 3  # before Python 3.12, wait_for may swallow one (python/cpython#86296)
REASON = 200  # characters
GONE = 10008  # code of Discord's: what was sent with this nonce arrived, and was deleted since
NO_HISTORY = 160002  # who may not read what was said may not reply to it either

_ADDRESS = re.compile(r"(?:(channel|user):)?([0-9]{1,19})", re.ASCII)

# Why the gateway ends a connection for good (close codes in Discord's documentation, "Gateway Close Event Codes").
_ENDS = {
    4004: f"Discord does not take DISCORD_BOT_TOKEN: copy the bot's token anew from {PORTAL}.",
    4011: "Discord wants this bot in several shards, which agentkit does not have: take it out of some servers.",
    4014: f"Discord does not let the bot read messages: switch on its Message Content Intent at {PORTAL}, under Bot.",
}


class Hears(NamedTuple):
    """Who is told what, in the event loop. said: a message; up: connected as whom; down: not any more, why, and how
    often in a row ("" and 0 where discord.py sees to it by itself); alive: there was an event."""

    said: Callable[[Said], None]
    up: Callable[[str], None]
    down: Callable[[str, int], None]
    alive: Callable[[], None]


class Bot:
    """Lives in one event loop."""

    def __init__(self, token: str, hears: Hears, patience: Patience) -> None:
        self._token, self._hears, self._patience = token, hears, patience
        self._client: discord.Client | None = None
        self._up_since: float | None = None  # in the loop's time

    async def run(self) -> str:
        """Be connected, whatever happens; returns, for a person, why that cannot be."""
        if not self._token.strip().isprintable():
            return _ENDS[4004]  # it cannot even be sent
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            self._up_since = None
            try:
                why, wait = await self._live()
            except _Refused as refused:
                return str(refused)
            failures = self._patience.failures(failures, loop.time() - (self._up_since or loop.time()))
            pause = max(wait, self._patience.pause(failures))
            log.info("Discord: %s; the next try in %g s", why, pause)
            self._hears.down(why, failures)
            await asyncio.sleep(pause)

    async def post(self, post: Post) -> int:
        """Have Discord take it; returns the message's id. Raises DeliveryError."""
        client = self._logged_in()
        try:
            channel = client.get_partial_messageable(await self._channel(client, post.to))
            more: dict[str, Any] = {}
            if post.reply:
                more["reference"] = discord.MessageReference(
                    message_id=post.reply, channel_id=channel.id, fail_if_not_exists=False
                )
            try:
                return await _send(channel, post, **more)
            except discord.HTTPException as error:
                if not more or (error.code != NO_HISTORY and "message_reference" not in str(error.text)):
                    raise
            return await _send(channel, post)  # better than nothing
        except DeliveryError:
            raise
        except Exception as error:  # whatever it is, nobody knows that Discord has it
            if isinstance(error, discord.NotFound) and error.code == GONE:
                return 0
            if _is_stumble(error):
                log.warning("discord.py has stumbled", exc_info=error)
            raise _refusal(error) from error

    async def show_typing(self, channel: int) -> None:
        """Show, for some 10 seconds, that an answer is being written. When it is cancelled, that is not shown later."""
        with suppress(Exception):  # it is no more than a courtesy
            client = self._logged_in()
            request = asyncio.ensure_future(_type(client.get_partial_messageable(channel)))
            try:
                await asyncio.shield(request)
            except asyncio.CancelledError:
                # A request that is broken off while it waits for the end of a global rate limit leaves discord.py
                # waiting for ever.
                no_limit = getattr(client.http, "_global_over", None)
                if no_limit is not None and no_limit.is_set():
                    request.cancel()
                raise

    # -- the connection

    async def _live(self) -> tuple[str, float]:
        """Connect, and stay so as long as discord.py can; returns why that ended, and for how many seconds Discord
        wants no other try. Raises _Refused."""
        client = self._client = self._made()
        life = asyncio.ensure_future(client.start(self._token))
        try:
            await asyncio.wait({life})
            return _reason(life.exception())
        finally:
            for _ in range(CANCELS):
                if not life.done():
                    life.cancel()
                    await asyncio.wait({life}, timeout=0.1)
            await _close(client)

    def _made(self) -> discord.Client:
        client = discord.Client(
            intents=discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=True),
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_ratelimit_timeout=30.0,  # the least it takes; where Discord wants a longer wait, it raises RateLimited
        )

        async def on_message(message: discord.Message) -> None:
            if client.user is not None:
                self._hears.said(_said(message, client.user))

        async def on_connect() -> None:
            self._is_up(client)

        async def on_resumed() -> None:
            self._is_up(client)

        async def on_disconnect() -> None:
            self._hears.down("", 0)

        async def on_socket_event_type(event: str) -> None:
            self._hears.alive()

        handlers: tuple[Callable[..., Coroutine[Any, Any, None]], ...]
        handlers = (on_message, on_connect, on_resumed, on_disconnect, on_socket_event_type)
        for each in handlers:
            client.event(each)
        return client

    def _is_up(self, client: discord.Client) -> None:
        if self._up_since is None:
            self._up_since = asyncio.get_running_loop().time()
        self._hears.up(f"{one_line(str(client.user), REASON)} ({client.user.id if client.user else '?'})")

    def _logged_in(self) -> discord.Client:
        client = self._client
        if client is None or client.user is None or client.is_closed():
            raise NobodyThere("Discord is not connected")
        return client

    async def _channel(self, client: discord.Client, to: str) -> int:
        """The id of the channel that a letter is for. Raises DeliveryError, and what discord.py does."""
        found = _ADDRESS.fullmatch(to)
        if found is None or int(found[2]) >= 1 << 63:
            raise DeliveryError(f"{to} is no address in Discord: it is channel:ID or user:ID", permanent=True)
        kind, id = found[1], int(found[2])
        if kind == "channel" or (kind is None and client.get_channel(id) is not None):
            return id
        try:
            return (await client.create_dm(discord.Object(id))).id
        except discord.HTTPException as error:
            if kind is None and error.status in (400, 404):  # no user: then it may be a channel
                return id
            raise


class _Refused(Exception):
    """Discord does not want us, for a reason that only a person can remove."""


def _reason(error: BaseException | None) -> tuple[str, float]:
    """Why a connection has ended, and for how many seconds Discord wants no other try. Raises _Refused."""
    if isinstance(error, discord.LoginFailure):
        raise _Refused(_ENDS[4004])
    if isinstance(error, discord.PrivilegedIntentsRequired):
        raise _Refused(_ENDS[4014])
    if isinstance(error, discord.ConnectionClosed):
        raise _Refused(_ENDS.get(error.code, f"Discord has ended the connection (code {error.code})."))
    # When the first connection to the gateway fails, discord.py stumbles over not having had one.
    if isinstance(error, AttributeError) and isinstance(error.__context__, Exception):
        error = error.__context__
    if error is None:
        return "The connection to Discord has ended", 0.0
    log.log(logging.WARNING if _is_stumble(error) else logging.INFO, "discord.py has ended", exc_info=error)
    refusal = _refusal(error)
    return str(refusal), refusal.retry_after or 0.0


async def _send(channel: discord.PartialMessageable, post: Post, **more: Any) -> int:
    nobody = discord.AllowedMentions.none()
    return (await channel.send(post.text, nonce=post.nonce, allowed_mentions=nobody, **more)).id


async def _type(channel: discord.PartialMessageable) -> None:
    with suppress(Exception):  # nobody may be there any more to hear of it
        await channel.typing()


async def _close(client: discord.Client) -> None:
    """End what a client holds, also where the other end is silent."""
    closing = asyncio.ensure_future(client.close())
    await asyncio.wait({closing}, timeout=GOODBYE)
    closing.cancel()
    await asyncio.wait({asyncio.ensure_future(client.http.close())}, timeout=GOODBYE / 2)
    loop = asyncio.get_running_loop()
    for thread in threading.enumerate():  # a connection that was broken off while it was made leaves its own behind
        if isinstance(thread, KeepAliveHandler) and thread.ws.loop is loop:
            thread.stop()


def _said(message: discord.Message, me: discord.ClientUser) -> Said:
    author, channel = message.author, message.channel
    is_forward = bool(message.message_snapshots) and not message.content
    shown = message.message_snapshots[0] if is_forward else message
    is_plain = message.type in (discord.MessageType.default, discord.MessageType.reply)
    in_guild = not isinstance(channel, discord.DMChannel)
    guild = message.guild.id if message.guild else getattr(channel, "guild_id", None)
    return Said(
        message.id,
        channel.id,
        getattr(channel, "parent_id", None) or 0,
        (guild or channel.id) if in_guild else 0,
        author.id,
        author.display_name,
        is_plain and not (author.bot or message.webhook_id),
        me.id,
        any(each.id == me.id for each in message.mentions),
        shown.content,
        tuple(each.filename for each in shown.attachments),
    )


def _refusal(error: BaseException) -> DeliveryError:
    """What an error of discord.py's means for what was to be sent."""
    if isinstance(error, discord.RateLimited):
        return DeliveryError("Discord wants us to wait", retry_after=error.retry_after)
    if isinstance(error, discord.HTTPException):
        text = str(error.text)  # it is whatever came
        if text.lstrip().startswith("<") or "html" in error.response.headers.get("Content-Type", ""):
            said = f"Discord answered with a web page (status {error.status})"
            return DeliveryError(said, retry_after=_retry_after(error))  # of somebody who stands before it
        said = f"{one_line(text, REASON) or error.response.reason} ({error.status})"
        if error.status == 429 or error.status >= 500:
            return DeliveryError(f"Discord cannot take it now: {said}", retry_after=_retry_after(error))
        return DeliveryError(f"Discord refuses it: {said}", permanent=error.status in (400, 403, 404))
    if _is_stumble(error):
        return DeliveryError(f"discord.py stumbled over what Discord said ({type(error).__name__}); the log tells more")
    return DeliveryError(f"Discord cannot be reached: {one_line(f'{type(error).__name__}: {error}', REASON)}")


def _is_stumble(error: BaseException) -> bool:
    """Did discord.py not expect what came? (Some errors of the network are of these kinds too.)"""
    kinds = (AssertionError, AttributeError, LookupError, TypeError, ValueError)
    return isinstance(error, kinds) and not isinstance(error, (OSError, aiohttp.ClientError))


def _retry_after(error: discord.HTTPException) -> float | None:
    try:
        seconds = float(error.response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < 1e9 else None

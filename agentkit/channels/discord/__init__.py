"""Discord: people talk to agents in direct messages, by mentioning the bot, and in channels that are set for it.

discord.py runs in a thread and an event loop of its own, and is loaded there; everything but `show`, `send`, `stop`
and `status`, which any thread may call, happens in that loop. Messages are handed in by one more thread, since a
command may take its time.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ...channel import AnswerAsk, Dispatch
from ...envelope import DeliveryError, Letter, NobodyThere
from ...errors import SettingsError
from ...events import Error, Event, Inbound
from ...printable import printable
from .lookups import Daemons
from .patience import PATIENCE, TELL, Patience
from .posts import Post, Posts, Put, Waits
from .said import Ears
from .seen import Seen
from .talk import LIMIT, SHOWN, Talk
from .turns import Turns

if TYPE_CHECKING:
    from .bot import Bot

log = logging.getLogger("agentkit")

LETTER = 60.0  # seconds that one may take, with those before it in the same channel
GRACE = 0.6  # seconds that answers have to leave when it stops
END = 2.0  # seconds until `stop` returns, at the latest

INSTALL = "Discord needs discord.py: pip install 'agentkit[discord]'"
NO_TOKEN = "Discord needs DISCORD_BOT_TOKEN: make a bot at https://discord.com/developers/applications, copy its token."


class Discord:
    """A Channel.

    token: the bot's; channels: ids of those in which every message is for it; allowed: ids of the users who are heard,
    empty: anyone, and then tools that ask are refused; put: gives the outbox a text (channel, to, text, nonce, reply),
    for an answer that Discord does not take; tell: hears what the owner should know; connected: called when it is, so
    that letters that wait are tried; seen: the file that tells which messages were taken; ask_limit: seconds; waits:
    does the outbox hold letters for somebody? Answers then go there too, to stay in order; ending: is the program about
    to end?

    `to` in letters is `channel:ID`, a thread's too, `user:ID`, or an ID alone: a channel that the bot knows, else a
    user, else a channel.
    """

    name = "discord"
    limit: int | None = LIMIT

    def __init__(
        self,
        token: str,
        channels: Collection[str],
        allowed: Collection[str],
        put: Put,
        tell: Callable[[str], None],
        connected: Callable[[], None],
        seen: Path,
        ask_limit: float = 120.0,
        waits: Waits = lambda to: False,
        ending: Callable[[], bool] = lambda: False,
        patience: Patience = PATIENCE,
    ) -> None:
        self.can_ask = bool(allowed)
        self.ask_limit: float | None = ask_limit
        self._token, self._tell, self._connected = token, tell, connected
        self._inbox: SimpleQueue[Inbound | None] = SimpleQueue()
        self._posts = Posts(self._send, put, waits, tell)
        self._turns = Turns(self._show_typing)
        self._seen = Seen(seen)
        self._ears = Ears(channels, allowed)
        self._patience, self._program_ends = patience, ending
        self._late: SimpleQueue[Event] = SimpleQueue()  # what there was to show when the loop had ended
        self._showing = threading.Lock()  # serialises the showing of it
        self._over = threading.Event()  # nothing more happens in the threads
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()  # serialises the two below: what is called in the loop is run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._ending = asyncio.Event()
        self._bot: Bot | None = None
        self._state = "not started"
        self._up, self._told, self.ended = False, False, False
        self._since = self._last_event = 0.0  # seconds since 1970; 0: never

    # -- from any thread

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        """Begin to connect. Raises SettingsError where there is no token, or no discord.py."""
        if not self._token:
            raise SettingsError([NO_TOKEN])
        if find_spec("discord") is None:
            raise SettingsError([INSTALL])
        self._dispatch = dispatch
        self._talk = Talk(
            self._ears,
            self._seen,
            self._turns,
            self._posts,
            self._inbox.put,
            answer,
            self.ask_limit or 0.0,
            self._program_ends,
        )
        self._state = "connecting"
        self._threads = [
            threading.Thread(target=self._run, name="discord", daemon=True),
            threading.Thread(target=self._hand_in, name="discord messages", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def show(self, event: Event) -> None:
        """Also after the end: what then ends a turn becomes a letter."""
        if event.turn in self._turns and isinstance(event, SHOWN) and not self._call(self._talk.show, event):
            self._late.put(event)
            self._show_late()

    def send(self, letter: Letter) -> None:
        if not (text := printable(letter.text)).strip():
            return  # Discord has no messages without text
        arrived: Future[None] = Future()
        reply = int(letter.reply) if re.fullmatch("[0-9]{1,19}", letter.reply) else 0
        post = Post(letter.to, text, letter.nonce, reply, letter=arrived)
        if not self._up or not self._call(self._posts.add, post):
            raise NobodyThere(f"Discord is {self._state}")
        try:
            arrived.result(LETTER)
        except TooLate:
            arrived.cancel()
            raise DeliveryError(f"Discord did not take it within {LETTER:g} s") from None

    def stop(self) -> None:
        """End within 2 s; answers that have not left by then wait in the outbox."""
        with self._lock:
            self._stopping = True
        self._call(self._ending.set)
        deadline = time.monotonic() + END
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
            self._inbox.put(None)  # behind what the first of them has handed in

    @property
    def awaited(self) -> bool:
        """Do turns run that began here? Their ends have to be shown here, also when it was stopped."""
        return bool(len(self._turns))

    @property
    def standing(self) -> str:
        """How it stands, in a word: `on`, `away` (it is not connected, which is tried again), `ended`."""
        return "ended" if self.ended else "on" if self._up else "away"

    def status(self) -> str:
        """How it stands, for a person."""
        lines = [f"Discord is {self._state}" + (f", since {_clock(self._since)}" if self._since else "")]
        if self._last_event:
            lines.append(f"the last event was at {_clock(self._last_event)}")
        if self._ears.unheard:
            lines.append(f"{self._ears.unheard:,} messages were not of allowed users, the last of {self._ears.last}")
        return "\n".join(lines)

    def _show_late(self) -> None:
        if not self._over.is_set():
            return  # the thread sees to it
        with self._showing, suppress(Empty):
            while True:
                self._talk.show(self._late.get_nowait())

    def _call(self, function: Callable[..., Any], *args: Any) -> bool:
        """Have something called in the loop; False: that has ended, or was never begun."""
        with self._lock:
            if self._loop is None:
                return False
            self._loop.call_soon_threadsafe(function, *args)
            return True

    # -- the threads

    def _run(self) -> None:
        try:
            from .bot import Bot, Hears
        except ImportError as error:
            self._end(f"discord.py cannot be loaded ({error}). {INSTALL}")
            return
        hears = Hears(self._talk.hear, self._is_up, self._is_down, self._is_alive)
        self._bot = bot = Bot(self._token, hears, self._patience)
        self._seen.load()
        loop = asyncio.new_event_loop()
        loop.set_default_executor(Daemons())
        try:
            with self._lock:
                if self._stopping:
                    return
                self._loop = loop
            loop.run_until_complete(self._live(bot))
        except Exception:  # the top of the thread: it must be known that nobody listens any more
            log.exception("the channel to Discord failed")
            self._end("Discord: agentkit itself failed, and the log tells why. /discord begins again.")
        finally:
            with self._lock:
                self._loop = None
            loop.run_until_complete(self._leave(loop))
            loop.close()
            self._over.set()
            self._show_late()

    async def _live(self, bot: Bot) -> None:
        connection = asyncio.ensure_future(bot.run())
        ending = asyncio.ensure_future(self._ending.wait())
        await asyncio.wait({connection, ending}, return_when=asyncio.FIRST_COMPLETED)
        self._up = False
        if connection.done():
            self._end(connection.result())
            self._talk.close("the connection to Discord has ended")
        else:
            self._stands("stopped", False)
            self._talk.close("Discord was switched off")
        await self._posts.end(GRACE, NobodyThere(f"Discord is {self._state}"))
        connection.cancel()
        ending.cancel()
        await asyncio.wait({connection, ending}, timeout=END)

    async def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing more is called in the loop: end what was begun just before that."""
        why = NobodyThere(f"Discord is {self._state}")
        self._talk.close("the connection to Discord has ended")
        self._turns.close()
        self._posts.close(why)
        await self._posts.end(0.0, why)
        others = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=GRACE / 2)
        await loop.shutdown_asyncgens()

    def _hand_in(self) -> None:
        while (inbound := self._inbox.get()) is not None:
            try:
                self._dispatch(inbound)
            except Exception as error:  # whatever it is, the next message may do better
                log.exception("a message from Discord was not taken")
                text = f"agentkit itself failed ({type(error).__name__}); the log tells more"
                self.show(Error("unknown", text).stamped("", inbound.turn))

    # -- in the loop: the connection

    def _is_up(self, whom: str) -> None:
        if not self._stopping:
            self._stands(f"connected as {whom}", True)
            self._connected()

    def _is_down(self, why: str, failures: int) -> None:
        if self._stopping:
            return
        if failures == 1:
            self._told = False
        if why and not self._told and (failures >= TELL or not self._last_event):
            self._told = True
            self._tell(f"{why}. It is tried again until it works; /discord status tells.")
        self._stands(f"not connected ({why or 'the connection was lost'})", False)

    def _is_alive(self) -> None:
        self._last_event = time.time()

    def _end(self, why: str) -> None:
        """It is over, before anybody wanted that."""
        self.ended = True
        self._stands(f"not connected ({why.rstrip('.')})", False)
        self._tell(why)

    def _stands(self, state: str, up: bool) -> None:
        if up or self._up or not self._since:
            self._since = time.time()
        self._state, self._up = state, up
        log.info("Discord is %s", state)

    async def _send(self, post: Post) -> int:
        assert self._bot is not None
        await self._turns.quiet(post.to)
        return await self._bot.post(post)

    async def _show_typing(self, channel: int) -> None:
        assert self._bot is not None
        await self._bot.show_typing(channel)


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))

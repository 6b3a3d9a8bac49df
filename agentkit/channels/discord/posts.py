"""What is on its way to Discord: in order for each destination, and no destination holds up another."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from ...envelope import DeliveryError
from ...records import dataclass

log = logging.getLogger("agentkit")

RETRIES = (0.25, 1.0)  # seconds before the second try, and the third
LONGEST_WAIT = 30.0  # seconds that Discord may ask for; a letter waits better for more
TRY = 40.0  # seconds: discord.py sits out a rate limit of up to 30 s by itself


@dataclass(eq=False)
class Post:
    """A message to be sent. to: as in a letter; nonce: by which Discord tells that it has it already, as a letter too;
    reply: the message it refers to, 0: none; kept: where Discord does not take it, it becomes a letter; sent: called
    with its id, or with 0 when it is neither taken nor kept; letter: it is one, and this is what becomes of it."""

    to: str
    text: str
    nonce: str
    reply: int = 0
    kept: bool = False
    sent: Callable[[int], None] | None = None
    letter: Future[None] | None = None


Send = Callable[[Post], Awaitable[int]]
Put = Callable[[str, str, str, str, str], object]
Waits = Callable[[str], bool]


class Posts:
    """Lives in an event loop, and after `close` without one. send: has Discord take one, returns its id, raises
    DeliveryError; put: gives the outbox a text (channel, to, text, nonce, reply), raises OSError; waits: does the
    outbox hold letters for somebody? tell: hears what is lost."""

    def __init__(self, send: Send, put: Put, waits: Waits, tell: Callable[[str], None]) -> None:
        self._send, self._put, self._waits, self._tell = send, put, waits, tell
        self._closed: DeliveryError | None = None
        self._queues: dict[str, deque[Post]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._tries: set[asyncio.Future[int]] = set()

    def add(self, post: Post) -> None:
        """Have it sent after those before it."""
        if self._closed is not None:
            self._end(post, self._closed)
            return
        if post.to in self._queues:
            self._queues[post.to].append(post)
            return
        self._queues[post.to] = deque([post])
        worker = asyncio.get_running_loop().create_task(self._work(post.to))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    async def end(self, grace: float, why: DeliveryError) -> None:
        """Let what is on its way arrive, for so many seconds, and keep the rest; letters end with `why`."""
        if self._workers:
            await asyncio.wait(set(self._workers), timeout=grace)
        for worker in self._workers:
            worker.cancel()
        queues, self._queues = self._queues, {}
        for post in (each for queue in queues.values() for each in queue):
            self._end(post, why)

    def close(self, why: DeliveryError) -> None:
        """From now on nothing is sent, and what is to be kept is."""
        self._closed = why

    async def _work(self, to: str) -> None:
        queue = self._queues[to]
        while queue:
            await self._deliver(queue)
            queue.popleft()
        del self._queues[to]

    async def _deliver(self, queue: deque[Post]) -> None:
        """See to the first one, which stays in the queue meanwhile."""
        post = queue[0]
        if post.letter is not None:
            await self._deliver_letter(post, post.letter)
            return
        if post.kept and self._waits(post.to):
            self._leave(post, DeliveryError("others are to arrive before it"))
            return
        for pause in (*RETRIES, float("inf")):
            try:
                id = await self._try(post)
            except DeliveryError as error:
                wait = max(pause, error.retry_after or 0.0)
                if error.permanent or wait > LONGEST_WAIT:
                    self._give_up(queue, error)
                    return
                await asyncio.sleep(wait)
            else:
                if post.sent:
                    post.sent(id)
                return

    async def _deliver_letter(self, post: Post, letter: Future[None]) -> None:
        if not letter.set_running_or_notify_cancel():
            return  # nobody waits for it any more: it comes again
        try:
            await self._try(post)
        except DeliveryError as error:
            letter.set_exception(error)
        else:
            letter.set_result(None)

    async def _try(self, post: Post) -> int:
        """Send it, within a time. What takes longer goes on, for a request of discord.py's that is broken off while it
        waits for the end of a global rate limit leaves it waiting for ever."""
        attempt = asyncio.ensure_future(self._send(post))
        self._tries.add(attempt)
        attempt.add_done_callback(self._ended)
        await asyncio.wait({attempt}, timeout=TRY)
        if not attempt.done():
            raise DeliveryError(f"Discord did not answer within {TRY:g} s")
        return attempt.result()

    def _ended(self, attempt: asyncio.Future[int]) -> None:
        self._tries.discard(attempt)
        if not attempt.cancelled():
            attempt.exception()  # somebody has to ask for it, and whoever waited may have left

    def _give_up(self, queue: deque[Post], error: DeliveryError) -> None:
        """The first one is not taken. What would come behind its letter goes the same way, to stay in order."""
        first, *others = queue
        self._leave(first, error)
        if first.kept:
            queue.clear()
            queue.append(first)
            for post in others:
                if post.kept:
                    self._leave(post, error)
                else:
                    queue.append(post)

    def _end(self, post: Post, why: DeliveryError) -> None:
        if post.letter is None:
            self._leave(post, why)
        else:
            with suppress(InvalidStateError):  # whoever waited for it may have left
                post.letter.set_exception(why)

    def _leave(self, post: Post, error: DeliveryError) -> None:
        if post.kept:
            try:
                self._put("discord", post.to, post.text, post.nonce, str(post.reply or ""))
                log.info("an answer to %s waits in the outbox: %s", post.to, error)
            except OSError as full:
                self._tell(f"An answer to {post.to} is lost: {error}; it cannot be kept ({full.strerror}).")
            return
        log.warning("a message to %s was not taken: %s", post.to, error)
        if post.sent:
            post.sent(0)

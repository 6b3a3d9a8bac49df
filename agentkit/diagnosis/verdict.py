"""The verdict on an answer: its category, and the message for the user, from what the siblings have found."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from ..errors import LLMError
from ..printable import printable, span
from .complaint import Complaint, read, statuses
from .outage import outage
from .phrases import NOTHING, OPEN, RULES, STATUSES, WEAK
from .waits import asked

MESSAGE = 300  # characters of a message
DETAIL = 2_000  # characters of a detail

# What happened and what to do about it. A message is both, with the server's own words between them.
_SENTENCES = {
    "auth": ("The key was refused", "Check LLM_API_KEY."),
    "billing": ("The account has no credit left", "Add credit at the provider, or another key as LLM_API_KEY_<n>."),
    "rate_limit": ("Too many requests", "Try again later, or add a key as LLM_API_KEY_<n>."),
    "overloaded": ("The server is overloaded", "Try again later, or set LLM_FALLBACK_MODELS."),
    "timeout": ("The server took too long", "Try again, or raise LLM_TIMEOUT."),
    "overflow": ("The conversation is too long for the model", "Shorten it, or check LLM_CONTEXT_WINDOW."),
    "model_not_found": ("The model was not found", "Check LLM_MODEL."),
    "bad_request": ("The request was not accepted", "Check LLM_MODEL and LLM_EXTRA."),
    "content_filter": ("The provider's filter stopped it", "Rephrase the request, or use another /model."),
    "server_error": ("The server failed", "Try again, or set LLM_FALLBACK_MODELS."),
    "network": ("The connection failed", "Check the network and LLM_BASE_URL."),
    "unknown": ("The server gave an unexpected answer", "Check LLM_BASE_URL, or try another provider."),
}
_WAITING = ("rate_limit", "overloaded", "server_error", "timeout")

# Messages that say nothing where there is a better one.
_EMPTY_WORDS = (
    r"(?i)(?:provider returned )?error\.?|(?:litellm\.)?\w*(?:error|exception)[: -]*"
    r"|bad request|none|null|fail(?:ed|ure)?|\W*"
)

_WANTED = r"limit:? ([\d,]{1,15})\b(?:(?!limit).){0,60}\brequested:? ([\d,]{1,15})"
_REFILLS = r"(?:try again|retry|resets?|available) (?:in|after) ~?\d"
# Sentences in quotes of any kind, also where the closing one is missing; and what a parser has stumbled over.
_QUOTES = ('""', "``", "“”", "«»", "„“", "''", "‘’")
_QUOTED = "|".join(
    rf"(?<!\w){each[0]}+(?=[^{each[1]}]*\s)(?:[^{each[1]}]|(?<=\w){each[1]}(?=\w))+(?:{each[1]}+(?!\w)|\Z)"
    for each in _QUOTES
) + (r"|(?i:(?<=parse)|(?<=parsing)|(?<=decode)|(?<=serialize)|(?<=marshal))[^:\n]{0,40}:[^\n]+")
_NAMES_A_MODEL = r"(?i)model|endpoints? |deployment|channel|模型|渠道"

# What looks like a key, with what may stay of it. Servers quote the keys they refuse, and messages end up in chats.
_SECRETS = (
    (
        r"\b((?:sk|pk|rk|gsk|xai|nvapi|hf|r8|fw|csk|pplx|tgp|glpat|gh[opsu]|github_pat)[-_])"
        r"(?:[\w*-]|…|\.(?=[\w.*])){4,}",
        r"\1…",
    ),
    (r"\b(AIza|AKIA|ASIA|eyJ)(?:[\w*-]|\.(?=[\w*])){12,}", r"\1…"),
    (r"(?i)\b(bearer|basic) +(?=\S*\d|\S{20})[\w.~+/=*-]{6,}", r"\1 …"),
    (
        r"(?i)(?<![a-z])((?:key|token|secret|password|authorization)\b(?: (?:provided|given|is|was|received|used))*"
        r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?)(?!(?:bearer|basic)\b)(?=[^\s\"']*[\d*])[\w.~+/*-]{6,}",
        r"\1…",
    ),
)


def diagnose(
    status: int | None, headers: Mapping[str, str], body: bytes | str, error: BaseException | None = None
) -> LLMError:
    """See `classify` of the package."""
    if error is not None and (status is None or status < 400):
        return _transport(error, status)
    names = {str(name).lower(): str(value) for name, value in headers.items()}
    complaint = read(body)
    _from_headers(names, complaint)
    category = verdict(status, complaint)
    wait = None
    if category in _WAITING:
        text = "\n".join(complaint.messages)
        wait = asked(names, complaint.hints, text, limited=category == "rate_limit", now=time.time())
    message = _message(category, status, complaint, wait)
    return LLMError(category, message, status=status, retry_after=wait, detail=_detail(status, complaint))


def _transport(error: BaseException, status: int | None) -> LLMError:
    found, host, texts = outage(error)
    what = found.what.format(host=host)
    what = "T" + what[1:] if what.startswith("the ") else what  # a host's name keeps its small letter
    message = _line(f"{what}. {found.cure.format(host=host)}")
    return LLMError(found.category, message, status=status, detail=_clean(texts)[:DETAIL])


def _from_headers(names: Mapping[str, str], complaint: Complaint) -> None:
    """Some say it only there: AWS the kind of error, Cloudflare that a puzzle stands in the way."""
    if kind := names.get("x-amzn-errortype"):
        complaint.codes.append(kind[:100])
    if "challenge" in names.get("cf-mitigated", ""):
        complaint.codes.append("cf mitigated")


def verdict(status: int | None, complaint: Complaint) -> str:
    """The category, one of errors.CATEGORIES, of an answer with this status and these words."""
    messages = complaint.messages
    if status in (400, 422):
        messages = [_unquoted(message) for message in messages]
    standing = _standing(status, [*complaint.statuses, *(each for message in messages for each in statuses(message))])
    said = spelled("\n".join((*complaint.codes, *messages)))
    if status == 402:  # nothing else is said with it, but that some plans fill up again by themselves
        return "rate_limit" if re.search(_REFILLS, said) else "billing"
    if standing == 200 and complaint.page:
        return "unknown"  # a web site is there, and what it speaks of is not our request
    if any(_number(wanted) > _number(most) for most, wanted in re.findall(_WANTED, said)):
        return "overflow"  # one request bigger than the limit by the minute: no wait lets it through
    return next((rule.category for rule in RULES if rule.fits(standing, said)), None) or _by_status(standing, complaint)


def _unquoted(message: str) -> str:
    """Without the sentences that it quotes, which are ours, where something is left besides."""
    rest = re.sub(_QUOTED, " ", message)
    return rest if len(re.findall(r"[^\W\d]{2,}", rest)) >= 2 else message


def spelled(text: str) -> str:
    """Words and codes in the spelling of the table of phrases."""
    text = re.sub(r"https?://\S+", "", text[:20_000])
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text).replace("_", " ").lower()
    return re.sub(r"[^\S\n]+", " ", re.sub("[`'\"*’‘“”]", "", text))


def _standing(status: int | None, inner: list[int]) -> int:
    """The status that counts: gateways answer 200 or 500, and write inside what they were answered themselves."""
    told = inner[0] if inner else NOTHING
    if status is None or status < 100:
        return told
    if status < 400:
        return told or (status if status >= 300 else 200)
    if told and status in (400, 500) and told not in (400, 500):
        return told
    return 400 if status >= 500 and told == 400 else status


def _by_status(standing: int, complaint: Complaint) -> str:
    if standing in OPEN:
        codes = spelled("\n".join(complaint.codes))
        weak = next((rule.category for rule in WEAK if rule.fits(standing, codes)), None)
        if weak or complaint.page:
            return weak or "unknown"
        return "server_error" if standing or complaint.messages else "unknown"
    if standing == 403 and complaint.page:
        return "unknown"  # an API refuses a key in its own words; a page comes from the edge before it
    if standing in STATUSES:
        return STATUSES[standing]
    if 500 <= standing < 600:
        return "server_error"
    return "bad_request" if 400 <= standing <= 431 else "unknown"


def _number(text: str) -> int:
    return int(text.replace(",", "") or 0)


def _message(category: str, status: int | None, complaint: Complaint, wait: float | None) -> str:
    """One line: what happened (the status): the server's words, as much as there is room for. The cure."""
    what, cure = _SENTENCES[category]
    words = _words(complaint)
    if category == "model_not_found" and status in (404, 410) and not re.search(_NAMES_A_MODEL, words):
        what, cure = "Nothing was found at this address", "Check LLM_MODEL and LLM_BASE_URL."
    elif status is not None and (status == 405 or 300 <= status < 400):
        what, cure = "The address is not that of a chat API", "Check LLM_BASE_URL."
    elif status == 407:
        what, cure = "The proxy wants a name and password", "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
    elif category == "unknown" and complaint.page and (status is None or status < 400):
        what, cure = "A web page answered instead of a chat API", "Check LLM_BASE_URL."
    elif category == "unknown" and status in (401, 403, 451, 503):
        what, cure = "The way to the server is blocked", "Check from where you connect, or use another provider."
    elif category == "rate_limit" and wait:
        cure = f"Try again in {span(wait)}, or add a key as LLM_API_KEY_<n>."
    what += f" ({status})" if status is not None and 300 <= status < 1000 else ""
    room = MESSAGE - len(what) - len(cure) - len(": . ")
    words = words if len(words) <= room else words[: room - 1].rstrip(" .,;:") + "…"
    if not words:
        return _line(f"{what}. {cure}")
    return _line(f"{what}: {words}{'' if words[-1] in '.!?。！？…' else '.'} {cure}")


def _words(complaint: Complaint) -> str:
    """The message that says most, on one line."""
    lines = [" ".join(_clean(message).split()).rstrip(" :-") for message in complaint.messages]
    telling = [line for line in lines if not re.fullmatch(_EMPTY_WORDS, line)]
    return next(iter(telling or lines), "")


def _detail(status: int | None, complaint: Complaint) -> str:
    """All that was said: messages, then codes and the fields of the request that were named."""
    facts = list(dict.fromkeys((*complaint.codes, *complaint.params)))
    said = "\n".join(complaint.messages) or complaint.raw.strip()
    told = f"{said}\n[{', '.join(facts)}]" if facts else said
    return _clean(told)[:DETAIL].strip() or "an empty answer"


def _clean(text: str) -> str:
    """Fit to be shown and logged: nothing that acts on a terminal, no keys. Cut before, so that the work is bounded."""
    text = printable(text[: 4 * DETAIL])
    for pattern, kept in _SECRETS:
        text = re.sub(pattern, kept, text)
    return text


def _line(text: str) -> str:
    return " ".join(text.split())[:MESSAGE]

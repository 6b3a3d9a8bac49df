"""What model servers say when they refuse, and what it means: a table, in the order in which it is asked.

One phrase a line, as a regular expression over words in one spelling (see verdict.spelled): lower case, no quotes,
"_" as a space, CamelCase split, no addresses. So "ContextWindowExceededError", "context_window_exceeded" and "context
window exceeded" are one, and codes, types and sentences share the table. Gaps are bounded and stay on their line.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import cache
from typing import NamedTuple

NOTHING = 0  # the status where there was no answer
OPEN = (NOTHING, 200)  # no answer, or one that began well and failed in its middle

# Words of many forms, by the capitals that stand for them below.
_FORMS = {
    "KEY": r"(?:(?:api[- ]?|access |auth |bearer |secret |security |subscription |proxy server )(?:key|token)s?"
    r"|credentials?|jwt)",
    "MEDIA": r"\b(?:images?|pixels?|audio|videos?|pdf|documents?|files?|attachments?|media)\b",
    "MODEL": r"\bmodels?\b(?:(?!: |\. )[^\n]){0,120}?",  # and more of its sentence
    "MONEY": r"(?:balance|credits?|funds?|points)",
    "OVER": r"(?:exceed|over the|(?:greater|larger|longer) than|above the|beyond|too )",
    "PLACE": r"(?:country|territory|region|location|jurisdiction|area)",
    "SIZE": r"(?:length|len|size|limit|window|tokens?)",
    "WINDOW": r"context (?:length|window|size|limit)",
}


class Rule(NamedTuple):
    """A category and the phrases that mean it. unless: what takes it back; at: the statuses it can be true for."""

    category: str
    says: str
    unless: str = "(?!)"  # matches nothing
    at: Container[int] = range(-(10**9), 10**9)

    def fits(self, status: int, said: str) -> bool:
        return status in self.at and bool(_pattern(self.says).search(said)) and not _pattern(self.unless).search(said)


@cache
def _pattern(phrases: str) -> re.Pattern[str]:
    """Compiled at its first use: errors are rare, and the program starts often."""
    text = "|".join(line.strip() for line in phrases.strip().splitlines())
    for name, forms in _FORMS.items():
        text = text.replace(name, forms)
    return re.compile(text)


_LIMITED = r"""
    rate[- ]?limit|rate exceeded|throttl|slow down|resource exhausted|cool(?:ing)? ?down|frequency
    too many (?:\w+ ){0,2}(?:requests|calls)|too many tokens.{0,20}(?:wait|per |try)
    (?:requests?|tokens?|calls?|queries)(?: ?/ ?| per |-per-)(?:second|minute|min|hour|day|week|month)
    \b(?:rpm|tpm|rpd|tpd|qps|qpm)\b|error code:? 1015|out of call volume|usage limit
    concurren\w+.{0,40}(?:limit|exceed|too|reach|max)|(?:limit|exceed|too many|max\w*) (?:\w+ ){0,3}concurren
    (?:daily|hourly|weekly|monthly)\b.{0,20}(?:limit|quota)|quota\b.{0,20}exceed|exceed\w*\b.{0,30}\bquota
    限流|频率|频繁|并发|请求过多|访问量过大|速率
    """
_TOO_LONG = r"prompt is too long|request (?:entity|body) too large"

RULES = (
    # What compaction cannot put right, though it speaks of tokens, sizes and limits.
    Rule(
        "bad_request",
        r"""
        max (?:completion |output |new )?tokens\b.{0,80}(?:too (?:large|big|high)|less than|at most|<=|greater than)
        max (?:completion |output |new )?tokens\b.{0,80}(?:\d > \d|maximum allowed|exceed|(?:should|must) be)
        range of max (?:\w+ )?tokens
        """,
        unless=r"context|prompt|inputs? tokens|input length|got -\d|afford|credit",
    ),
    Rule(
        "bad_request",
        r"""
        MEDIA.{0,60}(?:exceed|at most|maximum)
        MEDIA.{0,60}too (?:large|big|many|long|small)
        (?:at most|too many) (?:\d+ )?(?:images?|files?|documents?|tools?|functions?|stop)\b
        header.{0,20}too (?:large|big|long)
        """,
        unless=r"context|too many tokens",
    ),
    # Too long a text is something to compact, too long an id is not.
    Rule(
        "overflow",
        r"""
        (?:content|text|input|prompt|output|arguments|query)(?:\[\d+\])?:? ?string (?:too long|should have at most)
        (?:messages|input): (?:array too long|list should have at most)
        """,
    ),
    Rule(
        "bad_request",
        r"""
        string too long|string should have at most|array too long|list should have at most
        invalid (?:value|type|schema|format|parameter)\b.{0,25}\b(?:tools?\b|functions?\b|messages?[\[.])
        tool call validation failed|tool use failed|tool call id
        """,
        unless=r"context|token (?:limit|count)|too many tokens|sensitive|flagged|filter",
        at=(*OPEN, 400, 422, 500),
    ),
    # Where a request came from, not who sent it: another key cannot help, so none may be put away for it.
    Rule(
        "unknown",
        r"""
        unsupported PLACE|(?:not|isnt|un) ?(?:supported|available|allowed|permitted) in (?:your|this) PLACE
        PLACE\b.{0,40}(?:not (?:yet )?(?:supported|available|allowed|permitted|served)|restricted|embargo)
        PLACE\b.{0,40}(?:is|been) (?:blocked|prohibited)
        error (?:code:? ?)?10(?:0[5-9]|1[0-4]|20)\b
        attention required|you have been blocked|just a moment|checking (?:your|if the) (?:browser|site)|captcha
        cf mitigated|enable (?:javascript|cookies)|request not allowed|request (?:was |is )?blocked
        application firewall|\bwaf\b|incapsula|imperva|akamai|request could not be satisfied
        unusual (?:activity|traffic)|\bbots?\b.{0,20}detected|\bvpn\b
        \bip(?: address)?\b.{0,60}(?:(?:allow|white) ?list|not (?:allowed|authorized)|blocked|banned|denied)
        地区|地域限制|区域
        """,
        unless=r"model.{0,60}(?<!your )region|content (?:policy|filter)|guardrail|flagged|moderation|safety|violat",
        at=(*OPEN, 400, 401, 403, 405, 406, 451, 503),
    ),
    # Money. Links to billing pages are gone from what was said, for rate limits advertise upgrades with them.
    Rule(
        "billing",
        r"""
        (?:insufficient|not enough|no more|low) (?:\w+ ){0,3}(?:quota|MONEY)\b
        \b(?:MONEY|quota)\b.{0,30}(?:insufficient|too low|not enough|depleted|run out|ran out|used up|is exhausted)
        \b(?:MONEY|quota)\b.{0,30}(?:(?:is|are) empty|negative|have expired)
        (?:used (?:up )?(?:all )?|out of|ran out of|requires? more|exceeded) (?:\w+ ){0,4}MONEY\b
        (?:no|zero) (?:\w+ )?(?:credits?|balance|funds)\b|can only afford|credit (?:limit|balance)|negative balance
        out of (?:extra )?usage|extra usage is|insufficient user quota|key limit exceeded
        (?:spend(?:ing)?|billing|monetary|cost) (?:hard )?(?:limit|cap)|specified (?:\w+ )?(?:api )?usage limits?
        budgets?\b.{0,40}exceed|exceed\w* (?:\w+ ){0,3}budget|over budget
        payment (?:required|method|fail|overdue|is due)|pending payment|failure to pay|unpaid|past due|overdue|arrear
        purchase (?:more |additional )?credits|please (?:(?:re)?charge|top.?up)\b|good standing|unpurchased
        free (?:tier|quota|trial)\b.{0,40}(?:exhausted|expired|ended|used up)|free ?tier ?only
        trial (?:has |period )?(?:expired|ended|is over)
        (?:subscription|plan)\b.{0,30}(?:expired|inactive|cancell?ed|lapsed)
        billing\b.{0,40}(?:not active|disabled|enabled|inactive|suspended)|not active.{0,40}billing
        billing (?:error|not active)
        余额|欠费|充值|额度(?:不足|已)|已用尽
        """,
        unless=r"upstream billing",
    ),
    # OpenAI says this of an empty account, Gemini also of its limits by the minute, DashScope of throttling.
    Rule(
        "billing",
        r"exceeded (?:your )?(?:current |monthly )?quota|current quota exceeded|plan and billing details",
        unless=r"resource exhausted|retry in|per ?(?:minute|day)|throttling\.|allocated quota|rate ?limit exceeded",
    ),
    # An account that is closed, before its reasons are read as a filter's.
    Rule(
        "auth",
        r"""
        \b(?:account|organi[sz]ation|project|workspace|api key)\b.{0,80}(?:deactivated|disabled|banned|terminated)
        \b(?:account|organi[sz]ation|project|workspace|api key)\b.{0,80}(?:suspended|closed|revoked)
        access (?:was|has been|is) (?:terminated|revoked|suspended)
        """,
        at=(*OPEN, 400, 401, 403, 404),
    ),
    Rule(
        "content_filter",
        r"""
        content (?:filter|policy|management policy|exists risk|moderation|blocked|violat)
        (?:inappropriate|prohibited|unsafe|harmful) content|responsible ai|invalid prompt|data inspection
        \bflagged\b|moderation|considered high risk|(?:new |input |output )sensitive|recitation
        (?:usage|safety|content|acceptable use) (?:polic(?:y|ies)|guidelines?)
        violat\w*.{0,50}(?:polic|terms|guideline|rules)
        safety (?:system|setting|filter|reason|check|guard)|guardrail\b.{0,30}(?:interven|block|violat|trigger)
        blocked (?:due to|for|by) .{0,20}(?:safety|filter|guardrail|polic)
        敏感|不安全|违规|违反
        """,
        unless=r"data policy",
    ),
    # The key is fine, the model is not there for it. Before `auth`: "does not exist or you do not have access to it".
    Rule(
        "model_not_found",
        r"""
        MODEL\b(?:(?:do |does )?not|doesnt) (?:exist|(?:be )?found|recognized|deployed)\b
        MODEL\bcannot be (?:found|resolved|located)
        MODEL(?:no longer (?:available|supported)|decommissioned|deprecated|retired)
        MODEL(?:discontinued|has been (?:removed|sunset)|\bunknown$|isnt (?:supported|loaded))
        MODEL\b(?:is|are) (?:currently )?not (?:currently )?(?:supported|servable|accessible)
        MODEL\b(?:is|are) (?:currently )?not (?:currently )?(?:enabled|allowed|loaded)
        model ?not ?(?:found|supported|exist|allowed|accessible|loaded|available$)|unknown model\b|no such model
        invalid model\b(?! (?:param|config|output|response))|unsupported model\b(?! (?:param|field|option|feature))
        unrecognized model|not (?:found the|(?:an? )?(?:valid|supported|known|available|existing)) model\b
        model (?:id|identifier|name)\b.{0,40}\binvalid|model access denied|model permission blocked
        access to (?:the )?model
        unable to (?:access|find|locate) (?:the )?model|could not (?:resolve|find|load) (?:the )?(?:foundation )?model
        no (?:endpoints?|allowed providers?|available channels?)\b|no models? (?:is |are )?(?:currently )?loaded
        (?:not|nt) have (?:permission to )?access (?:to )?(?:the |this )?(?:\w+ ){0,2}(?:model|deployment)
        (?:not|nt) (?:allowed|permitted|authorized|entitled|eligible) to (?:access|use|call) (?:the |this )?model
        not allowed to (?:query|sample from) (?:the |this )?model
        deployment\b.{0,40}(?:not|nt) (?:exist|found)|deployment ?not ?found
        on.demand throughput (?:isnt|is not) supported
        not a chat model|model does not support chat|does not work with the specified model
        in the v1/chat/completions endpoint
        \bnot (?:currently )?available (?:for|on|with|to|under) (?:your|this)|plan\b.{0,20}(?:does not|doesnt) include
        模型(?:不存在|未找到|未开通|已下线|不可用)|不存在.{0,8}模型|无可用渠道|没有找到.{0,8}模型
        """,
        unless=r"\b(?:tools?|functions?|parameters?|arguments?|fields?|previous response|failed to load|images?)\b",
    ),
    Rule(
        "auth",
        r"""
        (?:invalid|incorrect|wrong|expired|revoked|missing|malformed|unknown|bad|no|disabled) (?:\w+ ){0,3}KEY\b
        (?:leaked|unrecognized|provide (?:an?|your)(?: valid)?|pass a valid|didnt provide an?) (?:\w+ ){0,3}KEY\b
        (?:invalid|incorrect|missing|no|bad|expired) (?:\w+ ){0,3}(?:x-api-key|auth|authentication|authorization)\b
        (?:KEY|apikey|your key|authorization|x-api-key)\b.{0,60}(?:\binvalid|not valid|incorrect|expired|is missing)
        (?:KEY|apikey|your key|authorization|x-api-key)\b.{0,60}(?:required|revoked|not found|not provided|leaked)
        (?:KEY|apikey|your key|x-api-key)\b.{0,60}(?:malformed|unauthorized|inactive|deleted|not (?:exist|match))
        \btoken (?:is |has |was )?(?:been )?(?:expired|revoked)|signature ?exception|signature we calculated
        unauthori[sz]ed|unauthenticated|authentication ?(?:error|fail|required)|not authenticated|login fail
        user not found|unregistered callers|unrecognized client|unable to authenticate|could not (?:be )?authenticate
        身份验证|鉴权|认证失败|密钥|令牌|未授权|api ?key.{0,10}(?:无效|错误|过期)
        """,
        unless=r"no auth available|unexpected token|json",
    ),
    Rule(
        "overflow",
        r"""
        exceed(?:s|ed|ing)?\b.{0,60}\bcontext\b|\bcontext\b.{0,20}\b(?:exceed|overflow|(?:is )?full\b)
        WINDOW.{0,20}exceed
        max(?:imum)? (?:context|prompt|sequence|model|input)(?: \w+)? SIZE(?: is| of|:|=)? ?\(?\d
        WINDOW(?: is| of)?(?: only)? ?\(?\d|(?:greater|longer|larger|more) than.{0,40}\b(?:context|model length)
        (?:prompt|input|conversation|context|messages?|history)\b.{0,15}\b(?:is|are|was)? ?too (?:long|large|big)
        (?:prompt|input) ?too ?long|too (?:large|long|big) for (?:the |this )?(?:requested )?model\b
        inputs? tokens \+|inputs must have less than|max tokens must be at least 1, got -|range of input length
        leaves \d+ output tokens|current length is \d+.{0,20}limit is|\d max(?:imum)? context
        (?:tokens?|length)\b.{0,40}\bsupports (?:up to |a max(?:imum)? of )\d|(?:input|prompt) tokens?:? \d+ > \d
        上下文|(?:输入|prompt|提示词|token).{0,12}(?:超长|过长|超过|超出|超限)|超出.{0,10}(?:长度|最大)
        """,
        unless=r"concurren|per minute|rate limit of|long context|context deadline",
    ),
    Rule(
        "overloaded",
        r"""
        overload|over capacity|at (?:full )?capacity|no ?capacity
        (?:insufficient|not enough|out of|lack of) (?:\w+ )?capacity
        capacity (?:constraint|exceeded|is)|queue (?:is )?full|pending requests exceeded|\bbusy\b
        high (?:demand|traffic|load)|heavy (?:load|traffic)|peak load|try a different model
        (?:temporarily|currently|right now).{0,10}(?:unavailable|not available)|service ?unavailable
        loading (?:the )?model|model\b.{0,60}\b(?:is|still|currently|being) (?:\w+ )?(?:loading|starting|warming)
        not ?ready|warming up|instances ?unavailable
        no (?:healthy|available) (?:upstream|server|worker|instance|backend|node)
        负载|繁忙|过载|拥挤
        """,
        unless=r"service tier capacity|system capacity limits|failed to load",
        at=(*OPEN, 400, *range(408, 600)),
    ),
    Rule("rate_limit", _LIMITED, unless=_TOO_LONG, at=(*OPEN, 403, 420, *range(423, 600))),
    # With a 400 a request may be at fault that speaks of limits itself.
    Rule(
        "rate_limit",
        _LIMITED,
        unless=rf"{_TOO_LONG}|invalid (?:request|value|json|argument|param)|\bpars(?:e|ing)\b|malformed|valid(?:at|$)",
        at=(400,),
    ),
    # Size without a word on the context window: after the limits by the minute, which ask for shorter prompts too.
    Rule(
        "overflow",
        r"""
        (?:request|payload|body|entity|content|message)\b.{0,20}\btoo (?:large|long|big)
        (?:prompt|input|messages|conversation|history)\b.{0,20}\bexceeds? the max
        reduce (?:the|your) (?:\w+ )?(?:length|size)|request exceeds the maximum
        (?:input|prompt|request|requested|message|total)s? (?:\w+ ){0,2}(?:size|length|tokens?|count)\b.{0,60}OVER
        (?:input|prompt|requested|total|message)\w*\b.{0,30}\btokens?\b.{0,40}OVER
        too many (?:\w+ )?tokens|tokens? limit (?:is )?exceeded|(?:model|context|prompt|input) token limit
        """,
        at=(*OPEN, *range(400, 429), *range(430, 600)),
    ),
    Rule("timeout", r"timed? ?-?out|deadline ?exceeded|took too long", at=(*OPEN, 408, *range(499, 600))),
    Rule(
        "server_error",
        r"""
        \bcrash|internal server error|bad gateway|engine ?core|out of memory|disconnected|stack trace
        upstream (?:error|connect|disconnect|server error)
        """,
        at=(*OPEN, 400),
    ),
)

# Codes that say no more than a status would: they decide where there is none, within a stream.
WEAK = (
    Rule("auth", r"permission|forbidden|access ?denied"),
    Rule("billing", r"billing|payment"),
    Rule("overloaded", r"unavailable"),
    Rule("timeout", r"deadline|timeout"),
    Rule("model_not_found", r"not found"),
    Rule("server_error", r"internal|server|api error|upstream|provider"),
    Rule("bad_request", r"invalid|bad ?request|unprocessable|validation|failed precondition|unsupported"),
)

STATUSES = {
    400: "bad_request",
    401: "auth",
    402: "billing",
    403: "auth",
    404: "model_not_found",
    407: "network",  # a proxy between us and the server wants a name; the key is not to blame
    408: "timeout",
    410: "model_not_found",
    413: "overflow",
    418: "unknown",
    420: "rate_limit",
    424: "server_error",
    429: "rate_limit",
    451: "unknown",
    498: "overloaded",
    499: "timeout",
    503: "overloaded",
    504: "timeout",
    522: "timeout",
    524: "timeout",
    529: "overloaded",
    598: "timeout",
    599: "timeout",
}

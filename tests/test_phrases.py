"""What servers answer when they refuse, from many providers, and the category it belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentkit.diagnosis import classify

from .answers import anthropic, detail, google, openai, openrouter, page, valid

# fmt: off
AUTH = [
    (401, openai("Incorrect API key provided: sk-abcd1234. You can find your API key at https://x.", code=
        "invalid_api_key")),
    (401, openai("The OpenAI account associated with this API key has been deactivated.", code="account_deactivated")),
    (401, ""),
    (401, '{"detail":"Unauthorized"}'),
    (401, '{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}'),
    (401, '{"error":{"message":"Authentication Fails, Your api key: ****abcd is invalid",'
        '"type":"authentication_error"}}'),
    (401, anthropic("authentication_error", "invalid x-api-key")),
    (401, '{"error":{"code":"1000","message":"身份验证失败。"}}'),
    (401, openai("无效的令牌 (request id: 2025)", "new_api_error")),
    (400, google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", {"reason":
        "API_KEY_INVALID"})),
    (400, google(400, "INVALID_ARGUMENT", "API Key not found. Please pass a valid API key.")),
    (400, google(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.")),
    (400, openai("Incorrect API key provided: xa***ey. You can obtain an API key from https://console.x.ai.")),
    (400, anthropic("invalid_request_error", "This organization has been disabled.")),
    (403, google(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers. Please use API Key")),
    (403, google(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key.")),
    (403, '{"message":"The security token included in the request is invalid."}'),
    (403, '{"Message":"User: arn:aws:iam::1:user/x is not authorized to perform: bedrock:InvokeModel"}'),
    (403, ""),
    (403, "Forbidden"),
    (404, openai("Your account has been suspended for violating our terms of service.")),
    (500, openai("litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided:"
        " sk-a")),
    (500, openai("Invalid authentication credentials", "server_error")),
    (200, '{"base_resp":{"status_code":1004,"status_msg":"login fail: Please carry the API secret key"}}'),
    (200, '{"error":{"type":"authentication_error","message":"no"}}'),
    (None, '{"error":{"code":401,"message":"No cookie auth credentials found"}}'),
    (401, page("401 Unauthorized")),
]

BILLING = [
    (402, ""),
    (402, '{"detail":"You have exceeded your monthly included credits for Inference Providers."}'),
    (402, openai("Prompt tokens limit exceeded: 15000 > 1200. To increase, upgrade to a paid account", code=402)),
    (429, openai("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota")),
    (429, openai("Your account is not active, please check your billing details on our website.",
        "billing_not_active")),
    (429, openai("litellm.RateLimitError: OpenAIException - You exceeded your current quota, please check your plan"
        " and billing details.", "throttling_error", "429")),
    (429, '{"error":{"message":"Your account org-1 is suspended, please check your plan and billing details",'
        '"type":"exceeded_current_quota_error"}}'),
    (429, '{"error":{"code":"1113","message":"余额不足或无可用资源包,请充值。"}}'),
    (429, google(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. Please go to AI Studio.")),
    (400, openai("Billing hard limit has been reached", "invalid_request_error", "billing_hard_limit_reached")),
    (400, openai("Access denied, please make sure your account is in good standing.", "Arrearage", "Arrearage")),
    (400, openai("ExceededBudget: User=me over budget. Spend=1.2, Budget=1.0", "budget_exceeded", 400)),
    (401, openai("You exceeded your current quota, please check your plan and billing details", "insufficient_quota")),
    (401, openai("该令牌额度已用尽", "new_api_error")),
    (403, openai("Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", code=403)),
    (403, '{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}'),
    (403, openai("用户额度不足, 剩余额度: ¥0.000000", "new_api_error", "insufficient_user_quota")),
    (403, google(403, "PERMISSION_DENIED", "This API method requires billing to be enabled.", {"reason":
        "BILLING_DISABLED"})),
    (403, openai("The free tier of the model has been exhausted.", "AllocationQuota.FreeTierOnly")),
    (412, '{"error":"Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay"}'),
    (500, openai("insufficient balance (1008)", "api_error")),
    (200, '{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}'),
    (200, openrouter(402, '{"error":{"message":"Insufficient Balance"}}')),
    (None, '{"error":{"code":402,"message":"Insufficient credits. Add more using https://openrouter.ai/credits"}}'),
]

RATE_LIMIT = [
    (429, ""),
    (429, "null"),
    (429, page("429 Too Many Requests")),
    (429, openai("You have reached the free tier rate limit. Upgrade or top up for higher limits")),
    (402, openai("Usage limit exceeded. Please try again in 5 minutes.")),
    (429, openai("Rate limit reached for gpt-4o on tokens per day (TPD): Limit 100000, Used 97875, Requested 3399.")),
    (429, openai("Rate limit reached on requests per min (RPM): Limit 3, Used 3, Requested 1.", "requests")),
    (429, anthropic("rate_limit_error", "This request would exceed the rate limit for your organization of 40,000"
        " input tokens per minute. Please reduce the prompt length or try again later.")),
    (429, anthropic("rate_limit_error", "Number of concurrent connections has exceeded your rate limit.")),
    (429, google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing"
        " details. Quota exceeded for metric: generate_content_free_tier_requests, limit: 50\n"
        "Please retry in 36.98s.")),
    (429, google(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Requests' and limit 'Requests per"
        " minute'")),
    (429, '{"message":"Too many tokens, please wait before trying again."}'),
    (429, '{"message":"Requests rate limit exceeded"}'),
    (429, '{"object":"error","message":"Service tier capacity exceeded for this model.",'
        '"type":"invalid_request_error","code":"3505"}'),
    (429, openai("Max RPM: 3 reached for organization: please try again after 1 seconds", "rate_limit_reached_error")),
    (429, '{"error":{"code":"1302","message":"您当前使用该API的并发数过高，请降低并发，或联系客服增加限额"}}'),
    (429, '{"error":{"code":"1305","message":"当前API请求过多，请稍后重试。"}}'),
    (429, openai("Allocated quota exceeded, please increase your quota limit.", "Throttling.AllocationQuota")),
    (429, openai("Requests rate limit exceeded, please try again later.", "limit_requests", "limit_requests")),
    (429, openai("No deployments available for selected model, Try again in 60 seconds.", "None", "429")),
    (429, '{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached",'
        '"resets_in_seconds":42}}'),
    (429, openrouter(429, '{"error":{"message":"x is temporarily rate-limited upstream. Please retry shortly."}}')),
    (400, '{"message":"Too many requests, please slow down"}'),
    (403, '{"error":{"code":"403","message":"Out of call volume quota. Quota will be replenished in 08:23:10."}}'),
    (403, google(403, "PERMISSION_DENIED", "Quota exceeded for quota metric 'Requests' of consumer 'x'")),
    (500, openai("litellm.RateLimitError: VertexAIException - 429 Too Many Requests", None, "500")),
    (200, '{"base_resp":{"status_code":1002,"status_msg":"rate limit"}}'),
    (200, '{"error":{"code":429,"message":"busy elsewhere"}}'.replace("busy elsewhere", "no")),
    (None, google(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")),
]

OVERLOADED = [
    (503, ""),
    (529, ""),
    (498, '{"error":{"message":"Flex tier capacity exceeded. Please try again later","code":"capacity_exceeded"}}'),
    (503, openai("The engine is currently overloaded, please try again later", "server_error")),
    (503, '{"error":"server busy, please try again.  maximum pending requests exceeded"}'),
    (503, page("503 Service Temporarily Unavailable", "nginx")),
    (503, "no healthy upstream"),
    (503, "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this"
        " request.\n</body></html>"),
    (503, '{"error":"Model x is currently loading","estimated_time":20.0}'),
    (500, anthropic("overloaded_error", "Overloaded")),
    (500, openai("当前分组上游负载已饱和，请稍后再试", "new_api_error")),
    (429, openai("The system is currently experiencing high demand and cannot process your request.", "NoCapacity")),
    (429, '{"message":"Model is not ready for inference. Wait and try your request again."}'),
    (200, anthropic("overloaded_error", "Overloaded")),
    (None, '{"type":"overloaded_error","message":"Overloaded"}'),
    (200, google(503, "UNAVAILABLE", "The service is currently unavailable.")),
    (502, openai("over capacity, please try again later", "internal_server_error")),
]

TIMEOUT = [
    (408, ""),
    (504, page("504 Gateway Time-out", "nginx")),
    (504, "upstream request timeout"),
    (524, ""),
    (500, openai("Request timed out.", "server_error")),
    (500, openai("litellm.Timeout: APITimeoutError - Request timed out. \nerror_str: Request timed out.", None, "408")),
    (200, google(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")),
    (408, '{"message":"Model has timed out in processing the request. Try your request again."}'),
    (200, '{"error":"upstream timed out"}'),
]

OVERFLOW = [
    (413, ""),
    (413, "Payload Too Large"),
    (413, anthropic("request_too_large", "Request exceeds the maximum size")),
    (413, openai("Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000", "tokens",
        "rate_limit_exceeded")),
    (429, openai("Request too large for gpt-4o on tokens per min (TPM): Limit 30,000, Requested 45,500.", "tokens")),
    (400, openai("Your input exceeds the context window of this model.", code="context_length_exceeded")),
    (400, openai("bad", code="context_length_exceeded")),
    (400, anthropic("invalid_request_error", "input length and `max_tokens` exceed context limit: 188240 + 21333 >"
        " 200000")),
    (400, google(400, "INVALID_ARGUMENT", "The input token count (1196265) exceeds the maximum number of tokens"
        " allowed")),
    (400, '{"error":"This model\'s maximum prompt length is 131072 but the request contains 537812 tokens."}'),
    (400, '{"message":"too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000."}'),
    (400, openai("Invalid request: Your request exceeded model token limit: 8192 (requested: 9100)")),
    (400, '{"error":{"code":"1261","message":"Prompt 超长"}}'),
    (400, openai("<400> InternalError.Algo.InvalidParameter: Total message token length exceed model limit (10000"
        " tokens).")),
    (400, '{"error":"Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded'
        ' with context length of only 4096 tokens, which is not enough."}'),
    (400, '{"object":"error","message":"\'max_tokens\' or \'max_completion_tokens\' is too large: 32768. This'
        ' model\'s maximum context length is 32768 tokens and your request has 1234 input tokens.","code":400}'),
    (400, '{"object":"error","message":"Requested token count exceeds the model\'s maximum context length of 131072'
        ' tokens."}'),
    (400, openai("The prompt is 50,000 tokens but the model supports a maximum of 32,768 tokens")),
    (400, openai("messages exceed the maximum allowed size of 100000 characters")),
    (400, "prompt token count of 150000 exceeds the limit of 128000"),
    (400, '{"error":"prompt too long; exceeded max context length by 12 tokens"}'),
    (400, openai('litellm.BadRequestError: BedrockException - b\'{"message":"Input is too long for requested'
        ' model."}\'')),
    (400, openrouter(400, '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 2'
        ' tokens > 1 maximum"}}')),
    (400, detail((["body", "messages", 3, "content"], "String should have at most 100000 characters",
        "string_too_long"))),
    (404, '{"error":"the input length exceeds the context length"}'),
    (422, '{"error":"Input validation error: `inputs` must have less than 1024 tokens. Given: 3000",'
        '"error_type":"validation"}'),
    (429, openai("This model's maximum context length is 8192 tokens, however you requested 9000 tokens.", code="429")),
    (500, openai("litellm.ContextWindowExceededError: OpenAIException", None, "500")),
    (500, '{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}'),
    (500, openai("Requested tokens (3000) exceed context window of 2048", "internal_server_error")),
    (200, openai("Your input exceeds the context window of this model.", "invalid_request_error")),
    (None, '{"code":400,"message":"request (5000 tokens) exceeds the available context size (4096 tokens)"}'),
]

MODEL_NOT_FOUND = [
    (404, ""),
    (404, "404 page not found"),
    (404, '{"detail":"Not Found"}'),
    (404, page("404 Not Found")),
    (410, "Gone"),
    (404, anthropic("not_found_error", "model: claude-nope")),
    (404, '{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}'),
    (404, openai("This is not a chat model and thus not supported in the v1/chat/completions endpoint.")),
    (404, openai("Not found the model moonshot-v9 or Permission denied", "resource_not_found_error")),
    (404, '{"error":"model \\"llama9\\" not found, try pulling it first"}'),
    (404, openai("The model `x` does not exist.", "NotFoundError", 404)),
    (403, openai("Project `proj_1` does not have access to model `gpt-9`", code="model_not_found")),
    (403, '{"message":"You don\'t have access to the model with the specified model ID."}'),
    (401, openai("key not allowed to access model. This key can only access models=['a']. Tried b",
        "key_model_access_denied")),
    (400, openai("Model Not Exist", "invalid_request_error", "invalid_request_error")),
    (400, '{"error":{"code":"1211","message":"模型不存在，请检查模型代码。"}}'),
    (400, '{"message":"The provided model identifier is invalid."}'),
    (400, '{"message":"Invocation of model ID x with on-demand throughput isn\'t supported. Retry with an inference'
        ' profile"}'),
    (400, openai("The requested model is not supported.", code="model_not_supported")),
    (400, openai("/chat/completions: Invalid model name passed in model=foo. Call `/v1/models` to view available"
        " models")),
    (400, openai("The chatCompletion operation does not work with the specified model, x.", code=
        "OperationNotSupported")),
    (400, '{"code":20012,"message":"Model does not exist. Please check it carefully.","data":null}'),
    (400, openai("model 'x' is no longer available", "invalid_request_error")),
    (404, '{"error":{"message":"No models loaded. Please load a model in the developer page",'
        '"type":"invalid_request_error"}}'),
    (503, openai("No available channel for model gpt-9 under group default (distributor)", "new_api_error",
        "model_not_found")),
    (500, openai("litellm.NotFoundError: OpenAIException - The model `gpt-9` does not exist", None, "404")),
    (200, '{"error":{"code":404,"message":"No endpoints found for a/b."}}'),
    (400, google(404, "NOT_FOUND", "Publisher Model `projects/p/models/x` was not found or your project does not"
        " have access")),
]

BAD_REQUEST = [
    (400, ""),
    (400, "Bad Request"),
    (422, detail((["body", "messages", 0, "content"], "Field required", "missing"))),
    (422, detail((["body", "stream_options"], "Extra inputs are not permitted", "extra_forbidden"))),
    (405, '{"detail":"Method Not Allowed"}'),
    (415, ""),
    (400, openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
        " instead.", "invalid_request_error", "unsupported_parameter")),
    (400, openai("Unsupported value: 'temperature' does not support 0.2 with this model.", code="unsupported_value")),
    (400, openai("max_tokens=999999 cannot be greater than max_model_len=81920.", "BadRequestError", 400)),
    (400, anthropic("invalid_request_error", "max_tokens: 64001 > 64000, which is the maximum allowed number of"
        " output tokens")),
    (400, openai("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]")),
    (400, openai("max_tokens (100000) exceeds the limit of 8192")),
    (400, anthropic("invalid_request_error", "messages.1.content.0.image.source.base64: image exceeds 5 MB maximum:"
        " 6 > 5 bytes")),
    (400, anthropic("invalid_request_error", "messages: text content blocks must be non-empty")),
    (400, anthropic("invalid_request_error", "tools.0.custom.input_schema: JSON schema is invalid")),
    (400, openai("Invalid type for 'messages[0].content': expected one of a string or array of objects, but got null")),
    (400, openai("An assistant message with 'tool_calls' must be followed by tool messages responding to each"
        " 'tool_call_id'.")),
    (400, openai("Invalid schema for function 'get_api_key': 'token' is required to be a billing account")),
    (400, openai("Unrecognized request argument supplied: stream_options")),
    (400, openai("Error: Failed to parse JSON: unexpected token }")),
    (400, google(400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "stream_options": Cannot'
        ' find field.')),
    (400, openai("The model `x` does not support tools")),
    (400, openai("Tool 'search' not found in the tools of the model request")),
    (400, anthropic("invalid_request_error", "messages.1.content.0: Invalid `signature` in `thinking` block")),
    (400, google(400, "INVALID_ARGUMENT", "Function call is missing a thought_signature, which is required.")),
    (400, openai("Invalid logit_bias: token 99999 is invalid for this vocabulary")),
    (400, openai("Invalid schema for tool 'x': {'type': 'object', 'description': 'rate limit'} key 'a' is required")),
    (400, page("400 Bad Request", "Request Header Or Cookie Too Large")),
    (400, openai("Timeout while downloading https://example.com/a.png.", "invalid_request_error", "invalid_image_url")),
    (400, openai("Conversation roles must alternate user/assistant/user/assistant/...", "BadRequestError", 400)),
    (200, '{"error":{"type":"invalid_request_error","message":"nope"}}'),
    (200, '{"error":{"code":400,"message":"nope"}}'),
]

CONTENT_FILTER = [
    (400, '{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI\'s content'
        ' management policy.","code":"content_filter","status":400,'
        '"innererror":{"code":"ResponsibleAIPolicyViolation"}}}'),
    (400, openai("Your request was blocked because it may violate our policies")),
    (400, openai("Content Exists Risk", "invalid_request_error", "invalid_request_error")),
    (400, openai("Input data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed")),
    (400, anthropic("invalid_request_error", "Output blocked by content filtering policy")),
    (400, openai("The request was rejected because it was considered high risk", "content_filter")),
    (400, '{"error":{"code":"1301","message":"系统检测到输入或生成内容可能包含不安全或敏感内容"}}'),
    (400, openai("Your request was rejected as a result of our safety system.", code="moderation_blocked")),
    (403, '{"error":{"message":"x requires moderation. Your input was flagged for \\"violence\\"","code":403}}'),
    (403, '{"code":"x","error":"Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}'),
    (200, '{"base_resp":{"status_code":1026,"status_msg":"input new_sensitive"}}'),
    (500, openai("litellm.ContentPolicyViolationError: AzureException - x", None, "500")),
]

SERVER_ERROR = [
    (500, ""),
    (500, "Internal Server Error"),
    (500, "null"),
    (502, page("502 Bad Gateway", "nginx")),
    (520, page("example.com | 520: Web server is returning an unknown error", "Cloudflare Ray ID: 1")),
    (530, "error code: 1033"),
    (500, anthropic("api_error", "Internal server error")),
    (500, google(500, "INTERNAL", "An internal error has occurred. Please retry or report.")),
    (500, '{"error":"model requires more system memory (8.4 GiB) than is available (5.9 GiB)"}'),
    (500, "upstream billing service returned nonsense"),
    (424, '{"message":"The model returned an error"}'),
    (200, '{"error":{"message":"The server had an error while processing your request","type":"server_error"}}'),
    (200, '{"error":"something"}'),
    (200, ""),
    (599 - 40, ""),
]

UNKNOWN = [
    (None, ""),
    (418, ""),
    (451, ""),
    (403, page("Just a moment...", "Enable JavaScript and cookies to continue")),
    (403, page("Attention Required! | Cloudflare", "Sorry, you have been blocked")),
    (403, page("ERROR: The request could not be satisfied", "Request blocked. Generated by cloudfront (CloudFront)")),
    (403, page("403 Forbidden", "nginx")),
    (400, google(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")),
    (403, '{"error":{"message":"This model is not available in your region.","code":403}}'),
    (401, openai("Your IP address is not in the project's IP allowlist", code="ip_not_authorized")),
    (302, page("302 Found")),
    (200, page("Sign in", "Enable JavaScript to run this app")),
    (200, page("API docs", "Rate limits: too many requests are answered with 429. Invalid API key: 401.")),
    (0, ""),
    (-7, ""),
    (1000, ""),
    (10**30, ""),
]
# fmt: on

TABLE: dict[str, list[Any]] = {
    "auth": AUTH,
    "billing": BILLING,
    "rate_limit": RATE_LIMIT,
    "overloaded": OVERLOADED,
    "timeout": TIMEOUT,
    "overflow": OVERFLOW,
    "model_not_found": MODEL_NOT_FOUND,
    "bad_request": BAD_REQUEST,
    "content_filter": CONTENT_FILTER,
    "server_error": SERVER_ERROR,
    "unknown": UNKNOWN,
}


@pytest.mark.parametrize(
    ("category", "status", "body"), [(name, *case) for name, cases in TABLE.items() for case in cases]
)
def test_an_answer_is_judged_by_its_words_before_its_status(category: str, status: int | None, body: str) -> None:
    error = valid(classify(status, {}, body))
    assert error.category == category, error.message
    assert error.status == status
    assert valid(classify(status, {}, body.encode())).category == category


def test_what_we_sent_is_never_evidence_against_us() -> None:
    echo = {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs", "input": "invalid api key, rate limit exceeded"}]}
    assert classify(422, {}, json.dumps(echo)).category == "bad_request"
    groq = openai("Failed to call a function.", code="tool_use_failed", failed_generation="maximum context length is 1")
    assert classify(400, {}, groq).category == "bad_request"
    long = {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs", "input": "prompt is too long " * 50_000}]}
    assert classify(422, {}, json.dumps(long)).category == "bad_request"


def test_headers_say_what_a_body_does_not() -> None:
    assert classify(400, {"X-Amzn-ErrorType": "ThrottlingException"}, "{}").category == "rate_limit"
    assert classify(403, {"CF-Mitigated": "challenge"}, "").category == "unknown"

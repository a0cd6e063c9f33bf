"""Delivers orders and documents to an ERP: one call of `Handler.run` is one attempt of one job."""

import json

# `build` makes these modules from the interface in `wit/`.
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config, http, log
from wit_world.imports.types import (
    Attribute,
    Completion,
    Failure,
    Failure_RateLimited,
    Failure_Reject,
    Failure_TryAgain,
    Failure_UnknownOutcome,
    Fault,
    Job,
    Setback,
)

DELAY_MS_MAX = 2**32 - 1
EXCERPT_CHARS_MAX = 200


class Metadata(exports.Metadata):
    """What the host shows of the plugin, and what the plugin asks the operator for."""

    def describe(self) -> str:
        return json.dumps(
            {
                "title": "Order delivery",
                "description": "Delivers orders and documents to an ERP",
                "version": "0.1.0",
                "config": ["erp"],
                "secrets": ["token"],
            }
        )


class Handler(exports.Handler):
    """What the host calls. Each attempt has an interpreter of its own, so nothing is kept from one to the next."""

    def run(self, job: Job) -> Completion:
        """Handles one attempt.

        What it returns completes the job, and `Err` says what else becomes of it. Any other exception fails this
        attempt alone: its traceback goes to stderr, which is kept with the attempt, and the job is tried again.
        """
        erp, token = granted("erp"), granted("token")
        if job.content_type.partition(";")[0].strip().lower() == "application/json":
            order = order_of(job.payload)
            info(f"delivering order {order}, attempt {job.attempt}")
            return order_taken(order, deliver(job, f"{erp}/orders", token))
        info(f"delivering a document of {len(job.payload)} bytes, attempt {job.attempt}")
        answer = deliver(job, f"{erp}/documents", token)
        return Completion(content_type_of(answer), answer.body, [])


def granted(name: str) -> str:
    """The value that the operator granted under that name."""
    value = config.get(name)
    if value is None:
        # The operator can add it at any time, so the job is kept.
        raise Err(Failure_TryAgain(Setback(f'the value "{name}" is not granted', "not-configured", None)))
    return value


def order_of(payload: bytes) -> str:
    """The order's name. A payload without one never gets better, so the job is rejected."""
    try:
        order = text_member(payload, "order")
        order.encode()  # JSON can spell half of a surrogate pair, which no log line can hold.
    except ValueError as error:
        raise Err(Failure_Reject(Fault(f"the payload is no order: {error}", "bad-order"))) from error
    return order


def deliver(job: Job, url: str, token: str) -> http.Response:
    """Sends the payload as it is. Returns only an answer that says that it was taken."""
    headers = [
        http.Header("content-type", job.content_type),
        http.Header("authorization", f"Bearer {token}"),
        # The same over all attempts of a job, so that the ERP can recognise a repeat.
        http.Header("idempotency-key", job.idempotency_key),
    ]
    try:
        answer = http.send(http.Request("POST", url, headers, job.payload, None))
    except Err as error:
        raise Err(failure_of_error(error.value)) from error
    if not 200 <= answer.status < 300:
        raise Err(failure_of_answer(answer))
    return answer


def order_taken(order: str, answer: http.Response) -> Completion:
    try:
        number = text_member(answer.body, "number")
    except ValueError as error:
        # The ERP promised a number. That it broke its word is nothing to handle but something to be seen.
        raise RuntimeError("the ERP's answer names no number") from error
    info(f"the ERP took order {order} as {number}")
    return Completion(content_type_of(answer), answer.body, [Attribute("erp-number", number)])


def failure_of_answer(answer: http.Response) -> Failure:
    """Which answers are worth another attempt, and which are final."""
    status, code, message = answer.status, f"http-{answer.status}", f"the ERP answered {answer.status}"
    delay_ms = retry_after_ms(answer)
    if status == 429 or (status == 503 and delay_ms is not None):
        return Failure_RateLimited(Setback(message, code, delay_ms))
    if status in (408, 425) or status >= 500:
        return Failure_TryAgain(Setback(message, code, None))
    # A character has at most four bytes, so there is no need to decode more of them.
    excerpt = answer.body[: 4 * EXCERPT_CHARS_MAX].decode(errors="replace")[:EXCERPT_CHARS_MAX]
    return Failure_Reject(Fault(f"{message}: {excerpt}" if excerpt else message, code))


def failure_of_error(error: http.SendError) -> Failure:
    """What it means for the job that there is no answer."""
    match error:
        case http.SendError_Denied(message):
            return Failure_TryAgain(Setback(message, "denied", None))
        case http.SendError_Unreachable(message):
            return Failure_TryAgain(Setback(message, "unreachable", None))
        case http.SendError_Unanswered(message):
            # The ERP may have taken it. The host tries again with the same idempotency key.
            return Failure_UnknownOutcome(Fault(message, "unanswered"))
        case http.SendError_Invalid(message):
            return Failure_Reject(Fault(message, "invalid-request"))
        case http.SendError_TooLarge(message):
            return Failure_Reject(Fault(message, "too-large"))


def text_member(document: bytes, name: str) -> str:
    """A text member of a JSON object. Raises a `ValueError` that says what is wrong."""
    content = json.loads(document)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if not isinstance(content.get(name), str):
        raise ValueError(f'no text member "{name}"')
    return content[name]


def retry_after_ms(answer: http.Response) -> int | None:
    """How long the ERP asks to be left alone, where it says so in whole seconds."""
    value = header(answer, "retry-after") or ""
    if not (value.isascii() and value.isdigit()):
        return None
    # More digits than these are too much anyway.
    return min(int(value[:10]) * 1000, DELAY_MS_MAX)


def content_type_of(answer: http.Response) -> str:
    return header(answer, "content-type") or "application/octet-stream"


def header(answer: http.Response, name: str) -> str | None:
    """The first header of that name. The host hands the names over in lower case."""
    return next((header.value for header in answer.headers if header.name == name), None)


def info(message: str) -> None:
    log.log(log.Level.INFO, message)

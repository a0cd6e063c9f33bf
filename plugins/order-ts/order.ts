// Delivers orders and documents to an ERP: one call of `handler.run` is one attempt of one job.

import config from "windlass:plugin/config@0.1.0";
import http from "windlass:plugin/http@0.1.0";
import log from "windlass:plugin/log@0.1.0";
import type { Handler } from "windlass:plugin/handler@0.1.0";
import type { Request, Response, SendError } from "windlass:plugin/http@0.1.0";
import type { Metadata } from "windlass:plugin/metadata@0.1.0";
import type { Attribute, Completion, Failure, Job } from "windlass:plugin/types@0.1.0";

import { decodeUtf8 } from "./utf8.js";

const DELAY_MS_MAX = 2 ** 32 - 1;
const EXCERPT_CHARACTERS_MAX = 200;

export const handler: Handler = {
  /**
   * Handles one attempt. What it returns completes the job, and a thrown `Failure` says what else becomes of it. Any
   * other exception fails this attempt alone, and its message and stack are kept with it.
   */
  run(job) {
    const erp = granted("erp");
    const token = granted("token");
    if (mediaType(job.contentType) === "application/json") {
      const order = orderOf(job.payload);
      info(`delivering order ${order}, attempt ${job.attempt}`);
      return taken(order, deliver(job, `${erp}/orders`, token));
    }
    info(`delivering a document of ${job.payload.length} bytes, attempt ${job.attempt}`);
    return completion(deliver(job, `${erp}/documents`, token));
  },
};

export const metadata: Metadata = {
  describe() {
    return JSON.stringify({
      title: "Order delivery",
      description: "Delivers orders and documents to an ERP",
      version: "0.1.0",
      config: ["erp"],
      secrets: ["token"],
    });
  },
};

/** The value that the operator granted under that name. */
function granted(name: string): string {
  const value = config.get(name);
  // The operator can add it at any time, so the job is kept.
  if (value === null) throw tryAgain("not-configured", `the value "${name}" is not granted`);
  return value;
}

/** The order's name. A payload without one never gets better, so the job is rejected. */
function orderOf(payload: Uint8Array): string {
  try {
    return textMember(payload, "order");
  } catch (error) {
    throw reject("bad-order", `the payload is no order: ${(error as Error).message}`);
  }
}

/** Sends the payload as it is. Returns only an answer that says that it was taken. */
function deliver(job: Job, url: string, token: string): Response {
  const headers = [
    { name: "content-type", value: job.contentType },
    { name: "authorization", value: `Bearer ${token}` },
    // The same over all attempts of a job, so that the ERP can recognise a repeat.
    { name: "idempotency-key", value: job.idempotencyKey },
  ];
  const answer = send({ method: "POST", url, headers, body: job.payload, timeoutMs: null });
  if (answer.status < 200 || answer.status > 299) throw failureOfAnswer(answer);
  return answer;
}

function send(request: Request): Response {
  try {
    return http.send(request);
  } catch (error) {
    throw failureOfError((error as { payload: SendError }).payload);
  }
}

function taken(order: string, answer: Response): Completion {
  let number: string;
  try {
    number = textMember(answer.body, "number");
  } catch (cause) {
    // The ERP promised a number. That it broke its word is nothing to handle but something to be seen.
    throw new Error("the ERP's answer names no number", { cause });
  }
  info(`the ERP took order ${order} as ${number}`);
  return completion(answer, [{ name: "erp-number", value: number }]);
}

function completion(answer: Response, attributes: Attribute[] = []): Completion {
  return { contentType: header(answer, "content-type") ?? "application/octet-stream", body: answer.body, attributes };
}

/** Which answers are worth another attempt, and which are final. */
function failureOfAnswer(answer: Response): Failure {
  const { status, body } = answer;
  const code = `http-${status}`;
  const message = `the ERP answered ${status}`;
  const delayMs = retryAfterMs(answer);
  if (status === 429 || (status === 503 && delayMs !== null)) {
    return { tag: "rate-limited", val: { message, code, delayMs } };
  }
  if (status === 408 || status === 425 || status >= 500) return tryAgain(code, message);
  // A character has at most four bytes, so there is no need to decode more of them.
  const excerpt = [...decodeUtf8(body.subarray(0, 4 * EXCERPT_CHARACTERS_MAX))].slice(0, EXCERPT_CHARACTERS_MAX).join("");
  return reject(code, excerpt ? `${message}: ${excerpt}` : message);
}

/** What it means for the job that there is no answer. */
function failureOfError({ tag, val: message }: SendError): Failure {
  switch (tag) {
    case "denied":
    case "unreachable":
      return tryAgain(tag, message);
    case "unanswered":
      // The ERP may have taken it. The host tries again with the same idempotency key.
      return { tag: "unknown-outcome", val: { message, code: tag } };
    case "invalid":
      return reject("invalid-request", message);
    case "too-large":
      return reject(tag, message);
  }
}

/** A text member of a JSON object. */
function textMember(document: Uint8Array, name: string): string {
  const value: unknown = JSON.parse(decodeUtf8(document));
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError("not a JSON object");
  const member = Object.entries(value).find(([key]) => key === name)?.[1];
  if (typeof member !== "string") throw new TypeError(`no text member "${name}"`);
  // JSON can spell half of a surrogate pair, which no log line can hold.
  if (!member.isWellFormed()) throw new TypeError(`"${name}" is no text`);
  return member;
}

/** How long the ERP asks to be left alone, where it says so in whole seconds. */
function retryAfterMs(answer: Response): number | null {
  const value = header(answer, "retry-after") ?? "";
  return /^\d+$/.test(value) ? Math.min(Number(value) * 1000, DELAY_MS_MAX) : null;
}

/** The first header of that name. The host hands the names over in lower case. */
function header(answer: Response, name: string): string | undefined {
  return answer.headers.find((header) => header.name === name)?.value;
}

/** A media type without its parameters. */
function mediaType(contentType: string): string {
  return (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();
}

function tryAgain(code: string, message: string): Failure {
  return { tag: "try-again", val: { message, code, delayMs: null } };
}

function reject(code: string, message: string): Failure {
  return { tag: "reject", val: { message, code } };
}

function info(message: string): void {
  log.log("info", message);
}

// @ts-check
// Delivers orders and documents to an ERP: one call of `handler.run` is one attempt of one job.

import config from "windlass:plugin/config@0.1.0";
import http from "windlass:plugin/http@0.1.0";
import log from "windlass:plugin/log@0.1.0";
import { decodeUtf8 } from "./utf8.js";

/** @import { Completion, Failure, Job } from "windlass:plugin/types@0.1.0" */
/** @import { Response, SendError } from "windlass:plugin/http@0.1.0" */

const DELAY_MS_MAX = 2 ** 32 - 1;
const EXCERPT_CHARACTERS_MAX = 200;

/** @type {import("windlass:plugin/handler@0.1.0").Handler} */
export const handler = {
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

/** @type {import("windlass:plugin/metadata@0.1.0").Metadata} */
export const metadata = {
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

/**
 * The value that the operator granted under that name.
 *
 * @param {string} name
 */
function granted(name) {
  const value = config.get(name);
  // The operator can add it at any time, so the job is kept.
  if (value === null) throw tryAgain("not-configured", `the value "${name}" is not granted`);
  return value;
}

/**
 * The order's name. A payload without one never gets better, so the job is rejected.
 *
 * @param {Uint8Array} payload
 */
function orderOf(payload) {
  try {
    return textMember(payload, "order");
  } catch (error) {
    throw reject("bad-order", `the payload is no order: ${/** @type {Error} */ (error).message}`);
  }
}

/**
 * Sends the payload as it is. Returns only an answer that says that it was taken.
 *
 * @param {Job} job
 * @param {string} url
 * @param {string} token
 */
function deliver(job, url, token) {
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

/** @param {import("windlass:plugin/http@0.1.0").Request} request */
function send(request) {
  try {
    return http.send(request);
  } catch (error) {
    throw failureOfError(/** @type {{ payload: SendError }} */ (error).payload);
  }
}

/**
 * @param {string} order
 * @param {Response} answer
 */
function taken(order, answer) {
  let number;
  try {
    number = textMember(answer.body, "number");
  } catch (cause) {
    // The ERP promised a number. That it broke its word is nothing to handle but something to be seen.
    throw new Error("the ERP's answer names no number", { cause });
  }
  info(`the ERP took order ${order} as ${number}`);
  return completion(answer, [{ name: "erp-number", value: number }]);
}

/**
 * @param {Response} answer
 * @returns {Completion}
 */
function completion(answer, attributes = /** @type {Completion["attributes"]} */ ([])) {
  return { contentType: header(answer, "content-type") ?? "application/octet-stream", body: answer.body, attributes };
}

/**
 * Which answers are worth another attempt, and which are final.
 *
 * @param {Response} answer
 */
function failureOfAnswer(answer) {
  const { status, body } = answer;
  const [code, message] = [`http-${status}`, `the ERP answered ${status}`];
  const delayMs = retryAfterMs(answer);
  if (status === 429 || (status === 503 && delayMs !== null)) {
    return failure({ tag: "rate-limited", val: { message, code, delayMs } });
  }
  if (status === 408 || status === 425 || status >= 500) return tryAgain(code, message);
  // A character has at most four bytes, so there is no need to decode more of them.
  const excerpt = [...decodeUtf8(body.subarray(0, 4 * EXCERPT_CHARACTERS_MAX))].slice(0, EXCERPT_CHARACTERS_MAX).join("");
  return reject(code, excerpt ? `${message}: ${excerpt}` : message);
}

/**
 * What it means for the job that there is no answer.
 *
 * @param {SendError} error
 */
function failureOfError({ tag, val: message }) {
  switch (tag) {
    case "denied":
    case "unreachable":
      return tryAgain(tag, message);
    case "unanswered":
      // The ERP may have taken it. The host tries again with the same idempotency key.
      return failure({ tag: "unknown-outcome", val: { message, code: tag } });
    case "invalid":
      return reject("invalid-request", message);
    case "too-large":
      return reject(tag, message);
  }
}

/**
 * A text member of a JSON object.
 *
 * @param {Uint8Array} document
 * @param {string} name
 * @returns {string}
 */
function textMember(document, name) {
  const value = JSON.parse(decodeUtf8(document));
  const member = value !== null && Object.hasOwn(value, name) ? value[name] : undefined;
  if (typeof member !== "string" || Array.isArray(value)) throw new TypeError(`no text member "${name}"`);
  // JSON can spell half of a surrogate pair, which no log line can hold.
  if (!member.isWellFormed()) throw new TypeError(`"${name}" is no text`);
  return member;
}

/**
 * How long the ERP asks to be left alone, where it says so in whole seconds.
 *
 * @param {Response} answer
 */
function retryAfterMs(answer) {
  const value = header(answer, "retry-after") ?? "";
  return /^\d+$/.test(value) ? Math.min(Number(value) * 1000, DELAY_MS_MAX) : null;
}

/**
 * The first header of that name. The host hands the names over in lower case.
 *
 * @param {Response} answer
 * @param {string} name
 */
function header(answer, name) {
  return answer.headers.find((header) => header.name === name)?.value;
}

/**
 * A media type without its parameters.
 *
 * @param {string} contentType
 */
function mediaType(contentType) {
  return contentType.split(";", 1)[0].trim().toLowerCase();
}

/**
 * @param {string} code
 * @param {string} message
 */
function tryAgain(code, message) {
  return failure({ tag: "try-again", val: { message, code, delayMs: null } });
}

/**
 * @param {string} code
 * @param {string} message
 */
function reject(code, message) {
  return failure({ tag: "reject", val: { message, code } });
}

/**
 * Only for the type checker.
 *
 * @param {Failure} failure
 */
function failure(failure) {
  return failure;
}

/** @param {string} message */
function info(message) {
  log.log("info", message);
}

// Delivers orders and documents to an ERP: one call of `run` is one attempt of one job.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json.h"
#include "starter.h"

// How much of a refusal stands in the job's error.
#define EXCERPT_CHARACTERS_MAX 200

typedef starter_string_t text;
typedef windlass_plugin_types_job_t job;
typedef windlass_plugin_types_completion_t completion;
typedef windlass_plugin_types_failure_t failure;
typedef windlass_plugin_http_header_t header;
typedef windlass_plugin_http_response_t response;
typedef windlass_plugin_http_send_error_t send_error;

static const starter_option_u32_t no_delay = {false, 0};

// --- text

// Text that lives as long as the program.
static text constant(const char *chars) { return (text){(uint8_t *)chars, strlen(chars)}; }

static text number(uint64_t value) {
  text digits;
  char chars[24];
  snprintf(chars, sizeof chars, "%" PRIu64, value);
  starter_string_dup(&digits, chars);
  return digits;
}

// The parts one after the other, in fresh memory: what goes to the host is freed when the call is over.
static text joined(size_t count, const text parts[]) {
  text whole = {NULL, 0};
  for (size_t i = 0; i < count; i++) whole.len += parts[i].len;
  whole.ptr = malloc(whole.len + 1);
  if (!whole.ptr) abort();
  uint8_t *at = whole.ptr;
  for (size_t i = 0; i < count; at += parts[i].len, i++) memcpy(at, parts[i].ptr, parts[i].len);
  return whole;
}
#define JOINED(...) joined(sizeof((const text[]){__VA_ARGS__}) / sizeof(text), (const text[]){__VA_ARGS__})

static void info(text line) {
  windlass_plugin_log_log(WINDLASS_PLUGIN_LOG_LEVEL_INFO, &line);
  starter_string_free(&line);
}

// --- failures; each returns false, as `run` does where a job is not completed

static starter_option_string_t some(text code) { return (starter_option_string_t){true, code}; }

static bool try_again(failure *err, text message, text code) {
  err->tag = WINDLASS_PLUGIN_TYPES_FAILURE_TRY_AGAIN;
  err->val.try_again = (windlass_plugin_types_setback_t){message, some(code), no_delay};
  return false;
}

static bool rate_limited(failure *err, text message, text code, starter_option_u32_t delay_ms) {
  err->tag = WINDLASS_PLUGIN_TYPES_FAILURE_RATE_LIMITED;
  err->val.rate_limited = (windlass_plugin_types_setback_t){message, some(code), delay_ms};
  return false;
}

static bool reject(failure *err, text message, text code) {
  err->tag = WINDLASS_PLUGIN_TYPES_FAILURE_REJECT;
  err->val.reject = (windlass_plugin_types_fault_t){message, some(code)};
  return false;
}

static bool unknown_outcome(failure *err, text message, text code) {
  err->tag = WINDLASS_PLUGIN_TYPES_FAILURE_UNKNOWN_OUTCOME;
  err->val.unknown_outcome = (windlass_plugin_types_fault_t){message, some(code)};
  return false;
}

// --- the ERP

// The first header of that name, or NULL. The host hands the names over in lower case.
static const text *find_header(const response *answer, const char *name) {
  for (size_t i = 0; i < answer->headers.len; i++) {
    const header *each = &answer->headers.ptr[i];
    if (each->name.len == strlen(name) && memcmp(each->name.ptr, name, each->name.len) == 0) return &each->value;
  }
  return NULL;
}

// How long the ERP asks to be left alone, where it says so in whole seconds.
static starter_option_u32_t retry_after_ms(const response *answer) {
  const text *value = find_header(answer, "retry-after");
  if (!value || value->len == 0) return no_delay;
  uint64_t secs = 0;
  for (size_t i = 0; i < value->len; i++) {
    if (value->ptr[i] < '0' || value->ptr[i] > '9') return no_delay;
    if (secs < UINT32_MAX) secs = secs * 10 + (value->ptr[i] - '0');
  }
  uint64_t ms = secs * 1000;
  return (starter_option_u32_t){true, ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX};
}

// The beginning of a body as text. The host takes only UTF-8: U+FFFD stands for what is none.
static text excerpt(const starter_list_u8_t *body) {
  static const uint8_t replacement[] = {0xef, 0xbf, 0xbd};
  text out = {malloc(4 * EXCERPT_CHARACTERS_MAX), 0};
  if (!out.ptr) abort();
  size_t at = 0;
  for (int count = 0; count < EXCERPT_CHARACTERS_MAX && at < body->len; count++) {
    size_t len = json_utf8_len(body->ptr + at, body->len - at);
    memcpy(out.ptr + out.len, len > 0 ? body->ptr + at : replacement, len > 0 ? len : sizeof replacement);
    out.len += len > 0 ? len : sizeof replacement;
    at += len > 0 ? len : 1;
  }
  return out;
}

// Which answers are worth another attempt, and which are final.
static bool fail_by_answer(failure *err, const response *answer) {
  uint16_t status = answer->status;
  text digits = number(status), message = JOINED(constant("the ERP answered "), digits);
  text code = JOINED(constant("http-"), digits);
  starter_string_free(&digits);
  starter_option_u32_t delay_ms = retry_after_ms(answer);
  if (status == 429 || (status == 503 && delay_ms.is_some)) return rate_limited(err, message, code, delay_ms);
  if (status == 408 || status == 425 || status >= 500) return try_again(err, message, code);
  if (answer->body.len > 0) {
    text said = excerpt(&answer->body), whole = JOINED(message, constant(": "), said);
    starter_string_free(&said);
    starter_string_free(&message);
    message = whole;
  }
  return reject(err, message, code);
}

// What it means for the job that there is no answer.
static bool fail_by_error(failure *err, const send_error *error) {
  // All cases carry their message in the same place.
  text message = error->val.denied, code = {NULL, 0};
  switch (error->tag) {
    case WINDLASS_PLUGIN_HTTP_SEND_ERROR_DENIED:
      starter_string_dup(&code, "denied");
      return try_again(err, message, code);
    case WINDLASS_PLUGIN_HTTP_SEND_ERROR_UNREACHABLE:
      starter_string_dup(&code, "unreachable");
      return try_again(err, message, code);
    case WINDLASS_PLUGIN_HTTP_SEND_ERROR_UNANSWERED:
      // The ERP may have taken it. The host tries again with the same idempotency key.
      starter_string_dup(&code, "unanswered");
      return unknown_outcome(err, message, code);
    case WINDLASS_PLUGIN_HTTP_SEND_ERROR_TOO_LARGE:
      starter_string_dup(&code, "too-large");
      return reject(err, message, code);
    default:
      starter_string_dup(&code, "invalid-request");
      return reject(err, message, code);
  }
}

// Sends the payload as it is. Succeeds with an answer that says that it was taken.
static bool deliver(const job *job, text erp, text token, const char *path, response *answer, failure *err) {
  text url = JOINED(erp, constant(path)), authorization = JOINED(constant("Bearer "), token);
  header headers[] = {
      {constant("content-type"), job->content_type},
      {constant("authorization"), authorization},
      // The same over all attempts of a job, so that the ERP can recognise a repeat.
      {constant("idempotency-key"), job->idempotency_key},
  };
  windlass_plugin_http_request_t request = {
      .method = constant("POST"), .url = url, .headers = {headers, 3}, .body = job->payload};
  send_error error;
  bool is_sent = windlass_plugin_http_send(&request, answer, &error);
  starter_string_free(&url);
  starter_string_free(&authorization);
  if (!is_sent) return fail_by_error(err, &error);
  if (answer->status >= 200 && answer->status < 300) return true;
  fail_by_answer(err, answer);
  windlass_plugin_http_response_free(answer);
  return false;
}

// The job is done, with the answer as its result.
static bool complete(completion *ret, const response *answer) {
  const text *type = find_header(answer, "content-type");
  ret->content_type = type ? JOINED(*type) : JOINED(constant("application/octet-stream"));
  ret->body = answer->body;
  ret->attributes = (windlass_plugin_types_list_attribute_t){NULL, 0};
  return true;
}

// --- the plugin

static bool is_json(const text *content_type) {
  const char *json = "application/json";
  size_t len = strlen(json);
  if (content_type->len < len || strncasecmp((const char *)content_type->ptr, json, len) != 0) return false;
  return content_type->len == len || strchr("; \t", content_type->ptr[len]);
}

static bool deliver_order(const job *job, text erp, text token, completion *ret, failure *err) {
  text order, erp_number;
  const char *wrong = json_text_member(job->payload.ptr, job->payload.len, "order", &order.ptr, &order.len);
  if (wrong) return reject(err, JOINED(constant("the payload is no order: "), constant(wrong)), JOINED(constant("bad-order")));
  text attempt = number(job->attempt);
  info(JOINED(constant("delivering order "), order, constant(", attempt "), attempt));
  starter_string_free(&attempt);
  response answer;
  if (!deliver(job, erp, token, "/orders", &answer, err)) {
    starter_string_free(&order);
    return false;
  }
  wrong = json_text_member(answer.body.ptr, answer.body.len, "number", &erp_number.ptr, &erp_number.len);
  if (wrong) {
    // The ERP promised a number. That it broke its word is nothing to handle, but something to be seen: this fails
    // the attempt, and the line is kept with it.
    fprintf(stderr, "%s:%d: the ERP's answer names no number: %s\n", __FILE__, __LINE__, wrong);
    abort();
  }
  info(JOINED(constant("the ERP took order "), order, constant(" as "), erp_number));
  starter_string_free(&order);
  complete(ret, &answer);
  ret->attributes.ptr = malloc(sizeof *ret->attributes.ptr);
  if (!ret->attributes.ptr) abort();
  ret->attributes.ptr[0] = (windlass_plugin_types_attribute_t){JOINED(constant("erp-number")), erp_number};
  ret->attributes.len = 1;
  return true;
}

static bool deliver_document(const job *job, text erp, text token, completion *ret, failure *err) {
  text bytes = number(job->payload.len), attempt = number(job->attempt);
  info(JOINED(constant("delivering a document of "), bytes, constant(" bytes, attempt "), attempt));
  starter_string_free(&bytes);
  starter_string_free(&attempt);
  response answer;
  return deliver(job, erp, token, "/documents", &answer, err) && complete(ret, &answer);
}

// The value that the operator granted under that name.
static bool granted(const char *name, text *value, failure *err) {
  text asked = constant(name);
  if (windlass_plugin_config_get(&asked, value)) return true;
  // The operator can add it at any time, so the job is kept.
  text message = JOINED(constant("the value \""), asked, constant("\" is not granted"));
  return try_again(err, message, JOINED(constant("not-configured")));
}

bool exports_windlass_plugin_handler_run(job *job, completion *ret, failure *err) {
  text erp = {NULL, 0}, token = {NULL, 0};
  bool is_done = granted("erp", &erp, err) && granted("token", &token, err) &&
                 (is_json(&job->content_type) ? deliver_order : deliver_document)(job, erp, token, ret, err);
  starter_string_free(&erp);
  starter_string_free(&token);
  windlass_plugin_types_job_free(job);
  return is_done;
}

void exports_windlass_plugin_metadata_describe(text *ret) {
  starter_string_dup(ret, "{\"title\": \"Order delivery\", \"description\": \"Delivers orders and documents to an ERP\","
                          " \"version\": \"0.1.0\", \"config\": [\"erp\"], \"secrets\": [\"token\"]}");
}

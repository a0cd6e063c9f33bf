#include "windlass.hpp"

#include <cstdlib>
#include <cstring>

#include "json.h"

namespace windlass {
namespace {

// For the time of a call: the host only reads it.
starter_string_t lent(std::string_view text) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data())), text.size()};
}

// For good: the bindings free it.
starter_string_t given(std::string_view text) {
  starter_string_t copy;
  starter_string_dup_n(&copy, text.data(), text.size());
  return copy;
}

std::string taken(starter_string_t text) {
  std::string copy{reinterpret_cast<const char*>(text.ptr), text.len};
  starter_string_free(&text);
  return copy;
}

void give(const Failure& failure, windlass_plugin_types_failure_t* err) {
  const starter_option_string_t code{true, given(failure.code)};
  const starter_option_u32_t delay_ms{failure.delay_ms.has_value(), failure.delay_ms.value_or(0)};
  err->tag = failure.kind;
  switch (failure.kind) {
    case WINDLASS_PLUGIN_TYPES_FAILURE_TRY_AGAIN:
    case WINDLASS_PLUGIN_TYPES_FAILURE_RATE_LIMITED:
      err->val.try_again = {given(failure.message), code, delay_ms};
      break;
    default:
      err->val.reject = {given(failure.message), code};
  }
}

void give(Completion&& completion, windlass_plugin_types_completion_t* ret) {
  using Attribute = windlass_plugin_types_attribute_t;

  const auto& attributes = completion.attributes;
  auto* items = static_cast<Attribute*>(std::malloc((attributes.size() + 1) * sizeof(Attribute)));
  if (!items) std::abort();
  for (std::size_t i = 0; i < attributes.size(); i++)
    items[i] = {given(attributes[i].first), given(attributes[i].second)};
  ret->content_type = given(completion.content_type);
  ret->body = std::move(completion.answer).take_body();
  ret->attributes = {items, attributes.size()};
  if (attributes.empty()) std::free(items);
}

}  // namespace

std::optional<std::string_view> Answer::header(std::string_view name) const {
  for (std::size_t i = 0; i < raw_.headers.len; i++) {
    const auto& [key, value] = raw_.headers.ptr[i];
    if (name == std::string_view{reinterpret_cast<const char*>(key.ptr), key.len})
      return std::string_view{reinterpret_cast<const char*>(value.ptr), value.len};
  }
  return std::nullopt;
}

std::expected<Answer, SendError> post(std::string_view url, std::initializer_list<Header> headers,
                                      std::string_view body) {
  std::vector<windlass_plugin_http_header_t> raw;
  for (const auto& header : headers) raw.push_back({lent(header.name), lent(header.value)});
  const auto bytes = lent(body);
  windlass_plugin_http_request_t request{
      .method = lent("POST"), .url = lent(url), .headers = {raw.data(), raw.size()}, .body = {bytes.ptr, bytes.len},
      .timeout_ms = {false, 0}};
  windlass_plugin_http_response_t answer;
  windlass_plugin_http_send_error_t error;
  if (windlass_plugin_http_send(&request, &answer, &error)) return Answer{answer};
  // All cases carry their message in the same place, and stand in the order of `Kind`.
  return std::unexpected(SendError{static_cast<SendError::Kind>(error.tag), taken(error.val.denied)});
}

std::optional<std::string> config(std::string_view name) {
  auto asked = lent(name);
  starter_string_t value;
  if (!windlass_plugin_config_get(&asked, &value)) return std::nullopt;
  return taken(value);
}

void info(std::string_view line) {
  auto message = lent(line);
  windlass_plugin_log_log(WINDLASS_PLUGIN_LOG_LEVEL_INFO, &message);
}

std::expected<std::string, const char*> text_member(std::string_view document, const char* name) {
  starter_string_t text;
  const auto bytes = lent(document);
  if (const char* wrong = json_text_member(bytes.ptr, bytes.len, name, &text.ptr, &text.len))
    return std::unexpected(wrong);
  return taken(text);
}

std::string excerpt(std::string_view body, std::size_t characters_max) {
  std::string out;
  for (std::size_t count = 0; count < characters_max && !body.empty(); count++) {
    const auto bytes = lent(body);
    const auto len = json_utf8_len(bytes.ptr, bytes.len);
    out += len > 0 ? body.substr(0, len) : "\xef\xbf\xbd";
    body.remove_prefix(len > 0 ? len : 1);
  }
  return out;
}

}  // namespace windlass

extern "C" bool exports_windlass_plugin_handler_run(windlass_plugin_types_job_t* job,
                                                    windlass_plugin_types_completion_t* ret,
                                                    windlass_plugin_types_failure_t* err) {
  auto outcome = windlass::run(windlass::Job{*job});
  windlass_plugin_types_job_free(job);
  if (outcome) windlass::give(*std::move(outcome), ret);
  else windlass::give(outcome.error(), err);
  return outcome.has_value();
}

extern "C" void exports_windlass_plugin_metadata_describe(starter_string_t* ret) {
  *ret = windlass::given(windlass::describe());
}

// What the host offers, and what it calls, as C++: a thin layer over the C bindings in starter.h.
#pragma once

#include <cstdint>
#include <expected>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "starter.h"

namespace windlass {

// The job, as this attempt sees it. It lives as long as the call of `run`.
class Job {
 public:
  explicit Job(const windlass_plugin_types_job_t& job) : job_{job} {}
  std::uint32_t attempt() const { return job_.attempt; }
  // The same over all attempts of a job.
  std::string_view idempotency_key() const { return view(job_.idempotency_key); }
  std::string_view content_type() const { return view(job_.content_type); }
  std::string_view payload() const { return view(job_.payload); }

 private:
  template <typename Span>
  static std::string_view view(const Span& span) {
    return {reinterpret_cast<const char*>(span.ptr), span.len};
  }
  const windlass_plugin_types_job_t& job_;
};

// An HTTP answer. It owns what the host put into the plugin's memory.
class Answer {
 public:
  explicit Answer(const windlass_plugin_http_response_t& raw) : raw_{raw} {}
  Answer(Answer&& other) noexcept : raw_{std::exchange(other.raw_, {})} {}
  Answer& operator=(Answer&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~Answer() { windlass_plugin_http_response_free(&raw_); }

  std::uint16_t status() const { return raw_.status; }
  std::string_view body() const { return {reinterpret_cast<const char*>(raw_.body.ptr), raw_.body.len}; }
  // The first header of that name, which is in lower case.
  std::optional<std::string_view> header(std::string_view name) const;
  // The body, which is no longer part of the answer.
  starter_list_u8_t take_body() && { return std::exchange(raw_.body, {}); }

 private:
  windlass_plugin_http_response_t raw_;
};

// Why there is no answer.
struct SendError {
  enum class Kind { denied, invalid, unreachable, unanswered, too_large } kind;
  std::string message;
};

// The work is done; the answer's body is the result.
struct Completion {
  std::string content_type;
  Answer answer;
  std::vector<std::pair<std::string, std::string>> attributes = {};
};

// The work is not done, and what that means for the job.
struct Failure {
  std::uint8_t kind;
  std::string message;
  std::string code;
  std::optional<std::uint32_t> delay_ms;

  static Failure try_again(std::string message, std::string code) {
    return {WINDLASS_PLUGIN_TYPES_FAILURE_TRY_AGAIN, std::move(message), std::move(code), {}};
  }
  static Failure rate_limited(std::string message, std::string code, std::optional<std::uint32_t> delay_ms) {
    return {WINDLASS_PLUGIN_TYPES_FAILURE_RATE_LIMITED, std::move(message), std::move(code), delay_ms};
  }
  static Failure reject(std::string message, std::string code) {
    return {WINDLASS_PLUGIN_TYPES_FAILURE_REJECT, std::move(message), std::move(code), {}};
  }
  static Failure unknown_outcome(std::string message, std::string code) {
    return {WINDLASS_PLUGIN_TYPES_FAILURE_UNKNOWN_OUTCOME, std::move(message), std::move(code), {}};
  }
};

struct Header {
  std::string_view name;
  std::string value;
  Header(std::string_view name, std::string_view value) : name{name}, value{value} {}
};

// Sends a request and waits for the whole answer. Follows no redirect and repeats nothing.
std::expected<Answer, SendError> post(std::string_view url, std::initializer_list<Header> headers,
                                      std::string_view body);

// The value or the secret that the operator granted under that name.
std::optional<std::string> config(std::string_view name);

// Keeps a line with the attempt.
void info(std::string_view line);

// A text member of a JSON object, or what is wrong with the document.
std::expected<std::string, const char*> text_member(std::string_view document, const char* name);

// The first characters of a body, as UTF-8: U+FFFD stands for what is none.
std::string excerpt(std::string_view body, std::size_t characters_max);

// --- what a plugin defines

// Handles one attempt of one job.
std::expected<Completion, Failure> run(const Job& job);

// What the plugin says of itself, as JSON.
std::string describe();

}  // namespace windlass

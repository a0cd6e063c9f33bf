// Delivers orders and documents to an ERP: one call of `run` is one attempt of one job.

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <expected>
#include <format>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "windlass.hpp"

using namespace std::literals;
using windlass::Answer, windlass::Completion, windlass::Failure, windlass::Job;

namespace {

// How much of a refusal stands in the job's error.
constexpr std::size_t excerpt_characters_max = 200;

template <typename T>
using Attempted = std::expected<T, Failure>;

// How long the ERP asks to be left alone, where it says so in whole seconds.
std::optional<std::uint32_t> retry_after_ms(const Answer& answer) {
  const auto value = answer.header("retry-after").value_or("");
  std::uint64_t secs = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), secs);
  if (value.empty() || value.front() == '-' || end != value.data() + value.size()) return std::nullopt;
  if (error != std::errc{} || secs > UINT32_MAX / 1000) return UINT32_MAX;
  return static_cast<std::uint32_t>(secs * 1000);
}

// Which answers are worth another attempt, and which are final.
Failure failure_of(const Answer& answer) {
  const auto status = answer.status();
  const auto code = std::format("http-{}", status);
  const auto message = std::format("the ERP answered {}", status);
  const auto delay_ms = retry_after_ms(answer);
  if (status == 429 || (status == 503 && delay_ms)) return Failure::rate_limited(message, code, delay_ms);
  if (status == 408 || status == 425 || status >= 500) return Failure::try_again(message, code);
  const auto said = windlass::excerpt(answer.body(), excerpt_characters_max);
  return Failure::reject(said.empty() ? message : std::format("{}: {}", message, said), code);
}

// What it means for the job that there is no answer.
Failure failure_of(const windlass::SendError& error) {
  using enum windlass::SendError::Kind;
  switch (error.kind) {
    case denied: return Failure::try_again(error.message, "denied");
    case unreachable: return Failure::try_again(error.message, "unreachable");
    // The ERP may have taken it. The host tries again with the same idempotency key.
    case unanswered: return Failure::unknown_outcome(error.message, "unanswered");
    case invalid: return Failure::reject(error.message, "invalid-request");
    case too_large: return Failure::reject(error.message, "too-large");
  }
  std::abort();
}

// The value that the operator granted under that name.
Attempted<std::string> granted(std::string_view name) {
  if (auto value = windlass::config(name)) return *std::move(value);
  // The operator can add it at any time, so the job is kept.
  return std::unexpected(Failure::try_again(std::format("the value \"{}\" is not granted", name), "not-configured"));
}

// Sends the payload as it is. Succeeds with an answer that says that it was taken.
Attempted<Answer> deliver(const Job& job, const std::string& url, const std::string& token) {
  auto answer = windlass::post(url,
                               {{"content-type", job.content_type()},
                                {"authorization", "Bearer " + token},
                                // The same over all attempts of a job, so that the ERP can recognise a repeat.
                                {"idempotency-key", job.idempotency_key()}},
                               job.payload());
  if (!answer) return std::unexpected(failure_of(answer.error()));
  if (answer->status() < 200 || answer->status() > 299) return std::unexpected(failure_of(*answer));
  return *std::move(answer);
}

// The job is done, with the answer as its result.
Completion completion(Answer answer) {
  const std::string content_type{answer.header("content-type").value_or("application/octet-stream")};
  return Completion{content_type, std::move(answer)};
}

Attempted<Completion> deliver_order(const Job& job, const std::string& erp, const std::string& token) {
  const auto order = windlass::text_member(job.payload(), "order");
  if (!order) return std::unexpected(Failure::reject("the payload is no order: "s + order.error(), "bad-order"));
  windlass::info(std::format("delivering order {}, attempt {}", *order, job.attempt()));
  auto answer = deliver(job, erp + "/orders", token);
  if (!answer) return std::unexpected(std::move(answer).error());
  const auto number = windlass::text_member(answer->body(), "number");
  if (!number) {
    // The ERP promised a number. That it broke its word is nothing to handle, but something to be seen: this fails
    // the attempt, and the line is kept with it.
    std::fprintf(stderr, "%s:%d: the ERP's answer names no number: %s\n", __FILE__, __LINE__, number.error());
    std::abort();
  }
  windlass::info(std::format("the ERP took order {} as {}", *order, *number));
  auto done = completion(*std::move(answer));
  done.attributes.emplace_back("erp-number", *number);
  return done;
}

Attempted<Completion> deliver_document(const Job& job, const std::string& erp, const std::string& token) {
  windlass::info(std::format("delivering a document of {} bytes, attempt {}", job.payload().size(), job.attempt()));
  return deliver(job, erp + "/documents", token).transform(completion);
}

// A media type without its parameters, in lower case.
std::string media_type(std::string_view content_type) {
  std::string name{content_type.substr(0, content_type.find(';'))};
  name.erase(name.find_last_not_of(" \t") + 1);
  for (char& letter : name)
    if (letter >= 'A' && letter <= 'Z') letter += 'a' - 'A';
  return name;
}

}  // namespace

std::expected<Completion, Failure> windlass::run(const Job& job) {
  const auto erp = granted("erp"), token = granted("token");
  if (!erp) return std::unexpected(erp.error());
  if (!token) return std::unexpected(token.error());
  const auto is_order = media_type(job.content_type()) == "application/json";
  return (is_order ? deliver_order : deliver_document)(job, *erp, *token);
}

std::string windlass::describe() {
  return R"({"title": "Order delivery", "description": "Delivers orders and documents to an ERP", "version": "0.1.0",
             "config": ["erp"], "secrets": ["token"]})";
}

// Carries a value or an error across room borders; no exception passes through a contract.
#pragma once

#include <cassert>
#include <concepts>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace tessera {

// What went wrong, in the classes that callers treat differently. The command's exit codes follow these (docs/design.md).
enum class ErrorCode {
  kInternal,     // a bug here, or a policy's illegal plan: exit 1
  kInvalid,      // wrong arguments or configuration: exit 2
  kInfeasible,   // budgets that cannot be met: exit 3
  kData,         // missing, damaged or unreadable data, a full disk: exit 4
  kDevice,       // a device failed and nothing could take over: exit 5
  kUnavailable,  // a device that is not on this machine
  kDeadline,     // a wait ended before its work did
  kCancelled,    // interrupted: exit 130
};

// `message` names the object, the numbers and the remedy, in one line.
// NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): the analyzer does not follow the alternatives of a Result
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <typename T>
class Result;
// What becomes a T where a Result<T> is asked for, besides a T itself: a policy returns a Plan for a Decision.
template <typename U, typename T>
concept ValueOf = !std::same_as<std::remove_cvref_t<U>, T> && !std::same_as<std::remove_cvref_t<U>, Error> &&
                  !std::same_as<std::remove_cvref_t<U>, Result<T>> && std::convertible_to<U, T>;

// Either a T or an Error. Value access on an error is a programmer's mistake (asserted).
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  // Never from a Result: hides neither copy nor move.
  template <ValueOf<T> U>
  // NOLINTNEXTLINE(google-explicit-constructor,bugprone-forwarding-reference-overload)
  Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}
  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() {
    assert(ok());
    return std::get<0>(state_);
  }
  const T& value() const {
    assert(ok());
    return std::get<0>(state_);
  }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T take() { return std::move(value()); }
  const Error& error() const {
    assert(!ok());
    return std::get<1>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

// Success, or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    assert(error_.has_value());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace tessera

// Returns the error of `expr` (a Result or a Status) from the calling function.
#define TESSERA_TRY(expr)                                                                  \
  do {                                                                                     \
    if (auto tessera_status = (expr); !tessera_status.ok()) return tessera_status.error(); \
  } while (false)

#define TESSERA_CONCAT_(a, b) a##b
#define TESSERA_CONCAT(a, b) TESSERA_CONCAT_(a, b)
// `TESSERA_ASSIGN(auto x, f())`: x takes f's value, or the calling function returns f's error.
#define TESSERA_ASSIGN(decl, expr)                                                                               \
  auto TESSERA_CONCAT(tessera_result_, __LINE__) = (expr);                                                       \
  if (!TESSERA_CONCAT(tessera_result_, __LINE__).ok()) return TESSERA_CONCAT(tessera_result_, __LINE__).error(); \
  decl = TESSERA_CONCAT(tessera_result_, __LINE__).take()  // NOLINT(bugprone-macro-parentheses): a declaration

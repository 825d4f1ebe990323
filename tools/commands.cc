// Prints what commands have in common: documents and errors.
#include "tools/commands.h"

#include <cstdio>

#include "tools/exit_codes.h"
#include "tools/terminal.h"

namespace tessera {

Json new_document() { return Json{{"tessera", TESSERA_VERSION}}; }

void print_json(const Json& document) {
  const std::string text = document.dump(1, ' ', false, Json::error_handler_t::replace);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
}

int fail(std::string_view command, const Error& error, bool json) {
  if (json) {
    Json document = new_document();
    document["error"] = {{"code", error_word(error.code)}, {"message", error.message}};
    print_json(document);
  }
  std::fflush(stdout);
  const char* interrupted =
      error.code == ErrorCode::kCancelled && error.message.find("interrupted") == std::string::npos ? "interrupted: " : "";
  // Names and texts of damaged files must not drive the terminal.
  constexpr int kLongest = 4000;
  std::fprintf(stderr, "tessera %s: %s%s\n", std::string(command).c_str(), interrupted,
               printable(error.message, kLongest).c_str());
  return exit_code(error.code);
}

}  // namespace tessera

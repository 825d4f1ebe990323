// Lists the commands. Each lives in a file of its own: its flags, its work, its exit code.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "framework/result.h"

namespace tessera {

using Json = nlohmann::ordered_json;

struct Command {
  std::string_view name;
  std::string_view summary;
  // argv[0] is the command's name. Returns the exit code.
  int (*execute)(int argc, const char* const* argv);
  bool names_plugins = true;  // whether policies or backends matter to it: plug-ins are loaded before
};

int run_command(int argc, const char* const* argv);
int plan_command(int argc, const char* const* argv);
int eval_command(int argc, const char* const* argv);
int compare_command(int argc, const char* const* argv);
int shard_command(int argc, const char* const* argv);
int verify_command(int argc, const char* const* argv);
int profile_command(int argc, const char* const* argv);
int calibrate_command(int argc, const char* const* argv);
int devices_command(int argc, const char* const* argv);
int policies_command(int argc, const char* const* argv);
int backends_command(int argc, const char* const* argv);

// Prints the error on stderr and, where JSON was asked for, {"tessera", "error": {"code", "message"}} on stdout.
int fail(std::string_view command, const Error& error, bool json);
// Prints a document on stdout; invalid UTF-8 becomes U+FFFD.
void print_json(const Json& document);
// {"tessera": version}: how every document starts.
Json new_document();

}  // namespace tessera

// Maps errors to the command's exit codes (docs: the table in tools/README.md). The one place where that is decided.
#pragma once

#include "framework/result.h"

namespace tessera {

inline constexpr int kExitDone = 0;
inline constexpr int kExitInternal = 1;
inline constexpr int kExitWrongUse = 2;
inline constexpr int kExitInfeasible = 3;
inline constexpr int kExitData = 4;
inline constexpr int kExitDevice = 5;
inline constexpr int kExitInterrupted = 130;

int exit_code(ErrorCode code);
// "invalid", "data", ...: the word that machines read beside the message.
const char* error_word(ErrorCode code);

}  // namespace tessera

// Maps errors to exit codes.
#include "tools/exit_codes.h"

namespace tessera {

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInternal:
      return kExitInternal;
    case ErrorCode::kInvalid:
    case ErrorCode::kUnavailable:  // a device was named that is not here
      return kExitWrongUse;
    case ErrorCode::kInfeasible:
      return kExitInfeasible;
    case ErrorCode::kData:
      return kExitData;
    case ErrorCode::kDevice:
    case ErrorCode::kDeadline:
      return kExitDevice;
    case ErrorCode::kCancelled:
      return kExitInterrupted;
  }
  return kExitInternal;
}

const char* error_word(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInternal:
      return "internal";
    case ErrorCode::kInvalid:
      return "invalid";
    case ErrorCode::kInfeasible:
      return "infeasible";
    case ErrorCode::kData:
      return "data";
    case ErrorCode::kDevice:
      return "device";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kDeadline:
      return "deadline";
    case ErrorCode::kCancelled:
      return "interrupted";
  }
  return "internal";
}

}  // namespace tessera

// Converts between stored element types and fp32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "framework/operands.h"

namespace tessera {

// fp32 of `count` stored elements; exact for all three types. `from` need not be aligned.
void decode_elements(ElementType type, const std::byte* from, int64_t count, float* to);
// Rounds to nearest even; exact for values that came from the same type. `to` need not be aligned.
void encode_elements(ElementType type, const float* from, int64_t count, std::byte* to);

const char* element_name(ElementType type);  // "f32", "f16", "bf16"

}  // namespace tessera

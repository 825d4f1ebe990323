// Reads config.json of a Hugging Face BERT sequence classifier into a model shape.
#pragma once

#include <span>
#include <string>

#include "framework/model_shape.h"
#include "framework/result.h"

namespace tessera {

// Everything of the shape that config.json tells: dimensions, label names (empty where it names none), legal depths and
// widths
// (`elastic` section; absent: the full ones only). `labels` is 0 where id2label is absent. kData names the key, its value
// and what can be imported. `file` is for messages.
Result<ModelShape> parse_hf_config(std::span<const std::byte> json, const std::string& file);

}  // namespace tessera

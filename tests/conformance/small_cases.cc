// Makes rows and exit heads.
#include "tests/conformance/small_cases.h"

#include "framework/reference_ops.h"

namespace tessera::conformance {

EmbedCase::EmbedCase(const RandomLayer& layer, int tokens) {
  const size_t d = layer.shape.hidden, count = tokens * d;
  for (uint32_t i = 0; i < 3; ++i) rows_.push_back(testing::random_floats(count, 50 + i, 1.0f));
  testing::round_to(layer.type, rows_[0]), testing::round_to(layer.type, rows_[1]);
  const int element = element_size(layer.type);
  word_.resize(count * element), position_.resize(count * element);
  encode_elements(layer.type, rows_[0].data(), static_cast<int64_t>(count), word_.data());
  encode_elements(layer.type, rows_[1].data(), static_cast<int64_t>(count), position_.data());
  for (size_t t = 0; t < static_cast<size_t>(tokens); ++t) {
    word_at_.push_back(word_.data() + t * d * element);
    position_at_.push_back(position_.data() + t * d * element);
    type_at_.push_back(rows_[2].data() + t * d);
  }
  const auto& b = layer.biases;
  refs = {layer.type, word_at_, position_at_, type_at_, b.ffn_norm_weight.data(), b.ffn_norm_bias.data()};
  want.resize(count);
  reference::embed(layer.shape, rows_[0], rows_[1], rows_[2], b.ffn_norm_weight, b.ffn_norm_bias, tokens, want);
}

ExitCase::ExitCase(const RandomLayer& layer) : x(layer.input(12)) {
  const size_t d = layer.shape.hidden, labels = layer.shape.labels, element = element_size(layer.type);
  for (const size_t count : {d * d, d, labels * d, labels}) {
    plain_.push_back(testing::random_floats(count, 70 + static_cast<uint32_t>(plain_.size()), 0.2f));
    testing::round_to(layer.type, plain_.back());
    stored_.emplace_back(count * element);
    encode_elements(layer.type, plain_.back().data(), static_cast<int64_t>(count), stored_.back().data());
  }
  refs = {layer.type, stored_[0].data(), stored_[1].data(), stored_[2].data(), stored_[3].data()};
  want.resize(2 * labels);
  for (size_t b = 0; b < 2; ++b)
    reference::exit_head(layer.shape, std::span(x).subspan(starts[b] * d), plain_[0], plain_[1], plain_[2], plain_[3],
                         std::span(want).subspan(b * labels, labels));
}

}  // namespace tessera::conformance

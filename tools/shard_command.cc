// Imports a Hugging Face folder into a store and tells what each part of it weighs.
#include <cstdio>

#include "configs/units.h"
#include "shards/store.h"
#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/interrupt.h"
#include "tools/terminal.h"

namespace tessera {
namespace {

// make_store's progress takes no context: one import runs at a time.
Progress* g_progress = nullptr;
void show_progress(int done, int total) {
  if (g_progress != nullptr) g_progress->update(done, total);
}

struct ShardFlags {
  std::string from, to, name;
  std::vector<Bits> bitwidths;
  bool force = false;
};

void read_bitwidths(const std::vector<std::string>& texts, std::vector<Bits>& bitwidths) {
  for (const std::string& text : texts) {
    int bits = 0;
    if (!CLI::detail::lexical_cast(text, bits) || !valid_bits(bits))
      throw CLI::ValidationError("--store-bits", "'" + text + "' is no bitwidth; known: 1..8, 32 (exact)");
    bitwidths.push_back(static_cast<Bits>(bits));
  }
  std::sort(bitwidths.begin(), bitwidths.end());
  bitwidths.erase(std::unique(bitwidths.begin(), bitwidths.end()), bitwidths.end());
}

void declare(CLI::App& app, ShardFlags& flags) {
  app.footer("Example: tessera shard models/minilm6-sst2 /tmp/minilm.store --store-bits 2,4,6,32");
  app.add_option("HF_DIR", flags.from, "config.json, *.safetensors in fp32, fp16 or bf16, tokenizer files")
      ->required()
      ->check(not_empty());
  app.add_option("STORE", flags.to, "The folder to write")->required()->check(not_empty());
  app.add_option_function<std::vector<std::string>>(
         "--store-bits", [&flags](const std::vector<std::string>& texts) { read_bitwidths(texts, flags.bitwidths); },
         "Bitwidths to store, 32 is exact (default 2,3,4,5,6,32)")
      ->delimiter(',')
      ->type_name("K,K,...")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--force", flags.force, "Replace a store that is there");
  app.add_option("--name", flags.name, "The model's name (default: the folder's)")->type_name("NAME");
}

int64_t total(const StoreSizes::PerBits& part) { return part.indices + part.dictionaries + part.outliers + part.padding; }

std::string bits_name(Bits bits) { return bits == kExact ? "exact" : std::to_string(bits) + " bits"; }

void print_sizes(const StoreSizes& sizes, const std::string& store) {
  std::printf("%-10s %12s %12s %12s %12s %12s %10s\n", "", "indices", "dictionaries", "outliers", "padding", "total",
              "outliers");
  int64_t all = sizes.rows + sizes.exits + sizes.resident + sizes.index + sizes.tokenizer;
  for (const StoreSizes::PerBits& part : sizes.shards) {
    all += total(part);
    std::printf("%-10s %12s %12s %12s %12s %12s %10lld\n", bits_name(part.bits).c_str(),
                to_string(Bytes{part.indices}).c_str(), to_string(Bytes{part.dictionaries}).c_str(),
                to_string(Bytes{part.outliers}).c_str(), to_string(Bytes{part.padding}).c_str(),
                to_string(Bytes{total(part)}).c_str(), static_cast<long long>(part.outlier_count));
  }
  const std::pair<const char*, int64_t> rest[] = {{"embedding rows", sizes.rows},
                                                  {"exit heads", sizes.exits},
                                                  {"residents", sizes.resident},
                                                  {"index", sizes.index},
                                                  {"tokenizer", sizes.tokenizer}};
  for (const auto& [name, bytes] : rest) std::printf("%-63s %12s\n", name, to_string(Bytes{bytes}).c_str());
  std::printf("%-63s %12s\n%s\n", "total", to_string(Bytes{all}).c_str(), store.c_str());
}

Json sizes_json(const StoreSizes& sizes) {
  Json shards = Json::array();
  for (const StoreSizes::PerBits& part : sizes.shards)
    shards.push_back({{"bits", part.bits},
                      {"indices_bytes", part.indices},
                      {"dictionaries_bytes", part.dictionaries},
                      {"outliers_bytes", part.outliers},
                      {"padding_bytes", part.padding},
                      {"total_bytes", total(part)},
                      {"outliers", part.outlier_count}});
  return {{"shards", std::move(shards)},       {"rows_bytes", sizes.rows},   {"exits_bytes", sizes.exits},
          {"residents_bytes", sizes.resident}, {"index_bytes", sizes.index}, {"tokenizer_bytes", sizes.tokenizer}};
}

}  // namespace

int shard_command(int argc, const char* const* argv) {
  CLI::App app("Imports a Hugging Face folder into a sharded store.", "shard");
  OutputFlags output;
  ShardFlags flags;
  declare(app, flags);
  add_output_flags(app, output);
  if (const auto code = parse_flags(app, argc, argv)) return *code;

  ShardOptions options;
  if (!flags.bitwidths.empty()) options.bitwidths = flags.bitwidths;
  options.force = flags.force;
  options.name = flags.name;
  options.cancel = &interrupted();
  options.progress = show_progress;
  Result<StoreSizes> sizes = Error{};
  {
    const InterruptsPolled polled;
    Progress progress("shard");
    g_progress = &progress;
    sizes = make_store(flags.from, flags.to, options);
    g_progress = nullptr;
  }
  if (!sizes.ok()) return fail("shard", sizes.error(), output.json);
  if (!output.json) {
    print_sizes(*sizes, flags.to);
    return 0;
  }
  Json document = new_document();
  document["store"] = flags.to;
  document["sizes"] = sizes_json(*sizes);
  print_json(document);
  return 0;
}

}  // namespace tessera

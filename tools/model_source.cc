// Opens models; imports Hugging Face folders into the cache.
#include "tools/model_source.h"

#include <cstdlib>
#include <filesystem>

#include <spdlog/spdlog.h>
#include <xxhash.h>

#include "configs/loader.h"
#include "tools/interrupt.h"
#include "tools/terminal.h"

namespace tessera {
namespace fs = std::filesystem;
namespace {

bool is_checkpoint(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::exists(directory / "config.json", ignored)) return false;
  for (const auto& entry : fs::directory_iterator(directory, ignored))
    if (entry.path().extension() == ".safetensors") return true;
  return false;
}

// Changes when the folder, or the size or time of a file in it, does: a cheap stand-in for hashing the weights.
std::string checkpoint_key(const fs::path& directory) {
  std::error_code ignored;
  std::vector<std::string> parts;
  for (const auto& entry : fs::directory_iterator(directory, ignored))
    if (entry.is_regular_file(ignored))
      parts.push_back(entry.path().filename().string() + ':' + std::to_string(entry.file_size(ignored)) + ':' +
                      std::to_string(entry.last_write_time(ignored).time_since_epoch().count()));
  std::sort(parts.begin(), parts.end());
  std::string text = fs::canonical(directory, ignored).string() + '\n' + TESSERA_VERSION;
  for (const std::string& part : parts) text += '\n' + part;
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  char hex[33];
  std::snprintf(hex, sizeof(hex), "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return hex;
}

Result<fs::path> cache_directory() {
  const char* given = std::getenv("XDG_CACHE_HOME");
  if (given != nullptr && *given == '/') return fs::path(given) / "tessera";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return fs::path(home) / ".cache" / "tessera";
  return Error{ErrorCode::kData,
               "neither XDG_CACHE_HOME nor HOME is set: nowhere to keep the imported store; "
               "import it with `tessera shard HF_DIR STORE`"};
}

Progress* g_progress = nullptr;
void show_progress(int done, int total) {
  if (g_progress != nullptr) g_progress->update(done, total);
}

Result<std::string> import_once(const fs::path& checkpoint) {
  TESSERA_ASSIGN(const fs::path cache, cache_directory());
  const fs::path store = cache / "stores" / checkpoint_key(checkpoint);
  std::error_code failed;
  if (fs::exists(store, failed)) return store.string();
  fs::create_directories(store.parent_path(), failed);
  if (failed) return Error{ErrorCode::kData, store.parent_path().string() + ": cannot create: " + failed.message()};
  spdlog::info("{} is a Hugging Face folder: importing it once into {}", checkpoint.string(), store.string());
  ShardOptions options;
  options.name = fs::canonical(checkpoint, failed).filename().string();
  const InterruptsPolled polled;
  options.cancel = &interrupted();
  options.progress = show_progress;
  Progress progress("import");
  g_progress = &progress;
  const auto sizes = make_store(checkpoint.string(), store.string(), options);
  g_progress = nullptr;
  // Another process may have made the same store meanwhile.
  if (!sizes.ok() && !fs::exists(store, failed)) return sizes.error();
  return store.string();
}

Status load_parts(OpenedModel& model, bool cold, uint64_t seed) {
  TESSERA_ASSIGN(model.store, Store::open(model.directory, {cold}));
  if (cold && !model.store->direct())
    spdlog::warn("{}: its file system refuses direct reads: --cold reads go through the page cache all the same",
                 model.directory);
  model.shape = model.store->shape();
  TESSERA_ASSIGN(model.tokenizer, Tokenizer::from_compiled(model.store->tokenizer_path()));
  TESSERA_ASSIGN(model.profile, load_profile(*model.store, "", &model.profiled));
  if (!model.profiled) model.profile.model = random_importance(model.shape, seed);
  return {};
}

Result<OpenedModel> open_shape(const ModelFlags& flags, uint64_t seed) {
  if (!flags.model.empty()) return Error{ErrorCode::kInvalid, "--model and --shape are two models; give one"};
  OpenedModel model;
  TESSERA_ASSIGN(model.shape, load_shape(flags.shape));
  model.profile.model = random_importance(model.shape, seed);
  return model;
}

}  // namespace

std::string embedded_model_directory() {
  std::error_code failed;
  const fs::path self = fs::read_symlink("/proc/self/exe", failed);
  return (self.parent_path().parent_path() / "share" / "tessera" / "models" / "minilm6-sst2").string();
}

Result<std::string> store_directory(const std::string& directory) {
  std::error_code failed;
  if (!fs::exists(directory, failed))
    return Error{ErrorCode::kData,
                 directory + (directory == embedded_model_directory()
                                  ? ": the embedded model is not here; build the target embedded_model, or give a model"
                                  : ": no such folder; make a store with `tessera shard HF_DIR STORE`")};
  if (!fs::is_directory(directory, failed))
    return Error{ErrorCode::kData, directory + ": is a file; a model is a folder (a store, or a Hugging Face folder)"};
  if (is_checkpoint(directory)) return import_once(directory);
  return directory;
}

Result<OpenedModel> open_model(const ModelFlags& flags, uint64_t seed) {
  if (!flags.shape.empty()) return open_shape(flags, seed);
  OpenedModel model;
  const std::string wanted = flags.model.empty() ? embedded_model_directory() : flags.model;
  TESSERA_ASSIGN(model.directory, store_directory(wanted));
  TESSERA_TRY(load_parts(model, flags.cold, seed));
  return model;
}

}  // namespace tessera

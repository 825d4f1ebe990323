// Answers one text: what a program needs of tessera, from a store to a label.
//
//   answer STORE TEXT
//
//   store ─► machine (devices, calibrated once) ─► session ─► plan and run one request
#include <cstdio>

#include "scheduler/calibrate.h"
#include "scheduler/plugins.h"
#include "scheduler/session.h"
#include "shards/accuracy_profile.h"
#include "shards/tokenizer.h"

namespace {

using namespace tessera;

Status answer(const std::string& directory, const std::string& text) {
  TESSERA_ASSIGN(const auto store, Store::open(directory));
  TESSERA_ASSIGN(const auto tokenizer, Tokenizer::from_compiled(store->tokenizer_path()));
  bool profiled = false;
  TESSERA_ASSIGN(StoredProfile profile, load_profile(*store, "", &profiled));
  if (!profiled) profile.model = random_importance(store->shape(), 0);

  TESSERA_ASSIGN(Machine machine, local_machine(BackendOptions{}, {}));
  CalibrationOptions options;
  options.version = "answer 1";  // of this program
  TESSERA_TRY(calibrate(machine, *store, options));
  // Devices that are not here come last, without a binding: a session has no use for them.
  machine.platform.devices.resize(machine.bindings.size());
  TESSERA_ASSIGN(const auto session,
                 Session::open(store->shape(), store.get(), profile.model, machine, Bytes{tokenizer->resident_bytes()}));

  RequestOptions request;
  request.policy = "sti";
  request.budgets.latency = milliseconds(20);
  request.budgets.memory = mib(8);
  const Encoding tokens = tokenizer->encode(text, store->shape().max_tokens);
  TESSERA_ASSIGN(const Answer result, session->run(request, tokens.ids, tokens.types));
  if (result.planned->infeasible) return Error{ErrorCode::kInfeasible, result.planned->infeasible->why};
  std::printf("%s in %s, %s read\n", store->shape().label_names[static_cast<size_t>(result.label)].c_str(),
              to_string(result.latency).c_str(), to_string(result.io).c_str());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: answer STORE TEXT\n", stderr);
    return 2;
  }
  tessera::register_policies();
  tessera::register_backends();
  for (const tessera::Plugin& plugin : tessera::load_plugins())
    if (!plugin.refused.empty()) std::fprintf(stderr, "%s: %s\n", plugin.path.c_str(), plugin.refused.c_str());
  const tessera::Status status = answer(argv[1], argv[2]);
  if (!status.ok()) std::fprintf(stderr, "answer: %s\n", status.error().message.c_str());
  return status.ok() ? 0 : 1;
}

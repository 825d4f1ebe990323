// Opens model, machine and session.
#include "tools/opened_session.h"

#include <spdlog/spdlog.h>

#include "scheduler/simulation.h"
#include "tools/interrupt.h"

namespace tessera {

Result<std::unique_ptr<OpenedSession>> open_session(const ModelFlags& model, const MachineFlags& machine,
                                                    const RequestFlags& request, const OutputFlags& output, bool plan_only) {
  TESSERA_TRY(check_policy(request));
  auto opened = std::make_unique<OpenedSession>();
  TESSERA_ASSIGN(opened->model, open_model(model, output.seed));
  TESSERA_TRY(check_fits(request, opened->model.shape));
  TESSERA_ASSIGN(OpenedMachine here, open_machine(machine, opened->model, model.cold, plan_only));
  opened->machine = std::move(here.machine);
  opened->calibration = std::move(here.calibration);
  // Devices that are not here come last, without a binding: a session has no use for them.
  if (!opened->machine.bindings.empty()) opened->machine.platform.devices.resize(opened->machine.bindings.size());
  if (machine.virtual_time && (machine.jitter || opened->machine.simulation != nullptr))
    simulate(opened->machine, opened->calibration, output.seed);
  const Bytes tokenizer{opened->model.tokenizer ? opened->model.tokenizer->resident_bytes() : 0};
  TESSERA_ASSIGN(opened->session, Session::open(opened->model.shape, opened->model.store.get(), opened->model.profile.model,
                                                opened->machine, tokenizer));
  return opened;
}

void OpenedSession::save_learned_costs() {
  if (machine.virtual_time || calibration.path.empty()) return;
  const InterruptsPolled whole_file;
  const Status saved = save_learned(machine, calibration);
  if (!saved.ok()) spdlog::warn("{}", saved.error().message);
}

}  // namespace tessera

// Opens all that a request needs, in order: model, machine, session; keeps it alive.
#pragma once

#include <memory>

#include "tools/machine_source.h"
#include "tools/model_source.h"

namespace tessera {

// The session borrows model and machine: an OpenedSession does not move.
struct OpenedSession {
  OpenedModel model;
  Machine machine;
  Calibration calibration;
  std::unique_ptr<Session> session;
  // What the cost models learned from this process's runs goes into the machine's file; a failure is only a warning.
  void save_learned_costs();
};

Result<std::unique_ptr<OpenedSession>> open_session(const ModelFlags& model, const MachineFlags& machine,
                                                    const RequestFlags& request, const OutputFlags& output, bool plan_only);

}  // namespace tessera

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
  std::unique_ptr<Session> session;
};

Result<std::unique_ptr<OpenedSession>> open_session(const ModelFlags& model, const MachineFlags& machine,
                                                    const RequestFlags& request, const OutputFlags& output, bool plan_only);

// Loads what such a request should find in memory when it arrives; not part of any latency.
Status fill_preload(Session& session, const RequestOptions& options, int tokens);

}  // namespace tessera

// Opens model, machine and session.
#include "tools/opened_session.h"

namespace tessera {

Result<std::unique_ptr<OpenedSession>> open_session(const ModelFlags& model, const MachineFlags& machine,
                                                    const RequestFlags& request, const OutputFlags& output, bool plan_only) {
  TESSERA_TRY(check_policy(request));
  auto opened = std::make_unique<OpenedSession>();
  TESSERA_ASSIGN(opened->model, open_model(model, output.seed));
  TESSERA_TRY(check_fits(request, opened->model.shape));
  TESSERA_ASSIGN(opened->machine, open_machine(machine, opened->model.shape, plan_only));
  const Bytes tokenizer{opened->model.tokenizer ? opened->model.tokenizer->resident_bytes() : 0};
  TESSERA_ASSIGN(opened->session, Session::open(opened->model.shape, opened->model.store.get(), opened->model.profile.model,
                                                opened->machine, tokenizer));
  return opened;
}

Status fill_preload(Session& session, const RequestOptions& options, int tokens) {
  TESSERA_ASSIGN(const auto planned, session.plan(options, tokens));
  return planned->infeasible ? Status() : session.preload(*planned);
}

}  // namespace tessera

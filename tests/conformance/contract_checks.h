// The checks of the suite; each is a row of its report.
#pragma once

#include "tests/conformance/subject.h"

namespace tessera::conformance {

// Of every device (contract_checks.cc, memory_checks.cc, cost_checks.cc).
Finding describes_itself(const Subject& s);
Finding says_why_not(const Subject& s);
Finding wait_keeps_its_deadline(const Subject& s);
Finding cancel_returns(const Subject& s);
Finding cancels_while_waited_for(const Subject& s);
Finding runs_task_after_task(const Subject& s);
Finding waits_in_any_order(const Subject& s);
Finding refuses_unknown_devices(const Subject& s);
Finding allocates_aligned(const Subject& s);
Finding refuses_absurd_sizes(const Subject& s);
Finding keeps_its_capacity(const Subject& s);
Finding gives_back_memory(const Subject& s);
Finding transfers_round_trip(const Subject& s);
Finding estimates_sanely(const Subject& s);
Finding estimates_moves_sanely(const Subject& s);
Finding cost_models_learn(const Subject& s);

// Transfer tasks (transfer_checks.cc).
Finding transfer_tasks_round_trip(const Subject& s);
Finding transfer_tasks_keep_order(const Subject& s);
Finding refuses_bad_moves(const Subject& s);
Finding runs_beside_its_device(const Subject& s);

// Storage devices (load_checks.cc).
Finding loads_and_checks(const Subject& s);
Finding reports_bad_loads(const Subject& s);

// Devices that compute, against framework/reference_ops (numeric_checks.cc).
Finding embeds(const Subject& s);
Finding attends(const Subject& s);
Finding feeds_forward(const Subject& s);
Finding combines(const Subject& s);
Finding runs_fused_layers(const Subject& s);
Finding exits(const Subject& s);
Finding mixes_bitwidths(const Subject& s);
Finding keeps_edges(const Subject& s);

// The same bits on one device (equality_checks.cc).
Finding split_equals_fused(const Subject& s);
Finding order_does_not_matter(const Subject& s);
Finding batch_equals_singles(const Subject& s);
Finding runs_are_repeatable(const Subject& s);
Finding threads_do_not_matter(const Subject& s);
Finding places_do_not_matter(const Subject& s);

// Operands (operand_checks.cc).
Finding refuses_bad_operands(const Subject& s);
Finding stays_inside(const Subject& s);
Finding works_in_place(const Subject& s);
Finding keeps_residents_by_id(const Subject& s);
Finding host_writes_are_seen(const Subject& s);

}  // namespace tessera::conformance

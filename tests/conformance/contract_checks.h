// The checks of the suite; each is a row of its report.
#pragma once

#include "tests/conformance/subject.h"

namespace tessera::conformance {

Finding describes_itself(const Subject& s);
Finding says_why_not(const Subject& s);
Finding estimates_sanely(const Subject& s);
Finding allocates_aligned(const Subject& s);
Finding refuses_absurd_sizes(const Subject& s);
Finding transfers_round_trip(const Subject& s);
Finding wait_keeps_its_deadline(const Subject& s);
Finding cancel_returns(const Subject& s);
Finding runs_task_after_task(const Subject& s);

// Storage devices.
Finding loads_and_checks(const Subject& s);
Finding reports_bad_loads(const Subject& s);

// Devices that compute: against framework/reference_ops.
Finding embeds(const Subject& s);
Finding attends(const Subject& s);
Finding feeds_forward(const Subject& s);
Finding combines(const Subject& s);
Finding runs_fused_layers(const Subject& s);
Finding exits(const Subject& s);
Finding split_equals_fused(const Subject& s);
Finding batch_equals_singles(const Subject& s);

}  // namespace tessera::conformance

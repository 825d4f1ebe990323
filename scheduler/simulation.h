// Makes this machine's simulation from what calibration and requests have learned of it: jitter, setup and contention.
#pragma once

#include "framework/dynamics.h"
#include "scheduler/calibrate.h"
#include "scheduler/session.h"

namespace tessera {

// Jitter of tasks: the learned windows of ratios measured / predicted, by kind of task. Setup: the requests' windows of it.
// Contention: each device that computes against storage, both ways, as requests showed it. What tasks of requests took
// longer than alone is put down to contention as far as that explains it, and not counted twice.
Dynamics calibrated_dynamics(const Machine& machine, const Calibration& calibration);

// Gives a machine that runs in virtual time its simulation: the calibrated one, or, where it has one already (a described
// machine), that with another seed. Before sessions open.
void simulate(Machine& machine, const Calibration& calibration, uint64_t seed);

}  // namespace tessera

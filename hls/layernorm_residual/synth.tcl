# Synthesises layernorm_residual with Vitis HLS (2022.2 or later), from the root of the repository:
#   vitis_hls -f hls/layernorm_residual/synth.tcl            Alveo U280, fp32, 300 MHz
#   TESSERA_PART=xczu7ev-ffvc1156-2-e TESSERA_TOP=layernorm_residual_fixed TESSERA_CLOCK=5 vitis_hls -f hls/layernorm_residual/synth.tcl
# Never run by the authors, who have no Vitis.
set kernel layernorm_residual
source hls/common/synth.tcl

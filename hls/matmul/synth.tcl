# Synthesises matmul with Vitis HLS (2022.2 or later), from the root of the repository:
#   vitis_hls -f hls/matmul/synth.tcl            Alveo U280, fp32, 300 MHz
#   TESSERA_PART=xczu7ev-ffvc1156-2-e TESSERA_TOP=matmul_fixed TESSERA_CLOCK=5 vitis_hls -f hls/matmul/synth.tcl
# Never run by the authors, who have no Vitis.
set kernel matmul
source hls/common/synth.tcl

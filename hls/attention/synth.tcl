# Synthesises attention with Vitis HLS (2022.2 or later), from the root of the repository:
#   vitis_hls -f hls/attention/synth.tcl            Alveo U280, fp32, 300 MHz
#   TESSERA_PART=xczu7ev-ffvc1156-2-e TESSERA_TOP=attention_fixed TESSERA_CLOCK=5 vitis_hls -f hls/attention/synth.tcl
# Never run by the authors, who have no Vitis.
set kernel attention
source hls/common/synth.tcl

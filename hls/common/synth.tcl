# Synthesises one kernel into an .xo for v++ --link: build/hls/<top>.xo. Sourced by hls/<kernel>/synth.tcl with `kernel` set.
# TESSERA_PART, TESSERA_TOP (<kernel> or <kernel>_fixed), TESSERA_CLOCK (ns) override the defaults.
proc setting {name fallback} {
  return [expr {[info exists ::env($name)] ? $::env($name) : $fallback}]
}
set top [setting TESSERA_TOP $kernel]
set part [setting TESSERA_PART xcu280-fsvh2892-2L-e]
set clock [setting TESSERA_CLOCK 3.333]
set flags "-std=c++17 -I. -Wno-unknown-pragmas -Wno-unused-label"

file mkdir build/hls
open_project -reset build/hls/$top
set_top $top
add_files hls/$kernel/$top.cc -cflags $flags
open_solution -reset solution -flow_target vitis
set_part $part
create_clock -period $clock -name default
# Rows wait in FIFOs whose depths the streams themselves declare.
config_interface -m_axi_alignment_byte_size 64 -m_axi_max_widen_bitwidth 512 -m_axi_latency 64
csynth_design
export_design -format xo -output build/hls/$top.xo
exit

# Looks for the open ap_types headers (ap_fixed.h), which ./dev puts into build/hls-headers. Without them the kernels'
# fixed-point instances are left out; the fp32 ones need nothing.
set(TESSERA_AP_TYPES "${CMAKE_SOURCE_DIR}/build/hls-headers" CACHE PATH "Folder that holds ap_fixed.h")
if(EXISTS ${TESSERA_AP_TYPES}/ap_fixed.h)
  add_library(tessera_ap_types INTERFACE)
  target_include_directories(tessera_ap_types SYSTEM INTERFACE ${TESSERA_AP_TYPES})
  target_compile_definitions(tessera_ap_types INTERFACE TESSERA_HLS_FIXED=1)
else()
  message(STATUS "hls: no ${TESSERA_AP_TYPES}/ap_fixed.h: fixed-point kernels are left out; get it with cmake/hls-headers.sh build/hls-headers")
endif()

# Compiler flags of every target. No -march: instruction sets are chosen at run time (Highway).
add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor)
if(TESSERA_WERROR)
  add_compile_options(-Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # False alarms of GCC 12 on "text" + std::string (GCC bug 105651) and on comparing vectors.
    add_compile_options(-Wno-restrict -Wno-stringop-overread)
  endif()
endif()
# Floating point is exact across machines only without fused multiply-adds that one compiler makes and another does not.
# backends/ opts out: its arithmetic is compared within a tolerance.
add_compile_options(-ffp-contract=off)
if(TESSERA_SANITIZE)
  add_compile_options(-fsanitize=${TESSERA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TESSERA_SANITIZE})
endif()
if(TESSERA_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "TESSERA_FUZZ needs libFuzzer: configure with `cmake --preset fuzz` (clang-16)")
  endif()
  # Every object reports its coverage; only the targets of tests/fuzz link libFuzzer's main.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()

# `cmake --install BUILD --prefix P`: the command with its models and platforms, libtessera, and the package that programs and
# plug-ins outside of this tree build against (find_package(tessera)). One layout, as in the build tree.
include(CMakePackageConfigHelpers)
install(TARGETS tessera RUNTIME DESTINATION bin)
install(TARGETS tessera_library EXPORT tesseraTargets LIBRARY DESTINATION lib)
# What rooms leave in the build tree's share/ and libexec/ (the embedded model, programs that a backend starts).
install(DIRECTORY ${CMAKE_BINARY_DIR}/share/tessera DESTINATION share)
install(DIRECTORY ${CMAKE_BINARY_DIR}/libexec/tessera DESTINATION libexec USE_SOURCE_PERMISSIONS OPTIONAL)
install(DIRECTORY configs/platforms configs/models configs/workloads configs/experiments DESTINATION share/tessera/configs FILES_MATCHING PATTERN "*.toml" PATTERN "*.times")

# Headers: the contracts, what they stand on, and what embeds. Those that need another library's headers stay here.
set(headers include/tessera)
install(DIRECTORY framework shards scheduler DESTINATION ${headers} FILES_MATCHING PATTERN "*.h"
        PATTERN parse_json.h EXCLUDE)
install(DIRECTORY policies/parts DESTINATION ${headers}/policies FILES_MATCHING PATTERN "*.h")
install(FILES configs/loader.h configs/units.h DESTINATION ${headers}/configs)

set(package lib/cmake/tessera)
install(EXPORT tesseraTargets NAMESPACE tessera:: DESTINATION ${package})
configure_package_config_file(cmake/package/tesseraConfig.cmake.in ${CMAKE_BINARY_DIR}/package/tesseraConfig.cmake
                              INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/tesseraConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/package/tesseraConfig.cmake ${CMAKE_BINARY_DIR}/package/tesseraConfigVersion.cmake
              cmake/package/tesseraPlugins.cmake DESTINATION ${package})

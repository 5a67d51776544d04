drover_test(test_store_kill SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_store_kill.c
  DEPS store api io base LABELS integration)

# The same cases over both drivers; etcd is started by hack/etcd-up (package etcd-server).
set(conformance_sources ${CMAKE_CURRENT_SOURCE_DIR}/conformance.c
  ${CMAKE_SOURCE_DIR}/tests/unit/store_fixture.c)
add_executable(test_store_conformance
  ${CMAKE_CURRENT_SOURCE_DIR}/test_store_conformance.c ${conformance_sources})
target_link_libraries(test_store_conformance PRIVATE drover_options store api io base
  PkgConfig::CMOCKA)
target_include_directories(test_store_conformance PRIVATE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/tests)
target_compile_definitions(test_store_conformance PRIVATE
  DROVER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
foreach(driver files etcd)
  add_test(NAME test_store_conformance_${driver} COMMAND test_store_conformance ${driver})
  set_tests_properties(test_store_conformance_${driver} PROPERTIES LABELS integration
    TIMEOUT 120 ENVIRONMENT
    "ASAN_OPTIONS=abort_on_error=1;UBSAN_OPTIONS=print_stacktrace=1")
endforeach()

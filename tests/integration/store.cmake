drover_test(test_store_kill SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_store_kill.c
  DEPS store api io base LABELS integration)

# The same cases over both drivers; etcd is started by hack/etcd-up (package etcd-server).
set(conformance_sources ${CMAKE_CURRENT_SOURCE_DIR}/conformance.c
  ${CMAKE_CURRENT_SOURCE_DIR}/etcd_proxy.c
  ${CMAKE_SOURCE_DIR}/tests/unit/store_fixture.c)
foreach(t conformance etcd)
  add_executable(test_store_${t}
    ${CMAKE_CURRENT_SOURCE_DIR}/test_store_${t}.c ${conformance_sources})
  target_link_libraries(test_store_${t} PRIVATE drover_options store api io base
    PkgConfig::CMOCKA Threads::Threads)
  target_include_directories(test_store_${t} PRIVATE ${CMAKE_SOURCE_DIR}
    ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(test_store_${t} PRIVATE
    DROVER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
endforeach()
add_test(NAME test_store_conformance_files COMMAND test_store_conformance files)
add_test(NAME test_store_conformance_etcd COMMAND test_store_conformance etcd)
add_test(NAME test_store_etcd COMMAND test_store_etcd)
set_tests_properties(test_store_conformance_files test_store_conformance_etcd
  test_store_etcd PROPERTIES LABELS integration TIMEOUT 240 ENVIRONMENT
  "ASAN_OPTIONS=abort_on_error=1;UBSAN_OPTIONS=print_stacktrace=1")

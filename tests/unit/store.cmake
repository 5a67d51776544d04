set(store_fixture ${CMAKE_CURRENT_SOURCE_DIR}/store_fixture.c)
# The sweeps over every byte (log) and every failing call (fault, sweep) would take minutes under
# ThreadSanitizer; commit, watch, snapshot and readback run the same writer thread.
foreach(t commit watch snapshot readback)
  drover_test(test_store_${t}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_store_${t}.c ${store_fixture}
    DEPS store api io base LABELS unit threads)
endforeach()
foreach(t index log fault sweep seal)
  drover_test(test_store_${t}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_store_${t}.c ${store_fixture}
    DEPS store api io base LABELS unit TIMEOUT 120)
endforeach()

drover_test(test_keyring SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_keyring.c
  DEPS store api io base LABELS unit)

# Not a test: figures for the log and the index alone. ninja bench_store
add_executable(bench_store EXCLUDE_FROM_ALL
  ${CMAKE_SOURCE_DIR}/tests/bench/bench_store.c)
target_link_libraries(bench_store PRIVATE drover_options store api io base)
target_include_directories(bench_store PRIVATE ${CMAKE_SOURCE_DIR})
add_executable(bench_start EXCLUDE_FROM_ALL
  ${CMAKE_SOURCE_DIR}/tests/bench/bench_start.c)
target_link_libraries(bench_start PRIVATE drover_options apiserver_core store api io base)
target_include_directories(bench_start PRIVATE ${CMAKE_SOURCE_DIR})

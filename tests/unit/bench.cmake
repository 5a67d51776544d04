# Not tests: programs of hack/bench.
foreach(name bare_mhd watch_fan)
  add_executable(${name} EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/tests/bench/${name}.c)
  target_link_libraries(${name} PRIVATE drover_options io base)
endforeach()
add_executable(bench_sched EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/tests/bench/bench_sched.c)
target_include_directories(bench_sched PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(bench_sched PRIVATE drover_options scheduler api base)
add_custom_target(bench_programs DEPENDS bare_mhd watch_fan)

# Not tests: programs of hack/bench.
foreach(name bare_mhd watch_fan)
  add_executable(${name} EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/tests/bench/${name}.c)
  target_link_libraries(${name} PRIVATE drover_options io base)
endforeach()
add_custom_target(bench_programs DEPENDS bare_mhd watch_fan)

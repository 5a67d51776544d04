# The whole control plane in one process; --seed, --steps and -v look at one run. With
# DROVER_LONG run the binary by itself: it takes longer than ctest waits.
foreach(part world step disk net watch machine agent agent_job user monitor check bind)
  list(APPEND sim_sources sim_${part}.c)
endforeach()
list(TRANSFORM sim_sources PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
# The simulated agents decide by the runner's own plan, a pure function.
foreach(name test_sim test_scale)
  drover_test(${name}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/${name}.c ${sim_sources}
            ${CMAKE_SOURCE_DIR}/runner/job_plan.c
    DEPS apiserver_core controllers_lib control client api io base
    LABELS sim TIMEOUT 300)
endforeach()

add_test(NAME test_sim_mutations COMMAND test_sim mutations)
set_tests_properties(test_sim_mutations PROPERTIES LABELS sim TIMEOUT 300 ENVIRONMENT
  "ASAN_OPTIONS=abort_on_error=1;UBSAN_OPTIONS=print_stacktrace=1")

# The store alone on a disk that forgets; same options.
drover_test(test_store_sim
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_store_sim.c ${CMAKE_CURRENT_SOURCE_DIR}/platter.c
  DEPS store api io base LABELS sim TIMEOUT 300)

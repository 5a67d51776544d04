drover_test(test_rbac_rule SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_rbac_rule.c
            DEPS apiserver_core LABELS unit)

# Not a test: prints figures. ninja bench_rbac && bin/bench_rbac
add_executable(bench_rbac EXCLUDE_FROM_ALL
               ${CMAKE_CURRENT_SOURCE_DIR}/../bench/bench_rbac.c)
target_link_libraries(bench_rbac PRIVATE drover_options apiserver_core)

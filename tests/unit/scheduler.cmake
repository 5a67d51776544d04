drover_test(test_sched_policy SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_sched_policy.c
            DEPS scheduler api base LABELS unit TIMEOUT 120)

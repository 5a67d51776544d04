drover_test(test_scheduler SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_scheduler.c
            DEPS scheduler api base LABELS unit TIMEOUT 120)

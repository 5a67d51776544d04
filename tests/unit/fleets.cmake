drover_test(test_hosts SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_hosts.c
            DEPS controllers_lib control client api io base LABELS unit threads)

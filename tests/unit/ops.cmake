drover_test(test_io_http_guard
            SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_io_http_guard.c
                    ${CMAKE_CURRENT_SOURCE_DIR}/io_http_fixture.c
            DEPS io LABELS unit)
drover_test(test_limits SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_limits.c
            DEPS apiserver_core LABELS unit)
drover_test(test_audit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_audit.c
            DEPS apiserver_core LABELS unit threads)

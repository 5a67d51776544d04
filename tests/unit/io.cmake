drover_test(test_io_loop SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_io_loop.c DEPS io
            LABELS unit threads)
drover_test(test_io_http_server
            SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_io_http_server.c
                    ${CMAKE_CURRENT_SOURCE_DIR}/io_http_fixture.c
            DEPS io LABELS unit)
drover_test(test_io_http_load
            SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_io_http_load.c
                    ${CMAKE_CURRENT_SOURCE_DIR}/io_http_fixture.c
            DEPS io LABELS unit)
drover_test(test_io_http_client
            SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_io_http_client.c
                    ${CMAKE_CURRENT_SOURCE_DIR}/io_http_fixture.c
            DEPS io LABELS unit threads)
drover_test(test_io_pki
            SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_io_pki.c
                    ${CMAKE_CURRENT_SOURCE_DIR}/io_http_fixture.c
            DEPS io LABELS unit)
drover_test(test_io_proc SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_io_proc.c DEPS io
            LABELS unit)
drover_test(test_io_segment SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_io_segment.c DEPS io
            LABELS unit)

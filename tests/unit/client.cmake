drover_test(test_client SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_client.c
            DEPS client api io base LABELS unit)
drover_test(test_client_context SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_client_context.c
            DEPS client api io base LABELS unit)

drover_test(test_informer_http SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_informer_http.c
            DEPS control client api io base LABELS integration;threads)

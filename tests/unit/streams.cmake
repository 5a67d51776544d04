drover_test(test_streams_text SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_streams_text.c DEPS streams LABELS unit)

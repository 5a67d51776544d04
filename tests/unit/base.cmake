drover_test(test_base SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_base.c DEPS base LABELS unit)

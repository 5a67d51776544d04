drover_test(test_api_admit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_admit.c DEPS api LABELS unit)

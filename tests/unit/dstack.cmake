drover_test(test_api_dstack SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_dstack.c
  DEPS api LABELS unit)

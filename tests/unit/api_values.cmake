drover_test(test_api_values SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_values.c
  DEPS api LABELS unit)
drover_test(test_api_resources SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_resources.c
  DEPS api LABELS unit)

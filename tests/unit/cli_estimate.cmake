drover_test(test_cli_estimate
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_cli_estimate.c ${CMAKE_SOURCE_DIR}/cli/estimate.c
          ${CMAKE_SOURCE_DIR}/cli/placement.c ${CMAKE_SOURCE_DIR}/cli/session.c
  DEPS client api io base LABELS unit)

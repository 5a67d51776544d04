drover_test(test_history_diff
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_history_diff.c
          ${CMAKE_CURRENT_SOURCE_DIR}/../../cli/jdiff.c
  DEPS apiserver_core LABELS unit)

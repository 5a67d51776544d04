drover_test(test_cli_ansi
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_cli_ansi.c ${CMAKE_SOURCE_DIR}/cli/ansi.c
  DEPS base LABELS unit)

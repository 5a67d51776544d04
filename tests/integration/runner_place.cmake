# Repositories from a git daemon of the test's own.
drover_test(test_runner_repo
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_repo.c
  DEPS runner_place LABELS integration)

drover_test(test_runner_gpu
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_gpu.c
  DEPS runner_gpu LABELS unit)

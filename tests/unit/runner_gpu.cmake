drover_test(test_runner_gpu
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_gpu.c
  DEPS runner_gpu LABELS unit)
drover_test(test_runner_cgroup
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_cgroup.c
  DEPS runner_process LABELS unit)

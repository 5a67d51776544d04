# Files and code of jobs; blobs of the streams program.
drover_test(test_runner_place
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_place.c
  ${CMAKE_CURRENT_SOURCE_DIR}/tar_writer.c
  DEPS runner_place LABELS unit)
drover_test(test_runner_roots
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_roots.c
  ${CMAKE_CURRENT_SOURCE_DIR}/tar_writer.c
  DEPS runner_place LABELS unit)
drover_test(test_runner_roots_keep
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_roots_keep.c
  DEPS runner_core LABELS unit)
drover_test(test_streams_blobs
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_streams_blobs.c
  DEPS streams LABELS unit)

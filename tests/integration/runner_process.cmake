drover_test(test_engine_process
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_engine_process.c
          ${CMAKE_CURRENT_SOURCE_DIR}/engine_process_world.c
  DEPS runner_process LABELS integration TIMEOUT 180)

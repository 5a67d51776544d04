drover_test(test_store_kill SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_store_kill.c
  DEPS store api io base LABELS integration)

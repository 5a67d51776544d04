drover_test(test_mirror
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_mirror.c ${CMAKE_CURRENT_SOURCE_DIR}/api_fixture.c
  DEPS mirror LABELS integration threads)

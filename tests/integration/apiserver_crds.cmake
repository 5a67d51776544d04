drover_test(test_apiserver_crds
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_apiserver_crds.c
          ${CMAKE_CURRENT_SOURCE_DIR}/api_fixture.c
  DEPS apiserver_core LABELS integration)

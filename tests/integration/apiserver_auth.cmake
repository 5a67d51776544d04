foreach(t rbac tokens quota)
  drover_test(test_apiserver_${t}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_apiserver_${t}.c ${CMAKE_CURRENT_SOURCE_DIR}/api_fixture.c
    DEPS apiserver_core LABELS integration)
endforeach()

set(api_fixture ${CMAKE_CURRENT_SOURCE_DIR}/api_fixture.c)
foreach(t history objects lists watch apply gc auth discovery)
  drover_test(test_apiserver_${t}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_apiserver_${t}.c ${api_fixture}
    DEPS apiserver_core LABELS integration)
endforeach()
drover_test(test_apiserver_pool
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_apiserver_pool.c
  DEPS apiserver_core LABELS integration threads)

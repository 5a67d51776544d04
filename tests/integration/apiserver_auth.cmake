foreach(t rbac tokens quota)
  drover_test(test_apiserver_${t}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_apiserver_${t}.c ${CMAKE_CURRENT_SOURCE_DIR}/api_fixture.c
    DEPS apiserver_core LABELS integration)
endforeach()
# Two API servers on one etcd, started by hack/etcd-up (package etcd-server).
drover_test(test_quota_etcd
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_quota_etcd.c
          ${CMAKE_CURRENT_SOURCE_DIR}/etcd_pair.c
          ${CMAKE_CURRENT_SOURCE_DIR}/conformance.c
          ${CMAKE_SOURCE_DIR}/tests/unit/store_fixture.c
  DEPS apiserver_core LABELS integration)

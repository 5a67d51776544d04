# Two API servers on one etcd, started by hack/etcd-up (package etcd-server).
drover_test(test_history_etcd
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_history_etcd.c
          ${CMAKE_CURRENT_SOURCE_DIR}/etcd_pair.c
          ${CMAKE_CURRENT_SOURCE_DIR}/conformance.c
          ${CMAKE_SOURCE_DIR}/tests/unit/store_fixture.c
  DEPS apiserver_core LABELS integration)

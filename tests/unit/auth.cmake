drover_test(test_rbac_rule SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_rbac_rule.c
            DEPS apiserver_core LABELS unit)

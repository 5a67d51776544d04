drover_fuzz(http_socket SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_http_socket.c DEPS io)
drover_fuzz(audit_policy SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_audit_policy.c
            DEPS apiserver_core)

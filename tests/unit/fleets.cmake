drover_test(test_hosts SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_hosts.c
            DEPS controllers_lib control client api io base LABELS unit threads)
drover_test(test_silence SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_silence.c
            ${CMAKE_CURRENT_SOURCE_DIR}/world.c ${CMAKE_CURRENT_SOURCE_DIR}/world_agents.c
            ${CMAKE_CURRENT_SOURCE_DIR}/fake_api.c
            DEPS controllers_lib control client api io base LABELS unit TIMEOUT 120)
drover_test(test_cluster SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_cluster.c
            DEPS controllers_lib control client api io base LABELS unit)

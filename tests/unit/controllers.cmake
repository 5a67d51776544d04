drover_test(test_scheduler SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_scheduler.c
            DEPS scheduler api base LABELS unit TIMEOUT 300)
drover_test(test_plans SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_plans.c
            DEPS controllers_lib control client api io base LABELS unit)
drover_test(test_run_derive SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_run_derive.c
            DEPS controllers_lib control client api io base LABELS unit)
drover_test(test_run_peers SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_run_peers.c
            DEPS controllers_lib control client api io base LABELS unit)
drover_test(test_run_world SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_run_world.c
            ${CMAKE_CURRENT_SOURCE_DIR}/world.c ${CMAKE_CURRENT_SOURCE_DIR}/fake_api.c
            DEPS controllers_lib control client api io base LABELS unit TIMEOUT 300)
drover_test(test_run_edges SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_run_edges.c
            ${CMAKE_CURRENT_SOURCE_DIR}/world.c ${CMAKE_CURRENT_SOURCE_DIR}/world_agents.c
            ${CMAKE_CURRENT_SOURCE_DIR}/fake_api.c
            DEPS controllers_lib control client api io base LABELS unit TIMEOUT 300)
drover_test(test_controllers SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_controllers.c
            ${CMAKE_CURRENT_SOURCE_DIR}/world.c ${CMAKE_CURRENT_SOURCE_DIR}/world_agents.c
            ${CMAKE_CURRENT_SOURCE_DIR}/fake_api.c
            DEPS controllers_lib control client api io base LABELS unit TIMEOUT 300)
drover_test(test_status_edit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_status_edit.c
            DEPS controllers_lib control client api io base LABELS unit)

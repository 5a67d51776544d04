foreach(name policy ends worlds)
  drover_test(test_sched_${name} SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_sched_${name}.c
              ${CMAKE_CURRENT_SOURCE_DIR}/sched_world.c
              DEPS scheduler api base LABELS unit TIMEOUT 120)
endforeach()
drover_test(test_scheduler_loop SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_scheduler_loop.c
            ${CMAKE_CURRENT_SOURCE_DIR}/world.c ${CMAKE_CURRENT_SOURCE_DIR}/fake_api.c
            DEPS controllers_lib control client api io base LABELS unit TIMEOUT 120)
drover_test(test_api_quota SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_quota.c
            DEPS api base LABELS unit)

foreach(part "" _restart _contain _hostile _tty _unpriv _rootfs)
  drover_test(test_engine_process${part}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_engine_process${part}.c
            ${CMAKE_CURRENT_SOURCE_DIR}/engine_process_world.c
    DEPS runner_process LABELS integration TIMEOUT 180)
endforeach()
foreach(part account cgroup2)
  drover_test(test_engine_process_${part}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_engine_process_${part}.c
    DEPS runner_process LABELS integration)
endforeach()

drover_test(test_workqueue SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_workqueue.c
            DEPS control base LABELS unit;threads)
drover_test(test_informer SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_informer.c
            DEPS control client api io base LABELS unit;threads)
drover_test(test_manager SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_manager.c
            ${CMAKE_CURRENT_SOURCE_DIR}/fake_api.c
            DEPS control client api io base LABELS unit;threads)
drover_test(test_lease SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_lease.c
            ${CMAKE_CURRENT_SOURCE_DIR}/fake_api.c
            DEPS control client api io base LABELS unit)
drover_test(test_recorder SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_recorder.c
            ${CMAKE_CURRENT_SOURCE_DIR}/fake_api.c
            DEPS control client api io base LABELS unit)

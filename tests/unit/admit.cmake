drover_test(test_api_admit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_admit.c DEPS api LABELS unit)
drover_test(test_api_cron SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_cron.c DEPS api LABELS unit)

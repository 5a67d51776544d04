drover_fuzz(api_values SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_api_values.c DEPS api)

drover_fuzz(host_answer SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_host_answer.c
            DEPS controllers_lib control client api io base)

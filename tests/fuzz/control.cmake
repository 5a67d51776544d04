drover_fuzz(watch SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_watch.c
            DEPS control client api io base)

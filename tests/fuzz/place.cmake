drover_fuzz(runner_tar SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_runner_tar.c
            DEPS runner_place)
drover_fuzz(streams_blob SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_streams_blob.c
            DEPS streams)

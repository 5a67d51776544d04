drover_fuzz(io_segment SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_io_segment.c DEPS io)

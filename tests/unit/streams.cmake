drover_test(test_streams_text SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_streams_text.c DEPS streams LABELS unit)
drover_test(test_streams_append
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_streams_append.c
          ${CMAKE_SOURCE_DIR}/apiserver/streams/append.c
  DEPS api io base PkgConfig::ZLIB LABELS unit threads)

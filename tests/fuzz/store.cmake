drover_fuzz(store_replay SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_store_replay.c
  DEPS store api io base)

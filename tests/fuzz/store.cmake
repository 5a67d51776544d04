drover_fuzz(store_replay SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_store_replay.c
  DEPS store api io base)
drover_fuzz(store_facts SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_store_facts.c
  DEPS api base)
drover_fuzz(store_etcd SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_store_etcd.c
  DEPS store api io base)
